"""Draw the sample photos of data/photos, once: photos of COCO's that nothing was trained on and whose licence lets them be passed on.

    python scripts/draw_sample_photos.py --photos DIR --output data/photos

DIR is what train_embedded_matcher.py takes; only the split ``val`` of its ``coco/`` is drawn from, which no model here learned from. The
licence that COCO states for each image is in the annotation files inside the pycocoevalcap wheel. Prints the table of data/README.md.
"""

import argparse
import importlib.util
import json
import random
import zipfile
from pathlib import Path

from PIL import Image

from magic_cli.data.json_files import read_json_object

SEED, COUNT, LONGEST = 0, 10, 480
LICENCES = {
    4: "[CC BY 2.0](http://creativecommons.org/licenses/by/2.0/)",
    7: "[no known copyright restrictions](http://flickr.com/commons/usage/)",
    8: "[United States government work](http://www.usa.gov/copyright.shtml)",
}


def annotated_images() -> dict[int, tuple[str, dict]]:
    """``{COCO id: (year's split, COCO's entry)}`` of every image of 2014."""
    spec = importlib.util.find_spec("pycocoevalcap")
    with zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "spice" / "spice-1.0.jar") as jar:
        records = {split: json.loads(jar.read(f"coco/annotations/captions_{split}.json")) for split in ("train2014", "val2014")}
    return {image["id"]: (split, image) for split, record in records.items() for image in record["images"]}


def main() -> None:
    """Draw, shrink, write, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("data/photos"))
    arguments = parser.parse_args()
    coco, known = arguments.photos / "coco", annotated_images()
    records = read_json_object(coco / "captions.json", remedy="make it again")["images"]
    held_out = sorted(int(Path(image["file_name"]).stem) for image in records if image["split"] == "val")
    free = [number for number in held_out if number in known and known[number][1]["license"] in LICENCES]
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(f"{len(free)} of {len(held_out)} photos may be passed on; {COUNT} drawn with seed {SEED}\n")
    print("| file | COCO id | COCO 2014 | licence, as COCO states it | source |\n| --- | --- | --- | --- | --- |")
    for number in sorted(random.Random(SEED).sample(free, COUNT)):
        split, entry = known[number]
        photo = Image.open(coco / "images" / f"{number:012d}.jpg").convert("RGB")
        photo.thumbnail((LONGEST, LONGEST))
        photo.save(arguments.output / f"{number:012d}.jpg", quality=90)
        print(f"| `{number:012d}.jpg` | {number} | {split} | {LICENCES[entry['license']]} | <{entry['flickr_url']}> |")


if __name__ == "__main__":
    main()
