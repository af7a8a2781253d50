"""Draw captioned photos as one picture, as README shows it.

    magic caption --images data/photos | python scripts/draw_captions.py data/photos --output docs/images/captioned-photos.jpg

Reads lines ``name<TAB>caption``; the photos are below the folder. Each photo is cut to a square, and its caption stands below it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

COLUMNS, SIDE, GAP, TEXT_HEIGHT = 5, 224, 12, 66
"""Photos beside one another, and sizes in pixels."""
FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")  # comes with matplotlib, so it is the same everywhere


def read_captions(text: str) -> list[tuple[str, str]]:
    """The names and captions of ``name<TAB>caption`` lines.

    Raises:
        SystemExit: A line has no tab.
    """
    pairs = []
    for number, line in enumerate(text.splitlines(), start=1):
        name, tab, caption = line.partition("\t")
        if not tab:
            sys.exit(f"line {number}: no tab between name and caption; pipe in what `magic caption` prints")
        pairs.append((name, caption))
    return pairs


def draw(photos: Path, captions: Sequence[tuple[str, str]]) -> Image.Image:
    """One picture of all photos with their captions.

    Args:
        photos: Folder of the photos.
        captions: (name, caption) of each.
    """
    rows = -(-len(captions) // COLUMNS)
    width, height = SIDE + GAP, SIDE + TEXT_HEIGHT + GAP
    picture = Image.new("RGB", (COLUMNS * width + GAP, rows * height + GAP), "white")
    font = ImageFont.truetype(str(FONT), 15, layout_engine=ImageFont.Layout.BASIC)
    pen = ImageDraw.Draw(picture)
    for number, (name, caption) in enumerate(captions):
        row, column = divmod(number, COLUMNS)
        left, top = GAP + column * width, GAP + row * height
        with Image.open(photos / name) as photo:
            picture.paste(ImageOps.fit(ImageOps.exif_transpose(photo).convert("RGB"), (SIDE, SIDE)), (left, top))
        pen.multiline_text((left, top + SIDE + 5), _wrapped(caption, font), fill="black", font=font, spacing=3)
    return picture


def _wrapped(caption: str, font: ImageFont.FreeTypeFont) -> str:
    """The caption in lines that are as wide as a photo."""
    lines = [""]
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > SIDE and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of the photos")
    parser.add_argument("--output", type=Path, required=True, help="the picture, .jpg, .png or .webp")
    args = parser.parse_args()
    captions = read_captions(sys.stdin.read())
    if not captions:
        parser.error("no captions on stdin; pipe in what `magic caption` prints")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    draw(args.photos, captions).save(args.output, quality=85, optimize=True)


if __name__ == "__main__":
    main()
