"""Captioned photos for the embedded models, their unfinished captions, and how well a matcher finds photos by their captions.

Shapes: R photos, E embedding, K alternatives for the next word.
"""

import hashlib
import math
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from magic_cli.data.json_files import read_json_object
from magic_cli.models.embedded.image_text_model import EmbeddedImageTextModel
from unfinished_text import NextWords, draw_prefixes

CAPTIONS = 5  # of each photo; one COCO photo has a sixth
PREFIXES = 4  # of each caption
ALTERNATIVES = 6  # for the next word, the true one first
MEASURED = (
    ("flickr8k", "val"),  # settings are chosen on this one
    ("flickr8k", "test"),
    ("flickr8k", "flickr30k_test"),
    ("coco", "val"),
    ("coco_karpathy_test", "test"),
)


@dataclass
class Photo:
    """One captioned photo."""

    source: str
    split: str
    path: Path
    captions: list[str]

    @property
    def trains(self) -> bool:
        """Whether it may be learned from."""
        return self.split == "train" and self.source in ("flickr8k", "coco")

    @property
    def half(self) -> int:
        """Which half of the photos it belongs to, 0 or 1: by its name, so that no other photo matters."""
        return hashlib.sha256(f"{self.source}/{self.path.name}".encode()).digest()[0] % 2

    @property
    def selects(self) -> bool:
        """Whether it may be looked at when settings are chosen."""
        return (self.source, self.split) == ("flickr8k", "val")


def load_photos(folder: Path) -> list[Photo]:
    """Read every captioned photo below ``folder``."""
    photos = []
    for source in ("flickr8k", "coco", "coco_karpathy_test"):
        file = folder / source / "captions.json"
        if source == "coco_karpathy_test" and not file.exists():
            continue
        records = read_json_object(file, remedy="make it again")
        captions: dict[int, list[str]] = {}
        for annotation in records["annotations"]:
            captions.setdefault(annotation["image_id"], []).append(" ".join(annotation["caption"].split()))
        for image in records["images"]:
            path = folder / source / "images" / image["file_name"]
            photos.append(Photo(source, image["split"], path, captions[image["id"]][:CAPTIONS]))
    return photos


def prefix_texts(photos: list[Photo]) -> list[str]:
    """PREFIXES unfinished versions of every caption."""
    rng = random.Random(0)
    return [text for photo in photos for caption in photo.captions for text in draw_prefixes(caption, PREFIXES, rng)]


def alternative_texts(photos: list[Photo]) -> list[str]:
    """ALTERNATIVES texts for one place in every caption that trains or selects."""
    next_words = NextWords((caption for photo in photos if photo.trains for caption in photo.captions), random.Random(1))
    used = [photo for photo in photos if photo.trains or photo.selects]
    return [text for photo in used for caption in photo.captions for text in next_words.draw(caption, ALTERNATIVES)]


def recalls(images: Tensor, texts: Tensor) -> dict[str, float]:
    """Text-to-image recall in percent: photos (R, E), their captions (R * CAPTIONS, E); all photos are the gallery."""
    scores = texts @ images.T
    right = scores[torch.arange(len(texts)), torch.arange(len(images)).repeat_interleave(CAPTIONS)]
    rank = (scores > right.unsqueeze(1)).sum(1)
    return {f"R@{depth}": round(100 * (rank < depth).float().mean().item(), 2) for depth in (1, 5, 10)}


def evaluate(matcher: EmbeddedImageTextModel, photos: list[Photo]) -> dict[str, dict[str, float]]:
    """Recall on every held-out set, and next-word choice on flickr8k val, through the matcher's public methods."""
    table = {}
    for source, split in MEASURED:
        chosen = [photo for photo in photos if (photo.source, photo.split) == (source, split)]
        if not chosen:
            continue
        images = torch.cat([matcher.encode_images([Image.open(p.path)]) for p in tqdm(chosen, desc=f"{source} {split}")])
        captions = matcher.encode_texts([caption for photo in chosen for caption in photo.captions])
        table[f"{source} {split}"] = {"photos": len(chosen), **recalls(images, captions)}
        if chosen[0].selects:
            table[f"{source} {split}"] |= next_word(matcher, images, photos)
    return table


def next_word(matcher: EmbeddedImageTextModel, images: Tensor, photos: list[Photo]) -> dict[str, float]:
    """How well photos (R, E) of flickr8k val tell the true next word from five others; chance is 17 % and 0 nats."""
    candidates = [photo for photo in photos if photo.trains or photo.selects]
    where = [row for row, photo in enumerate(candidates) if photo.selects]
    drawn, width = alternative_texts(photos), CAPTIONS * ALTERNATIVES
    texts = matcher.encode_texts([text for row in where for text in drawn[row * width : (row + 1) * width]])
    cosine = (texts.unflatten(0, (len(images), width)) @ images.unsqueeze(-1)).reshape(-1, ALTERNATIVES)  # (R * CAPTIONS, K)
    gain = math.log(ALTERNATIVES) + (matcher.logit_scale * cosine).log_softmax(1)[:, 0].mean().item()
    right = 100 * (cosine.argmax(1) == 0).float().mean().item()
    return {"next word right in %": round(right, 2), "next word gain in nats": round(gain, 3)}


def print_table(table: dict[str, dict[str, float]]) -> None:
    """The recall table as Markdown on stdout."""
    print("| set | photos | R@1 | R@5 | R@10 |\n|---|---|---|---|---|")
    for name, row in table.items():
        print(f"| {name} | {row['photos']} | {row['R@1']} | {row['R@5']} | {row['R@10']} |")
