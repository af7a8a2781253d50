  // --- scores ---

  function scoreOf(item, system, measure) {
    return item.scores?.[system]?.[measure] ?? null;
  }

  // What is sorted and filtered by: a measure of a system, or its difference to another system's.
  function quantityOf(item, { measure, system, minus }) {
    const first = scoreOf(item, system, measure);
    if (first === null || minus === null) return first;
    const second = scoreOf(item, minus, measure);
    return second === null ? null : first - second;
  }

  // As tables print it: times the measure's scale.
  function printed(value, measure, { sign = false } = {}) {
    if (value === null || value === undefined) return "";
    const text = (value * measure.scale).toFixed(measure.digits);
    return sign && value >= 0 ? `+${text}` : text;
  }

  // null: neither is better.
  const better = ({ higher_is_better: higher }) => (higher === null ? "" : higher ? "higher is better" : "lower is better");
  const arrow = ({ higher_is_better: higher }) => (higher === null ? "" : higher ? " ↑" : " ↓");

  // Systems that have the best value of those given; none if all are alike.
  function bestOf(values, measure) {
    const known = values.filter((value) => value !== null);
    if (known.length < 2 || measure.higher_is_better === null) return new Set();
    const best = measure.higher_is_better ? Math.max(...known) : Math.min(...known);
    const places = values.flatMap((value, place) => (value === best ? [place] : []));
    return new Set(places.length < known.length ? places : []);
  }
