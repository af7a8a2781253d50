"""Download what `magic caption --dataset coco` reads: Karpathy's split and the images of val2014.

    python scripts/prepare_coco.py                         # downloads 7 GB to data/coco
    python scripts/prepare_coco.py --from ~/downloads      # uses caption_datasets.zip and val2014.zip of that folder

The script checks the sizes of the splits, and that every image of val and test is there. It keeps finished parts, so it can
be started again after a break.
"""

from official_files import KARPATHY, arguments, bring, check_images, check_split, karpathy_split, read_split, run, unpack

IMAGES = ("val2014.zip", "http://images.cocodataset.org/zips/val2014.zip")
SPLITS = {"train": 82_783, "val": 5_000, "test": 5_000, "restval": 30_504}  # tensorflow.org/datasets/catalog/coco_captions
CAPTIONS = range(5, 8)  # mostly 5


def main() -> None:
    args = arguments(__doc__, "data/coco", archives="the two archives").parse_args()
    folder = args.output
    folder.mkdir(parents=True, exist_ok=True)
    annotations = karpathy_split(bring(KARPATHY, folder, local=args.local, mirror=args.mirror), "dataset_coco.json", folder)
    images = read_split(annotations)
    check_split(annotations, images, SPLITS, captions=CAPTIONS)
    archive = bring(IMAGES, folder, local=args.local, mirror=args.mirror)
    unpack(archive, lambda name: folder / "val2014" / name.rpartition("/")[2] if name.endswith(".jpg") else None)
    count = check_images(images, folder, ("val", "test"), f"{archive} is not the official one; delete it and start again")
    sizes = ", ".join(f"{split} {size}" for split, size in SPLITS.items())
    print(f"{annotations}: {sizes}; the {count} images of val and test are in {folder / 'val2014'}")
    print(f"next: magic caption --dataset coco dataset.root={folder} dataset.annotations={annotations}")


if __name__ == "__main__":
    run(main)
