"""Finetune the embedded matcher's photo side from end to end: EfficientNet-Lite0 and its head, against the distilled text tower.

    python scripts/finetune_embedded_matcher.py --photos DIR --matcher build/matcher --output magic_cli/models/embedded/matcher

Comes after train_embedded_matcher.py and distil_embedded_text_tower.py, whose heads and tower, in ``--matcher``, are where it
begins. The tower's embeddings of all texts are computed once; of the text side only a linear map of them is learned, which is folded
into the tower's projection (and the teacher's) at the end, so that all of a step's time goes to the photos. Each photo is seen as
random crops, first small, then larger. A text is told from those of thousands of other photos, so that the hardest are among them.

DIR is what train_embedded_matcher.py takes; only the split ``train`` is learned from, without the photos that look like a held-out
one (find_near_duplicates.py). Resumes from its last checkpoint; before the rate falls, ``--epochs`` may be changed. Writes
``photos.safetensors`` (fp16), heads, tower and ``config.json``; train_embedded_matcher.py --evaluate-only then measures them.

Shapes: R training photos, B photos of a batch, C captions of each, E embedding, F features, N texts.
"""

import argparse
import copy
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from captioned_photos import ALTERNATIVES, CAPTIONS, PREFIXES, Photo, alternative_texts, load_photos, prefix_texts, recalls
from distil_embedded_text_tower import kept, key
from embedded_photo_network import Student, Views, trained_groups
from find_near_duplicates import name_of
from magic_cli.data.images import open_image
from magic_cli.files import sha256
from magic_cli.models.embedded.backbones import photo_pixels
from magic_cli.models.embedded.image_text_model import (
    CONFIG,
    HEADS,
    PHOTOS,
    PHOTOS_DIGEST,
    TOWER,
    EmbeddedImageTextModel,
    save_heads,
)
from magic_cli.models.embedded.text_tower import NOTES
from magic_cli.training.checkpoints import Checkpoints

IMAGE_SIZES = (192, 224)  # at which photos are seen afterwards; chosen on flickr8k val and coco val


@dataclass
class Recipe:
    """Settings of one training run; there were no trials."""

    seed: int = 0
    epochs: int = 15
    small_epochs: int = 10  # seen at ``small_size``
    small_size: int = 160
    size: int = 192
    smallest_crop: float = 0.5  # of a photo's area
    batch_size: int = 64
    frozen_blocks: int = 3
    backbone_rate: float = 3e-4  # of the last block; each block before it gets ``block_decay`` of the next one's
    block_decay: float = 0.85
    head_rate: float = 5e-4
    map_rate: float = 5e-5
    warm_up: int = 100
    cool_down: float = 0.5  # share of the steps over which the rates fall to 0
    image_dropout: float = 0.5
    caption_mixing: float = 0.3
    others: int = 3072  # photos whose captions each photo is told from, and remembered photos that each text is told from
    prefix_weight: float = 0.5
    next_word_weight: float = 0.5
    weight_average: float = 0.995


@dataclass
class Texts:
    """The tower's embeddings of what is said of the training photos, float16."""

    captions: Tensor  # (R, C, E)
    prefixes: Tensor  # (R, C, PREFIXES, E)
    alternatives: Tensor  # (R, C, ALTERNATIVES, E), the true next word first


def read_texts(matcher: EmbeddedImageTextModel, photos: list[Photo], cache: Path) -> Texts:
    """Embed all texts, or take them from the cache."""
    tower = copy.deepcopy(matcher.tower)
    tower.network.bfloat16()

    def embedded(name: str, texts: list[str], *inner: int) -> Tensor:
        def make() -> Tensor:
            with torch.inference_mode():
                parts = [tower.embed(texts[i : i + 4096]).half() for i in tqdm(range(0, len(texts), 4096), desc=name)]
            return torch.cat(parts)

        return kept(cache / f"{name}-{key(texts)}.pt", make).unflatten(0, (len(photos), CAPTIONS, *inner))

    return Texts(
        embedded("captions", [caption for photo in photos for caption in photo.captions]),
        embedded("prefixes", prefix_texts(photos), PREFIXES),
        embedded("alternatives", alternative_texts(photos), ALTERNATIVES),
    )


class Trainer:
    """A run; every step follows from the recipe and its number, so that a resumed run ends the same."""

    def __init__(self, student: Student, recipe: Recipe, views: Views, texts: Texts) -> None:
        self.student, self.recipe, self.views, self.texts = student, recipe, views, texts
        groups = trained_groups(student.network, recipe.frozen_blocks, recipe.backbone_rate, recipe.block_decay)
        head = [weight.requires_grad_(True) for weight in student.head.parameters()]
        groups += [
            {"params": head, "base": recipe.head_rate, "weight_decay": 0.05},
            {"params": [student.map.weight], "base": recipe.map_rate, "weight_decay": 0.0},
            {"params": [student.log_scale], "base": recipe.head_rate, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)
        self.averaged = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(recipe.weight_average))
        rows = len(texts.captions)
        self.epoch_steps = rows // recipe.batch_size
        self.steps = recipe.epochs * self.epoch_steps
        self.memory = torch.zeros(rows, student.head.linear.out_features)  # where each photo was seen last
        self.seen = torch.full((rows,), -1)  # at which step

    def state(self, step: int, seconds: float) -> dict:
        """All that a resumed run needs."""
        names = ("student", "optimizer", "averaged")
        return {name: getattr(self, name).state_dict() for name in names} | {
            "memory": self.memory, "seen": self.seen, "step": step, "seconds": seconds,
        }  # fmt: skip

    def resume(self, saved: dict) -> tuple[int, float]:
        """Go on where a run was killed."""
        for name in ("student", "optimizer", "averaged"):
            getattr(self, name).load_state_dict(saved[name])
        self.memory, self.seen = saved["memory"], saved["seen"]
        return saved["step"], saved["seconds"]

    def step(self, number: int) -> dict[str, float]:
        """One update; returns its losses."""
        recipe, student = self.recipe, self.student
        epoch, place = divmod(number, self.epoch_steps)
        order = torch.randperm(len(self.seen), generator=torch.Generator().manual_seed(recipe.seed * 1000 + epoch))
        rows = order[place * recipe.batch_size :][: recipe.batch_size]
        torch.manual_seed(recipe.seed * 1_000_003 + number)
        size = recipe.small_size if epoch < recipe.small_epochs else recipe.size
        student.train()
        images = student.photos(self.views.draw(rows.tolist(), size, number))
        losses = self._losses(images, rows, number)
        loss = (
            losses["text"] + losses["photo"] + recipe.prefix_weight * losses["prefix"] + recipe.next_word_weight * losses["word"]
        )
        self._update(loss, number)
        with torch.no_grad():
            self.memory[rows], self.seen[rows] = images, number
        return {name: value.item() for name, value in losses.items()}

    def _losses(self, images: Tensor, rows: Tensor, number: int) -> dict[str, Tensor]:
        student, recipe = self.student, self.recipe
        batch, scale, count = len(rows), student.scale, len(self.seen)
        others = torch.ones(count, dtype=torch.bool)
        others[rows] = False
        chosen = others.nonzero().squeeze(1)
        chosen = torch.cat([rows, chosen[torch.randperm(len(chosen))[: recipe.others]]])
        share = torch.distributions.Dirichlet(torch.full((CAPTIONS,), recipe.caption_mixing)).sample((len(chosen),))
        texts = student.texts((share.unsqueeze(1) @ self.texts.captions[chosen].float()).squeeze(1))  # (B + others, E)
        # the photos seen last, where they were put then; first the batch's own
        newest = self.seen.clone()
        newest[rows] = -1
        past = newest.topk(min(recipe.others, count)).indices
        past = past[newest[past] >= 0]
        gallery = torch.cat([images, self.memory[past]])  # (B + past, E)
        pick = torch.randint(CAPTIONS, (batch,))
        prefixes = student.texts(self.texts.prefixes[rows, pick, torch.randint(PREFIXES, (batch,))])
        words = student.texts(self.texts.alternatives[rows, torch.randint(CAPTIONS, (batch,))])  # (B, K, E)
        partner = torch.arange(batch)
        return {
            "text": functional.cross_entropy(scale * images @ texts.T, partner) / 2,
            "photo": functional.cross_entropy(scale * texts[:batch] @ gallery.T, partner) / 2,
            "prefix": functional.cross_entropy(scale * prefixes @ gallery.T, partner) / 2,
            "word": functional.cross_entropy(
                scale * (words @ images.unsqueeze(-1)).squeeze(-1), torch.zeros(batch, dtype=torch.long)
            ),
        }

    def _update(self, loss: Tensor, number: int) -> None:
        recipe = self.recipe
        share = min(1.0, (number + 1) / recipe.warm_up, (self.steps - number) / (recipe.cool_down * self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = share * group["base"]
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([w for group in self.optimizer.param_groups for w in group["params"]], 5.0)
        self.optimizer.step()
        self.averaged.update_parameters(self.student)


@torch.inference_mode()
def validate(student: Student, pixels: Tensor, captions: Tensor) -> dict[str, float]:
    """Recall of the split that settings are chosen on: pixels (N, 3, S, S), the tower's embeddings (N * C, E)."""
    student.eval()
    views = [torch.cat([student.photos(part.flip(-1) if flip else part) for part in pixels.split(16)]) for flip in (False, True)]
    return recalls(functional.normalize(sum(views), dim=1), student.texts(captions))


def train(trainer: Trainer, checkpoints: Checkpoints, check: tuple[Tensor, Tensor], every: int) -> float:
    """Train to the end, looking at the val split now and then; returns the seconds of all steps."""
    step, seconds = trainer.resume(saved) if (saved := checkpoints.load_newest()) else (0, 0.0)
    running: dict[str, float] = {}
    for number in tqdm(range(step, trainer.steps), initial=step, total=trainer.steps, mininterval=30):
        start = time.monotonic()
        for name, value in trainer.step(number).items():
            running[name] = 0.98 * running.get(name, value) + 0.02 * value
        seconds += time.monotonic() - start
        done = number + 1
        if done % every == 0 or done == trainer.steps:
            checkpoints.save(done, trainer.state(done, seconds))
        if done % (2 * trainer.epoch_steps) == 0 or done == trainer.steps:
            losses = " ".join(f"{name} {value:.3f}" for name, value in running.items())
            scores = [validate(model, *check) for model in (trainer.averaged.module, trainer.student)]
            scale = trainer.student.scale.item()
            recall = f"val {scores[0]} unaveraged {scores[1]}"
            tqdm.write(f"epoch {done / trainer.epoch_steps:.1f} {losses} scale {scale:.1f} {recall} {seconds:.0f} s")
    return seconds


@torch.no_grad()
def fold(matcher: EmbeddedImageTextModel, student: Student) -> None:
    """Give a matcher what was learned; the map of texts goes into the projections of the tower and of its teacher's head."""
    matcher.photos.network = student.network
    matcher.heads.image = student.head
    matcher.heads.log_scale.copy_(student.scale.log())
    turn, teacher = student.map.weight, matcher.heads.text
    for layer in (matcher.tower.network.text_projection, teacher.linear, teacher.narrow):
        layer.weight.copy_(turn @ layer.weight)
        if layer.bias is not None:
            layer.bias.copy_(turn @ layer.bias)


def write(matcher: EmbeddedImageTextModel, source: Path, output: Path, notes: dict) -> None:
    """Write what `EmbeddedImageTextModel.load` reads, with the notes of ``source`` on earlier training."""
    output.mkdir(parents=True, exist_ok=True)
    matcher.photos.save(output / PHOTOS)
    config = json.loads((source / CONFIG).read_text())
    tower_notes = json.loads((source / TOWER / NOTES).read_text())
    save_heads(
        matcher.heads, {**config, "image_sizes": IMAGE_SIZES, "finetuning": notes, PHOTOS_DIGEST: sha256(output / PHOTOS)}, output
    )
    matcher.tower.save(output / TOWER, heads=output / HEADS, notes=tower_notes)


def main() -> None:
    """Finetune, then write the matcher."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--matcher", type=Path, required=True, help="folder of the heads and the tower to begin from")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("build/finetuned_matcher"))
    parser.add_argument(
        "--near-duplicates", type=Path, default=Path(__file__).with_name("near_duplicates.tsv"), help="photos not to learn from"
    )
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--small-epochs", type=int, default=Recipe.small_epochs)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoint-every", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = Recipe(seed=arguments.seed, epochs=arguments.epochs, small_epochs=arguments.small_epochs)
    matcher = EmbeddedImageTextModel.load(arguments.matcher)
    everything = load_photos(arguments.photos)
    left_out = {line.split("\t")[1] for line in arguments.near_duplicates.read_text().splitlines()}
    photos = [photo for photo in everything if photo.trains and name_of(photo) not in left_out]
    selects = [photo for photo in everything if photo.selects]
    with torch.inference_mode():
        captions = matcher.tower.embed([caption for photo in selects for caption in photo.captions])
    pixels = torch.stack([photo_pixels(open_image(photo.path), recipe.size) for photo in selects])
    texts = read_texts(matcher, photos, arguments.cache / f"texts-{key(sha256(arguments.matcher / HEADS))}")
    student = Student(matcher, frozen=recipe.frozen_blocks, dropout=recipe.image_dropout)
    trainer = Trainer(student, recipe, Views([photo.path for photo in photos], recipe.smallest_crop, recipe.seed), texts)
    settings = {name: value for name, value in asdict(recipe).items() if "epochs" not in name}
    run = arguments.cache / f"run-{key(settings, sha256(arguments.matcher / HEADS), [str(photo.path.name) for photo in photos])}"
    print(f"{len(photos)} photos, {trainer.steps} steps, {run}", validate(student, pixels, captions), flush=True)
    seconds = train(trainer, Checkpoints(run, keep=2), (pixels, captions), arguments.checkpoint_every)
    fold(matcher, trainer.averaged.module)
    write(matcher, arguments.matcher, arguments.output, {**asdict(recipe), "photos": len(photos), "seconds": round(seconds)})


if __name__ == "__main__":
    main()
