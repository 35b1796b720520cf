// Figures: Vega-Lite draws each once it comes into sight, and again in place when its rows change.

const SHAPES = { s: "square", v: "triangle-down", P: "cross", "^": "triangle-up", o: "circle", "<": "triangle-left", d: "diamond", D: "diamond", ">": "triangle-right", X: "cross" };
const shapeOf = (marker) => SHAPES[marker] ?? "circle";

const look = () => ({
  background: null,
  font: "system-ui, sans-serif",
  padding: 2,
  view: { stroke: null },
  axis: {
    labelColor: "currentColor", titleColor: "currentColor", gridColor: "currentColor", domainColor: "currentColor", tickColor: "currentColor",
    gridOpacity: 0.13, domainOpacity: 0.35, tickOpacity: 0.35, labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal", titlePadding: 6, labelLimit: 150,
  },
  legend: { labelColor: "currentColor", titleColor: "currentColor", labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal" },
  header: { labelColor: "currentColor", titleColor: "currentColor" },
  line: { strokeCap: "round", strokeJoin: "round" },
  text: { color: "currentColor" },
  rule: { color: "currentColor" },
});

const dashed = { field: "dash", type: "nominal", scale: null, legend: null };
const nearest = { name: "near", select: { type: "point", on: "pointerover", nearest: true, clear: "pointerout" } };
const STEPS_FORMAT = "~s";
const colored = { field: "color", type: "nominal", scale: null, legend: null };
const shaped = { field: "shape", type: "nominal", scale: null, legend: null };
const extent = (found, margin = 0.06) => {
  const finite = found.filter((value) => typeof value === "number");
  if (!finite.length) return [0, 1];
  const [low, high] = finite.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  const room = margin * (high - low || Math.abs(high) || 1);
  return [low - room, high + room];
};

// Ctrl and the wheel zoom, dragging moves, a double click goes back; a finger scrolls the page, and enlarges instead.
const zoomed = () => coarse.matches ? [] : [{
  name: "zoom", bind: "scales",
  select: { type: "interval", zoom: "wheel![event.ctrlKey || event.metaKey]", clear: "dblclick" },
}];

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) entry.target.figure?.draw();
}, { rootMargin: "300px" });

class Figure {
  // of: {title, caption, rows(), spec(rows, large), columns, height, level, onclick(datum)}
  constructor(of) {
    this.of = of;
    this.plot = element("div", { class: "plot" });
    this.plot.figure = this;
    const heading = element(`h${of.level ?? 4}`, {}, of.title);
    const enlarge = element("button", { type: "button", class: "small quiet", onclick: () => this.enlarge(), "aria-label": `Enlarge: ${of.title}` }, "Enlarge");
    this.values = element("details", { class: "values", ontoggle: () => this.fill() }, element("summary", {}, "Values", element("span", { class: "hidden" }, ` of ${of.title}`)));
    this.root = element("figure", { class: `chart ${of.kind ?? ""}` },
      element("div", { class: "heading" }, heading, of.controls ?? null, enlarge),
      this.plot, of.caption ? element("figcaption", {}, of.caption) : null, this.values);
    this.hold();
    seen.observe(this.plot);
  }

  hold() {
    const rows = this.of.rows();
    const height = typeof this.of.height === "function" ? this.of.height(rows) : this.of.height ?? 190;
    this.plot.style.minHeight = `${height}px`;
  }

  fill() {
    if (!this.values.open) return;
    const rows = this.of.rows().filter((row) => !row.unlisted);
    const shown = rows.slice(0, 2000);
    this.values.replaceChildren(this.values.firstChild, sortable(this.of.title, this.of.columns, shown, (this.sorted ??= {})),
      ...(shown.length < rows.length ? [element("p", { class: "muted" }, `The first ${shown.length} of ${rows.length} rows.`)] : []));
  }

  empty() {
    return typeof this.of.empty === "function" ? this.of.empty() : this.of.empty;
  }

  specification(rows, large) {
    const height = typeof this.of.height === "function" ? this.of.height(rows) : this.of.height ?? 190;
    return {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container",
      height: large ? Math.max(height, Math.min(innerHeight * 0.68, 700)) : height,
      autosize: { type: "fit", contains: "padding" }, description: this.of.title, config: look(),
      data: { name: "rows" }, ...this.of.spec(rows, large),
    };
  }

  async embed(plot, large) {
    const rows = this.of.rows();
    const specification = this.specification(rows, large);
    const { view } = await vegaEmbed(plot, { ...specification, datasets: { rows } }, { renderer: "svg", actions: false, ast: true, hover: false, tooltip: { theme: dark.matches ? "dark" : "light" } });
    if (this.of.onclick) view.addEventListener("click", (_, item) => item?.datum && this.of.onclick(item.datum));
    plot.querySelector("svg")?.setAttribute("aria-label", this.of.title);
    return { view, asked: JSON.stringify(specification) };
  }

  async draw(again = false) {
    if (this.drawing) { this.waiting = true; return; }
    if (this.drawn && !again) return;
    this.drawing = true;
    try {
      if (!this.of.rows().length) {
        this.drawn?.view.finalize();
        this.drawn = null;
        this.plot.replaceChildren(element("p", { class: "muted" }, this.empty() ?? "Nothing to show for this selection."));
      } else {
        this.drawn?.view.finalize();
        this.drawn = await this.embed(this.plot, false);
      }
    } finally {
      this.drawing = false;
      if (this.waiting) { this.waiting = false; this.update(); }
    }
  }

  // New rows: in place where nothing but these has changed, so that a zoom stays.
  async update() {
    this.fill();
    if (!this.drawn && !this.drawing) {
      this.hold();
      seen.unobserve(this.plot);
      seen.observe(this.plot);
      return;
    }
    if (this.drawing) { this.waiting = true; return; }
    const rows = this.of.rows();
    if (rows.length && JSON.stringify(this.specification(rows, false)) === this.drawn.asked) {
      await this.drawn.view.data("rows", rows.map((row) => ({ ...row }))).runAsync();
    } else await this.draw(true);
  }

  async enlarge() {
    const plot = element("div", { class: "plot" });
    const close = element("button", { type: "button", onclick: () => dialog.close() }, "Close");
    const dialog = element("dialog", { class: "large", "aria-label": this.of.title }, element("div", { class: "heading" }, element("h2", {}, this.of.title), close), plot);
    document.body.append(dialog);
    dialog.showModal();
    const { view } = await this.embed(plot, true);
    dialog.addEventListener("close", () => { view.finalize(); dialog.remove(); });
  }

  remove() {
    seen.unobserve(this.plot);
    this.drawn?.view.finalize();
  }
}

// Cells reach a little into the next, which covers that: else the background shines through between them.
const overlapped = (from, to) => to + 0.12 * (to - from);

// A layer of the rows that an expression keeps; none where it keeps nothing, for which there is no scale.
const only = (rows, keeps, expression, layer) => (rows.some(keeps) ? [{ transform: [{ filter: expression }, ...(layer.transform ?? [])], ...Object.fromEntries(Object.entries(layer).filter(([name]) => name !== "transform")) }] : []);
const bounded = (rows, layer) => only(rows, (row) => known(row.low), "datum.low != null", layer);

// Mean lines with their intervals, single runs thin, and what is nearest to the pointer.
const linesSpec = (rows, { x, y, yDomain, tooltip }) => {
  const line = (layer) => ({ mark: { type: "line", clip: true, aria: false, ...layer }, encoding: { y: { field: y, type: "quantitative" }, color: colored, detail: { field: "line" }, ...(layer.strokeWidth > 1 ? { strokeDash: dashed } : {}) } });
  return {
    encoding: { x: { field: x, type: "quantitative", axis: { title: null, format: STEPS_FORMAT, tickCount: 5 }, scale: { zero: false, nice: false } } },
    layer: [
      ...bounded(rows, { mark: { type: "area", opacity: 0.15, clip: true, aria: false }, encoding: { y: { field: "low", type: "quantitative" }, y2: { field: "high" }, color: colored, detail: { field: "line" } } }),
      ...only(rows, (row) => row.thin, "datum.thin", line({ strokeWidth: 1, opacity: 0.6 })),
      ...only(rows, (row) => !row.thin, "!datum.thin", line({ strokeWidth: 2 })),
      { params: zoomed(), mark: { type: "point", filled: true, size: 34, clip: true, aria: false },
        encoding: { y: { field: y, type: "quantitative", scale: { domain: yDomain, nice: false }, axis: { title: null, tickCount: 4 } }, color: colored, shape: shaped, opacity: { condition: { param: "near", empty: false, value: 1 }, value: 0 }, tooltip } },
      { params: [nearest], mark: { type: "point", opacity: 0, clip: true, aria: false }, encoding: { y: { field: y, type: "quantitative" }, tooltip } },
    ],
  };
};
