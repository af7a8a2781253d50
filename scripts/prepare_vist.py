"""Make the VIST stories that `magic interleave --dataset vist` and training read, from the owners' annotations.

    python scripts/prepare_vist.py --from ~/downloads --images ~/downloads/vist_images
    python scripts/prepare_vist.py --from ~/downloads --contact you@example.org

--from holds SIS-with-labels.tar.gz of https://visionandlanguage.net/VIST/dataset.html, or the three files in it
(train|val|test.story-in-sequence.json); without it the archive is downloaded. --images names a folder that already holds the photos
as <id>.jpg (or another suffix), in any subfolders, as in the owners' archives. Without it, each photo is downloaded from its address
in the annotations; many of these no longer answer, and a list names the missing photos and the reasons. After a break, start the
script again: it goes on where it stopped. Written to --output, for each split:

    val_images/<id>.jpg        the photos, if they were downloaded
    val_cleaned.json           {story: [{"caption", "image_id", "sequence_index"}, ...]}, stories whose photos are all there
    val_image_mapping.json     {image_id: place below --output}
    val_left_out.jsonl         {"story", "reason"} of the others

That is the layout of MiniGPT-5's released code; magic also reads the owners' files directly (data/README.md).
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from http_requests import Failed, Limits
from magic_cli import __version__
from magic_cli.data.image_folders import find_images
from magic_cli.data.images import ImageBytes, UnreadableImage, open_image, quiet_pillow
from magic_cli.data.json_files import read_json_object
from magic_cli.data.vist_files import Scene, read_stories
from magic_cli.files import write_atomically
from magic_cli.terminal.progress import progress
from official_files import bring, run, unpack
from polite_download import Downloader

ARCHIVE = ("SIS-with-labels.tar.gz", "https://visionandlanguage.net/VIST/json_files/story-in-sequence/SIS-with-labels.tar.gz")
SPLITS = {"train": 40_155, "val": 4_990, "test": 5_055}
"""Stories of the owners' files."""
ADDRESSES = ("url_o", "url_m")
REMEDY = "take it from https://visionandlanguage.net/VIST/dataset.html again"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--from", dest="local", type=Path, metavar="FOLDER", help=f"folder that already holds {ARCHIVE[0]} or its files"
    )
    parser.add_argument(
        "--mirror", metavar="URL", help="take the archive from here, under its own name, instead of its official place"
    )
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="folder that already holds the photos; without it they are downloaded"
    )
    parser.add_argument("--output", type=Path, default=Path("data/vist"))
    parser.add_argument("--splits", nargs="+", choices=list(SPLITS), default=list(SPLITS))
    parser.add_argument("--limit", type=int, help="only the first so many stories of each split")
    parser.add_argument(
        "--original-text", action="store_true", help="the text as it was typed, not the one in lower case with names replaced"
    )
    parser.add_argument(
        "--contact", default="", help="mail address or page by which hosts can reach you; sent with every request"
    )
    args = parser.parse_args()
    if args.limit is not None and args.limit < 1:
        parser.error(f"--limit must be at least 1, got {args.limit}")
    if not (args.contact.isascii() and args.contact.isprintable()):
        parser.error(f"--contact must be printable ASCII, since it is sent in a header, got {args.contact!r}")
    if args.images is not None and not args.images.is_dir():
        parser.error(f"--images {args.images}: no such folder")
    quiet_pillow()
    args.output.mkdir(parents=True, exist_ok=True)
    have = {path.stem: path for path in reversed(find_images(args.images).paths)} if args.images else None
    for split, file in annotations(args).items():
        prepare(split, file, have, args)
    first = args.splits[0]
    print(f"next: magic interleave --dataset vist dataset.annotations={args.output / f'{first}_cleaned.json'}")


def annotations(args: argparse.Namespace) -> dict[str, Path]:
    """The file of each split."""
    names = {split: f"{split}.story-in-sequence.json" for split in args.splits}
    folder = args.local
    if folder is None or not all((folder / name).is_file() for name in names.values()):
        archive, folder = bring(ARCHIVE, args.output, local=args.local, mirror=args.mirror), args.output / "annotations"
        unpack(archive, lambda member: folder / Path(member).name if Path(member).name in names.values() else None)
    missing = [name for name in names.values() if not (folder / name).is_file()]
    if missing:
        sys.exit(f"{folder}: has no {missing[0]}; {REMEDY}")
    return {split: folder / name for split, name in names.items()}


def prepare(split: str, file: Path, have: dict[str, Path] | None, args: argparse.Namespace) -> None:
    """Write the three files of a split."""
    stories, is_released = read_stories(file, original=args.original_text)
    if is_released:
        sys.exit(f"{file}: is no story-in-sequence file of the owners; {REMEDY}")
    if len(stories) != SPLITS[split]:
        print(
            f"{file}: holds {len(stories)} stories, and the owners' {split} file {SPLITS[split]}; {REMEDY} if you did not cut it",
            file=sys.stderr,
        )
    stories = dict(list(stories.items())[: args.limit])
    wanted = {scene.image_id for scenes in stories.values() for scene in scenes}
    reasons: dict[str, str] = {}
    if have is None:
        have, reasons = download(wanted, read_json_object(file, remedy=REMEDY), args.output / f"{split}_images", args.contact)
    places = {image_id: have[image_id] for image_id in sorted(wanted) if image_id in have}
    left_out = {story: reason for story, scenes in stories.items() if (reason := fault(scenes, places, reasons))}
    cleaned = {
        story: [{"caption": scene.text, "image_id": scene.image_id, "sequence_index": scene.index} for scene in scenes]
        for story, scenes in stories.items()
        if story not in left_out
    }
    documents: dict[str, Any] = {
        "cleaned": cleaned,
        "image_mapping": {image_id: below(place, args.output) for image_id, place in places.items()},
    }
    for name, document in documents.items():
        write_atomically(args.output / f"{split}_{name}.json", json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    rows = [json.dumps({"story": story, "reason": reason}, ensure_ascii=False) + "\n" for story, reason in left_out.items()]
    write_atomically(args.output / f"{split}_left_out.jsonl", "".join(rows))
    print(f"{args.output}: {split} with {len(cleaned)} of {len(stories)} stories, {len(places)} of {len(wanted)} photos")
    for reason, count in Counter(reasons.values()).most_common():
        print(f"{count}\t{reason}")


def fault(scenes: list[Scene], places: dict[str, Path], reasons: dict[str, str]) -> str | None:
    """Why a story cannot be told; None: it can."""
    for scene in scenes:
        if not scene.text.strip():
            return f"scene {scene.index} has no text"
        if scene.image_id not in places:
            return f"scene {scene.index}: no photo {scene.image_id}" + (
                f" ({reasons[scene.image_id]})" if scene.image_id in reasons else ""
            )
    return None


def below(place: Path, output: Path) -> str:
    """A photo's place as the mapping has it: below the output, else absolute."""
    place = place.absolute()
    return place.relative_to(output.absolute()).as_posix() if place.is_relative_to(output.absolute()) else str(place)


def download(wanted: set[str], document: dict[str, Any], folder: Path, contact: str) -> tuple[dict[str, Path], dict[str, str]]:
    """Bring the photos that are not there yet; returns where they are, and why others are not."""
    folder.mkdir(parents=True, exist_ok=True)
    addresses = {
        str(image.get("id")): next((image[key] for key in ADDRESSES if image.get(key)), "")
        for image in document.get("images", [])
    }
    reasons = {image_id: "the annotations give no address" for image_id in wanted if not addresses.get(image_id)}

    def lacking() -> Iterator[tuple[str, str]]:
        for image_id in sorted(wanted - reasons.keys()):
            if not (folder / f"{image_id}.jpg").exists():
                yield image_id, addresses[image_id]

    limits = Limits(f"magic-prepare-vist/{__version__}" + (f" (+{contact})" if contact else ""))
    with progress(sum(1 for _ in lacking()), "download", "photo") as bar:
        for image_id, failure in Downloader(limits, lambda image_id, data: keep(folder / f"{image_id}.jpg", data)).run(lacking()):
            bar.update()
            if failure is not None:
                reasons[image_id] = failure.reason
    return {image_id: folder / f"{image_id}.jpg" for image_id in wanted if (folder / f"{image_id}.jpg").exists()}, reasons


def keep(place: Path, data: bytes) -> Failed | None:
    """Keep a photo as it came, if it is one."""
    try:
        open_image(ImageBytes(data, place.name))
    except UnreadableImage as reason:
        return Failed(f"no image that can be read ({reason})")
    part = place.with_name(f".{place.name}.{hashlib.sha256(data).hexdigest()[:8]}.part")
    part.write_bytes(data)
    part.replace(place)
    return None


if __name__ == "__main__":
    run(main)
