  // --- the list of items: searched, filtered, sorted, and drawn as far as one looks ---

  const DRAWN_AT_ONCE = 24; // fills rows of one, two and three cards; in a list of its own, so that more cards below cost those above nothing
  const found = { places: items.map((_, place) => place), drawn: 0, quantity: null };

  const texts = items.map((item) => [
    item.id, item.title ?? "", ...Object.values(item.texts ?? {}), ...(item.references ?? []),
    ...Object.values(item.found ?? {}).flat().map((image) => image.id), pictures[item.image]?.name ?? "",
  ].join("\n").toLowerCase());

  function fillControls() {
    byId("measure").append(...measures.map((measure, i) => option(i, better(measure) ? `${measure.label} (${better(measure)})` : measure.label)));
    byId("system").append(...systems.map((system, i) => option(i, system.name)));
    byId("minus").append(option("", "nothing"), ...systems.map((system, i) => option(i, system.name)));
    byId("order").append(option("own", "as in the run"), option("down", "highest first"), option("up", "lowest first"), option("id", "by id"));
    byId("quantity").hidden = !measures.length;
    const controls = byId("controls");
    let waiting = 0;
    controls.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 60); });
    controls.addEventListener("submit", (event) => { event.preventDefault(); search(); });
    controls.addEventListener("reset", () => setTimeout(search));
    byId("more").addEventListener("click", () => {
      const next = found.drawn;
      drawMore();
      byId("list").querySelectorAll(".card")[next]?.querySelector("a").focus();
    });
  }

  // Tells when the end of the list comes near, but not that it is still near: drawMore asks anew each time.
  const end = new IntersectionObserver((entries) => entries.at(-1).isIntersecting && drawMore(), { rootMargin: "600px" });

  function chosenQuantity() {
    if (!measures.length) return null;
    const minus = byId("minus").value;
    return { measure: Number(byId("measure").value), system: Number(byId("system").value), minus: minus === "" ? null : Number(minus) };
  }

  const limit = (id) => (byId(id).value.trim() === "" ? null : Number(byId(id).value));

  function search() {
    const sought = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const quantity = chosenQuantity(), order = byId("order").value, least = limit("least"), most = limit("most");
    const value = items.map((item) => (quantity ? quantityOf(item, quantity) : null));
    const fits = (place) => {
      if (!sought.every((word) => texts[place].includes(word))) return false;
      if (least === null && most === null) return true;
      const shown = value[place] === null ? null : Number(printed(value[place], measures[quantity.measure])); // as one sees it
      return shown !== null && (least === null || shown >= least) && (most === null || shown <= most);
    };
    const places = items.map((_, place) => place).filter(fits);
    const known = (place) => value[place] !== null;
    if (order === "down") places.sort((a, b) => known(b) - known(a) || value[b] - value[a] || a - b);
    if (order === "up") places.sort((a, b) => known(b) - known(a) || value[a] - value[b] || a - b);
    if (order === "id") places.sort((a, b) => items[a].id.localeCompare(items[b].id, "en", { numeric: true }));
    Object.assign(found, { places, quantity, drawn: 0 });
    byId("shown").textContent = places.length === items.length
      ? counted(items.length, noun) : `${places.length.toLocaleString("en")} of ${counted(items.length, noun)}`;
    byId("list").replaceChildren();
    drawMore();
  }

  function drawMore() {
    const next = found.places.slice(found.drawn, found.drawn + DRAWN_AT_ONCE);
    if (next.length) byId("list").append(make("ol", { class: "cards", start: found.drawn + 1 }, next.map(card)));
    found.drawn += next.length;
    byId("more").hidden = found.drawn >= found.places.length;
    end.disconnect();
    if (!byId("more").hidden) end.observe(byId("more"));
  }

  const itemLink = (item, ...shown) => make("a", { href: `#item=${encodeURIComponent(wellFormed(item.id))}` }, ...shown);
  const wellFormed = (text) => (text.toWellFormed ? text.toWellFormed() : text.replace(/[\ud800-\udfff]/g, "\ufffd"));

  function card(place) {
    const item = items[place];
    const images = item.image === undefined ? [] : [picture(item.image)];
    return make("li", { class: "card", "data-place": place },
      make("div", { class: "pictures" }, ...images),
      make("div", {},
        make("h3", {}, itemLink(item, words(item.title ?? item.id))),
        difference(item),
        make("dl", { class: "texts" }, systems.map((system, i) => [
          make("dt", { dir: "auto" }, system.name, chosenScore(item, i)), make("dd", {}, written(item, i)),
        ])),
        item.references && make("details", {}, make("summary", {}, counted(item.references.length, ["reference", "references"])),
          listed(item.references))));
  }

  function written(item, system) {
    if (item.found) return make("span", { class: "strip" }, (item.found[system] ?? []).slice(0, 4).map((image) => picture(image.image)));
    const text = item.texts?.[system];
    return text === undefined ? make("i", {}, "none") : [words(text), item.images?.[system] !== undefined && picture(item.images[system])];
  }

  function chosenScore(item, system) {
    if (!found.quantity) return null;
    const measure = measures[found.quantity.measure], value = scoreOf(item, system, found.quantity.measure);
    return value === null ? null : make("span", { class: "score" }, ` ${measure.label} ${printed(value, measure)}`);
  }

  function difference(item) {
    if (!found.quantity || found.quantity.minus === null) return null;
    const value = quantityOf(item, found.quantity), measure = measures[found.quantity.measure];
    return value === null ? null : make("p", { class: "score" }, `Difference ${printed(value, measure, { sign: true })}`);
  }
