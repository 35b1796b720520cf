// Elements, numbers in words, and where the data comes from. Text from results only ever becomes a text node.

const element = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
};

const known = (value) => value !== null && value !== undefined;
const range = (count) => Array.from({ length: count }, (_, index) => index);
const unique = (values) => [...new Set(values)];
const counted = (count, thing) => `${count.toLocaleString("en")} ${thing}${count === 1 ? "" : "s"}`;

const number = (value, scale = value) => {
  if (!known(value)) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(scale);
  if (size && (size < 1e-3 || size >= 1e7)) return value.toExponential(2).replace("e+", "e").replace("-", "−");
  const digits = size ? Math.min(Math.max(2 - Math.floor(Math.log10(size)), 0), 6) : 0;
  return value.toLocaleString("en", { maximumFractionDigits: digits }).replace("-", "−");
};

const signed = (value, scale = value) => (known(value) && value > 0 ? `+${number(value, scale)}` : number(value, scale));

const estimate = (value, low, high, say = number) => {
  if (!known(value)) return "–";
  if (!known(low) || !known(high)) return say(value);
  const scale = Math.max(Math.abs(low), Math.abs(high)) || value;
  return `${say(value, scale)} [${number(low, scale)}, ${number(high, scale)}]`;
};

const steps = (value) => {
  if (!known(value)) return "–";
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (value >= size) return `${+(value / size).toPrecision(3)}${unit}`;
  return String(+(+value).toPrecision(3));
};

const day = (text) => (text ? `${text.slice(0, 10)} ${text.slice(11, 16)} UTC` : "–");
const values = (hyperparameters, index) =>
  hyperparameters.filter((each) => known(each.values[index])).map((each) => `${each.name} ${number(each.values[index])}`).join(", ");

// Columns {a: [..], b: [..]} as rows [{a, b}, ..].
const rowsOf = (columns) => {
  const names = Object.keys(columns);
  return names.length ? columns[names[0]].map((_, index) => Object.fromEntries(names.map((name) => [name, columns[name][index]]))) : [];
};

const unpack = async (text) => {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
};

const text = (id) => document.getElementById(id).textContent;
const LIVE = document.documentElement.dataset.live === "true";

// The file holds everything; the live page asks the server that it came from.
const Source = {
  details: new Map(),
  etag: null,
  async overview() {
    if (!LIVE) return unpack(text("metapbt-overview"));
    const answer = await fetch("data.json", { headers: this.etag ? { "If-None-Match": this.etag } : {}, cache: "no-store" });
    if (answer.status === 304) return null;
    if (!answer.ok) throw new Error(await answer.text());
    this.etag = answer.headers.get("ETag");
    return answer.json();
  },
  async detail(id, stamp) {
    const key = `${id}\n${stamp}`;
    if (this.details.has(key)) return this.details.get(key);
    let found = null;
    if (LIVE) {
      const answer = await fetch(`run.json?id=${encodeURIComponent(id)}`, { cache: "no-store" });
      if (answer.ok) found = await answer.json();
    } else {
      this.packed ??= JSON.parse(text("metapbt-runs"));
      if (Object.hasOwn(this.packed, id)) found = await unpack(this.packed[id]);
    }
    if (found) this.details.set(key, found);
    return found;
  },
  async ask(what, parameters) {
    const answer = await fetch(`${what}?${new URLSearchParams(parameters)}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  },
};

const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const coarse = matchMedia("(pointer: coarse)");

// Methods have a colour for white and one for dark; members of a run are told apart in both by the same ones.
const hue = (method) => (dark.matches ? method.dark : method.color);
const GREY = "#8a8f98";
const MEMBER_COLORS = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#e05fb0", "#949494", "#b8a200", "#56b4e9"];
const memberColor = (member) => MEMBER_COLORS[member % MEMBER_COLORS.length];

// A table whose columns sort by a click on their headings; wide ones scroll inside.
const sortable = (name, columns, rows, state = {}) => {
  const body = element("tbody");
  const heads = columns.map((column, index) => {
    const button = element("button", { type: "button", onclick: () => sort(index) }, column.label, element("span", { class: "arrow", "aria-hidden": "true" }));
    return element("th", { scope: "col", class: column.numeric ? "number" : null }, button);
  });
  const key = (column, row) => (column.sort ? column.sort(row) : row[column.key]);
  const compare = (one, other) =>
    !known(one) ? (known(other) ? 1 : 0) : !known(other) ? -1
      : typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other), "en", { numeric: true });
  const fill = () => {
    const ordered = [...rows];
    if (known(state.column)) {
      const column = columns[state.column];
      ordered.sort((one, other) => {
        const [a, b] = [key(column, one), key(column, other)];
        return !known(a) || !known(b) ? compare(a, b) : compare(a, b) * (state.down ? -1 : 1);
      });
    }
    heads.forEach((head, index) => {
      const here = index === state.column;
      head.setAttribute("aria-sort", here ? (state.down ? "descending" : "ascending") : "none");
      head.querySelector(".arrow").textContent = here ? (state.down ? " ↓" : " ↑") : "";
    });
    body.replaceChildren(...ordered.map((row) => element("tr", { class: row.grey ? "grey" : null },
      ...columns.map((column, index) => element(index ? "td" : "th", { scope: index ? null : "row", class: column.numeric ? "number" : null },
        column.show ? column.show(row) : typeof row[column.key] === "number" ? number(row[column.key]) : row[column.key] ?? "–")))));
  };
  const sort = (index) => {
    state.down = state.column === index ? !state.down : Boolean(columns[index].numeric);
    state.column = index;
    fill();
  };
  fill();
  return element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `${name}, table` },
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body));
};

const fold = (summary, open, ...children) => element("details", { open: open || null }, element("summary", {}, summary), ...children);

const chooser = (label, options, chosen, change) => {
  const select = element("select", { onchange: () => change(select.value) },
    ...options.map(([value, name]) => element("option", { value, selected: String(value) === String(chosen) || null }, name)));
  return element("label", { class: "choice" }, `${label} `, select);
};

const chips = (label, items, off, change) => element("div", { class: "chips", role: "group", "aria-label": label },
  ...items.map(({ key, name, color }) => {
    const chip = element("button", { type: "button", class: "chip", "aria-pressed": String(!off.has(key)), onclick: () => {
      off.has(key) ? off.delete(key) : off.add(key);
      chip.setAttribute("aria-pressed", String(!off.has(key)));
      change();
    } }, element("span", { class: "swatch", "aria-hidden": "true", style: { background: color } }), name);
    return chip;
  }));
