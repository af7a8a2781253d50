"""Prepare what `magic caption --dataset flickr30k` reads: Karpathy's split, and the photos that you have received.

    python scripts/prepare_flickr30k.py --images ~/downloads/flickr30k-images.tar.gz
    python scripts/prepare_flickr30k.py --images ~/flickr30k-images      # a folder is used in place

Karpathy's split is downloaded (or found with --from). The photos must be requested by the form on Flickr30k's page
(https://shannon.cs.illinois.edu/DenotationGraph/): their owners have not released them. The script checks the sizes of
the splits, that each image has five captions, and that every photo of val and test is there. It can be started again after a
break.
"""

import sys
from pathlib import Path

from official_files import KARPATHY, arguments, bring, check_images, check_split, karpathy_split, read_split, run, unpack

SPLITS = {"train": 29_000, "val": 1_014, "test": 1_000}
CAPTIONS = range(5, 6)
FORM = (
    "request the photos by the form on https://shannon.cs.illinois.edu/DenotationGraph/ and give what you got with --images FILE"
)


def main() -> None:
    parser = arguments(__doc__, "data/flickr30k", archives="caption_datasets.zip")
    parser.add_argument("--images", type=Path, metavar="PLACE", help="archive (tar, tar.gz, zip) or folder of the photos")
    args = parser.parse_args()
    folder = args.output
    folder.mkdir(parents=True, exist_ok=True)
    annotations = karpathy_split(bring(KARPATHY, folder, local=args.local, mirror=args.mirror), "dataset_flickr30k.json", folder)
    images = read_split(annotations)
    check_split(annotations, images, SPLITS, captions=CAPTIONS)
    root = photos(args.images, folder / "flickr30k-images")
    count = check_images(images, root, ("val", "test"), FORM)
    sizes = ", ".join(f"{split} {size}" for split, size in SPLITS.items())
    print(f"{annotations}: {sizes}; the {count} photos of val and test are in {root}")
    print(f"next: magic caption --dataset flickr30k dataset.root={root} dataset.annotations={annotations}")


def photos(given: Path | None, usual: Path) -> Path:
    """The folder of the photos: the given one, or the usual one, into which an archive is unpacked."""
    if given is None:
        if not usual.is_dir():
            sys.exit(f"{usual}: no such folder; {FORM}")
        return usual
    if given.is_dir():
        return given
    if not given.is_file():
        sys.exit(f"--images {given}: no such file or folder; {FORM}")
    if not unpack(
        given,
        lambda name: usual / name.rpartition("/")[2] if name.endswith(".jpg") and not Path(name).name.startswith(".") else None,
    ):
        sys.exit(f"--images {given}: holds no .jpg file; {FORM}")
    return usual


if __name__ == "__main__":
    run(main)
