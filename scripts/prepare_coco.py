"""Bring what `magic caption --dataset coco` reads: Karpathy's split and the images of val2014.

    python scripts/prepare_coco.py                         # downloads 7 GB to data/coco
    python scripts/prepare_coco.py --from ~/downloads      # uses caption_datasets.zip and val2014.zip that are there

Finished parts are kept, so it can be started again after a break.
"""

import argparse
import shutil
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

SOURCES = {
    "caption_datasets.zip": "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
    "val2014.zip": "http://images.cocodataset.org/zips/val2014.zip",
}


def bring(name: str, folder: Path, local: Path | None) -> Path:
    """The archive ``name``: from the local folder if given, else downloaded to ``folder`` (a half one is resumed)."""
    if local is not None:
        archive = local / name
        if not archive.is_file():
            sys.exit(f"--from {local}: has no {name}; download it from {SOURCES[name]}")
        return archive
    archive, part = folder / name, folder / f"{name}.part"
    if archive.exists():
        return archive
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(SOURCES[name], headers={"Range": f"bytes={have}-"} if have else {})
    advice = "start again to go on, or download it elsewhere and use --from FOLDER"
    try:
        with urllib.request.urlopen(request) as answer, part.open("ab" if answer.status == 206 else "wb") as stream:
            print(f"downloading {SOURCES[name]} ({have / 1e6:.0f} MB are here)", file=sys.stderr)
            expected = int(answer.headers["Content-Length"]) + (have if answer.status == 206 else 0)
            shutil.copyfileobj(answer, stream, 1 << 20)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to send, the part is whole
            sys.exit(f"{SOURCES[name]}: {error}; {advice}")
        expected = have
    except OSError as error:
        sys.exit(f"{SOURCES[name]}: {error}; {advice}")
    if part.stat().st_size != expected:
        sys.exit(f"{SOURCES[name]}: the connection broke at {part.stat().st_size} of {expected} bytes; {advice}")
    part.rename(archive)
    return archive


def unpack(archive: Path, folder: Path, wanted) -> int:
    """Extract the members that ``wanted`` accepts and that are not there yet; returns their number."""
    try:
        with zipfile.ZipFile(archive) as members:
            chosen = [m for m in members.infolist() if wanted(m.filename)]
            for member in chosen:
                target = folder / member.filename
                if not target.exists() or target.stat().st_size != member.file_size:
                    members.extract(member, folder)
    except zipfile.BadZipFile as error:
        sys.exit(f"{archive}: {error}; delete it and start again")
    return len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("data/coco"))
    parser.add_argument("--from", dest="local", type=Path, help="folder that already holds the two archives")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    if not unpack(bring("caption_datasets.zip", args.output, args.local), args.output, lambda name: name == "dataset_coco.json"):
        sys.exit("caption_datasets.zip: has no dataset_coco.json")
    images = unpack(bring("val2014.zip", args.output, args.local), args.output, lambda name: name.endswith(".jpg"))
    print(f"{args.output}: dataset_coco.json and {images} images in val2014/; next: magic caption --dataset coco dataset.root={args.output} "
          f"dataset.annotations={args.output / 'dataset_coco.json'}")  # fmt: skip


if __name__ == "__main__":
    main()
