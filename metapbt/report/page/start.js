// The page: overview and single runs, by what stands behind # in its address.

const App = {
  groups: new Map(),
  runs: new Map(),
  run(id) { return this.runs.get(id) ?? { id, steps: [], scores: [], sources: [] }; },

  async start() {
    this.main = document.getElementById("main");
    this.overview = document.getElementById("overview");
    this.single = document.getElementById("run");
    this.status = document.getElementById("status");
    try {
      this.data = await Source.overview();
    } catch (error) {
      this.status.textContent = error.message;
      if (LIVE) setTimeout(() => this.start(), 3000);
      return;
    }
    this.take();
    this.status.textContent = LIVE ? "Live" : "";
    await this.route();
    addEventListener("hashchange", () => this.route());
    dark.addEventListener("change", () => this.redraw());
    if (LIVE) this.watch();
  },

  take() {
    this.runs = new Map(this.data.runs.map((run) => [run.id, run]));
    const { groups, command, version, updated, runs, problems } = this.data;
    document.getElementById("made").replaceChildren(element("code", {}, command), ` · metapbt ${version} · ${counted(runs.length, "run")}, last written ${day(updated)}`);
    const nav = document.getElementById("groups");
    nav.hidden = groups.length < 2;
    nav.replaceChildren(element("ul", {}, ...groups.map((group) => element("li", {}, element("a", { href: `#${slug(group.id)}` }, `${group.env}${group.features.length ? `, ${group.feature}` : ""}`), element("p", { class: "muted" }, group.verdict[0] ?? "")))));
    const complaints = document.getElementById("problems");
    complaints.hidden = !problems.length;
    complaints.replaceChildren(...problems.map((problem) => element("p", { class: "note" }, problem)));
    const sections = document.getElementById("sections");
    const there = new Set(groups.map((group) => group.id));
    for (const [id, view] of this.groups) if (!there.has(id)) { view.figures.forEach((figure) => figure.remove()); view.root.remove(); this.groups.delete(id); }
    for (const group of groups) {
      const view = this.groups.get(group.id);
      if (view) { if (JSON.stringify(view.group) !== JSON.stringify(group) || this.runsChanged(view)) view.update(group); }
      else this.groups.set(group.id, new GroupView(group, this));
      const { root } = this.groups.get(group.id);
      if (root.parentNode !== sections) sections.append(root);
      this.groups.get(group.id).told = this.tell(this.groups.get(group.id));
    }
  },

  tell(view) { return JSON.stringify(view.group.runs.map(([id]) => this.run(id))); },
  runsChanged(view) { return view.told !== this.tell(view); },

  async route() {
    const asked = /^#run=(.+)$/.exec(location.hash);
    let id = null;
    if (asked) { try { id = decodeURIComponent(asked[1]); } catch { id = null; } }
    if (id === null) {
      this.view?.remove();
      this.view = null;
      this.single.replaceChildren();
      this.single.hidden = true;
      this.overview.hidden = false;
      document.title = "metapbt report";
      this.groups.forEach((group) => group.figures.forEach((figure) => figure.update()));
      if (location.hash.length > 1) document.getElementById(location.hash.slice(1))?.scrollIntoView();
      else if (this.left !== undefined) scrollTo(0, this.left);
      return;
    }
    if (!this.view) this.left = scrollY;
    await this.show(id);
    scrollTo(0, 0);
    document.getElementById("run-title")?.focus({ preventScroll: true });
  },

  async show(id) {
    const run = this.runs.get(id);
    const asked = (this.asked = {});
    let detail = null, problem = null;
    try { detail = run && (await Source.detail(id, `${run.ended} ${run.generations} ${run.state}`)); } catch (error) { problem = error.message; }
    if (asked !== this.asked) return;
    this.view?.remove();
    this.view = null;
    if (detail) this.view = new RunView(run, detail, this);
    else {
      const why = problem ?? (run ? "This run's members are not on this page, which has room for so many: metapbt watch RESULTS shows them." : `There is no run ${id} here.`);
      this.single.replaceChildren(element("p", {}, element("a", { href: "#" }, "← all runs")), element("h1", { id: "run-title", tabindex: "-1" }, run ? id : "No such run"), element("p", {}, why));
    }
    if (this.view) this.single.replaceChildren(this.view.root);
    this.shown = run && `${id} ${run.ended} ${run.generations} ${run.state}`;
    this.single.hidden = false;
    this.overview.hidden = true;
    document.title = `${id} - metapbt report`;
  },

  redraw() {
    const all = [...[...this.groups.values()].flatMap((group) => group.figures), ...(this.view?.figures ?? [])];
    all.forEach((figure) => figure.drawn && figure.draw(true));
  },

  async watch() {
    try {
      const data = document.hidden ? null : await Source.overview();
      if (data) {
        this.data = data;
        this.take();
        if (this.view) await this.refresh(this.view.run.id);
        document.documentElement.dataset.refreshed = String(Number(document.documentElement.dataset.refreshed ?? 0) + 1);
      }
      this.status.textContent = "Live";
    } catch {
      this.status.textContent = "The server does not answer; this is what it said last.";
    }
    setTimeout(() => this.watch(), 2000);
  },

  // A run that went on: with what had been chosen, and from where the reader was.
  async refresh(id) {
    const run = this.runs.get(id);
    if (!run || this.shown === `${id} ${run.ended} ${run.generations} ${run.state}`) return;
    const { off, returns, player } = this.view, place = scrollY;
    const open = [...this.single.querySelectorAll("details")].map((node) => node.open);
    await this.show(id);
    if (!this.view) return;
    Object.assign(this.view, { off, returns });
    const { time, axes, end } = player;
    Object.assign(this.view, { axes });
    this.view.build();
    this.view.player.go(time >= end ? this.view.player.end : time);
    [...this.single.querySelectorAll("details")].forEach((node, index) => { node.open = open[index] ?? false; });
    scrollTo(0, place);
  },
};

App.start();
