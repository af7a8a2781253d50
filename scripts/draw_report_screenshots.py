"""Draw the pictures of docs/reports.md: what `magic report` shows of the sample photos, captioned by three methods.

python scripts/draw_report_screenshots.py            # needs chromium and chromedriver on PATH; about a minute
python scripts/draw_report_screenshots.py --page FILE --output shots/   # of another page
"""

import argparse
import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from browser import Browser, BrowserFault, browser

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("magic", "contrastive", "greedy")
SIZE = 1100, 760
LARGEST = 150_000  # bytes of one picture


def magic(*words: str) -> None:
    answer = subprocess.run([sys.executable, "-m", "magic_cli", *words], capture_output=True, text=True, cwd=ROOT)
    if answer.returncode:
        sys.exit(f"magic {' '.join(words)}: {answer.stderr}")


def make_page(folder: Path) -> Path:
    """The sample photos by three methods, with every step of MAGIC's."""
    for method in METHODS:
        trace = ["run.trace=true", "run.lazy=false"] if method == "magic" else []
        magic("caption", "--images", "data/photos", "--decoding", method, "--run-dir", str(folder / method), *trace)
    page = folder / "page.html"
    runs = [str(folder / method) for method in METHODS]
    magic(
        "report",
        *runs,
        "--metrics",
        "clip_score,repetition",
        "--output",
        str(page),
        "--title",
        "The sample photos by three methods",
    )
    return page


def draw(page: Browser, file: Path) -> None:
    """The window as a PNG of few colours, small enough for a repository."""
    shot = file.with_suffix(".tmp.png")
    page.screenshot(shot)
    with Image.open(shot) as image:
        for colours in (256, 128, 64, 32, 16):
            stream = io.BytesIO()
            image.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
            if stream.tell() <= LARGEST:
                break
    shot.unlink()
    file.write_bytes(stream.getvalue())
    print(f"{file} {stream.tell():,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="what `magic report` wrote; without, the sample photos are captioned")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images", help="folder of the pictures")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, browser(Path(name)) as page:
        page.open(args.page or make_page(Path(name)))
        page.wait("document.body.dataset.ready")
        page.emulate(width=SIZE[0], height=SIZE[1])
        page.wait("[...document.querySelectorAll('.card img')].slice(0, 6).every((image) => image.complete)")
        draw(page, args.output / "report-items.png")
        page.click("nav a[data-view=measures]")
        page.wait("!document.querySelector('#view-measures').hidden")
        draw(page, args.output / "report-measures.png")
        page.run("location.hash = document.querySelector('.card:nth-child(8) a, .card a').hash")
        page.wait("document.querySelector('.candidates')")
        page.run("document.querySelectorAll('.token')[2].click(); document.querySelector('#inspector').scrollIntoView()")
        draw(page, args.output / "report-inspector.png")
        page.emulate(width=390, height=760, dark=True)
        page.run("location.hash = 'view=items'; scrollTo(0, 0)")
        page.wait("!document.querySelector('#view-items').hidden")
        draw(page, args.output / "report-phone.png")


if __name__ == "__main__":
    try:
        main()
    except BrowserFault as fault:
        sys.exit(str(fault))
