// One run: what its members had, whom they copied, and what the method knew when it chose.

const at = (g, m) => `${g}:${m}`;

class RunView {
  constructor(run, detail, app) {
    Object.assign(this, { run, detail, app, off: new Set(), returns: run.metric === "eval_return" ? "eval" : "train", figures: [], byCopy: [] });
    this.root = element("article", { "aria-labelledby": "run-title" });
    this.read();
    this.build();
  }

  read() {
    const { detail } = this;
    this.rows = rowsOf(detail.records).map((row, index) => ({ ...row, index, at: at(row.g, row.m), color: memberColor(row.m), member: `member ${row.m}`, shape: "circle", line: `${row.m}` }));
    this.byRef = new Map(this.rows.map((row) => [row.at, row]));
    this.members = unique(this.rows.map((row) => row.m));
    this.copies = new Map(detail.copies.map(([g, m, pg, pm]) => [at(g, m), { g, m, pg, pm }]));
    this.restarts = new Map(detail.restarts.map(([g, m, pg, pm]) => [at(g, m), { g, m, pg, pm }]));
    this.failed = new Set(detail.failed.map(([g, m]) => at(g, m)));
    this.descent = new Set(detail.descent.map(([g, m]) => at(g, m)));
    this.last = Math.max(0, ...this.rows.map((row) => row.g));
    // What happened before an interval began; a member's line breaks where it became another agent.
    for (const row of this.rows) {
      const copy = this.copies.get(row.at);
      row.happened = this.failed.has(row.at) ? "failed" : copy ? `copy of member ${copy.pm}${copy.pg === row.g - 1 ? "" : ` at generation ${copy.pg + 1}`}` : this.restarts.has(row.at) ? "restart" : row.g ? "went on" : "start";
      row.mark = this.failed.has(row.at) ? "failed" : copy ? "copy" : this.restarts.has(row.at) ? "restart" : null;
      row.generation = row.g + 1;
      row.with = values(detail.hyperparameters, row.index);
      row.source = detail.sources[row.source];
    }
  }

  get numeric() { return this.detail.hyperparameters.filter((each) => each.numeric); }
  add(figure) { this.figures.push(figure); return figure.root; }
  shown(row) { return !this.off.has(row.m); }
  change() { this.figures.forEach((figure) => figure.update()); }

  build() {
    const { run, detail } = this;
    this.remove();
    this.figures = [];
    const fact = (name, value) => (known(value) && value !== "" ? element("div", {}, element("dt", {}, name), element("dd", {}, value)) : null);
    const best = detail.descent[detail.descent.length - 1];
    const versions = Object.entries(run.versions ?? {});
    const copied = element("button", { type: "button", class: "small", onclick: () => navigator.clipboard?.writeText(run.command).then(() => { copied.textContent = "Copied"; }) }, "Copy");
    this.root.replaceChildren(...[
      element("p", {}, element("a", { href: "#" }, "← all runs")),
      element("h1", { id: "run-title", tabindex: "-1" }, `${run.env}, ${run.context}, ${run.method}, seed ${run.seed}`),
      element("dl", { class: "facts" }, fact("state", element("span", { class: `state ${run.state}` }, run.state)), fact("error", run.error),
        fact(known(run.test_return) ? `test return, ${run.test_episodes} fresh episodes` : "last return", number(run.final)),
        fact("best agent", best ? `member ${best[1]} after generation ${best[0] + 1}` : null),
        fact("generations", `${run.generations} of ${run.planned ?? "so many"}`), fact("members", run.members),
        fact("copies", detail.copies.length), fact("restarts", detail.restarts.length || null), fact("method", run.chosen_by === run.method ? null : run.chosen_by), fact("learner", run.learner),
        fact("began", day(run.begun)), fact("last written", day(run.ended)),
        fact("learned from", run.sources.length ? run.sources.join("; ") : null), fact("files", run.folder ? element("a", { href: run.folder }, run.id) : run.id)),
      this.video(),
      element("div", {},
      element("h2", {}, "What the population did"), this.toolbar(), this.playback(),
      element("div", { class: "panels wide" }, this.returnFigure(), this.familyTree()),
      element("h2", {}, "Hyperparameters of every member"),
      element("p", { class: "muted" }, "Lines are members. ▲ became a copy and explored, ■ restarted with a new agent, ✕ failed; the thick line is the schedule that the best agent was trained with."),
      element("div", { class: "panels" }, ...detail.hyperparameters.map((each) => this.hyperparameter(each)))),
      ...understanding(this),
      element("h2", {}, "How it was made"),
      element("div", { class: "command" }, element("code", {}, run.command), copied),
      fold("Configuration", false, element("pre", { tabindex: "0" }, detail.config || "config.yaml cannot be read")),
      versions.length ? fold("Versions", false, element("ul", {}, ...versions.map(([name, version]) => element("li", {}, `${name} ${version}`)))) : null,
      this.records(),
    ].filter(Boolean));
  }

  video() {
    const { video, method } = this.run;
    if (!video) return null;
    const words = `What the best agent of ${method} does`;
    return element("figure", { class: "video" }, /\.(mp4|webm)$/.test(video) ? element("video", { controls: true, loop: true, muted: true, playsinline: true, preload: "metadata", src: video, "aria-label": words }) : element("img", { src: video, alt: words }), element("figcaption", {}, `${words}.`));
  }

  toolbar() {
    return element("div", { class: "toolbar", role: "group", "aria-label": "What is shown" },
      chips("Members", this.members.map((member) => ({ key: member, name: String(member), color: memberColor(member) })), this.off, () => this.change()),
      chooser("Return", [["train", "in training"], ["eval", "by evaluation"]], this.returns, (value) => { this.returns = value; this.change(); }));
  }

  tooltip(value, format = ".4~g") {
    return [{ field: "member", title: "member" }, { field: "generation", title: "generation" }, { field: "steps", title: "steps", format: "," }, ...(value ? [{ field: "y", title: value, format }] : []), { field: "happened", title: "before it" }, { field: "with", title: "with" }];
  }

  // A member's intervals as points at their ends.
  series(y) {
    return this.rows.filter((row) => this.shown(row)).map((row) => ({ ...row, x: row.generation, y: y(row) })).filter((row) => known(row.y));
  }

  lines(title, y, options = {}) {
    const rows = () => this.series(y);
    const scale = options.log ? { type: "log", nice: false } : options.numeric === false ? {} : { zero: false };
    const type = options.numeric === false ? "nominal" : "quantitative";
    return new Figure({
      title, rows, caption: options.caption, height: options.height ?? 190,
      spec: (found) => {
        const encodeY = { field: "y", type, axis: { title: null, tickCount: 5, ...(options.log ? { format: "~g" } : {}) }, scale: type === "quantitative" ? { ...scale, domain: options.log ? undefined : extent(found.map((row) => row.y)) } : scale };
        const interpolate = options.step ? "step-before" : "linear";
        return {
          encoding: { x: { field: "x", type: "quantitative", axis: { title: "generation", tickMinStep: 1, tickCount: 6, format: "d" }, scale: { nice: false, padding: 6 } }, y: encodeY, color: colored, tooltip: this.tooltip(options.name) },
          layer: [
            { mark: { type: "line", strokeWidth: 1.2, opacity: 0.65, aria: false, interpolate, clip: true }, encoding: { detail: { field: "line" } } },
            ...only(found, (row) => row.best, "datum.best", { mark: { type: "line", strokeWidth: 3, aria: false, interpolate, clip: true }, encoding: { color: { value: "currentColor" }, opacity: { value: 0.75 }, order: { field: "x" } } }),
            ...only(found, (row) => row.mark, "datum.mark != null", { mark: { type: "point", filled: true, size: 44, opacity: 1, clip: true },
              encoding: { shape: { field: "mark", type: "nominal", scale: { domain: ["copy", "restart", "failed"], range: ["triangle-up", "square", "cross"] }, legend: null } } }),
            { params: [nearest, ...(type === "quantitative" ? zoomed() : [])], mark: { type: "point", filled: true, size: 50, clip: true, aria: false },
              encoding: { opacity: { condition: { param: "near", empty: false, value: 1 }, value: 0 } } },
          ],
        };
      },
      columns: [{ key: "m", label: "member", numeric: true }, { key: "generation", label: "generation", numeric: true }, { key: "steps", label: "steps", numeric: true, show: (row) => row.steps.toLocaleString("en") }, { key: "y", label: options.name ?? "value", numeric: options.numeric !== false }, { key: "happened", label: "before it" }],
    });
  }

  returnFigure() {
    return this.add(this.lines("Returns of every member", (row) => row[this.returns], { name: "return", height: 240, caption: "The return after each interval; ▲ is a member that has just become a copy, so its return is that of the new agent." }));
  }

  hyperparameter(each) {
    return this.add(this.withDescent(this.lines(each.name, (row) => each.values[row.index], { name: each.name, step: true, log: each.log, numeric: each.numeric, descent: true })));
  }

  withDescent(figure) {
    const { rows } = figure.of;
    figure.of.rows = () => rows().map((row) => ({ ...row, best: this.descent.has(row.at) }));
    return figure;
  }

  familyTree() {
    const rows = () => this.rows.filter((row) => this.shown(row)).flatMap((row) => {
      const copy = this.copies.get(row.at), restart = this.restarts.get(row.at);
      const from = copy ? [copy.pg, copy.pm] : restart ? (known(restart.pg) ? [restart.pg, restart.pm] : null) : row.g ? [row.g - 1, row.m] : null;
      const origin = from && this.byRef.get(at(...from));
      const best = this.descent.has(row.at);
      return [{ ...row, y: row.m, x: row.generation, kind: "agent", best, value: row[this.returns] },
        ...(origin ? [{ ...row, kind: "line", best: best && this.descent.has(origin.at), taught: Boolean(restart), jump: Boolean(copy), x: origin.generation, y: origin.m, x2: row.generation, y2: row.m, color: origin.color, unlisted: true }] : [])];
    });
    const height = Math.max(220, Math.min(520, 24 * this.members.length + 60));
    return this.add(new Figure({
      title: "Family tree", rows, height, caption: "From left to right: who goes on from whom. The thick line is the best agent's descent; colour of points: return.",
      spec: (found) => ({
        encoding: { x: { field: "x", type: "quantitative", axis: { title: "generation", tickMinStep: 1, format: "d", grid: false }, scale: { nice: false, padding: 8, zero: false } }, y: { field: "y", type: "quantitative", axis: { title: "member", tickMinStep: 1, grid: false, format: "d" }, scale: { reverse: true, zero: false, padding: 8, nice: false } } },
        resolve: { scale: { color: "independent" }, legend: { color: "independent" } },
        layer: [
          ...only(found, (row) => row.kind === "line", "datum.kind == 'line'", { mark: { type: "rule", aria: false },
            encoding: { x2: { field: "x2" }, y2: { field: "y2" }, color: colored, strokeWidth: { condition: { test: "datum.best", value: 4 }, value: 1.4 }, opacity: { condition: { test: "datum.best || datum.jump", value: 0.9 }, value: 0.4 }, strokeDash: { condition: { test: "datum.taught", value: [3, 3] }, value: [1, 0] } } }),
          { params: zoomed(), transform: [{ filter: "datum.kind == 'agent'" }], mark: { type: "point", filled: true, opacity: 1, strokeWidth: 1, aria: false },
            encoding: { size: { condition: { test: "datum.best", value: 90 }, value: 42 }, color: { field: "value", type: "quantitative", scale: { scheme: "viridis" }, legend: { title: "return", gradientLength: 90 } },
              shape: { field: "mark", type: "nominal", scale: { domain: ["copy", "restart", "failed"], range: ["triangle-up", "square", "cross"] }, legend: null }, tooltip: [...this.tooltip(), { field: "value", title: "return", format: ".4~g" }] } },
        ],
      }),
      columns: [{ key: "generation", label: "generation", numeric: true }, { key: "m", label: "member", numeric: true }, { key: "happened", label: "before it" }, { key: "value", label: "return", numeric: true }],
    }));
  }

  playback() {
    this.player = new Player(this);
    return this.player.root;
  }

  records() {
    const columns = [{ key: "m", label: "member", numeric: true }, { key: "generation", label: "generation", numeric: true }, { key: "steps", label: "steps", numeric: true, show: (row) => row.steps.toLocaleString("en") },
      { key: "train", label: "training return", numeric: true }, { key: "eval", label: "evaluation", numeric: true }, { key: "seconds", label: "seconds", numeric: true }, { key: "happened", label: "before it" }, { key: "source", label: "chosen" },
      ...this.detail.hyperparameters.map((each) => ({ key: each.name, label: each.name, numeric: each.numeric, sort: (row) => each.values[row.index], show: (row) => number(each.values[row.index]) }))];
    const place = element("div");
    const table = fold(`All records (${this.rows.length})`, false, place);
    table.addEventListener("toggle", () => { if (table.open && !place.firstChild) place.replaceChildren(sortable("All records", columns, this.rows.slice(0, 5000))); });
    return table;
  }

  remove() {
    this.player?.stop();
    this.figures.forEach((figure) => figure.remove());
  }
}

// The run as it happened: members move through a plane, and jump where they copy.
class Player {
  constructor(view) {
    this.view = view;
    const names = [...view.numeric.map((each) => each.name), "return in training", "return by evaluation"];
    const varied = view.numeric.filter((each) => unique(each.values).length > 1).map((each) => each.name);
    this.axes = view.axes ??= [varied[0] ?? names[0], varied[1] ?? (view.returns === "eval" ? "return by evaluation" : "return in training")];
    this.time = 0;
    this.end = view.last;
    this.speed = 1;
    const axis = (place) => chooser(place ? "vertical" : "horizontal", names.map((name) => [name, name]), this.axes[place], (value) => { this.axes[place] = value; this.figure.update(); });
    this.button = element("button", { type: "button", class: "play", onclick: () => (this.playing ? this.stop() : this.play()) }, "Play");
    this.slider = element("input", { type: "range", min: 0, max: this.end, step: still.matches ? 1 : 0.05, value: 0, "aria-label": "Generation", oninput: () => { this.stop(); this.go(Number(this.slider.value)); } });
    this.slider.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
      if (!move) return;
      event.preventDefault();
      this.stop();
      this.go(Math.max(0, Math.min(this.end, Math.round(this.time) + move)));
    });
    this.words = element("p", { class: "happening", role: "status", "aria-live": "polite" });
    this.figure = new Figure({
      title: "Playback", level: 3, height: 330, rows: () => this.rows(), spec: () => this.spec(), kind: "playback",
      controls: element("span", { class: "controls" }, axis(0), axis(1)),
      caption: "Each point is a member at the end of an interval; an arrow leads from a member to the one that it copies. Behind them, faint, where they have been.",
      columns: [{ key: "m", label: "member", numeric: true }, { key: "x", label: "horizontal", numeric: true }, { key: "y", label: "vertical", numeric: true }, { key: "kind", label: "what" }],
    });
    view.figures.push(this.figure);
    this.figure.plot.after(element("div", { class: "player" }, this.button, this.slider,
      chooser("speed", [[0.5, "½×"], [1, "1×"], [3, "3×"]], 1, (value) => { this.speed = Number(value); })), this.words);
    this.root = this.figure.root;
    this.tell();
  }

  value(row, axis) {
    if (axis === "return in training") return row.train;
    if (axis === "return by evaluation") return row.eval;
    return this.view.detail.hyperparameters.find((each) => each.name === axis)?.values[row.index];
  }
  isLog(axis) { return this.view.detail.hyperparameters.find((each) => each.name === axis)?.log ?? false; }
  point(row) { return row && known(this.value(row, this.axes[0])) && known(this.value(row, this.axes[1])) ? this.axes.map((axis) => this.value(row, axis)) : null; }
  between(one, other, share, axis) {
    return this.isLog(axis) ? Math.exp(Math.log(one) * (1 - share) + Math.log(other) * share) : one * (1 - share) + other * share;
  }

  // An interval's end is a whole number of time; until the next a member moves, the first half of it along its jump.
  rows() {
    const { view } = this, before = Math.floor(this.time + 1e-9), share = this.time - before, found = [];
    for (const member of view.members) {
      if (view.off.has(member)) continue;
      const row = (g) => view.byRef.get(at(g, member));
      const now = row(before), next = row(before + 1);
      const base = { m: member, color: memberColor(member), member: `member ${member}` };
      for (let g = Math.max(0, before - 11); g <= before; g++) {
        const was = this.point(row(g));
        if (was && g < before) found.push({ ...base, kind: "trail", x: was[0], y: was[1], age: 0.55 * (1 - (before - g) / 13), unlisted: true });
      }
      let here = this.point(now);
      const copy = next && view.copies.get(next.at);
      const origin = copy && view.byRef.get(at(copy.pg, copy.pm));
      const there = this.point(next);
      if (share > 0 && here && there) {
        const via = this.point(origin) ?? here;
        const [a, b, part] = share < 0.5 ? [here, via, share * 2] : [via, there, share * 2 - 1];
        here = this.axes.map((axis, index) => this.between(a[index], b[index], part, axis));
      }
      if (copy && this.point(origin) && this.point(now)) {
        const [from, to] = [this.point(now), this.point(origin)];
        found.push({ ...base, kind: "jump", x: from[0], y: from[1], x2: to[0], y2: to[1], unlisted: true }, { ...base, kind: "head", x: to[0], y: to[1], angle: this.angle(from, to), unlisted: true });
      }
      if (here) found.push({ ...base, kind: "member", size: Math.max(110, 300 - 30 * member), x: here[0], y: here[1], happened: now?.happened, generation: before + 1, train: now?.train, eval: now?.eval, with: now?.with });
    }
    // Members at one place: the one on top is called by all their numbers.
    const places = new Map();
    for (const each of found.filter((row) => row.kind === "member")) {
      const place = `${each.x.toPrecision(3)} ${each.y.toPrecision(3)}`;
      const below = places.get(place);
      each.label = below ? `${below.label},${each.m}` : String(each.m);
      if (below) [below.label, each.size] = ["", 380];
      places.set(place, each);
    }
    return found;
  }

  domains() {
    return this.axes.map((axis) => {
      const found = this.view.rows.map((row) => this.value(row, axis)).filter(known);
      if (!this.isLog(axis)) return extent(found, 0.08);
      const [low, high] = extent(found.map(Math.log), 0.08);
      return [Math.exp(low), Math.exp(high)];
    });
  }

  angle(from, to) {
    const domains = this.domains();
    const size = [this.figure?.plot.clientWidth || 600, 330];
    const [dx, dy] = this.axes.map((axis, index) => {
      const scale = this.isLog(axis) ? Math.log : (value) => value;
      return ((scale(to[index]) - scale(from[index])) / (scale(domains[index][1]) - scale(domains[index][0]) || 1)) * size[index];
    });
    return (Math.atan2(dx, dy) * 180) / Math.PI;
  }

  spec() {
    const domains = this.domains();
    const along = (index) => ({ type: "quantitative", scale: { domain: domains[index], nice: false, ...(this.isLog(this.axes[index]) ? { type: "log" } : { zero: false }) }, axis: { title: this.axes[index], tickCount: 6, format: "~g" } });
    return {
      encoding: { x: { field: "x", ...along(0) }, y: { field: "y", ...along(1) }, color: colored },
      layer: [
        { transform: [{ filter: "datum.kind == 'trail'" }], mark: { type: "point", filled: true, size: 20, aria: false }, encoding: { opacity: { field: "age", type: "quantitative", scale: null, legend: null } } },
        { transform: [{ filter: "datum.kind == 'jump'" }], mark: { type: "rule", strokeWidth: 1.8, aria: false }, encoding: { x2: { field: "x2" }, y2: { field: "y2" } } },
        { transform: [{ filter: "datum.kind == 'head'" }], mark: { type: "point", shape: "triangle", filled: true, size: 110, opacity: 1, aria: false }, encoding: { angle: { field: "angle", type: "quantitative", scale: null } } },
        { transform: [{ filter: "datum.kind == 'member'" }], mark: { type: "point", filled: true, opacity: 0.95, stroke: "white", strokeWidth: 1 },
          encoding: { size: { field: "size", type: "quantitative", scale: null, legend: null }, tooltip: [{ field: "member" }, { field: "generation" }, { field: "train", title: "return in training", format: ".4~g" }, { field: "eval", title: "by evaluation", format: ".4~g" }, { field: "with", title: "with" }] } },
        { transform: [{ filter: "datum.kind == 'member'" }], mark: { type: "text", fontSize: 10, fontWeight: "bold", aria: false }, encoding: { text: { field: "label" }, color: { value: "white" } } },
      ],
    };
  }

  async go(time) {
    this.time = time;
    this.slider.value = time;
    this.tell();
    await this.figure.update();
  }

  tell() {
    const { view } = this, g = Math.floor(this.time + 1e-9);
    const here = view.rows.filter((row) => row.g === g && known(row[view.returns]));
    const best = here.reduce((found, row) => (!found || row[view.returns] > found[view.returns] ? row : found), null);
    const jumps = view.detail.copies.filter(([generation]) => generation === g + 1).map(([generation, m, , pm]) => {
      const row = view.byRef.get(at(generation, m));
      return `member ${m} copies ${pm}${row ? ` and goes on with ${row.with}` : ""}`;
    });
    const said = `Generation ${g + 1} of ${this.end + 1}${best ? `: member ${best.m} is best with ${number(best[view.returns])}` : ""}. ${jumps.length ? `${jumps.slice(0, 4).join("; ")}${jumps.length > 4 ? `; and ${jumps.length - 4} more` : ""}.` : ""}`;
    this.slider.setAttribute("aria-valuetext", `generation ${g + 1} of ${this.end + 1}`);
    if (this.words.textContent !== said) this.words.textContent = said;
  }

  play() {
    if (this.time >= this.end) this.time = 0;
    this.playing = true;
    this.button.textContent = "Pause";
    this.words.setAttribute("aria-live", "off");
    let last = performance.now();
    const frame = async (now) => {
      if (!this.playing) return;
      const passed = (now - last) / 1000;
      const next = Math.min(this.end, this.time + passed * this.speed * 1.1);
      if (!still.matches || Math.floor(next) > Math.floor(this.time) || next >= this.end) {
        last = now;
        await this.go(still.matches ? Math.floor(next) : next);
      }
      if (this.time >= this.end) this.stop();
      else requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  stop() {
    this.playing = false;
    this.button.textContent = "Play";
    this.words.setAttribute("aria-live", "polite");
  }
}
