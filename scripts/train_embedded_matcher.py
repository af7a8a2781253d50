"""Train the embedded image-text matcher: projection heads on two frozen networks, from captioned photos.

    python scripts/train_embedded_matcher.py --photos DIR --output build/matcher
    python scripts/train_embedded_matcher.py --photos DIR --output magic_cli/models/embedded/matcher --evaluate-only

The first of three steps to the shipped matcher: distil_embedded_text_tower.py and finetune_embedded_matcher.py go on from it.

``--photos`` holds ``flickr8k/`` and ``coco/`` (``coco_karpathy_test/`` is only measured, where present), each with
``captions.json`` (COCO format, a ``split`` per image) and ``images/``. Only the split ``train`` is trained on, with ``--half``
one half of its photos: two heads of different halves and seeds know nothing of each other. Features are kept in ``--cache``,
so that a second run trains at once. Writes ``config.json``, ``heads.safetensors`` and ``recall.json``.

Shapes: R photos, V views, F features, E embedding, K alternatives for the next word.
"""

import argparse
import hashlib
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from captioned_photos import (
    ALTERNATIVES,
    CAPTIONS,
    PREFIXES,
    Photo,
    alternative_texts,
    evaluate,
    load_photos,
    prefix_texts,
    print_table,
)
from magic_cli.models.embedded.backbones import IMAGE_FEATURES, PhotoBackbone, TextBackbone, photo_pixels
from magic_cli.models.embedded.heads import HeadShape, ProjectionHeads
from magic_cli.models.embedded.image_text_model import EmbeddedImageTextModel, save_heads
from magic_cli.models.sources import EMBEDDED_TERMS

IMAGE_SIZES = (224, 288)
CROPS = 2  # of each training photo


@dataclass
class Recipe:
    """Settings of one training run, chosen on flickr8k val."""

    seed: int = 0
    epochs: int = 60
    batch_size: int = 1024
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    image_dropout: float = 0.7
    text_dropout: float = 0.1
    prefix_weight: float = 0.5
    next_word_weight: float = 1.0
    caption_mixing: float = 0.3  # Dirichlet concentration of the blend of a photo's captions
    weight_average: float = 0.98


# --- features --------------------------------------------------------------------------------------------------------


def random_crops(photos: list[Photo], backbone: PhotoBackbone) -> Tensor:
    """Features of random crops, half of them mirrored: (R, CROPS, F)."""
    rng = random.Random(0)
    features = torch.empty(len(photos), CROPS, IMAGE_FEATURES)
    for row, photo in enumerate(tqdm(photos, desc="crops")):
        image, views = Image.open(photo.path).convert("RGB"), []
        for _ in range(CROPS):
            area, aspect = rng.uniform(0.4, 1), rng.uniform(0.8, 1.25)
            width = min(image.width, image.width * (area * aspect) ** 0.5)
            height = min(image.height, image.height * (area / aspect) ** 0.5)
            left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
            pixels = photo_pixels(image, IMAGE_SIZES[0], (left, top, left + width, top + height))
            views.append(pixels.flip(-1) if rng.random() < 0.5 else pixels)
        features[row] = backbone.pooled(torch.stack(views))
    return features


@dataclass
class Features:
    """Frozen features of everything the training run looks at; rows of the text tensors are (photo, caption)."""

    views: Tensor  # (R, V, F), training photos: the views used at inference, then crops
    captions: Tensor  # (R, CAPTIONS, F)
    prefixes: Tensor  # (R, CAPTIONS, PREFIXES, F)
    alternatives: Tensor  # (R, CAPTIONS, ALTERNATIVES, F)


def extract(photos: list[Photo], cache: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """Features of all photos and texts, from the cache where it has them."""
    made_of = [dtype, IMAGE_SIZES, CAPTIONS, PREFIXES, ALTERNATIVES, CROPS]
    made_of += [(photo.source, photo.path.name, photo.split, photo.captions) for photo in photos]
    folder = cache / hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]  # other inputs, other folder
    image_backbone = PhotoBackbone(IMAGE_SIZES).to("cpu", dtype)
    text_backbone = TextBackbone().to("cpu", dtype)

    def all_views() -> Tensor:
        return torch.stack([image_backbone.features(Image.open(photo.path)) for photo in tqdm(photos, desc="views")])

    def kept(name: str, make: Callable[[], Tensor]) -> Tensor:
        file = folder / f"{name}.pt"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(".part")  # a killed run leaves no half file under the real name
            torch.save(make().half(), unfinished)
            unfinished.replace(file)
        return torch.load(file, weights_only=True)

    return {
        "views": kept("views", all_views),
        "crops": kept("crops", lambda: random_crops([p for p in photos if p.trains], image_backbone)),
        "captions": kept("captions", lambda: text_backbone.features([c for p in photos for c in p.captions])),
        "prefixes": kept("prefixes", lambda: text_backbone.features(prefix_texts(photos))),
        "alternatives": kept("alternatives", lambda: text_backbone.features(alternative_texts(photos))),
    }


# --- training --------------------------------------------------------------------------------------------------------


def training_features(photos: list[Photo], cached: dict[str, Tensor], half: int | None = None) -> Features:
    """The training photos' part of the cache, or one half of it."""
    rows = torch.tensor([row for row, photo in enumerate(photos) if photo.trains])
    shaped = {
        name: cached[name].unflatten(0, (len(photos), CAPTIONS, *inner))[rows]
        for name, inner in (("captions", ()), ("prefixes", (PREFIXES,)))
    }
    encoded = [photo.trains for photo in photos if photo.trains or photo.selects]
    alternatives = cached["alternatives"].unflatten(0, (-1, CAPTIONS, ALTERNATIVES))[torch.tensor(encoded)]
    features = Features(torch.cat([cached["views"][rows], cached["crops"]], dim=1), **shaped, alternatives=alternatives)
    if half is None:
        return features
    kept = torch.tensor([photo.half == half for photo in photos if photo.trains])
    return Features(**{name: tensor[kept] for name, tensor in vars(features).items()})


def contrast(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Symmetric contrastive loss of B matching rows (B, E), (B, E): each side picks its partner out of the batch."""
    logits = scale * images @ texts.T
    partner = torch.arange(len(images))
    return (functional.cross_entropy(logits, partner) + functional.cross_entropy(logits.T, partner)) / 2


def choose_word(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Loss of picking the true next word: photos (B, E), candidate texts (B, K, E) with the true one first."""
    logits = scale * (texts @ images.unsqueeze(-1)).squeeze(-1)  # (B, K)
    return functional.cross_entropy(logits, torch.zeros(len(images), dtype=torch.long))


def batch_loss(heads: ProjectionHeads, features: Features, rows: Tensor, recipe: Recipe) -> Tensor:
    """One random view, one blend of captions, one prefix and one next word of each photo in ``rows``."""

    def pick(count: int) -> Tensor:
        return torch.randint(count, (len(rows),))

    scale = heads.log_scale.exp()
    images = heads.image(features.views[rows, pick(features.views.shape[1])].float())
    # A blend of a photo's captions says what its annotators agree on, and no two blends are the same.
    share = torch.distributions.Dirichlet(torch.full((CAPTIONS,), recipe.caption_mixing)).sample((len(rows),))
    blend = (share.unsqueeze(1) @ features.captions[rows].float()).squeeze(1)  # (B, 1, C) @ (B, C, F) -> (B, F)
    prefixes = features.prefixes[rows, pick(CAPTIONS), pick(PREFIXES)].float()
    alternatives = features.alternatives[rows, pick(CAPTIONS)].float()
    return (
        contrast(images, heads.text(blend), scale)
        + recipe.prefix_weight * contrast(images, heads.text(prefixes), scale)
        + recipe.next_word_weight * choose_word(images, heads.text(alternatives), scale)
    )


def train(features: Features, shape: HeadShape, recipe: Recipe) -> ProjectionHeads:
    """Fit the heads; returns their running average, which is steadier than the last step."""
    torch.manual_seed(recipe.seed)
    heads = ProjectionHeads(shape, image_dropout=recipe.image_dropout, text_dropout=recipe.text_dropout)
    heads.image.fit_standardisation(features.views.float().flatten(0, 1))
    # Finished and unfinished texts alike: decoding scores both.
    heads.text.fit_standardisation(torch.cat([features.captions.flatten(0, 1), features.prefixes.flatten(0, 2)]).float())
    decayed = [parameter for parameter in heads.parameters() if parameter.ndim > 1]
    plain = [parameter for parameter in heads.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    averaged = AveragedModel(heads, multi_avg_fn=get_ema_multi_avg_fn(recipe.weight_average))
    batches = max(1, len(features.views) // recipe.batch_size)
    total = recipe.epochs * batches
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 20) * (0.01 + 0.5 * (1 + math.cos(math.pi * step / total)))
    )
    heads.train()
    with tqdm(total=total, desc="train") as bar:
        for _ in range(recipe.epochs):
            for rows in torch.randperm(len(features.views))[: batches * recipe.batch_size].split(recipe.batch_size):
                loss = batch_loss(heads, features, rows, recipe)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                averaged.update_parameters(heads)
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}", scale=f"{heads.log_scale.exp().item():.1f}")
    return averaged.module.eval()


def main() -> None:
    """Train (unless asked not to), then measure what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("build/embedded_matcher"))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="for making training features")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--half", type=int, choices=(0, 1), help="train on this half of the photos; left out: on all")
    parser.add_argument("--evaluate-only", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    photos = load_photos(arguments.photos)
    if not arguments.evaluate_only:
        features = training_features(photos, extract(photos, arguments.cache, getattr(torch, arguments.dtype)), arguments.half)
        shape, recipe = HeadShape(), Recipe(seed=arguments.seed)
        start = time.perf_counter()
        heads = train(features, shape, recipe)
        notes = {
            "training": {
                **asdict(recipe),
                "photos": len(features.views),
                "half": arguments.half,
                "seconds": round(time.perf_counter() - start),
            }
        }
        save_heads(heads, {**asdict(shape), "image_sizes": IMAGE_SIZES, **notes}, arguments.output)
    # new heads have no tower yet: until it is distilled, MiniLM and the text head read texts
    table = evaluate(EmbeddedImageTextModel.load(arguments.output, teacher=not arguments.evaluate_only), photos)
    document = {"weights": EMBEDDED_TERMS, "split": "only the split train was learned from", "text_to_image_recall": table}
    (arguments.output / "recall.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print_table(table)


if __name__ == "__main__":
    main()
