  // --- the inspector: how a text came about, step by step ---

  const SHOWN_FIRST = 10;
  const looking = { place: null, system: null, answer: 0, step: 0, alpha: null, beta: null, all: [], showsAll: false };

  function showInspector(place) {
    const traced = systems.map((_, i) => i).filter((i) => tracesOf(i, place).length);
    if (!traced.length) {
      const hint = systems.some((system) => Object.keys(system.settings).length)
        ? "Nothing was traced for this item. Decode again with run.trace=true run.lazy=false and another run.dir to see how each word was chosen." : null;
      fill(byId("inspector"), ...(hint ? [make("p", { class: "soft" }, hint)] : []));
      return;
    }
    if (!traced.includes(looking.system)) looking.system = traced[0];
    Object.assign(looking, { place, answer: 0, traced });
    openTrace();
  }

  function openTrace() {
    const all = tracesOf(looking.system, looking.place), trace = all[looking.answer];
    const pick = (label, values, chosen, change) => make("label", {}, `${label} `, make("select", { onchange: change },
      values.map(([value, text]) => make("option", { value, selected: value === chosen }, text))));
    const controls = [
      looking.traced.length > 1 && pick("System", looking.traced.map((i) => [i, systems[i].name]), looking.system, (event) => {
        Object.assign(looking, { system: Number(event.target.value), answer: 0 });
        openTrace();
      }),
      all.length > 1 && pick("Answer", all.map((one, i) => [i, `step ${one.answer ?? i + 1}`]), looking.answer, (event) => {
        looking.answer = Number(event.target.value);
        openTrace();
      }),
    ];
    fill(byId("inspector"), 
      make("h3", {}, "How ", words(systems[looking.system].name), " wrote it"), make("div", { class: "bar" }, controls),
      ...{ steps: openSteps, beams: showBeams, texts: showTexts }[trace.kind](trace));
    if (trace.kind === "steps") redraw();
  }

  // --- methods that keep several texts, or pick among whole ones ---

  function showBeams(trace) {
    let rows = [];
    const lines = trace.steps.map((step, number) => {
      const before = rows;
      rows = [];
      for (const [row, parent, choice] of step) rows[row] = (before[parent] ?? "") + tokenText(looking.system, choice);
      return [String(number + 1), listed(rows.filter((text) => text !== undefined))];
    });
    return [table("The texts that were kept after each step", ["step", "texts"], lines)];
  }

  function showTexts(trace) {
    const order = trace.texts.map((_, i) => i).sort((a, b) => trace.texts[b][1] - trace.texts[a][1] || a - b);
    const rows = order.map((i) => [String(i + 1), words(trace.texts[i][0]), trace.texts[i][1].toFixed(4), i === trace.choice ? "chosen" : ""]);
    return [table("The texts that were chosen among, by their cosine with the image", ["candidate", "text", "cosine", "choice"], rows)];
  }

  // --- methods that score the candidates of each step ---

  function openSteps(trace) {
    const run = systems[looking.system].weights;
    Object.assign(looking, { all: unpacked(trace), step: 0, run, alpha: run?.alpha ?? null, beta: run?.beta ?? null, showsAll: false });
    const weight = (name, most, label) => make("div", { class: "weight" },
      make("label", { for: `weight-${name}` }, label),
      make("input", { type: "range", min: 0, max: most, step: most / 1000, id: `range-${name}`, "aria-label": `${label}, slider`, oninput: (event) => weigh(name, event.target.value) }),
      make("input", { type: "number", min: 0, max: name === "alpha" ? 1 : 1000, step: "any", id: `weight-${name}`, autocomplete: "off", oninput: (event) => weigh(name, event.target.value) }));
    const scores = looking.all.some((step) => step.ids.length);
    return [
      run && scores && make("fieldset", { class: "weights" }, make("legend", {}, "What if"),
        weight("alpha", 1, "alpha: weight of the degeneration penalty"),
        run.beta === null ? null : weight("beta", Math.max(10, 2 * run.beta), "beta: weight of the image"),
        make("button", { type: "button", id: "own-weights", onclick: () => { Object.assign(looking, { alpha: run.alpha, beta: run.beta }); redraw(); } }, "As the run")),
      make("p", { id: "outcome", role: "status" }),
      make("h4", { id: "heading-tokens" }, "The text as it grew"),
      make("ol", { class: "tokens", "aria-labelledby": "heading-tokens", onkeydown: moveStep }, looking.all.map((step, n) => make("li", {},
        make("button", { type: "button", class: "token", onclick: () => { Object.assign(looking, { step: n, showsAll: false }); redraw(); } }, words(tokenText(looking.system, step.choice)))))),
      make("div", { id: "step" }),
    ].filter(Boolean);
  }

  function weigh(name, typed) {
    const value = Number(typed);
    if (typed === "" || !(value >= 0) || value > (name === "alpha" ? 1 : 1000)) return;
    looking[name] = value;
    redraw();
  }

  function moveStep(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const last = looking.all.length - 1;
    looking.step = Math.min(last, Math.max(0, looking.step + by));
    redraw();
    document.querySelectorAll(".token")[looking.step].focus();
  }

  function redraw() {
    for (const name of ["alpha", "beta"]) {
      for (const id of [`range-${name}`, `weight-${name}`]) {
        const input = byId(id);
        if (input && input !== document.activeElement) input.value = looking[name];
      }
    }
    const weights = looking.run && weightsWith(looking.run, looking.alpha, looking.beta);
    const { difference, close } = weights ? firstDifference(looking.all, weights) : { difference: null, close: null };
    const last = difference ? difference.number : Infinity;
    tellOutcome(difference, close, weights);
    document.querySelectorAll(".token").forEach((button, n) => {
      button.classList.toggle("unknown", n > last);
      button.setAttribute("aria-pressed", n === looking.step);
      const what = n === last ? ", the first that differs" : n > last ? ", needs decoding again" : "";
      button.setAttribute("aria-label", `Step ${n + 1}: ${tokenText(looking.system, looking.all[n].choice)}${what}`);
      button.classList.toggle("differs", n === last);
    });
    drawStep(weights, last);
  }

  function tellOutcome(difference, close, weights) {
    const box = byId("outcome"), isOwn = weights && looking.alpha === looking.run.alpha && looking.beta === looking.run.beta;
    const name = (id) => words(tokenText(looking.system, id).trim() || tokenText(looking.system, id), "q");
    box.dataset.step = difference ? difference.number : "";
    box.dataset.token = difference && difference.place !== null ? looking.all[difference.number].ids[difference.place] : "";
    box.dataset.close = Boolean(difference?.isClose) || close !== null;
    const scored = looking.all.some((step) => step.ids.length);
    if (!weights || !scored) return fill(box, "This method scores no candidates: only what it chose is known.");
    const doubt = !isOwn && close !== null ? ` Step ${close + 1} is so close that rounding may decide it otherwise.` : "";
    if (!difference && isOwn) return fill(box, "These are the run's own weights.");
    if (!difference) return fill(box, `Every step would choose the same${doubt ? "" : ", so the text would be the same"}.${doubt}`);
    const step = looking.all[difference.number];
    if (difference.place === null) {
      return fill(box, `Step ${difference.number + 1}: not known, because ${difference.why}. Later steps need decoding again.${doubt}`);
    }
    if (isOwn) {
      return fill(box, `Step ${difference.number + 1}: this page computes `, name(step.ids[difference.place]), ", and the run chose ", name(step.choice),
        difference.isClose ? ". They are so close that rounding decided." : ". Do not trust what it computes for other weights.");
    }
    const later = difference.number + 1 < looking.all.length ? " Later steps need decoding again." : " What follows needs decoding again.";
    return fill(box, `Step ${difference.number + 1} would choose `, name(step.ids[difference.place]), " instead of ", name(step.choice), `.${later}`,
      difference.isClose ? " It is so close that rounding may decide." : "", doubt);
  }

  function drawStep(weights, last) {
    const step = looking.all[looking.step], box = byId("step");
    const before = looking.all.slice(0, looking.step).map((one) => tokenText(looking.system, one.choice)).join("");
    const soFar = make("p", { class: "soft" }, `Step ${looking.step + 1} of ${looking.all.length}, after `, before.trim() ? words(before.trim(), "q") : "nothing");
    if (!step.ids.length) return fill(box, soFar);
    const outcome = weights ? chosen(step, weights) : { bounds: null, place: null };
    const value = (i) => outcome.bounds?.[i][0] ?? step.p[i];
    const order = Array.from(step.ids, (_, i) => i).sort((a, b) => value(b) - value(a) || a - b);
    const shown = looking.showsAll ? order : order.slice(0, SHOWN_FIRST);
    const own = step.ids.indexOf(step.choice);
    if (own >= 0 && !shown.includes(own)) shown.push(own);
    const least = Math.min(...order.map((i) => value(i)), 0), range = Math.max(...order.map(value)) - least || 1;
    const second = outcome.place === null ? undefined : order[1];
    const isSecond = order.slice(2).every((i) => second !== undefined && outcome.bounds[i][1] <= outcome.bounds[second][0]); // else it is not known
    const role = (i) => [i === own && "the run's choice", i === outcome.place && i !== own && "this choice", i === second && isSecond && "runner-up"].filter(Boolean).join(", ");
    const guides = (looking.run?.guides ?? []).filter(([, column]) => column !== null);
    const rows = shown.map((i) => [
      words(tokenText(looking.system, step.ids[i])), role(i), bar(step.p[i], step.p[i], "p"),
      step.penalty || weights ? bar(step.penalty?.[i], Math.abs(step.penalty?.[i] ?? 0), step.penalty?.[i] < 0 ? "penalty negative" : "penalty") : "",
      ...guides.map(([, column]) => bar(step.f[column]?.[i], step.f[column]?.[i], "f")),
      outcome.bounds ? totalBar(outcome.bounds[i], least, range) : "",
    ]);
    const head = ["token", "choice", "model confidence", "penalty", ...guides.map(([, , name]) => name), "total"];
    const rest = order.length - shown.length;
    return fill(box, soFar,
      looking.step > last ? make("p", { class: "warning" }, "With these weights the text before this step is another one: this step needs decoding again. Shown is the run's own.") : "",
      table(`Candidates of step ${looking.step + 1}, best total first`, head, rows, "candidates"),
      rest > 0 ? make("button", { type: "button", id: "all-candidates", onclick: () => { looking.showsAll = true; redraw(); } }, `Show ${rest} more`) : "");
  }

  function bar(value, share, kind) {
    if (value === undefined || value === null || Number.isNaN(value)) return make("td", { class: "unevaluated" }, "not evaluated");
    const line = make("span", { class: `line ${kind}` });
    line.style.width = `${Math.min(100, 100 * share)}%`;
    return make("td", { class: "measured" }, make("span", { class: "number" }, value.toFixed(4)), make("span", { class: "track", "aria-hidden": "true" }, line));
  }

  function totalBar([low, high], least, range) {
    const cell = bar(low, (low - least) / range, "total");
    if (high !== low) cell.querySelector(".number").textContent = `${low.toFixed(3)} to ${high.toFixed(3)}`;
    return cell;
  }
