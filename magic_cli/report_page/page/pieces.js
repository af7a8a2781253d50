  // --- pieces of the page; text goes in as text only ---

  // An element with attributes and children: elements, texts, or nothing. `on...` names a listener.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...present(children));
    return element;
  }

  // Children that are there, of lists within lists.
  const present = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== "");

  const fill = (element, ...children) => element.replaceChildren(...present(children));

  // Words that somebody or some model wrote: they keep their line breaks, and their direction stays inside.
  const words = (text, tag = "span") => make(tag, { class: "words", dir: "auto" }, text);

  const listed = (texts) => make("ul", {}, texts.map((text) => make("li", {}, words(text))));

  function picture(number, className = "") {
    const found = number === null || number === undefined ? null : pictures[number];
    if (!found) return null;
    if (!found.src) return make("p", { class: "fault" }, "No picture of ", words(found.name), `: ${found.fault}`);
    return make("img", { src: found.src, alt: `Image ${found.name}`, loading: "lazy", class: className });
  }

  function table(caption, head, rows, className = "") {
    const cells = (row, tag, scope) => row.map((cell, i) => {
      const isHead = tag === "th" || i === 0;
      return cell instanceof HTMLTableCellElement ? cell : make(isHead ? "th" : "td", { scope: isHead ? (tag === "th" ? "col" : scope) : null }, cell);
    });
    return make("div", { class: "scrolls", tabindex: "0", role: "group", "aria-label": caption },
      make("table", { class: className },
        make("caption", {}, caption),
        make("thead", {}, make("tr", {}, cells(head, "th", "col"))),
        make("tbody", {}, rows.map((row) => make("tr", {}, cells(row, "td", "row"))))));
  }

  const heading = (view, text) => make("h2", { id: `heading-${view}`, tabindex: "-1" }, text);
  const counted = (number, [one, many]) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
  const option = (value, text) => make("option", { value }, text);
  const hidden = (text) => make("span", { class: "hidden" }, text);

  function svg(tag, attributes = {}, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
