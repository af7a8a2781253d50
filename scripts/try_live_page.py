"""Use the page of ``magic live`` in a real headless Chromium: upload, three methods, a slider, the steps, the download, refusals, stop.

    python scripts/try_live_page.py                          # needs chromium and chromedriver on PATH, and the extra `live`
    python scripts/try_live_page.py --screenshots docs/images/

Everything is checked: that captions, traces and command lines are those of ``magic caption``, that no request leaves this machine, that a
photo of 100 megapixels, a text and a broken JPEG get a clear message, that axe-core (of MAGIC_AXE, or of `npm install axe-core`) finds no fault,
and that nothing is left of a page that was stopped.
"""

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from browser import Browser, axe_core, browser, check

PHOTO = Path(__file__).resolve().parents[1] / "data" / "photos" / "000000000542.jpg"
METHODS = ("magic", "contrastive", "nucleus")
LARGEST = 120_000  # bytes of the picture
MODELS = ("--language-model", "embedded", "--image-text-model", "embedded")


def python(folder: Path) -> dict[str, str]:
    """The environment of a program of ours that keeps everything in one folder."""
    places = {"TMPDIR": str(folder / "tmp"), "XDG_CACHE_HOME": str(folder / "cache")}
    return os.environ | places | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextlib.contextmanager
def live(folder: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """The page's address, and its program."""
    (folder / "tmp").mkdir(exist_ok=True)
    words = [sys.executable, "-m", "magic_cli", "live", "--port", "0", *MODELS]
    program = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=python(folder), cwd=folder)
    try:
        address = program.stdout.readline().strip()
        check(address.startswith("http://127.0.0.1:"), f"the page is served on this machine alone: {address}")
        yield address, program
    finally:
        program.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(30)
        program.kill()
        program.stdout.close()


def state(page: Browser, method: str) -> str:
    return page.run("return document.querySelector(`[data-method=${arguments[0]}]`)?.dataset.state ?? ''", method)


def shown(page: Browser, method: str) -> tuple[str, str]:
    """Caption and command line of a card."""
    return tuple(page.run("const card = document.querySelector(`[data-method=${arguments[0]}]`);"
                          "return ['.caption', 'pre'].map(part => card.querySelector(part).textContent)", method))  # fmt: skip


def upload(page: Browser, file: Path) -> None:
    """Drop a file, in place of the one that is there."""
    if page.run("return document.querySelector('#photo input[type=file]') === null"):
        page.run("document.querySelector('#photo button[aria-label]').click()")
        page.wait("document.querySelector('#photo input[type=file]')")
    page.type("#photo input[type=file]", str(file))


def problem(page: Browser) -> str:
    page.wait("document.querySelector('#problem [role=alert]')", 60)
    return page.run("return document.querySelector('#problem [role=alert]').textContent")


def set_slider(page: Browser, name: str, value: float) -> None:
    page.run(
        "const field = document.querySelector(`#${arguments[0]} input[type=number]`);"
        "field.value = arguments[1]; field.dispatchEvent(new Event('input', {bubbles: true})); field.dispatchEvent(new Event('blur'))",
        name, value,
    )  # fmt: skip


def write(page: Browser, methods: tuple[str, ...] = METHODS) -> list[str]:
    """Press the button, wait for all captions; returns the beginnings of the first one that were seen."""
    page.click("#write")
    page.wait("document.querySelector('.magic-card:not([data-state=done])')", 60)
    seen: list[str] = []
    deadline = time.monotonic() + 120
    while any(state(page, method) != "done" for method in methods):
        text = page.run("return document.querySelector('.magic-card .caption')?.textContent ?? ''")
        if text and (not seen or seen[-1] != text):
            seen.append(text)
        if time.monotonic() > deadline:
            sys.exit(f"FAILED: captions are not done: {[(method, state(page, method)) for method in methods]}")
    return seen


def by_command_line(command: str, folder: Path, name: str) -> Path:
    """The run folder of a shown command line."""
    words = [sys.executable, "-m", "magic_cli", *shlex.split(command)[1:], f"run.dir={name}"]
    subprocess.run(words, check=True, cwd=folder, env=python(folder), capture_output=True)
    return folder / name


def refusals(page: Browser, folder: Path) -> None:
    Image.new("RGB", (12500, 8000), "teal").save(folder / "sea.jpg")
    (folder / "notes.txt").write_text("not a photo")
    (folder / "broken.jpg").write_bytes(PHOTO.read_bytes()[:2000])
    for name, words in {"sea.jpg": "has 100 megapixels", "notes.txt": "is not an image", "broken.jpg": "is damaged"}.items():
        upload(page, folder / name)
        page.wait(f"document.querySelector('#problem').textContent.includes({json.dumps(name)})", 60)
        said = problem(page)
        check(said.startswith(f"{name} {words}") and "Traceback" not in said, f"refused in one line: {said}")
    page.click("#write")
    page.wait("document.querySelector('#cards [role=alert]')")
    check("drop a photo" in page.run("return document.querySelector('#cards').textContent"), "without a photo nothing is written")


def captions(page: Browser, folder: Path) -> None:
    upload(page, folder / PHOTO.name)
    page.wait("document.querySelector('#picture img')", 30)
    check(page.run("return document.querySelector('#problem').textContent.trim()") == "", "a good photo takes the complaint away")
    seen = write(page)
    check(len(seen) > 4 and all(b.startswith(a[: len(a) - 2]) for a, b in zip(seen, seen[1:], strict=False)),
          f"the first caption grew before our eyes: {len(seen)} states of {seen[-1]!r}")  # fmt: skip
    first = {method: shown(page, method) for method in METHODS}
    set_slider(page, "beta", 0.5)
    write(page)
    second = {method: shown(page, method) for method in METHODS}
    check(
        "decoding.beta=0.5" in second["magic"][1] and "decoding.beta=0.5" not in first["magic"][1],
        "the slider reaches the command",
    )
    for number, captions in enumerate((first, second)):
        for method in METHODS if number == 0 else ("magic",):
            text, command = captions[method]
            run = by_command_line(command, folder, f"{method}-{number}")
            check(
                json.loads((run / "predictions.jsonl").read_text())["caption"] == text,
                f"{method}: {text!r}, as `{command}` has it",
            )


def download(page: Browser, folder: Path) -> None:
    page.wait("document.querySelector('#download:not([disabled]), #download button:not([disabled]), a#download')")
    page.click("#download")
    file, deadline = folder / "downloads" / "magic-live.zip", time.monotonic() + 20
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        check(all(f"{method}/trace.jsonl" in names for method in METHODS) and PHOTO.name in names, "the runs can be downloaded")
        mine = archive.read("magic/trace.jsonl").decode()
    check(mine == (folder / "magic-1" / "trace.jsonl").read_text(), "the downloaded trace is that of the command line")


def access(page: Browser) -> None:
    """Light and dark, on a screen and on a phone."""
    axe = axe_core()
    wide, faults = [], []
    for dark in (False, True):
        for width in (1280, 390):
            page.emulate(width=width, height=844, dark=dark)
            page.run("return new Promise((done) => setTimeout(done, 500))")  # colours fade in
            where = f"{'dark' if dark else 'light'}, {width} pixels wide"
            if page.run("return document.documentElement.scrollWidth") > width:
                wide.append(where)
            faults += [f"{where}: {fault}" for fault in (page.faults_of_access(axe) if axe else [])]
    check(not wide, f"the page fits a screen and a phone, light and dark {wide or ''}")
    if axe is None:
        print("not checked, since there is no axe-core: contrast and labels", file=sys.stderr)
    else:
        check(not faults, f"and axe-core finds no fault there {faults or ''}")
    page.emulate(width=1280, height=1400)


def stop(page: Browser, folder: Path) -> None:
    page.click("#write")
    page.wait("document.querySelector('.magic-card[data-state=writing]')")
    page.click("#stop")
    page.wait("document.querySelector('.magic-card[data-state=stopped]')", 30)
    check(not list(folder.glob("tmp/magic-live-*/visitors/*/runs/*")), "a caption that was stopped leaves no run folder")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--screenshots", type=Path, help="keep a picture of the page in this folder")
    screenshots = parser.parse_args().screenshots
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / PHOTO.name).write_bytes(PHOTO.read_bytes())
        with live(folder) as (address, program), browser(folder, size=(1280, 1400)) as page:
            page.open(address)
            page.wait("document.querySelector('#write')", 60)
            refusals(page, folder)
            captions(page, folder)
            inspect(page)
            if screenshots:
                page.emulate(width=1280, height=1250)
                page.screenshot(screenshots / "live.png", largest=LARGEST)
            access(page)
            download(page, folder)
            stop(page, folder)
            asked = [url for url in page.requests() if not url.startswith((address, "blob:", "about:"))]
            check(not asked, f"no request leaves this machine {asked or ''}")
            page.click("#write")
            page.wait("document.querySelector('.magic-card[data-state=writing]')")
            program.send_signal(signal.SIGTERM)
            status = program.wait(30)
        check(status in (128 + signal.SIGTERM, 0), f"SIGTERM in the middle of a caption ends it: exit status {status}")
        others = ("chrom", "torchinductor_")  # the browser's, and the empty folder that whoever imports torch makes
        left = sorted(
            str(path.relative_to(folder))
            for path in (folder / "tmp").rglob("*")
            if not any(other in path.name.lower() for other in others)
        )
        check(not left, f"and nothing is left behind {left or ''}")


def inspect(page: Browser) -> None:
    page.wait("document.querySelector('#inspector iframe')")
    page.enter("#inspector iframe")
    page.wait("document.body.dataset.ready === 'true'")
    text = page.run("return document.body.innerText")
    check(PHOTO.name in text and all(method in text for method in METHODS), "the steps of all captions are shown below them")
    page.leave()


if __name__ == "__main__":
    main()
