"""Nothing that people or models have written runs in a page, and the page is usable without seeing it."""

from urllib.parse import quote

import pytest

from browser import axe_core
from magic_cli.report_page.writing import page as html_of
from tests.hostile_strings import HOSTILE
from tests.unit.report_page.pages import MEASURES, contents, system

VIEWS = ("items", "measures", "histograms", "runs", "failures")
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def hostile_page(folder, strings=HOSTILE):
    """A page that has every one of these strings in every place where a text can stand."""
    found = contents(folder, num_items=len(strings))
    for number, (item, text) in enumerate(zip(found["items"], strings, strict=True)):
        item |= {"id": text, "title": text, "texts": {"0": text, "1": text}, "references": [text, text], "image": number}
    found["items"][2]["steps"] = {
        "0": [{"told": [{"text": text} for text in strings], "answer": [{"text": strings[0]}], "truth": [], "scores": None}]
    }
    found["items"][2]["history"] = [{"text": text} for text in strings]
    found["items"][3]["found"] = {"0": [{"image": number, "id": text, "score": 0.5} for number, text in enumerate(strings)]}
    many = dict(zip(strings, strings, strict=True))
    failures = [{"id": text, "title": text, "image": text, "reason": text, "skipped": False} for text in strings]
    found["systems"] = [
        system(name, source=name, settings=many, manifest=many, failures=failures, notes=list(strings), not_run=many, machines=list(strings),
               work=dict.fromkeys(strings, 1), phases=dict.fromkeys(strings, 1.0), weights=found["systems"][0]["weights"])
        for name in strings[:2]
    ]  # fmt: skip
    found["measures"] = [measure | {"label": text} for measure, text in zip(MEASURES, strings, strict=False)]
    found["tokens"][0] = dict(zip(range(1, 5), strings, strict=False))
    pictures = [
        {"name": text, "src": PIXEL} if number % 2 else {"name": text, "fault": text} for number, text in enumerate(strings)
    ]
    file = folder / f"{strings[10].replace('/', '')}.html"  # a markup of an image that fails to load
    file.write_text(html_of(strings[1], found, pictures), encoding="utf-8")
    return file


def test_hostile_strings_are_shown_as_they_are_and_never_run(page, tmp_path):
    assert len(HOSTILE) >= 40
    report = page(hostile_page(tmp_path))
    assert report.run("return document.title") == HOSTILE[1] == report.run("return document.querySelector('h1').textContent")
    for view in VIEWS[1:]:
        report.run("location.hash = 'view=' + arguments[0]", view)
        report.wait(f"!document.querySelector('#view-{view}').hidden")
    assert "<style>@import" in report.run("return document.querySelector('#view-failures').textContent")
    shown = report.run(
        """
        const shown = [];
        const later = () => new Promise((done) => setTimeout(done));
        return (async () => {
          for (const [number, id] of arguments[0].entries()) {
            location.hash = "item=" + encodeURIComponent(id);
            while (document.querySelector("#heading-item")?.textContent !== id) await later();
            const text = document.querySelector("#view-item .texts dd .words");
            shown.push(number === 2 || number === 3 ? id : text.textContent);
          }
          return shown;
        })();
        """,
        list(HOSTILE),
    )
    assert shown == list(HOSTILE)
    report.run("location.hash = 'item=' + encodeURIComponent(arguments[0])", HOSTILE[1])
    report.wait("document.querySelectorAll('.token').length === 2")
    assert report.run("return document.querySelector('.token .words').textContent") == HOSTILE[0]
    tags = "script,style,meta,form,iframe,base,link,video,math,object,embed,img[src='x'],svg:not(.histogram svg)"
    there = report.run("return [...document.querySelectorAll(arguments[0])].map((element) => element.localName)", tags)
    assert sorted(there) == ["form", "meta", "meta", "meta", "meta", "script", "style"]  # the page's own
    assert report.run("return document.querySelectorAll('[onerror],[onload],[ontoggle],[onfocus]').length") == 0
    assert report.run("return typeof window.ran") == "undefined"


def item_of(name):
    return f"#item={quote(name, safe='')}"


def small_page(folder):
    """What people see: pictures, one that cannot be shown, and an item with steps of decoding."""
    found = contents(folder)
    for item in found["items"]:
        item["image"] = int(item["id"]) % 2
        for values in item["scores"].values():
            values += [0.5, 0.25 + len(item["id"])] * 5
    found["measures"] += [MEASURES[0] | {"key": f"more_{n}", "label": f"measure {n}"} for n in range(10)]  # wider than a phone
    for number, one in enumerate(found["systems"]):
        one["overall"] += [[0.5 + number, None, None]] * 10
    file = folder / "page.html"
    file.write_text(
        html_of("magic and greedy", found, [{"name": "a.gif", "src": PIXEL}, {"name": "b.gif", "fault": "no such file"}])
    )
    return file, ["#item=1"]


def odd_page(folder):
    """Stories in steps and images that were found, all with names and texts that nobody should have."""
    strings = [text for text in HOSTILE if text.strip()]  # a setting without a name would be a head without a text
    return hostile_page(folder, strings), [item_of(strings[number]) for number in (1, 2, 3)]


PAGES = {"small": small_page, "odd": odd_page}


def shown_views(report, items):
    """Every view and these items, one after the other; what an item's weights change, too."""
    for address in (*(f"#view={view}" for view in VIEWS), *items):
        report.run("location.hash = arguments[0]", address)
        report.run("return new Promise(requestAnimationFrame)")
        yield address
    report.run("location.hash = arguments[0]", items[0])
    report.wait("document.querySelector('#weight-beta')")
    report.run("const field = document.querySelector('#weight-beta'); field.value = 0; field.dispatchEvent(new Event('input'))")
    yield "with another beta"


@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_fits_a_phone(page, tmp_path, make, dark):
    file, items = make(tmp_path)
    report = page(file)
    report.emulate(width=390, height=844, dark=dark)
    for address in shown_views(report, items):
        assert report.run("return document.documentElement.scrollWidth") <= 390, address
    paper = report.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 24, 31)" if dark else "rgb(244, 245, 247)")


@pytest.mark.long
@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_fault_of_contrast_or_labels(page, tmp_path, make, width, dark):
    axe = axe_core()
    if axe is None:
        pytest.skip("no axe-core: `npm install axe-core` here, or name its axe.min.js in MAGIC_AXE")
    file, items = make(tmp_path)
    report = page(file)
    report.emulate(width=width, height=1000, dark=dark)
    for address in shown_views(report, items):
        assert report.faults_of_access(axe) == [], address
