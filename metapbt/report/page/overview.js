// The overview: verdicts first, then each environment and feature with its figures and tables.

const runLink = (id, ...children) => element("a", { href: `#run=${encodeURIComponent(id)}` }, ...(children.length ? children : [id]));
const openRun = (datum) => { if (datum.run) location.hash = `run=${encodeURIComponent(datum.run)}`; };
const slug = (id) => `g-${id.replace(/[^\w-]+/g, "-")}`;

class GroupView {
  constructor(group, app) {
    this.app = app;
    this.off = { methods: new Set(), contexts: new Set() };
    this.seeds = "mean";
    this.quantity = "final";
    this.axes = [0, Math.min(1, group.features.length - 1)];
    this.sorted = {};
    this.group = group;
    this.figures = [];
    this.root = element("section", { "aria-labelledby": slug(group.id) });
    this.build();
  }

  get shape() { // what the section is made of: while it stays, figures change in place
    const { contexts, methods, seeds } = this.group;
    return JSON.stringify([contexts.map((each) => each.label), methods.map((each) => each.name), seeds]);
  }

  method(index) { return this.group.methods[index]; }
  context(index) { return this.group.contexts[index]; }
  shown(row) {
    return !(known(row.c) && this.off.contexts.has(this.context(row.c).label)) && !(known(row.m) && this.off.methods.has(this.method(row.m).name));
  }
  style(row) {
    const method = this.method(row.m), source = known(row.c) && this.context(row.c).source;
    return { method: method.name, color: source ? GREY : hue(method), shape: shapeOf(method.marker), dash: method.dash.length ? method.dash.map((part) => 2 * part) : [1, 0] };
  }
  get runs() {
    return this.group.runs.map(([id, c, area]) => ({ ...this.app.run(id), c, area })).map((run) => ({ ...run, m: this.group.methods.findIndex((each) => each.name === run.method) }));
  }
  get contexts() { return this.group.contexts.filter((each) => !this.off.contexts.has(each.label)); }
  contextName(context) { return context.source ? `${context.label}, source` : context.label; }

  build() {
    const { group } = this;
    this.figures.forEach((figure) => figure.remove());
    this.figures = [];
    this.words = element("div", { class: "verdict" });
    this.tables = element("div");
    this.panels = element("div", { class: "panels" });
    this.maps = element("div", { class: "panels wide" });
    this.root.replaceChildren(
      element("h2", { id: slug(group.id), tabindex: "-1" }, group.env, element("span", { class: "muted" }, group.features.length ? ` over ${group.axis}` : "", `, ${group.learner}`)),
      this.words, this.toolbar(),
      element("h3", {}, "Learning curves"),
      element("p", { class: "muted" }, "The return of the best member in training, by evaluation after each generation, over environment steps of each member. Shaded: 95% interval of the mean over seeds, from three seeds on."),
      this.panels,
      element("h3", {}, "Final returns"), this.final(),
      ...(group.methods.length > 1 ? [element("h3", {}, "Comparison"), this.comparison()] : []),
      ...(group.contexts.length > 1 ? [element("h3", {}, "Contexts"), this.map()] : []),
      element("h3", {}, "Return by context and steps"), this.maps,
      ...(group.generalisation.c.length ? [element("h3", {}, "Training and held-out levels"), this.generalisation()] : []),
      this.tables);
    this.fillPanels();
    this.fillTables();
    this.built = this.shape;
  }

  toolbar() {
    const { group } = this;
    const contexts = group.contexts.map((each) => ({ key: each.label, name: this.contextName(each), color: each.source ? GREY : "transparent" }));
    return element("div", { class: "toolbar", role: "group", "aria-label": "What is shown" },
      chips("Methods", group.methods.map((each) => ({ key: each.name, name: each.name, color: hue(each) })), this.off.methods, () => this.change()),
      chooser("Seeds in learning curves", [["mean", "mean over all"], ["all", "each run"], ...group.seeds.map((seed) => [seed, `seed ${seed}`])], this.seeds, (value) => { this.seeds = value; this.change(); }),
      group.contexts.length > 1 ? fold(`Contexts (${group.contexts.length})`, false, chips("Contexts", contexts, this.off.contexts, () => this.change(true))) : null);
  }

  change(contexts = false) {
    if (contexts) this.fillPanels();
    this.figures.forEach((figure) => figure.update());
    this.fillTables();
  }

  add(figure) { this.figures.push(figure); return figure.root; }

  replaced(place, figures) {
    this.figures = this.figures.filter((figure) => !place.contains(figure.root) || (figure.remove(), false));
    place.replaceChildren(...figures.map((figure) => this.add(figure)));
  }

  fillPanels() {
    const several = (context) => unique(this.runs.filter((run) => run.c === this.group.contexts.indexOf(context)).map((run) => run.method)).length > 1;
    const ordered = [...this.contexts].sort((one, other) => several(other) - several(one));
    this.replaced(this.panels, ordered.map((context) => this.curves(context)));
    this.replaced(this.maps, this.group.methods.map((_, m) => this.heatmap(m)));
  }

  // The runs that learning curves show one by one.
  chosen() {
    return this.runs.filter((run) => this.seeds === "all" || String(run.seed) === String(this.seeds));
  }

  curves(context) {
    const c = this.group.contexts.indexOf(context);
    const mean = () => rowsOf(this.group.curves).filter((row) => row.c === c && this.shown(row))
      .map((row) => ({ ...row, ...this.style(row), x: row.env_steps, y: row.mean, line: `m${row.m}` }));
    const each = () => this.chosen().filter((run) => run.c === c && this.shown(run))
      .flatMap((run) => run.steps.map((x, index) => ({ ...this.style(run), x, y: run.scores[index], line: run.id, thin: this.seeds === "all", run: run.id, seed: run.seed })));
    const rows = () => (this.seeds === "mean" ? mean() : each()).filter((row) => known(row.y));
    const { features, feature } = this.group;
    return new Figure({
      title: features.length === 1 ? `${feature} = ${this.contextName(context)}` : this.contextName(context), rows, height: 185, onclick: openRun,
      empty: "None of the selected runs has a score here.",
      spec: (found) => linesSpec(found, { x: "x", y: "y", yDomain: this.seeds === "mean" ? extent(this.group.curves.mean, 0.15) : extent(this.chosen().flatMap((run) => run.scores)),
        tooltip: [{ field: "method", title: "method" }, { field: "x", title: "steps", format: "," }, { field: "y", title: "return", format: ".4~g" },
          ...(this.seeds === "mean" ? [{ field: "low", title: "95% from", format: ".4~g" }, { field: "high", title: "to", format: ".4~g" }, { field: "seeds", title: "seeds" }] : [{ field: "seed", title: "seed" }])] }),
      columns: [{ key: "method", label: "method" }, { key: "x", label: "steps", numeric: true }, { key: "y", label: "return", numeric: true },
        { key: "low", label: "low", numeric: true }, { key: "high", label: "high", numeric: true }, { key: "seeds", label: "seeds", numeric: true }],
    });
  }

  final() {
    const rows = () => {
      const means = rowsOf(this.group.final).filter((row) => this.shown(row) && known(row.mean)).map((row) => ({ ...row, kind: "mean", value: row.mean }));
      const single = this.runs.filter((run) => this.shown(run) && known(run.final)).map((run) => ({ c: run.c, m: run.m, kind: run.state === "done" ? "seed" : "open", value: run.final, seed: run.seed, status: run.state, run: run.id, unlisted: true }));
      return [...single, ...means].map((row) => ({ ...row, ...this.style(row), context: this.contextName(this.context(row.c)) }));
    };
    const shownMethods = () => this.group.methods.filter((each) => !this.off.methods.has(each.name)).map((each) => each.name);
    return this.add(new Figure({
      title: "Final return of each context", level: 4, rows, onclick: openRun,
      caption: "Mean over finished seeds with its 95% interval, from three seeds on; small points are the seeds, hollow ones have not finished. A click on one opens its run.",
      height: () => this.contexts.length * (8 + 15 * Math.max(1, shownMethods().length)) + 60,
      spec: (found) => ({
        encoding: {
          y: { field: "context", type: "nominal", sort: this.contexts.map((each) => this.contextName(each)), axis: { title: null, grid: false, labelLimit: 180 }, scale: { paddingInner: 0.25 } },
          yOffset: { field: "method", sort: shownMethods() }, color: colored,
          x: { field: "value", type: "quantitative", scale: { zero: false, domain: extent(found.filter((row) => row.kind !== "mean").map((row) => row.value)) }, axis: { title: "return", tickCount: 6 } },
          tooltip: [{ field: "context", title: this.group.feature }, { field: "method", title: "method" }, { field: "value", title: "return", format: ".4~g" }, { field: "low", title: "95% from", format: ".4~g" }, { field: "high", title: "to", format: ".4~g" }, { field: "seed", title: "seed" }, { field: "status", title: "runs" }],
        },
        layer: [
          ...bounded(found, { mark: { type: "rule", strokeWidth: 2, clip: true, aria: false }, encoding: { x: { field: "low", type: "quantitative" }, x2: { field: "high" } } }),
          ...only(found, (row) => row.kind === "seed", "datum.kind == 'seed'", { mark: { type: "point", filled: true, size: 32, opacity: 0.55, cursor: "pointer", aria: false } }),
          ...only(found, (row) => row.kind === "open", "datum.kind == 'open'", { mark: { type: "point", filled: false, size: 34, cursor: "pointer", aria: false } }),
          ...only(found, (row) => row.kind === "mean", "datum.kind == 'mean'", { mark: { type: "point", filled: true, size: 80, opacity: 1, clip: true }, encoding: { shape: shaped } }),
        ],
      }),
      columns: [{ key: "context", label: this.group.axis }, { key: "method", label: "method" }, { key: "value", label: "mean", numeric: true }, { key: "low", label: "low", numeric: true }, { key: "high", label: "high", numeric: true }, { key: "status", label: "runs" }],
    }));
  }

  // What is chosen, and what the verdict counts: means over contexts in points only where their ranges are alike.
  differences() {
    return rowsOf(this.group.differences).filter((row) => (row.alike || row.unit !== "points" || row.context !== "all contexts") && !this.off.methods.has(row.method) && !this.off.methods.has(row.baseline) && !this.off.contexts.has(row.context));
  }

  comparison() {
    const word = { final: "final return", area: "mean return over training" };
    const pooled = () => rowsOf(this.group.pooled).filter((row) => this.shown(row) && row.quantity === this.quantity && row.unit === "normalised" && known(row.estimate))
      .map((row) => ({ ...row, ...this.style(row), name: row.statistic === "iqm" ? "interquartile mean" : "mean" }));
    const differences = () => {
      const found = this.differences().filter((row) => row.quantity === this.quantity && row.unit === "points");
      return found.map((row) => ({ ...row, color: hue(this.group.methods.find((each) => each.name === row.method)), pair: `${row.method} − ${row.baseline}`, all: row.context === "all contexts" }));
    };
    const choice = chooser("Compare", Object.entries(word), this.quantity, (value) => { this.quantity = value; this.figures.forEach((figure) => figure.update()); });
    const places = () => ["all contexts", ...this.contexts.map((each) => each.label)];
    const tooltip = [{ field: "pair", title: "pair" }, { field: "context", title: "context" }, { field: "estimate", title: "difference", format: "+.4~g" }, { field: "low", title: "95% from", format: ".4~g" }, { field: "high", title: "to", format: ".4~g" }, { field: "runs", title: "pairs" }];
    return element("div", {}, choice, element("div", { class: "panels wide" },
      this.add(new Figure({
        title: "Difference in points, pairs of one context and seed", rows: differences, empty: "None of the chosen methods and contexts has finished runs of both methods of a pair.",
        caption: "Above 0 the first of the two is better. Thick: the mean over all contexts, shown where their ranges of return are similar.",
        height: (rows) => 70 + 20 * unique(rows.map((row) => row.context)).length * Math.max(1, unique(rows.map((row) => row.pair)).length * 0.7),
        spec: (rows) => ({
          encoding: { y: { field: "context", type: "nominal", sort: places(), axis: { title: null, labelLimit: 160 } }, yOffset: { field: "pair" }, color: colored },
          layer: [
            { data: { values: [{ zero: 0 }] }, mark: { type: "rule", opacity: 0.5, strokeDash: [4, 3], aria: false }, encoding: { x: { field: "zero", type: "quantitative" }, y: null, yOffset: null, color: { value: "currentColor" } } },
            ...bounded(rows, { mark: { type: "rule", aria: false }, encoding: { x: { field: "low", type: "quantitative" }, x2: { field: "high" }, strokeWidth: { condition: { test: "datum.all", value: 4 }, value: 1.5 }, tooltip } }),
            { mark: { type: "point", filled: true, opacity: 1 }, encoding: { x: { field: "estimate", type: "quantitative", axis: { title: `difference in ${word[this.quantity]}`, tickCount: 5 } }, size: { condition: { test: "datum.all", value: 110 }, value: 45 }, tooltip } },
          ],
        }),
        columns: [{ key: "pair", label: "pair" }, { key: "context", label: "context" }, { key: "estimate", label: "difference", numeric: true }, { key: "low", label: "low", numeric: true }, { key: "high", label: "high", numeric: true }, { key: "runs", label: "pairs", numeric: true }],
      })),
      this.add(new Figure({
        title: "Mean over contexts, normalised", rows: pooled, height: (rows) => 70 + 26 * Math.max(2, unique(rows.map((row) => row.method)).length),
        caption: "0 is the worst and 1 the best that any finished run reached in a context; 95% interval. Hollow: the interquartile mean.",
        empty: "No context has finished runs of every method yet.",
        spec: (rows) => ({
          encoding: { y: { field: "method", type: "nominal", sort: this.group.methods.map((each) => each.name), axis: { title: null } }, color: colored,
            tooltip: [{ field: "method", title: "method" }, { field: "name", title: "statistic" }, { field: "estimate", title: "value", format: ".3f" }, { field: "low", title: "95% from", format: ".3f" }, { field: "high", title: "to", format: ".3f" }, { field: "contexts", title: "contexts" }, { field: "runs", title: "runs" }] },
          layer: [
            ...only(rows, (row) => row.statistic === "mean" && known(row.low), "datum.statistic == 'mean' && datum.low != null", { mark: { type: "rule", strokeWidth: 2.5, aria: false }, encoding: { x: { field: "low", type: "quantitative" }, x2: { field: "high" } } }),
            { transform: [{ filter: "datum.statistic == 'mean'" }], mark: { type: "point", filled: true, size: 90, opacity: 1 }, encoding: { x: { field: "estimate", type: "quantitative", scale: { zero: false, domain: extent(rows.flatMap((row) => [row.estimate, row.low, row.high])) }, axis: { title: `${word[this.quantity]}, normalised`, tickCount: 5 } }, shape: shaped } },
            ...only(rows, (row) => row.statistic === "iqm", "datum.statistic == 'iqm'", { mark: { type: "point", filled: false, size: 60 }, encoding: { x: { field: "estimate", type: "quantitative" } } }),
          ],
        }),
        columns: [{ key: "method", label: "method" }, { key: "name", label: "statistic" }, { key: "estimate", label: "value", numeric: true }, { key: "low", label: "low", numeric: true }, { key: "high", label: "high", numeric: true }, { key: "contexts", label: "contexts", numeric: true }, { key: "runs", label: "runs", numeric: true }],
      }))));
  }

  map() {
    const { group } = this;
    const two = group.features.length > 1;
    const rows = () => rowsOf(group.final).filter((row) => this.shown(row)).map((row) => {
      const context = this.context(row.c);
      return { ...row, ...this.style(row), label: this.contextName(context), source: context.source, x: context.values[this.axes[0]], y2: two ? context.values[this.axes[1]] : null, value: row.mean };
    }).filter((row) => known(row.value));
    const kind = (axis) => (group.contexts.every((each) => typeof each.values[axis] === "number") ? "quantitative" : "nominal");
    const name = (axis) => (group.units[axis] ? `${group.features[axis]} [${group.units[axis]}]` : group.features[axis]);
    const tooltip = [{ field: "label", title: group.feature }, { field: "method", title: "method" }, { field: "value", title: "mean return", format: ".4~g" }, { field: "low", title: "95% from", format: ".4~g" }, { field: "high", title: "to", format: ".4~g" }, { field: "status", title: "runs" }];
    const x = () => ({ field: "x", type: kind(this.axes[0]), scale: kind(this.axes[0]) === "quantitative" ? { zero: false, padding: 12 } : undefined, axis: { title: name(this.axes[0]), tickCount: 6 } });
    const update = () => this.figures.forEach((figure) => figure.update());
    const axis = (place) => chooser(place ? "vertical" : "horizontal", group.features.map((feature, index) => [index, feature]), this.axes[place], (value) => { this.axes[place] = Number(value); update(); });
    return this.add(new Figure({
      title: two ? "Contexts on a map" : `Return by ${group.feature}`, rows, kind: "broad",
      controls: two && group.features.length > 2 ? element("span", {}, axis(0), axis(1)) : null,
      caption: two ? "Colour: mean return of the method with the best one in that context; its shape tells which. Grey rings: contexts that others only learned from."
        : "Mean return of each method over the feature; grey: contexts that others only learned from.",
      empty: "None of the chosen runs has finished yet.",
      height: 230,
      spec: (found) => two ? {
        transform: [{ window: [{ op: "rank", as: "place" }], sort: [{ field: "value", order: "descending" }], groupby: ["label"] }, { filter: "datum.place == 1" }],
        encoding: { x: x(), y: { field: "y2", type: kind(this.axes[1]), scale: kind(this.axes[1]) === "quantitative" ? { zero: false, padding: 12 } : undefined, axis: { title: name(this.axes[1]), tickCount: 5 } }, tooltip },
        layer: [
          ...only(found, (row) => row.source, "datum.source", { mark: { type: "point", size: 420, strokeWidth: 2, color: GREY, aria: false } }),
          { mark: { type: "point", filled: true, size: 190, opacity: 1 }, encoding: { color: { field: "value", type: "quantitative", scale: { scheme: "viridis" }, legend: { title: "return", gradientLength: 120 } }, shape: shaped } },
        ],
      } : {
        encoding: { x: x(), color: colored, tooltip },
        layer: [
          ...only(found, (row) => !row.source, "!datum.source", { mark: { type: "line", strokeWidth: 1.5, opacity: 0.7, aria: false }, encoding: { y: { field: "value", type: "quantitative" }, detail: { field: "method" } } }),
          ...bounded(found, { mark: { type: "rule", strokeWidth: 1.5, clip: true, aria: false }, encoding: { y: { field: "low", type: "quantitative" }, y2: { field: "high" } } }),
          { mark: { type: "point", filled: true, size: 75, opacity: 1 }, encoding: { y: { field: "value", type: "quantitative", scale: { zero: false, domain: extent(found.map((row) => row.value), 0.15) }, axis: { title: "mean return", tickCount: 5 } }, shape: shaped } },
        ],
      },
      columns: [{ key: "label", label: group.axis }, { key: "method", label: "method" }, { key: "value", label: "mean return", numeric: true }, { key: "status", label: "runs" }],
    }));
  }

  heatmap(m) {
    const method = this.method(m);
    const all = () => rowsOf(this.group.heatmap);
    const edges = () => { const grid = unique(all().map((row) => row.env_steps)).sort((a, b) => a - b); return new Map(grid.map((value, index) => [value, index ? grid[index - 1] : 0])); };
    const rows = () => {
      if (this.off.methods.has(method.name)) return [];
      const before = edges();
      return all().filter((row) => row.m === m && this.shown(row) && known(row.mean)).map((row) => ({ ...row, context: this.contextName(this.context(row.c)), x: before.get(row.env_steps), x2: overlapped(before.get(row.env_steps), row.env_steps), steps: row.env_steps, y: row.mean }));
    };
    return new Figure({
      title: method.name, rows, height: 22 * this.contexts.length + 95, empty: () => (this.off.methods.has(method.name) ? "Not chosen." : "No run has a score yet."),
      spec: () => ({
        mark: { type: "rect", aria: false, clip: true },
        encoding: {
          x: { field: "x", type: "quantitative", scale: { nice: false, zero: true, domainMax: Math.max(...all().map((row) => row.env_steps)) }, axis: { title: null, format: STEPS_FORMAT, grid: false, tickCount: 5 } }, x2: { field: "x2" },
          y: { field: "context", type: "nominal", sort: this.contexts.map((each) => this.contextName(each)), scale: { domain: this.contexts.map((each) => this.contextName(each)) }, axis: { title: null, labelLimit: 130 } },
          color: { field: "y", type: "quantitative", scale: { scheme: "viridis", domain: this.group.heatmap_range, clamp: true }, legend: { title: "mean return", orient: "bottom", direction: "horizontal", gradientLength: 260, gradientThickness: 8, tickCount: 3 } },
          tooltip: [{ field: "context", title: this.group.feature }, { field: "steps", title: "steps", format: "," }, { field: "y", title: "mean return", format: ".4~g" }, { field: "seeds", title: "seeds" }],
        },
      }),
      columns: [{ key: "context", label: this.group.axis }, { key: "steps", label: "steps", numeric: true }, { key: "y", label: "mean return", numeric: true }, { key: "seeds", label: "seeds", numeric: true }],
    });
  }

  generalisation() {
    const names = { train_return: "training levels", held_out_return: "held-out levels" };
    const rows = () => rowsOf(this.group.generalisation).filter((row) => this.shown(row)).flatMap((row) => Object.keys(names).map((name) => ({
      ...row, ...this.style(row), place: `${this.context(row.c).label}, ${this.method(row.m).name}`, levels: names[name], value: row[name], low: row[`${name}_low`], high: row[`${name}_high`] })));
    return this.add(new Figure({
      title: "Return on levels of training and on held-out ones", rows, height: (found) => 40 + 34 * unique(found.map((row) => row.place)).length,
      caption: "The training return is that of the agent that was tested, over the episodes of its last interval; it was chosen by that return and its evaluation.",
      spec: (found) => ({
        encoding: { y: { field: "place", type: "nominal", axis: { title: null, labelLimit: 180 } }, yOffset: { field: "levels" }, color: colored,
          tooltip: [{ field: "place" }, { field: "levels" }, { field: "value", title: "return", format: ".4~g" }, { field: "low", title: "95% from", format: ".4~g" }, { field: "high", title: "to", format: ".4~g" }, { field: "trained_on", title: "trained on" }, { field: "tested_on", title: "tested on" }, { field: "gap", title: "gap", format: "+.4~g" }, { field: "runs", title: "runs" }] },
        layer: [
          ...bounded(found, { mark: { type: "rule", strokeWidth: 2, aria: false }, encoding: { x: { field: "low", type: "quantitative" }, x2: { field: "high" } } }),
          { mark: { type: "point", filled: true, size: 70, opacity: 1 }, encoding: { x: { field: "value", type: "quantitative", scale: { zero: false }, axis: { title: "return", tickCount: 6 } }, shape: { field: "levels", type: "nominal", legend: { title: null, orient: "bottom" }, scale: { range: ["circle", "square"] } } } },
        ],
      }),
      columns: [{ key: "place", label: "context, method" }, { key: "levels", label: "levels" }, { key: "value", label: "return", numeric: true }, { key: "low", label: "low", numeric: true }, { key: "high", label: "high", numeric: true }, { key: "gap", label: "gap", numeric: true }, { key: "gap_low", label: "gap from", numeric: true }, { key: "gap_high", label: "to", numeric: true }, { key: "trained_on", label: "trained on" }, { key: "tested_on", label: "tested on" }],
    }));
  }

  fillTables() {
    const { group } = this;
    const open = (name) => (this.open ??= {})[name];
    const remember = (name, node) => { node.addEventListener("toggle", () => { this.open[name] = node.open; }); return node; };
    const folded = (name, summary, usual, ...children) => remember(name, fold(summary, open(name) ?? usual, ...children));
    const states = group.states.map(([state, count]) => `${count} ${state}`).join(", ");
    this.words.replaceChildren(...group.verdict.map((sentence, index) => element("p", { class: index ? null : "lead" }, sentence)),
      element("p", { class: "muted" }, `${counted(group.contexts.length, "context")}, ${counted(group.methods.length, "method")}, ${counted(group.seeds.length, "seed")}. Runs: ${states}.`),
      ...group.notes.map((note) => element("p", { class: "note" }, note)));
    const runs = this.runs.filter((run) => this.shown(run)).map((run) => ({ ...run, grey: this.context(run.c).source }));
    const runColumns = [
      { key: "id", label: "run", sort: (run) => run.id, show: (run) => element("span", {}, runLink(run.id, `${group.features.length ? `${this.context(run.c).label}, ` : ""}${run.method}, seed ${run.seed}`), run.video ? " (with a video)" : "") },
      { key: "state", label: "state", show: (run) => element("span", { class: `state ${run.state}` }, run.state) },
      { key: "final", label: "return", numeric: true }, { key: "area", label: "mean over training", numeric: true },
      { key: "generations", label: "generations", numeric: true, show: (run) => `${run.generations} of ${run.planned ?? "so many"}` },
      { key: "ended", label: "last written", show: (run) => day(run.ended) },
    ];
    const final = rowsOf(group.final).filter((row) => this.shown(row)).map((row) => ({ ...row, context: this.context(row.c).label, source: this.context(row.c).source, method: this.method(row.m).name }));
    const cells = unique(final.map((row) => row.c)).map((c) => ({ c, grey: this.context(c).source, cells: Object.fromEntries(final.filter((row) => row.c === c).map((row) => [row.method, row])) }));
    const finalColumns = [
      { key: "context", label: group.axis, sort: (row) => (typeof this.context(row.c).values[0] === "number" && group.features.length === 1 ? this.context(row.c).values[0] : this.context(row.c).label), show: (row) => this.contextName(this.context(row.c)) },
      ...group.methods.filter((each) => !this.off.methods.has(each.name)).map((method) => ({
        key: method.name, label: method.name, numeric: true, sort: (row) => row.cells[method.name]?.mean,
        show: (row) => {
          const cell = row.cells[method.name];
          if (!cell) return "";
          if (cell.status === "missing" || cell.status === "source") return element("span", { class: cell.status }, cell.status);
          return [estimate(cell.mean, cell.low, cell.high), " ", element("small", { class: cell.finished < cell.expected ? "partial" : "muted" }, cell.finished && !known(cell.low) ? `${cell.status}: no interval` : cell.status)];
        },
      })),
    ];
    const differences = this.differences();
    const link = (file) => element("a", { href: `${group.folder.split("/").map(encodeURIComponent).join("/")}/${file}` }, file);
    const comma = (links) => links.flatMap((each, index) => (index ? [", ", each] : [each]));
    this.tables.replaceChildren(...[
      element("h3", {}, "Tables"),
      folded("final", "Final return of each context and method", true, sortable("Final returns", finalColumns, cells, (this.sorted.final ??= {}))),
      folded("runs", `Runs (${runs.length}): choose one to see its members`, true, sortable("Runs", runColumns, runs, (this.sorted.runs ??= {}))),
      differences.length ? folded("differences", "Differences between methods", false, sortable("Differences", [
        { key: "method", label: "difference", sort: (row) => `${row.method} ${row.baseline}`, show: (row) => `${row.method} minus ${row.baseline}` }, { key: "context", label: "context" },
        { key: "quantity", label: "of", show: (row) => (row.quantity === "area" ? "mean return over training" : "final return") }, { key: "unit", label: "unit" },
        { key: "estimate", label: "estimate [95% interval]", numeric: true, show: (row) => estimate(row.estimate, row.low, row.high, signed) },
        { key: "contexts", label: "contexts", numeric: true }, { key: "runs", label: "pairs", numeric: true }], differences, (this.sorted.differences ??= {}))) : null,
      group.missing.length ? folded("missing", `Missing runs (${group.missing.length})`, group.missing.length <= 10, sortable("Missing runs", [{ key: "method", label: "method" }, { key: "contexts", label: group.axis }, { key: "seeds", label: "missing seeds" }], group.missing, (this.sorted.missing ??= {}))) : null,
      this.unfinished(runs, runColumns, folded),
      group.figures.length ? folded("print", `Figures for print and numbers (${group.figures.length})`, false, element("ul", { class: "files" }, ...group.figures.map((figure) =>
        element("li", {}, `${figure.heading}: `, ...(figure.left_out ? [`not drawn: ${figure.left_out}. `] : comma(["pdf", "svg", "png"].map((ending) => link(`${figure.name}.${ending}`)))), ...figure.tables.flatMap((table) => [", ", link(table)]))))) : null,
    ].filter(Boolean));
  }

  unfinished(runs, columns, folded) {
    const open = runs.filter((run) => run.state !== "done");
    if (!open.length) return null;
    const why = { key: "error", label: "why", show: (run) => run.error ?? (run.state === "stopped" ? "repeat the command that started it to resume" : "–") };
    return folded("open", `Runs that have not finished (${open.length})`, open.length <= 10, sortable("Runs that have not finished", [columns[0], columns[1], columns[4], columns[5], why], open, (this.sorted.open ??= {})));
  }

  update(group) {
    this.group = group;
    if (this.shape !== this.built) this.build();
    else this.change();
  }
}
