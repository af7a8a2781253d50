"""Download images with captions as webdataset shards, from Conceptual Captions' public file of caption<TAB>address rows.

    python scripts/prepare_conceptual_captions.py Train_GCC-training.tsv --limit 400000 --contact you@example.org
    magic retrieve-images build 'data/conceptual_captions/*.tar' --index data/conceptual_captions/index

The file is at https://ai.google.com/research/ConceptualCaptions/download. Many of its 3.3 million addresses no longer
answer; the paper's bank held about 330,000 images. A list beside each shard names the missing images and the reasons.
After a break, start the script again: it goes on where it stopped. It sends few requests to a host at a time, and each
request says who sends it.
"""

import argparse
import hashlib
import io
import itertools
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from http_requests import Failed, Limits
from image_shards import ImageShards
from magic_cli import __version__
from magic_cli.data.images import UnreadableImage, open_image, quiet_pillow
from magic_cli.errors import MagicError
from magic_cli.terminal.progress import progress
from polite_download import Downloader

JPEG_QUALITY = 92
DECODERS = threading.BoundedSemaphore(os.cpu_count() or 1)  # a large image takes hundreds of megabytes while it is decoded


class Row(NamedTuple):
    """One image of the file."""

    number: int
    """From 0; names the image."""
    caption: str
    url: str


def main() -> int:
    args = parse_arguments()
    quiet_pillow()
    shards = ImageShards(args.output, rows_per_shard=args.rows_per_shard)
    try:
        with shards.locked(
            {"file": args.tsv.name, "sha256": sha256(args.tsv), "rows_per_shard": args.rows_per_shard, "side": args.side}
        ):
            counts = bring(shards, args)
    except MagicError as error:
        print(f"prepare_conceptual_captions: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, or a folder that cannot be written
        place = error.filename or args.output
        print(
            f"prepare_conceptual_captions: {place}: cannot be used ({error.strerror or error}); mend that, and the same command goes on",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("prepare_conceptual_captions: stopped; the same command goes on where it stopped", file=sys.stderr)
        return 130
    for reason, count in counts.most_common():
        print(f"{count}\t{reason}")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tsv", type=Path, help="file of caption<TAB>address rows")
    parser.add_argument("--output", type=Path, default=Path("data/conceptual_captions"), help="folder of the shards")
    parser.add_argument("--limit", type=int, help="only the first so many rows; a later start may raise it")
    parser.add_argument(
        "--contact", default="", help="mail address or page by which hosts can reach you; sent with every request"
    )
    parser.add_argument(
        "--side", type=int, default=256, help="scale images down to so many pixels on the short side; 0: keep their size"
    )
    parser.add_argument("--rows-per-shard", type=int, default=10_000)
    parser.add_argument(
        "--again",
        action="store_true",
        help="try again what failed for a passing reason, also in finished shards (except a shard that --limit cuts)",
    )
    for name, kind, text in (
        ("workers", int, "requests at a time"),
        ("per_host", int, "requests at a time to one host"),
        ("delay", float, "seconds between two requests to one host"),
        ("timeout", float, "seconds for one image"),
        ("max_bytes", int, "size of one image"),
        ("attempts", int, "for one image, where a failure is temporary"),
        ("longest_wait", float, "seconds that a host may ask to wait"),
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=getattr(Limits, name), help=f"{text} (%(default)s)")
    args = parser.parse_args()
    for name, least in (
        ("limit", 1),
        ("side", 0),
        ("rows_per_shard", 1),
        ("workers", 1),
        ("per_host", 1),
        ("delay", 0),
        ("max_bytes", 1),
        ("attempts", 1),
    ):
        if getattr(args, name) is not None and getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(args, name)}")
    if not args.timeout > 0:
        parser.error(f"--timeout must be greater than 0, got {args.timeout}")
    if not (args.contact.isascii() and args.contact.isprintable()):
        parser.error(f"--contact must be printable ASCII, since it is sent in a header, got {args.contact!r}")
    if not args.tsv.is_file():
        parser.error(f"{args.tsv}: no such file; download it from https://ai.google.com/research/ConceptualCaptions/download")
    return args


def bring(shards: ImageShards, args: argparse.Namespace) -> Counter[str]:
    """Download what the shards lack; returns how many rows this start brought, and what became of the others."""
    lacking: dict[int, set[int]] = {}
    stops: dict[int, int] = {}
    counts: Counter[str] = Counter()

    def settle(row: Row, failure: Failed | None) -> None:
        if failure is not None:
            shards.fail(row.number, row.url, failure.reason, temporary=failure.temporary)
        counts["images" if failure is None else failure.reason] += 1
        bar.update()
        shard = row.number // args.rows_per_shard
        lacking[shard].discard(row.number)
        if not lacking[shard]:
            shards.finish(shard, stops[shard])

    def files() -> Iterator[tuple[Row, str]]:
        rows = itertools.islice(read_rows(args.tsv), args.limit)
        for shard, chunk in enumerate(iter(lambda: list(itertools.islice(rows, args.rows_per_shard)), [])):
            stops[shard] = chunk[-1].number + 1
            lacks = shards.open_shard(shard, stops[shard], again=args.again)
            bar.update(len(chunk) - len(lacks or ()))
            if lacks is None:
                continue
            lacking[shard] = lacks
            if not lacks:
                shards.finish(shard, stops[shard])
            for row in (row for row in chunk if row.number in lacks):
                if row.url:
                    yield row, row.url
                else:
                    settle(row, Failed("the row is not caption<TAB>address"))

    names = ("workers", "per_host", "delay", "timeout", "max_bytes", "attempts", "longest_wait")
    limits = Limits(user_agent(args.contact), **{name: getattr(args, name) for name in names})
    with progress(args.limit, "download", "row") as bar:
        for row, failure in Downloader(limits, lambda row, data: keep(shards, row, data, args.side)).run(files()):
            settle(row, failure)
    return counts


def keep(shards: ImageShards, row: Row, data: bytes, side: int) -> Failed | None:
    """Keep a downloaded file if it is an image."""
    try:
        with DECODERS:
            image, size = decode(data, side)
    except UnreadableImage as error:
        return Failed(f"no image that can be read ({error})")
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=JPEG_QUALITY)
    facts = {"row": row.number, "url": row.url, "original_width": size[0], "original_height": size[1]}
    facts |= {"width": image.width, "height": image.height, "sha256": hashlib.sha256(data).hexdigest()}
    shards.add(row.number, stream.getvalue(), row.caption, facts)
    return None


def decode(data: bytes, side: int) -> tuple[Image.Image, tuple[int, int]]:
    """An image, at most ``side`` pixels on the short side unless that is 0, and its size before.

    Raises:
        UnreadableImage: With the reason.
    """
    image = open_image(io.BytesIO(data))
    if not side or min(image.size) <= side:
        return image, image.size
    scale = side / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC), image.size


def read_rows(tsv: Path) -> Iterator[Row]:
    """All rows; one that is not ``caption<TAB>address`` has an empty address."""
    with tsv.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for number, line in enumerate(lines):
            cells = line.rstrip("\r\n").split("\t")
            caption, url = cells if len(cells) == 2 else (line.strip(), "")
            yield Row(number, " ".join(caption.split()), url.strip())


def user_agent(contact: str) -> str:
    return f"magic-prepare-conceptual-captions/{__version__}" + (f" (+{contact})" if contact else "")


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
