  // --- what the page holds ---

  const byId = (id) => document.getElementById(id);

  function taken(id) {
    const block = byId(id), data = JSON.parse(block.textContent);
    block.remove(); // the text is not needed twice
    return data;
  }

  const report = taken("data"), pictures = taken("pictures");
  const { systems, measures, items, noun } = report;
  const placeOf = new Map(items.map((item, place) => [item.id, place]));
  let steps = null; // of all traces; parsed when the first one is opened

  function tracesOf(system, place) {
    if (byId("traces")) steps = taken("traces");
    return steps.traces[system][place] ?? [];
  }

  // Of objects whose keys come from files, where one may be called "constructor".
  const own = (object, key) => (Object.hasOwn(object, key) ? object[key] : undefined);

  const tokenText = (system, id) => steps.tokens[system][id] ?? `#${id}`;

  function bytes(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;
  }

  // The steps of a trace, each with its candidates: ids, p, penalty and f of each guide (null: never computed; NaN: not for this one).
  function unpacked(trace) {
    const ids = new Uint32Array(bytes(trace.ids));
    const column = (text) => (text === null ? null : new Float32Array(bytes(text)));
    const p = column(trace.p), penalty = column(trace.penalty), f = trace.f.map(column);
    let start = 0;
    return trace.choice.map((choice, number) => {
      const end = start + trace.counts[number];
      const part = (values) => values && values.subarray(start, end);
      const step = { choice, ids: part(ids), p: part(p), penalty: part(penalty), f: f.map(part) };
      start = end;
      return step;
    });
  }
