// What the method knew when it chose: memory, the surrogate, and which hyperparameters mattered.

const understanding = (view) => {
  const place = element("div"), { known: found, surrogate } = view.detail;
  const fill = (what) => place.replaceChildren(...memoryPart(view, what), ...surrogatePart(view, what), ...importancePart(view, what), ...notesPart(what));
  if (found) fill(found);
  else if (LIVE) place.replaceChildren(element("h2", {}, "What the method knew"), askKnown(view, fill));
  else place.replaceChildren(element("h2", {}, "What the method knew"), element("p", { class: "muted" },
    "Memory, surrogate and importance take seconds for each run, and were not worked out for this one. ", element("code", {}, "metapbt report RESULTS --views N"), " works them out for more runs, ", element("code", {}, "metapbt watch RESULTS"), " for any, when asked."));
  return [place];
};

const notesPart = (found) => found.notes.length ? [element("div", { class: "notes" }, ...found.notes.map((note) => element("p", { class: "muted" }, note)))] : [];

const askKnown = (view, fill) => {
  const words = element("p", { class: "muted", role: "status" }, "Memory, surrogate and importance are worked out when asked for, which takes seconds.");
  const button = element("button", { type: "button", onclick: async () => {
    button.disabled = true;
    words.textContent = "Working it out …";
    try { view.detail.known = await Source.ask("known.json", { id: view.run.id }); fill(view.detail.known); } catch (error) { words.textContent = error.message; button.disabled = false; }
  } }, "Work it out");
  return element("div", {}, words, button);
};

const memoryPart = (view, found) => {
  const { memory } = found;
  if (!memory) return [];
  const words = { related: "related contexts", kernel: "the shape of their kernel", alone: "this run alone" };
  const rows = () => rowsOf(memory.trust).flatMap((row) => Object.keys(words).map((name, order) => ({ generation: row.generation + 1, from: words[name], share: row[name], rows: row.rows, order })));
  const sources = rowsOf(memory.sources);
  return [element("h2", {}, "Memory"), element("p", {}, memory.sentence),
    ...(rows().length ? [view.add(new Figure({
      title: "How far memory was trusted", rows, kind: "broad", height: 190, caption: "Shares of the forecast after each generation in which a member became a copy; 0 is the choice of the first members.",
      spec: () => ({
        mark: { type: "bar", aria: false },
        encoding: {
          x: { field: "generation", type: "ordinal", axis: { title: "after generation", labelAngle: 0, labelOverlap: true } },
          y: { field: "share", type: "quantitative", stack: true, scale: { domain: [0, 1] }, axis: { title: "share of the forecast", format: "%", tickCount: 5 } },
          color: { field: "from", type: "nominal", sort: Object.values(words), scale: { domain: Object.values(words), range: ["#029e73", "#9ad0bd", GREY] }, legend: { title: null, orient: "top" } },
          order: { field: "order" },
          tooltip: [{ field: "generation", title: "after generation" }, { field: "from" }, { field: "share", format: ".0%" }, { field: "rows", title: "intervals of this run" }],
        },
      }),
      columns: [{ key: "generation", label: "after generation", numeric: true }, { key: "from", label: "from" }, { key: "share", label: "share", numeric: true }],
    }))] : []),
    ...(sources.length ? [fold(`What it was made of (${counted(sources.length, "run")})`, sources.length <= 12, sortable("What memory was made of", [
      { key: "context", label: "context" }, { key: "name", label: "method" }, { key: "seed", label: "seed", numeric: true }, { key: "rows", label: "intervals", numeric: true }, { key: "used", label: "used at the end", numeric: true },
      { key: "share", label: "share", numeric: true, show: (row) => `${Math.round(100 * (row.share ?? 0))}%` }], sources))] : [])];
};

const surrogatePart = (view, { surrogates }) => {
  if (!surrogates.length) return [];
  const panels = element("div", { class: "panels wide" });
  const words = element("p", { class: "muted", role: "status" });
  let figures = [];
  const show = (one) => {
    figures.forEach((figure) => figure.remove());
    view.figures = view.figures.filter((figure) => !figures.includes(figure));
    words.textContent = one.caption;
    figures = one.models.flatMap((model) => ["mean", "deviation"].map((quantity) => surfaceFigure(one, model, quantity)));
    view.figures.push(...figures);
    panels.replaceChildren(...figures.map((figure) => figure.root));
  };
  const last = surrogates.length - 1;
  const choice = surrogates.length > 1 ? element("div", { class: "toolbar plain" }, chooser("After", surrogates.map((one, index) => [index, `generation ${one.generation + 1}`]), last, (index) => show(surrogates[index]))) : null;
  show(surrogates[last]);
  return [element("h2", {}, "The surrogate, as the method saw it"), ...[LIVE ? askSurrogate(view, show, words) : choice, words, panels].filter(Boolean)];
};

const askSurrogate = (view, show, words) => {
  const names = view.numeric.map((each) => each.name);
  if (names.length < 2) return null;
  const asked = { generation: Math.max(0, view.last - 1), x: names[0], y: names[1] };
  const button = element("button", { type: "button", onclick: async () => {
    button.disabled = true;
    words.textContent = "Fitting the surrogate again …";
    try { show(await Source.ask("surrogate.json", { id: view.run.id, ...asked })); } catch (error) { words.textContent = error.message; }
    button.disabled = false;
  } }, "Show");
  return element("div", { class: "toolbar plain" },
    chooser("after generation", range(view.last + 1).map((g) => [g, g + 1]), asked.generation, (value) => { asked.generation = Number(value); }),
    chooser("horizontal", names.map((name) => [name, name]), asked.x, (value) => { asked.x = value; }),
    chooser("vertical", names.map((name) => [name, name]), asked.y, (value) => { asked.y = value; }), button);
};

// Cells of a grid of points, in the middle between neighbours, on the scale of the axis.
const edgesOf = (points, log) => {
  const [to, from] = log ? [Math.log, Math.exp] : [(value) => value, (value) => value];
  const scaled = points.map(to);
  const half = scaled.length > 1 ? (scaled[1] - scaled[0]) / 2 : 0.5;
  return scaled.map((value, index) => [index ? (scaled[index - 1] + value) / 2 : value - half, index < scaled.length - 1 ? (value + scaled[index + 1]) / 2 : value + half].map(from));
};

const surfaceFigure = (one, model, quantity) => {
  const [logX, logY] = one.log;
  const [ex, ey] = [edgesOf(one.xs, logX), edgesOf(one.ys, logY)];
  const rows = () => [
    ...model[quantity].map((value, index) => {
      const [i, j] = [index % one.xs.length, Math.floor(index / one.xs.length)];
      return { kind: "cell", x: ex[i][0], x2: overlapped(...ex[i]), y: ey[j][0], y2: overlapped(...ey[j]), at_x: one.xs[i], at_y: one.ys[j], value };
    }),
    ...rowsOf(one.points).map((point) => ({ ...point, said: point.kind === "tried" ? `tried by member ${point.m} in generation ${point.g + 1}` : `suggested for member ${point.m}`, unlisted: true })),
  ];
  const scale = (log, cells) => ({ domain: [cells[0][0], cells[cells.length - 1][1]], nice: false, ...(log ? { type: "log" } : { zero: false }) });
  const mean = quantity === "mean";
  const most = Math.max(...one.models.flatMap((each) => each.mean).map(Math.abs), 1e-9);
  return new Figure({
    title: `${model.name}: ${mean ? "mean" : "uncertainty"}`, rows, height: 250,
    caption: mean ? `Expected ${one.unit}. Dots: what had been tried; diamonds: what was suggested next.` : "Standard deviation of the forecast.",
    spec: () => ({
      encoding: { x: { field: "x", type: "quantitative", scale: scale(logX, ex), axis: { title: one.x, grid: false, format: "~g", tickCount: 5 } }, y: { field: "y", type: "quantitative", scale: scale(logY, ey), axis: { title: one.y, grid: false, format: "~g", tickCount: 5 } } },
      layer: [
        { transform: [{ filter: "datum.kind == 'cell'" }], mark: { type: "rect", aria: false, clip: true },
          encoding: { x2: { field: "x2" }, y2: { field: "y2" }, color: { field: "value", type: "quantitative", scale: mean ? { scheme: "blueorange", domain: [-most, most] } : { scheme: "viridis" }, legend: { title: null, gradientLength: 120, gradientThickness: 10, tickCount: 4 } },
            tooltip: [{ field: "at_x", title: one.x, format: ".3~g" }, { field: "at_y", title: one.y, format: ".3~g" }, { field: "value", title: mean ? "mean" : "deviation", format: ".3~g" }] } },
        { transform: [{ filter: "datum.kind == 'tried'" }], mark: { type: "point", filled: true, size: 26, color: "black", stroke: "white", strokeWidth: 0.8, opacity: 0.85, clip: true, aria: false }, encoding: { tooltip: [{ field: "said", title: "what" }, { field: "change", title: "change of return", format: ".3~g" }] } },
        { transform: [{ filter: "datum.kind == 'suggested'" }], mark: { type: "point", shape: "diamond", filled: true, size: 130, color: "white", stroke: "black", strokeWidth: 1.5, opacity: 1, clip: true }, encoding: { tooltip: [{ field: "said", title: "what" }] } },
      ],
    }),
    columns: [{ key: "at_x", label: one.x, numeric: true }, { key: "at_y", label: one.y, numeric: true }, { key: "value", label: quantity, numeric: true }],
  });
};

const importancePart = (view, { importance: found }) => {
  if (!found) return [];
  const stages = unique(found.stage);
  const rows = () => rowsOf(found).filter((row) => known(row.importance));
  const untold = Object.entries(found.untold ?? {}).map(([stage, why]) => element("p", { class: "muted" }, `${stage}: ${why}.`));
  const heading = [element("h2", {}, "Which hyperparameters mattered, by stage"), element("p", { class: "muted" }, "The share of the variance that depends on a hyperparameter: half the increase, without it, in the error of predicting the change of return over held-out intervals, with its 95% interval.")];
  if (!rows().length) return [...heading, ...untold];
  const figure = view.add(new Figure({
    title: "Importance of hyperparameters", rows, kind: "broad", height: Math.max(120, 40 + 16 * unique(found.hyperparameter).length * stages.length),
    spec: () => ({
      encoding: { y: { field: "hyperparameter", type: "nominal", axis: { title: null, labelLimit: 160 } }, yOffset: { field: "stage", sort: stages }, color: { field: "stage", type: "nominal", sort: stages, scale: { range: ["#56b4e9", "#0173b2", dark.matches ? "#9aa7ff" : "#1b1f6b"] }, legend: { title: "stage", orient: "top" } },
        tooltip: [{ field: "hyperparameter" }, { field: "stage" }, { field: "importance", format: ".2f" }, { field: "low", format: ".2f" }, { field: "high", format: ".2f" }] },
      layer: [
        { mark: { type: "bar", opacity: 0.75 }, encoding: { x: { field: "importance", type: "quantitative", axis: { title: "share of the variance that depends on it", tickCount: 5 } } } },
        { mark: { type: "rule", strokeWidth: 1.5, aria: false }, encoding: { x: { field: "low", type: "quantitative" }, x2: { field: "high" }, color: { value: "currentColor" } } },
      ],
    }),
    columns: [{ key: "stage", label: "stage" }, { key: "hyperparameter", label: "hyperparameter" }, { key: "importance", label: "importance", numeric: true }, { key: "low", label: "low", numeric: true }, { key: "high", label: "high", numeric: true }],
  }));
  return [...heading, figure, ...untold];
};
