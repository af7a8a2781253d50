"""List training photos that look like a held-out one, so that finetuning leaves them out.

    python scripts/find_near_duplicates.py --photos DIR --output scripts/near_duplicates.tsv

DIR is what train_embedded_matcher.py takes. Two photos are listed when the frozen network's features are very near (cosine from
0.7 on; the next shot of a series, the same team on the same field), or rather near (from 0.5 on) while the photos shrunk to 16 x 16 grey
pixels correlate (from 0.6 on), mirrored or not. Wider than duplicates on purpose: it costs few photos. One pair a line: held-out
photo, training photo, cosine, correlation.

Shapes: R photos, F features.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from captioned_photos import Photo, load_photos
from magic_cli.data.images import open_image
from magic_cli.models.embedded.backbones import PhotoBackbone, photo_pixels

SIZE, GREY = 160, 16
NEAR, RATHER_NEAR, CORRELATED = 0.7, 0.5, 0.6


def looks(photos: list[Photo]) -> tuple[Tensor, Tensor]:
    """Grey pixels (R, GREY, GREY) and features (R, F) of every photo."""
    backbone = PhotoBackbone((SIZE,)).to("cpu", torch.bfloat16)
    grey, features = [], []
    for photo in tqdm(photos, desc="photos"):
        image = open_image(photo.path)
        grey.append(torch.from_numpy(np.array(image.convert("L").resize((GREY, GREY), Image.Resampling.BOX))).float())
        features.append(backbone.pooled(photo_pixels(image, SIZE)[None])[0])
    return torch.stack(grey), torch.stack(features)


def near_pairs(photos: list[Photo], grey: Tensor, features: Tensor) -> list[tuple[Photo, Photo, float, float]]:
    """Held-out photo, training photo, cosine, correlation; the nearest first."""
    standard = ((features - features.mean(0)) / features.std(0).clamp_min(1e-4)).clamp(-6, 6)
    rows = functional.normalize(standard, dim=1)
    trains = torch.tensor([photo.trains for photo in photos])
    held, learned = (~trains).nonzero().squeeze(1), trains.nonzero().squeeze(1)
    cosine = rows[held] @ rows[learned].T
    plain, mirrored = (_centred(pixels) for pixels in (grey, grey.flip(-1)))
    correlation = torch.maximum(plain[held] @ plain[learned].T, mirrored[held] @ plain[learned].T)
    listed = (cosine >= NEAR) | ((cosine >= RATHER_NEAR) & (correlation >= CORRELATED))
    found = [(photos[held[i]], photos[learned[j]], float(cosine[i, j]), float(correlation[i, j])) for i, j in listed.nonzero()]
    return sorted(found, key=lambda pair: -pair[2])


def _centred(grey: Tensor) -> Tensor:
    flat = grey.flatten(1)
    return functional.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def name_of(photo: Photo) -> str:
    """``source/file``."""
    return f"{photo.source}/{photo.path.name}"


def main() -> None:
    """Look at all photos, write the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("near_duplicates.tsv"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    photos = load_photos(arguments.photos)
    pairs = near_pairs(photos, *looks(photos))
    lines = [
        f"{name_of(held)}\t{name_of(learned)}\t{cosine:.3f}\t{correlation:.3f}\n" for held, learned, cosine, correlation in pairs
    ]
    arguments.output.write_text("".join(lines), encoding="utf-8")
    print(
        f"{len(pairs)} pairs of {len({p[0].path for p in pairs})} held-out and {len({p[1].path for p in pairs})} training photos: {arguments.output}"
    )


if __name__ == "__main__":
    main()
