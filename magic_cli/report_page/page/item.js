  // --- one item ---

  function showItem(place) {
    const item = items[place], view = byId("view-item");
    const around = found.places.indexOf(place);
    const go = (to, text) => (items[found.places[to]] && around >= 0 ? itemLink(items[found.places[to]], text) : make("span", { class: "none" }, text));
    const reference = item.references ?? [];
    fill(view, 
      make("p", { class: "steps" }, make("a", { href: "#view=items" }, "All items"), go(around - 1, "Previous"), go(around + 1, "Next")),
      make("h2", { id: "heading-item", tabindex: "-1" }, words(item.title ?? item.id)),
      make("p", { class: "soft" }, "id ", words(item.id), pictures[item.image] ? [", image ", words(pictures[item.image].name)] : null),
      make("div", { class: "item" },
        make("div", { class: "large" }, picture(item.image)),
        make("div", {},
          item.steps ? null : make("dl", { class: "texts" }, systems.map((system, i) => [
            make("dt", { dir: "auto" }, system.name), make("dd", {}, item.found ? foundImages(item, i) : written(item, i))])),
          reference.length && !item.steps ? [make("h3", {}, counted(reference.length, ["reference", "references"])), listed(reference)] : null)),
      scoreTable(item),
      item.steps ? stepsOf(item) : null,
      make("section", { id: "inspector", "aria-label": "How it was written" }));
    showInspector(place);
  }

  function foundImages(item, system) {
    return make("span", { class: "strip" }, (item.found[system] ?? []).map((image) => make("figure", {}, picture(image.image),
      make("figcaption", {}, words(image.id), ` ${image.score.toFixed(3)}`))));
  }

  function scoreTable(item) {
    const known = measures.map((_, m) => m).filter((m) => systems.some((_, i) => scoreOf(item, i, m) !== null)); // some measures are of whole runs
    if (!known.length) return null;
    const best = known.map((m) => bestOf(systems.map((_, i) => scoreOf(item, i, m)), measures[m]));
    const rows = systems.map((system, i) => [words(system.name), ...known.map((m, n) => scoreCell(scoreOf(item, i, m), measures[m], best[n].has(i)))]);
    return table("Scores of this item", ["system", ...known.map((m) => measures[m].label)], rows, "numbers");
  }

  const scoreCell = (value, measure, isBest) => make("td", { class: isBest ? "best" : "" }, printed(value, measure), isBest && hidden(", the best"));

  // Texts and images in turn: what was told, what each system answered, the truth.
  function stepsOf(item) {
    const of = Object.entries(item.steps), longest = Math.max(...of.map(([, all]) => all.length));
    const past = item.history?.length ? make("div", { class: "step" }, column("before", item.history)) : null;
    return make("div", {}, make("h3", {}, "Step by step"), past, Array.from({ length: longest }, (_, n) => {
      const own = of.filter(([, all]) => all[n]), first = own[0][1][n];
      return make("div", { class: "step" }, make("h4", {}, `Step ${n + 1}`), make("div", { class: "columns" },
        column("told", first.told),
        ...own.map(([i, all]) => column(systems[i].name, all[n].answer, stepScores(all[n].scores))),
        first.truth.length ? column("truth", first.truth) : null));
    }));
  }

  function column(name, parts, below = null) {
    const shown = parts.map((part) => ("text" in part ? words(part.text, "p") : picture(part.image) ?? make("p", {}, "an image")));
    return make("div", {}, make("b", { dir: "auto" }, name), shown.length ? shown : make("p", { class: "soft" }, "nothing"), below);
  }

  function stepScores(scores) {
    if (!scores || scores.every((value) => value === null)) return null;
    const told = measures.flatMap((measure, m) => (scores[m] === null ? [] : [`${measure.label} ${printed(scores[m], measure)}`]));
    return make("p", { class: "score" }, told.join(", "));
  }
