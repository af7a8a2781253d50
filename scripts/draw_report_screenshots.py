"""Draw the pictures of docs/reports.md: each view of `magic report`, of the sample photos and of stories of the tiny world.

python scripts/draw_report_screenshots.py            # needs chromium and chromedriver on PATH; about three minutes
python scripts/draw_report_screenshots.py --output shots/ captions stories   # these pages alone
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from browser import Browser, BrowserFault, browser
from tiny_world import write_world

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "data" / "photos"
TRACED = ("run.trace=true", "run.lazy=false")
MODELS = ("--language-model", "embedded", "--image-text-model", "embedded")
TITLES = {
    "A day at the zoo": "000000097201.jpg",
    "Riding by the sea": "000000214753.jpg",
    "The first time on skis": "000000014269.jpg",
}
QUERIES = ("a dog playing on grass", "a bird on a branch", "people in a living room")
WIDTH, HEIGHT = 1100, 760
LARGEST = 60_000  # bytes of one picture


def magic(folder: Path, *words: str) -> None:
    """A command in a folder, so that pages show short names."""
    command, path = [sys.executable, "-m", "magic_cli", *words], os.pathsep.join(filter(None, sys.path))
    answer = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | {"PYTHONPATH": path})
    if answer.returncode not in (0, 3):  # 3: some items failed
        sys.exit(f"magic {' '.join(words)}: {answer.stderr}")


def captions(folder: Path) -> str:
    """The sample photos, and a file that is none, by three methods, with every step of MAGIC's."""
    shutil.copytree(PHOTOS, folder / "photos")
    (folder / "photos" / "notes.jpg").write_text("not a photo")
    methods = ("magic", "contrastive", "nucleus")
    for method in methods:
        trace = TRACED if method == "magic" else ()
        magic(folder, "caption", "--images", "photos", *MODELS, "--decoding", method, "--run-dir", method, *trace)
    metrics, title = ("--metrics", "clip_score,repetition"), "The sample photos by three methods"
    magic(folder, "report", *methods, *metrics, "--output", "captions.html", "--title", title)
    return "captions.html"


def stories(folder: Path) -> str:
    """Titles with a photo each."""
    lines = [json.dumps({"title": title, "image": photo}) for title, photo in TITLES.items()]
    (folder / "titles.jsonl").write_text("\n".join(lines), encoding="utf-8")
    methods = ("magic", "nucleus")
    for method in methods:
        titles = ("dataset=titles", "dataset.titles=titles.jsonl", f"dataset.root={PHOTOS}")
        magic(folder, "story", *titles, *MODELS, "--decoding", method, "--run-dir", method, *TRACED)
    magic(folder, "report", *methods, "--output", "stories.html", "--title", "Stories for titles and photos")
    return "stories.html"


def interleaved(folder: Path) -> str:
    """Illustrated stories, by what a step may look back on."""
    write_world(folder / "world", seed=901, captions=0, tasks=0, stories=4)
    contexts = ("both", "text")
    for context in contexts:
        settings = ("guidance=3", "scheduler=ddim", "steps=20", f"context={context}")
        magic(folder, "interleave", "--items", "world/stories.jsonl", *settings, "--run-dir", context)
    title = "Illustrated stories whose steps look back on texts and images, or on texts alone"
    magic(folder, "report", *contexts, "--output", "interleaved.html", "--title", title)
    return "interleaved.html"


def retrieved(folder: Path) -> str:
    """Photos that were found for texts."""
    (folder / "queries.txt").write_text("\n".join(QUERIES), encoding="utf-8")
    magic(folder, "retrieve-images", "build", str(PHOTOS), "--index", "index", *MODELS[2:])
    magic(folder, "retrieve-images", "query", "queries.txt", "--index", "index", "--output", "found", "top_k=5")
    magic(folder, "report", "found", "--title", "Photos for texts")
    return "found/report.html"


def at(address: str, shown: str) -> Callable[[Browser], None]:
    """A view, when something in it is there."""

    def go(page: Browser) -> None:
        page.run("location.hash = arguments[0]; scrollTo(0, 0)", address)
        page.wait(f"document.querySelector({shown!r}) && document.querySelector({shown!r}).offsetParent")

    return go


def first_item(page: Browser) -> None:
    page.run("location.hash = document.querySelector('.card a').hash")
    page.wait("document.querySelector('#heading-item')")


def inspector(page: Browser) -> None:
    first_item(page)
    page.wait("document.querySelector('.candidates')")
    page.run("document.querySelectorAll('.token')[2].click(); document.querySelector('#inspector').scrollIntoView()")


def what_if(page: Browser) -> None:
    """The weight of the image at which the first step would choose otherwise."""
    inspector(page)
    page.run(
        "const field = document.querySelector('#weight-beta'), outcome = document.querySelector('#outcome');"
        "for (let beta = 1.9; beta >= 0 && !outcome.dataset.token; beta -= 0.1) {"
        "  field.value = beta.toFixed(1); field.dispatchEvent(new Event('input')); }"
        "document.querySelectorAll('.token')[Number(outcome.dataset.step)].click()"
    )


def phone(page: Browser) -> None:
    page.emulate(width=390, height=HEIGHT, dark=True)
    at("#view=items", ".card")(page)


VIEWS: dict[str, tuple[Callable[[Path], str], dict[str, Callable[[Browser], None]]]] = {
    "captions": (captions, {
        "items": at("#view=items", ".card"), "item": first_item, "inspector": inspector, "what-if": what_if,
        "measures": at("#view=measures", "#view-measures table"), "histograms": at("#view=histograms", ".histogram"),
        "runs": at("#view=runs", "#view-runs table"), "failures": at("#view=failures", "#view-failures table"), "phone": phone,
    }),
    "stories": (stories, {"stories": at("#view=items", ".card")}),
    "interleaved": (interleaved, {"interleaved": first_item}),
    "retrieved": (retrieved, {"retrieved": at("#view=items", ".card")}),
}  # fmt: skip
"""Pages, and the pictures of each, in the order in which they are drawn."""


def draw(page: Browser, file: Path) -> None:
    page.wait("[...document.images].every((image) => image.complete || image.getBoundingClientRect().top > innerHeight)")
    page.screenshot(file, largest=LARGEST)
    print(f"{file} {file.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", help=f"which of {', '.join(VIEWS)}; all without")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images", help="folder of the pictures")
    args = parser.parse_args()
    if unknown := set(args.pages) - set(VIEWS):
        parser.error(f"no page {', '.join(sorted(unknown))}; there are {', '.join(VIEWS)}")
    with tempfile.TemporaryDirectory() as name, browser(Path(name)) as page:
        for which in args.pages or VIEWS:
            make, views = VIEWS[which]
            (folder := Path(name) / which).mkdir()
            page.open(folder / make(folder))
            page.wait("document.body.dataset.ready")
            page.emulate(width=WIDTH, height=HEIGHT)
            for view, go in views.items():
                go(page)
                draw(page, args.output / f"report-{view}.png")
        if logged := page.console():
            sys.exit(f"the pages logged: {logged}")


if __name__ == "__main__":
    try:
        main()
    except BrowserFault as fault:
        sys.exit(str(fault))
