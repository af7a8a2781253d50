  // --- settings, manifests, seconds, work and failures ---

  function showRuns() {
    const view = byId("view-runs"), number = (value) => (value === undefined || value === null ? "" : value.toLocaleString("en"));
    const lines = [
      ["source", ...systems.map((system) => words(system.source))],
      ["texts", ...systems.map((system) => number(system.counts.predictions ?? system.n))],
      ["failures", ...systems.map((system) => number(system.failures.length))],
      ["starts", ...systems.map((system) => number(system.starts || null))],
      ["seconds", ...systems.map((system) => number(system.seconds))],
      ["texts a second", ...systems.map((system) => (system.seconds && system.counts.predictions ? (system.counts.predictions / system.seconds).toFixed(2) : ""))],
      ["machine", ...systems.map((system) => system.machines.join("; "))],
      ...keysOf("work").map((key) => [key.replaceAll("_", " "), ...systems.map((system) => number(own(system.work, key)))]),
      ...keysOf("phases").map((key) => [`seconds: ${key.replaceAll("_", " ")}`, ...systems.map((system) => number(own(system.phases, key)))]),
    ];
    fill(view, heading("runs", "Runs"), table("Seconds and work done", ["fact", ...names()], lines),
      comparedTable("Settings", "settings"), comparedTable("Manifest", "manifest"));
  }

  const names = () => systems.map((system) => words(system.name));
  const keysOf = (part) => [...new Set(systems.flatMap((system) => Object.keys(system[part])))];

  // Values by name, one column a system; by choice only those that differ.
  function comparedTable(title, part) {
    const keys = keysOf(part);
    if (!keys.length) return make("p", { class: "soft" }, `${title}: these files bring none.`);
    const differs = (key) => new Set(systems.map((system) => own(system[part], key))).size > 1;
    const box = make("div", {});
    const draw = (onlyDiffering) => {
      const shown = keys.filter((key) => !onlyDiffering || differs(key));
      const rows = shown.map((key) => [words(key), ...systems.map((system) => make("td", { class: differs(key) ? "differing" : "" }, words(own(system[part], key) ?? "")))]);
      fill(box, table(title, ["name", ...names()], rows));
    };
    draw(systems.length > 1);
    const choice = systems.length > 1 && make("label", { class: "choice" }, make("input", { type: "checkbox", checked: true, autocomplete: "off", onchange: (event) => draw(event.target.checked) }), ` ${title}: only what differs`);
    return make("div", {}, choice, box);
  }

  function showFailures() {
    const rows = systems.flatMap((system) => system.failures.map((failure) => [
      words(failure.title ?? failure.id), words(system.name), words(failure.image ?? ""), words(failure.reason ?? ""), failure.skipped ? "left out on purpose" : "failed"]));
    fill(byId("view-failures"), heading("failures", "Failures"),
      rows.length ? table("What could not be done, and why", [noun[0], "system", "file", "reason", "outcome"], rows) : make("p", {}, "Nothing failed."));
  }
