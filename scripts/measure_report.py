"""What a page of `magic report` costs: to write, to open in a real Chromium, and to use.

    python scripts/measure_report.py RUN [RUN ...] --output page.html         of these runs or prediction files
    python scripts/measure_report.py --captions captions.json --photos DIR --items 5000

With --captions (the layout of COCO's files) three people who described the same photos stand for three systems, and two others are
the references: as many photos as one likes, with real texts and nothing to decode.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil

from browser import Browser, BrowserFault, browser

LOADS = 3
PEOPLE = 3
TIMED = """
  const [action, list] = [new Function(arguments[0]), document.querySelector(arguments[1])];
  const changed = new Promise((done) => new MutationObserver(done).observe(list, { childList: true, subtree: true, attributes: true }));
  const frame = () => new Promise(requestAnimationFrame);
  const began = performance.now();
  action();
  return changed.then(frame).then(frame).then(() => performance.now() - began);
"""
TO_THE_END = """
  const list = document.querySelector("#list"), more = document.querySelector("#more");
  const frame = () => new Promise(requestAnimationFrame);
  return (async () => {
    const began = performance.now(), frames = [];
    while (!more.hidden) {
      const last = performance.now();
      more.scrollIntoView();
      await frame();
      frames.push(performance.now() - last);
    }
    await frame();
    return [performance.now() - began, Math.max(...frames), list.querySelectorAll(".card").length];
  })();
"""


def people_as_systems(captions: Path, photos: Path, items: int, folder: Path) -> list[Path]:
    """Prediction files of so many photos: each holds what one person wrote, beside what two others wrote."""
    content, texts = json.loads(captions.read_text(encoding="utf-8")), defaultdict(list)
    for annotation in content["annotations"]:
        texts[annotation["image_id"]].append(annotation["caption"])
    images = [image for image in content["images"] if len(texts[image["id"]]) >= PEOPLE + 2][:items]
    if len(images) < items:
        sys.exit(f"{captions}: {len(images):,} photos have {PEOPLE + 2} captions, and --items is {items:,}")
    files = []
    for person in range(PEOPLE):
        records = [
            {
                "id": str(image["id"]),
                "image": str(photos / image["file_name"]),
                "caption": texts[image["id"]][person],
                "references": texts[image["id"]][PEOPLE : PEOPLE + 2],
            }
            for image in images
        ]
        files.append(folder / f"person-{person + 1}.json")
        files[-1].write_text(json.dumps(records), encoding="utf-8")
    return files


def write_page(systems: list[str], page: Path, words: list[str]) -> None:
    began = time.monotonic()
    command = [sys.executable, "-m", "magic_cli", "report", *systems, "--output", str(page), *words]
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    told = program.stderr.read()
    _, status, usage = os.wait4(program.pid, 0)
    if status:
        sys.exit(told)
    seconds, processor = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    print(f"written in {seconds:.1f} s ({processor:.1f} s of processor), at most {usage.ru_maxrss / 1024:,.0f} MB of memory")
    beside = list(page.with_name(f"{page.stem}_images").glob("*.img"))
    more = (
        f", and {len(beside):,} thumbnails beside it: {sum(file.stat().st_size for file in beside) / 1e6:.1f} MB"
        if beside
        else ""
    )
    print(f"page: {page.stat().st_size / 1e6:.1f} MB{more}")


def memory(folder: Path) -> float:
    """Megabytes of all processes of the browser that keeps its profile here; what they share is counted once."""
    found = 0
    for process in psutil.process_iter():
        try:
            if any(str(folder) in word for word in process.cmdline()):
                found += process.memory_full_info().pss
        except psutil.Error:
            continue  # it ended meanwhile
    return found / 1e6


def timed(page: Browser, what: str, action: str, changes: str = "#list") -> None:
    print(f"{what}: {page.run(TIMED, action, changes):.0f} ms")


def field(name: str, value: str) -> str:
    return f"const field = document.querySelector('#{name}'); field.value = {value!r}; field.dispatchEvent(new Event('input', {{bubbles: true}}))"


def use(page: Browser, file: Path, folder: Path) -> None:
    empty, usable = memory(folder), []
    for _ in range(LOADS):
        page.open("about:blank")
        page.open(file)
        page.wait(
            "document.body && document.body.dataset.ready && performance.getEntriesByName('first-contentful-paint').length", 120
        )
        usable.append(page.run(
            "return Math.max(performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd,"
            "performance.getEntriesByName('first-contentful-paint')[0].startTime)"
        ))  # fmt: skip
    print(f"usable after {statistics.median(usable):.0f} ms (of {LOADS} loads: {', '.join(f'{ms:.0f}' for ms in usable)})")
    page.wait("[...document.querySelectorAll('.card img')].slice(0, 6).every((image) => image.complete && image.naturalWidth)")
    page.command("HeapProfiler.collectGarbage")
    heap = page.run("return performance.memory.usedJSHeapSize / 1e6")
    print(
        f"memory: {memory(folder) - empty:,.0f} MB more than the empty browser's {empty:,.0f} MB; {heap:.0f} MB of it JavaScript's"
    )
    timed(page, "sort", field("order", "down"))
    timed(page, "sort by the difference of two", field("minus", "1"))
    timed(page, "filter", field("least", "0"))
    timed(page, "search", field("search", "dog"))
    timed(page, "clear all", "document.querySelector('#clear').click()")
    timed(page, "24 more", "document.querySelector('#more').click()")
    for view in ("measures", "histograms", "runs", "failures"):
        timed(page, f"view {view}", f"location.hash = 'view={view}'", f"#view-{view}")
    timed(page, "open an item", "location.hash = document.querySelector('.card a').hash", "#view-item")
    timed(page, "back to the list", "location.hash = 'view=items'", "main")
    took, longest, cards = page.run(TO_THE_END)
    print(
        f"all {cards:,} cards by scrolling: {took / 1000:.1f} s, the longest frame {longest:.0f} ms; then {memory(folder) - empty:,.0f} MB"
    )
    timed(page, "sort with all cards drawn", field("order", "up"))
    asked = [address for address in page.requests() if not address.startswith(("file:", "about:"))]
    print(f"console: {page.console() or 'empty'}; asked for outside: {asked or 'nothing'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", help="run folders or prediction files")
    parser.add_argument("--captions", type=Path, help="captions of photos by five people each")
    parser.add_argument("--photos", type=Path, help="the folder of those photos")
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--output", type=Path, help="keep the page here; an .html file")
    parser.add_argument("--words", nargs="*", default=[], help="further settings of magic report")
    args = parser.parse_args()
    if bool(args.systems) == bool(args.captions) or bool(args.captions) != bool(args.photos):
        parser.error("name runs, or --captions and --photos")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        systems = args.systems or people_as_systems(args.captions, args.photos.absolute(), args.items, folder)
        file = args.output or folder / "page.html"
        write_page([str(system) for system in systems], file, args.words)
        with browser(folder) as page:
            use(page, file, folder)


if __name__ == "__main__":
    try:
        main()
    except BrowserFault as fault:
        sys.exit(str(fault))
