"""Nothing that people or models have written runs in a page, and the page is usable without seeing it."""

import os
from pathlib import Path

import pytest

from magic_cli.report_page.writing import page as html_of
from tests.hostile_strings import HOSTILE
from tests.unit.report_page.pages import MEASURES, contents, system

ROOT = Path(__file__).resolve().parents[2]
VIEWS = ("items", "measures", "histograms", "runs", "failures")
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def hostile_page(folder):
    """A page that has every hostile string in every place where a text can stand."""
    found = contents(folder, num_items=len(HOSTILE))
    for number, (item, text) in enumerate(zip(found["items"], HOSTILE, strict=True)):
        item |= {"id": text, "title": text, "texts": {"0": text, "1": text}, "references": [text, text], "image": number}
    found["items"][2]["steps"] = {
        "0": [{"told": [{"text": text} for text in HOSTILE], "answer": [{"text": HOSTILE[0]}], "truth": [], "scores": None}]
    }
    found["items"][2]["history"] = [{"text": text} for text in HOSTILE]
    found["items"][3]["found"] = {"0": [{"image": number, "id": text, "score": 0.5} for number, text in enumerate(HOSTILE)]}
    many = dict(zip(HOSTILE, HOSTILE, strict=True))
    failures = [{"id": text, "title": text, "image": text, "reason": text, "skipped": False} for text in HOSTILE]
    found["systems"] = [
        system(name, source=name, settings=many, manifest=many, failures=failures, notes=list(HOSTILE), not_run=many, machines=list(HOSTILE),
               work=dict.fromkeys(HOSTILE, 1), phases=dict.fromkeys(HOSTILE, 1.0), weights=found["systems"][0]["weights"])
        for name in HOSTILE[:2]
    ]  # fmt: skip
    found["measures"] = [measure | {"label": text} for measure, text in zip(MEASURES, HOSTILE, strict=False)]
    found["tokens"][0] = dict(zip(range(1, 5), HOSTILE, strict=False))
    pictures = [
        {"name": text, "src": PIXEL} if number % 2 else {"name": text, "fault": text} for number, text in enumerate(HOSTILE)
    ]
    file = folder / f"{HOSTILE[10].replace('/', '')}.html"  # a markup of an image that fails to load
    file.write_text(html_of(HOSTILE[1], found, pictures), encoding="utf-8")
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


AXE = [Path(os.environ.get("MAGIC_AXE", "")), ROOT / "node_modules" / "axe-core" / "axe.min.js"]


@pytest.mark.long
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_fault_of_contrast_or_labels(page, tmp_path, dark):
    axe = next((file for file in AXE if file.is_file()), None)
    if axe is None:
        pytest.skip("no axe-core: `npm install axe-core` here, or name its axe.min.js in MAGIC_AXE")
    file = tmp_path / "page.html"
    file.write_text(html_of("magic and greedy", contents(tmp_path), []))
    report = page(file)
    report.emulate(width=1280, height=1000, dark=dark)
    for address in (*(f"#view={view}" for view in VIEWS), "#item=1"):
        report.run("location.hash = arguments[0]", address)
        report.run("return new Promise(requestAnimationFrame)")
        script = f"{axe.read_text()}; return axe.run().then((found) => found.violations.map((one) => one.id + ': ' + one.nodes[0].html));"
        assert report.run(script) == [], address
