  // --- views and addresses: #view=NAME, #item=ID ---

  const failures = systems.reduce((sum, system) => sum + system.failures.length, 0);
  const VIEWS = {
    items: ["Items", () => {}], measures: ["Measures", showMeasures], histograms: ["Histograms", showHistograms],
    runs: ["Runs", showRuns], failures: [`Failures (${failures})`, showFailures],
  };
  const opened = new Set();
  let scrolledTo = 0; // of the list, to come back to

  function address() {
    const [, name, value] = /^#(view|item)=(.*)$/s.exec(location.hash) ?? [];
    if (name !== "item") return { view: Object.hasOwn(VIEWS, value ?? "") ? value : "items" };
    let id;
    try {
      id = decodeURIComponent(value);
    } catch {
      return { view: "items", missing: value }; // a broken link
    }
    const place = placeOf.get(id) ?? items.findIndex((item) => wellFormed(item.id) === id);
    return items[place] ? { view: "item", place } : { view: "items", missing: id };
  }

  function route({ isFirst = false } = {}) {
    if (location.hash === "#main") return byId("main").focus();
    const { view, place, missing } = address();
    if (!byId("view-items").hidden) scrolledTo = scrollY;
    for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== `view-${view}`;
    if (view === "item") showItem(place);
    else if (!opened.has(view)) VIEWS[view][1]();
    opened.add(view);
    for (const link of byId("views").children) {
      if (link.dataset.view === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (missing !== undefined) byId("shown").textContent = `There is no ${noun[0]} ${missing} here. ${counted(items.length, noun)}`;
    if (isFirst) return undefined;
    scrollTo(0, view === "items" ? scrolledTo : 0);
    return byId(`heading-${view}`)?.focus({ preventScroll: true });
  }

  byId("views").append(...Object.entries(VIEWS).map(([view, [text]]) => make("a", { href: `#view=${view}`, "data-view": view }, text)));
  byId("made").textContent = `Made by magic ${report.magic} on ${report.made}. This page loads and sends nothing.`;
  byId("heading-items").textContent = noun[1][0].toUpperCase() + noun[1].slice(1);
  fillControls();
  search();
  addEventListener("hashchange", () => route());
  route({ isFirst: true });
  document.body.dataset.ready = "true";
