"use strict";
(() => {
  const { study, form, annotator, unit } = document.body.dataset;
  const byId = (id) => document.getElementById(id);
  const cards = [...document.querySelectorAll("section.card")]; // the first one is the introduction
  const questions = [...document.querySelectorAll("fieldset[data-question]")];
  const names = questions.map((question) => question.dataset.question);
  const storageKey = `magic-human-eval ${form}`;
  const answers = new Map(); // name -> number of the choice
  let current = 0;
  let isKept = true; // false once the browser has refused to keep answers
  let isExported = true; // whether all answers are in an exported file

  // --- keeping answers ---

  function remember() {
    try {
      localStorage.setItem(storageKey, JSON.stringify({ current, answers: Object.fromEntries(answers) }));
    } catch {
      warnOfLoss();
    }
  }

  function recall() {
    try {
      const kept = JSON.parse(localStorage.getItem(storageKey)) ?? {};
      for (const name of names) {
        const score = kept.answers?.[name];
        if (Number.isInteger(score) && choice(byName(name), score)) answers.set(name, score);
      }
      if (cards[kept.current]) current = kept.current;
    } catch (error) {
      if (!(error instanceof SyntaxError)) warnOfLoss(); // damaged answers are forgotten, as none can be told
    }
    for (const [name, score] of answers) choice(byName(name), score).checked = true;
    isExported = answers.size === 0;
  }

  function warnOfLoss() {
    isKept = false;
    byId("storage-warning").hidden = false;
  }

  // --- showing ---

  const byName = (name) => questions[names.indexOf(name)];
  const choice = (question, score) => question.querySelector(`input[value="${score}"]`); // null: there is no such one
  const isAnswered = (question) => answers.has(question.dataset.question);
  const inside = (element) => [...element.querySelectorAll("fieldset[data-question]")];

  function show(card, { focus = true } = {}) {
    current = card;
    cards.forEach((section, number) => { section.hidden = number !== card; });
    byId("previous").disabled = card === 0;
    byId("next").disabled = card === cards.length - 1;
    byId("here").textContent = card ? cards[card].querySelector("h2").lastChild.textContent : "";
    byId("position").textContent = card ? `${unit} ${card} of ${cards.length - 1}` : "Introduction";
    update();
    remember();
    if (focus) {
      scrollTo(0, 0);
      cards[card].querySelector("h2").focus({ preventScroll: true });
    }
  }

  function update() {
    byId("progress").value = answers.size;
    byId("progress-text").textContent = `${answers.size} of ${names.length} answered`;
    for (const article of document.querySelectorAll("article")) article.classList.toggle("done", inside(article).every(isAnswered));
    [...byId("titles").children].forEach((button, number) => {
      const all = inside(cards[number]);
      const done = all.filter(isAnswered).length;
      button.classList.toggle("done", number > 0 && done === all.length);
      button.setAttribute("aria-label", number ? `${unit} ${number}, ${done} of ${all.length} answered` : "Introduction");
      if (number === current) button.setAttribute("aria-current", "page");
      else button.removeAttribute("aria-current");
    });
  }

  function focusQuestion(question) {
    const card = cards.indexOf(question.closest("section.card"));
    if (card !== current) show(card, { focus: false });
    (question.querySelector("input:checked") ?? question.querySelector("input")).focus();
    question.scrollIntoView({ block: "center" });
  }

  // --- answering ---

  function answer(question, score) {
    answers.set(question.dataset.question, score);
    isExported = false;
    byId("status").textContent = "";
    update();
    remember();
  }

  function onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !/^[1-9]$/.test(event.key) || byId("incomplete").open) return;
    const here = inside(cards[current]);
    const question = document.activeElement?.closest("fieldset[data-question]") ?? here.find((one) => !isAnswered(one));
    const chosen = question && choice(question, event.key);
    if (!chosen) return;
    event.preventDefault();
    chosen.checked = true;
    answer(question, Number(event.key));
    const following = here[here.indexOf(question) + 1];
    if (following) focusQuestion(following);
    else byId(current === cards.length - 1 ? "export" : "next").focus();
  }

  // --- exporting ---

  // CRC-32 as zlib's, so that a file that was changed after the export is noticed
  function checksum(text) {
    let crc = 0xffffffff;
    for (const byte of new TextEncoder().encode(text)) {
      crc ^= byte;
      for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ((crc ^ 0xffffffff) >>> 0).toString(16).padStart(8, "0");
  }

  function exported() {
    const given = names.filter((name) => answers.has(name)).map((name) => [name, answers.get(name)]);
    const text = [study, form, ...given.map(([name, score]) => `${name}=${score}`)].join("\n");
    return {
      kind: "magic human-eval answers 1", study, form, annotator: Number(annotator), complete: given.length === names.length,
      answers: Object.fromEntries(given), checksum: checksum(text),
    };
  }

  function download() {
    const content = exported();
    const link = document.createElement("a");
    link.download = `answers-${annotator}${content.complete ? "" : "-unfinished"}.json`;
    link.href = URL.createObjectURL(new Blob([`${JSON.stringify(content, null, 1)}\n`], { type: "application/json" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    isExported = true;
    byId("status").textContent = content.complete
      ? `Saved as ${link.download}. Thank you! Please send this file back.`
      : `Saved as ${link.download}, with ${names.length - answers.size} questions open.`;
  }

  function onExport() {
    const open = names.length - answers.size;
    if (!open) return download();
    byId("open-count").textContent = open === 1 ? "1 question is still open." : `${open} of ${names.length} questions are still open.`;
    return byId("incomplete").showModal();
  }

  // --- start ---

  cards.forEach((_, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = number || "i";
    button.addEventListener("click", () => show(number));
    byId("titles").append(button);
  });
  for (const question of questions) question.addEventListener("change", (event) => answer(question, Number(event.target.value)));
  document.addEventListener("keydown", onKey);
  byId("previous").addEventListener("click", () => show(current - 1));
  byId("next").addEventListener("click", () => show(current + 1));
  byId("export").addEventListener("click", onExport);
  byId("cancel").addEventListener("click", () => byId("incomplete").close());
  byId("export-partial").addEventListener("click", () => { byId("incomplete").close(); download(); });
  byId("go-to-open").addEventListener("click", () => { byId("incomplete").close(); focusQuestion(questions.find((one) => !isAnswered(one))); });
  addEventListener("beforeunload", (event) => { if (!isKept && !isExported) event.preventDefault(); });
  recall();
  show(current, { focus: false });
})();
