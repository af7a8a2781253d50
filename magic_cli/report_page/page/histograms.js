  // --- how the scores of the items are spread ---

  const BINS = 24, WIDTH = 480, HEIGHT = 120;

  function showHistograms() {
    const view = byId("view-histograms");
    if (!measures.length) return fill(view, heading("histograms", "Histograms"), make("p", {}, "Nothing was scored."));
    const pick = (id, label, options) => make("label", {}, `${label} `, make("select", { id, onchange: drawHistograms }, options));
    const names = (first) => [...first, ...systems.map((system, i) => option(i, system.name))];
    return fill(view, heading("histograms", "Histograms"),
      make("div", { class: "bar" }, pick("spread-measure", "Measure", measures.map((measure, i) => option(i, measure.label))),
        systems.length > 1 && [pick("spread-first", "Difference of", names([option("", "nothing")])), pick("spread-second", "less", names([]))]),
      make("div", { id: "spread" })), drawHistograms();
  }

  function drawHistograms() {
    const m = Number(byId("spread-measure").value), measure = measures[m];
    const columns = systems.map((_, i) => items.map((item) => scoreOf(item, i, m)).filter((value) => value !== null));
    const ends = range(columns.flat());
    const drawn = systems.map((system, i) => histogram(`${measure.label} of ${system.name}`, columns[i], measure, ends));
    const first = byId("spread-first")?.value ?? "";
    if (first !== "") {
      const quantity = { measure: m, system: Number(first), minus: Number(byId("spread-second").value) };
      const values = items.map((item) => quantityOf(item, quantity)).filter((value) => value !== null);
      const far = Math.max(...range(values).map(Math.abs));
      drawn.push(histogram(`${measure.label}: ${systems[quantity.system].name} less ${systems[quantity.minus].name}`, values, measure, [-far, far]));
    }
    fill(byId("spread"), ...drawn);
  }

  function range(values) {
    const [low, high] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
    return low < high ? [low, high] : Number.isFinite(low) ? [low - 0.5, low + 0.5] : [0, 1];
  }

  function histogram(title, values, measure, [low, high]) {
    if (!values.length) return make("p", { class: "soft" }, `${title}: no item has a value of its own.`);
    const counts = new Array(BINS).fill(0);
    for (const value of values) counts[Math.min(BINS - 1, Math.floor(BINS * (value - low) / (high - low)))] += 1;
    const most = Math.max(...counts), step = WIDTH / BINS;
    const edge = (bin) => printed(low + (high - low) * bin / BINS, measure);
    const bars = counts.map((count, bin) => {
      const height = (HEIGHT - 4) * count / most;
      return svg("rect", { x: bin * step + 1, y: HEIGHT - height, width: step - 2, height }, svg("title", {}, `${edge(bin)} to ${edge(bin + 1)}: ${count}`));
    });
    const zero = low < 0 && high > 0 ? [svg("line", { x1: WIDTH * -low / (high - low), x2: WIDTH * -low / (high - low), y1: 0, y2: HEIGHT })] : [];
    const top = counts.indexOf(most);
    const told = `${counted(values.length, noun)} from ${edge(0)} to ${edge(BINS)}; most, ${most}, between ${edge(top)} and ${edge(top + 1)}`;
    return make("figure", { class: "histogram" }, make("figcaption", {}, words(title), hidden(`: ${told}`)),
      svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": told }, ...bars, ...zero),
      make("div", { class: "axis", "aria-hidden": "true" }, make("span", {}, edge(0)), make("span", {}, `at most ${most}`), make("span", {}, edge(BINS))));
  }
