  // --- the table of measures, and the tests ---

  function showMeasures() {
    const view = byId("view-measures");
    const best = measures.map((measure, m) => bestOf(systems.map((system) => system.overall[m][0]), measure));
    const rows = systems.map((system, i) => [words(system.name), String(system.n), ...measures.map((measure, m) => {
      const [value, low, high] = system.overall[m];
      const interval = low === null ? null : make("span", { class: "interval" }, `${printed(low, measure)} to ${printed(high, measure)}`);
      return make("td", { class: best[m].has(i) ? "best" : "" }, printed(value, measure), best[m].has(i) && hidden(", the best"), interval);
    })]);
    const head = ["system", noun[1], ...measures.map((measure) => make("span", { title: better(measure) }, measure.label, arrow(measure)))];
    fill(view, heading("measures", "Measures"),
      measures.length ? table("Measures of all systems, with their intervals", head, rows, "numbers") : make("p", {}, "Nothing was scored."),
      ...significance(), ...notesOfScores());
  }

  function significance() {
    const { rows, reason, n, samples, confidence } = report.comparison;
    if (!rows) return [make("p", { class: "soft" }, reason)];
    const several = systems.length > 2;
    return systems.slice(1).map((system, i) => {
      const own = rows.filter((row) => row.system === i + 1);
      const lines = own.map((row) => {
        const measure = measures[row.measure], p = several ? row.p_holm : row.p_value, isSure = p < 1 - confidence;
        return [measure.label, printed(row.difference, measure, { sign: true }),
          `${printed(row.low, measure, { sign: true })} to ${printed(row.high, measure, { sign: true })}`,
          make("td", { class: isSure ? "best" : "" }, row.p_value.toFixed(4)), ...(several ? [make("td", { class: isSure ? "best" : "" }, row.p_holm.toFixed(4))] : [])];
      });
      return table(`${system.name} less ${systems[0].name}`, ["measure", "difference", `${100 * confidence} % interval`, "p", ...(several ? ["p (Holm)"] : [])], lines, "numbers");
    }).concat(make("p", { class: "soft" }, `Paired tests on ${counted(n, noun)} by magic evaluate: two-sided approximate randomisation with ${samples.toLocaleString("en")} random swaps, `
      + `intervals by paired bootstrap.${several ? ` Holm corrects for the ${systems.length - 1} systems, not for several measures.` : ""} Measures of an earlier evaluation are not tested again.`));
  }

  function notesOfScores() {
    const notes = systems.flatMap((system) => [
      ...[["missing", "missing"], ["dropped", "left out"], ["empty", "empty"]].flatMap(([key, what]) => (system[key] ? [`${system.name}: ${counted(system[key], noun)} ${what}`] : [])),
      ...system.notes.map((note) => `${system.name}: ${note}`),
    ]);
    const notRun = new Map(systems.flatMap((system) => Object.entries(system.not_run)));
    const all = [...notes, ...[...notRun].map(([name, why]) => `${name} not run: ${why}`)];
    return all.length ? [make("h3", {}, "Notes"), listed(all)] : [];
  }
