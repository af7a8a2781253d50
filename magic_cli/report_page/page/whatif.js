  // --- what a step would choose with other weights: the formula of decoding, in its float32 ---

  const f32 = Math.fround;
  const NEAR = 2e-5; // scores that are closer may change places by rounding; magic then decides the text alone

  // (1 - alpha) p - alpha penalty + sum of beta_i f_i for each candidate, as the lowest and highest that it can be:
  // a penalty that was not evaluated is somewhere in [-1, 1]. null: a score that it needs was never computed.
  function scored(step, { alpha, guides }) {
    const active = guides.flatMap(([weight, column]) => (weight > 0 ? [[f32(weight), column === null ? undefined : step.f[column]]] : []));
    if (active.some(([, f]) => !f)) return null;
    const keep = f32(1 - alpha), weigh = f32(alpha);
    return Array.from(step.p, (p, i) => {
      let guidance = null;
      for (const [weight, f] of active) guidance = guidance === null ? f32(weight * f[i]) : f32(guidance + f32(weight * f[i]));
      const total = (penalty) => {
        let score = f32(keep * p);
        if (alpha !== 0) score = f32(score - f32(weigh * penalty));
        return guidance === null ? score : f32(score + guidance);
      };
      const penalty = step.penalty ? step.penalty[i] : NaN;
      return alpha === 0 || !Number.isNaN(penalty) ? [total(penalty), total(penalty)] : [total(1), total(-1)];
    });
  }

  // The candidate that wins for sure, and whether rounding may decide; place null: it is not known.
  function chosen(step, weights) {
    const bounds = scored(step, weights);
    if (bounds === null) return { place: null, why: "the image's score was not computed, since the run's beta is 0", bounds };
    let best = 0;
    bounds.forEach(([low], i) => { if (low > bounds[best][0]) best = i; }); // of equal ones the likelier
    const rival = bounds.findIndex(([, high], i) => i !== best && (high > bounds[best][0] || (high === bounds[best][0] && i < best)));
    if (rival >= 0) return { place: null, why: "penalties that decide it were not evaluated (run.lazy=true); decode again with run.trace=true run.lazy=false", bounds };
    const second = Math.max(...bounds.filter((_, i) => i !== best).map(([, high]) => high));
    const weight = weights.guides.reduce((sum, [one]) => sum + one, 0);
    return { place: best, isClose: bounds[best][0] - second < NEAR * Math.max(1, weight / 2), bounds };
  }

  // The weights of a run, or others in their place.
  function weightsWith(run, alpha, beta) {
    return { alpha, guides: run.guides.map(([weight, column]) => [weight === "beta" ? beta : weight, column]) };
  }

  // The first step that would choose otherwise (null: none would, as far as the trace goes), and the first one before it
  // that is so close that rounding may decide it (null: none is).
  function firstDifference(all, weights) {
    let close = null;
    for (let number = 0; number < all.length; number += 1) {
      if (!all[number].ids.length) continue;
      const outcome = chosen(all[number], weights);
      if (outcome.place === null || all[number].ids[outcome.place] !== all[number].choice) return { difference: { number, ...outcome }, close };
      if (outcome.isClose && close === null) close = number;
    }
    return { difference: null, close };
  }
