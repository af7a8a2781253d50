"""Image-text models as decoding wants them: one base class, one small adapter a family."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from magic_cli.models.image_text.causal_text import CausalTextTower, IncrementalTexts
from magic_cli.models.image_text.word_tokens import WordTokens, word_tokens
from magic_cli.models.weights import Fit
from magic_cli.models.work_counter import WorkCounter

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

_TEXTS_AT_ONCE = 512

# Growing texts on which the incremental tower is compared with the model's own encoder at load: a rewritten last
# word ("sk" -> "skate"), punctuation, a repeat, a text that shrinks again, an empty one.
_PROBE_STEPS = [
    [["a", "the sk", ""], ["two dogs", "two", "two dog"]],
    [["the skate", "the sky is", "the skateboarder"], ["two dogs,", "two dogs run", "two dogs"]],
    [["the sky is blue.", "the sky is bluer", "the sky isn't"], ["one", "two dogs, running over grass", "two"]],
    [
        [f"the sky {number}" for number in range(15)],
        [f"two {number % 3}" for number in range(15)],
    ],  # more than attention takes at a time
]
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 1e-2}


class ImageTextModel:
    """Base of the adapters (implements ``protocols.ImageTextScorer``).

    Attributes:
        logit_scale: Factor on the cosine in the magic score: the model's own temperature, or the one that is set.
        text_tower: The causal text tower if the incremental path agrees with the model's own encoder, else None.
        prepare_image: RGB image -> what ``embed_images`` takes, as numpy arrays. It holds no weights and can be pickled, so
            that images are prepared in other processes.
        network: The module that holds all its weights.
        fit: How the weights of its files fitted it.
    """

    fit = Fit()
    is_compiled = False
    reads_words_apart = False
    """Whether its tokenizer is of a kind that never looks across a space."""
    text_tower: CausalTextTower | None = None
    _read_growing: WordTokens | None = None
    prepare_image: Callable[[Image], Any]
    network: torch.nn.Module

    def __init__(self, *, logit_scale: float, work: WorkCounter | None = None) -> None:
        self.logit_scale = logit_scale
        self.work = work or WorkCounter()

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """Projected features (B, E) in float32 of RGB images, not normalised."""
        return self.encode_prepared([self.prepare_image(image) for image in images])

    def encode_prepared(self, prepared: Sequence[Any]) -> Tensor:
        """Projected features (B, E) in float32 of what ``prepare_image`` gave, not normalised."""
        with self.work.phase("images"), torch.inference_mode():
            self.work.add("images_encoded", len(prepared))
            return self.embed_images(prepared).float()

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Projected features (N, E) in float32 of whole texts, not normalised; too long ones are truncated."""
        with self.work.phase("image_text_model"), torch.inference_mode():
            self.work.add("texts_encoded", len(texts))
            parts = [texts[i : i + _TEXTS_AT_ONCE] for i in range(0, max(1, len(texts)), _TEXTS_AT_ONCE)]
            return torch.cat([self.embed_texts(part).float() for part in parts])

    def open_texts(self, num_rows: int, *, reuse: bool = True) -> IncrementalTexts | PlainTexts:
        """Start encoding texts that grow token by token, for ``num_rows`` rows; without ``reuse`` every text whole."""
        if self.text_tower is None or not reuse:
            return PlainTexts(self)
        return IncrementalTexts(self.text_tower, self._read_growing or self.tokenize, num_rows, self.work)

    def compile_text(self) -> None:
        """Run the incremental text tower through torch.compile from now on; a model without one stays as it is."""
        if self.text_tower is not None and not self.is_compiled:
            self.text_tower, self.is_compiled = self.text_tower.compiled(), True

    def embed_images(self, prepared: Sequence[Any]) -> Tensor:
        """(B, E), in the model's own type, of what ``prepare_image`` gave."""
        raise NotImplementedError(f"{type(self).__name__}.embed_images")

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(N, E), in the model's own type, by the model's own encoder."""
        raise NotImplementedError(f"{type(self).__name__}.embed_texts")

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with start and end token, not padded; only models with a causal tower need it."""
        raise NotImplementedError(f"{type(self).__name__}.tokenize")

    @torch.inference_mode()
    def adopt_tower(self, tower: CausalTextTower | None, *, dtype: torch.dtype = torch.float32) -> None:
        """Use ``tower`` for growing texts if it gives the same features as the model's own encoder."""
        if tower is None:
            return
        self.embed_texts(["a"])  # a tokenizer that is not the model's is a fault, and no reason to take the plain path
        try:
            tower = tower.packed()
            error = self._tower_error(tower)
        except Exception as failure:  # a tower of another build may raise anything: then it is not ours to use
            log.info("no incremental text tower for %s: %s", type(self).__name__, failure)
            return
        if error <= _TOLERANCE.get(dtype, 1e-4):
            self.text_tower = tower
            self._read_growing = word_tokens(self.tokenize, tower.context_length) if self.reads_words_apart else None
        else:
            log.info("incremental text tower differs by %.1e from %s; taking the plain path", error, type(self).__name__)

    def _tower_error(self, tower: CausalTextTower) -> float:
        """Largest difference from the model's own features over the probe, relative to the largest feature."""
        session = IncrementalTexts(tower, self.tokenize, len(_PROBE_STEPS[0]), WorkCounter())
        error = 0.0
        for texts in _PROBE_STEPS:
            plain = torch.stack([self.embed_texts(row) for row in texts]).float()
            difference = (session.encode(texts) - plain).abs().amax() / plain.abs().amax()
            error = max(error, float(difference.nan_to_num(nan=torch.inf)))
        return error


class PlainTexts:
    """Text session that encodes every distinct text anew, for towers that are not causal."""

    def __init__(self, model: ImageTextModel) -> None:
        self.model = model

    def encode(self, texts: list[list[str]]) -> Tensor:
        """Projected features (B, K, E) of K texts for each of B rows."""
        place = {text: i for i, text in enumerate(dict.fromkeys(text for row in texts for text in row))}
        features = self.model.encode_texts(list(place))
        return features[torch.tensor([[place[text] for text in row] for row in texts], device=features.device)]

    def select(self, rows: Tensor) -> None:
        """Nothing is remembered."""


def read_logit_scale(model: Any) -> float:
    """``exp(logit_scale)`` of a CLIP-like model; to be read before weights are rounded to 16 bits (100 would be 98.9)."""
    return float(model.logit_scale.detach().float().exp())


def stack_images(prepared: Sequence[np.ndarray]) -> Tensor:
    """(B, 3, side, side) of B prepared images (3, side, side). Raises ValueError if their sizes differ."""
    return torch.from_numpy(np.stack(prepared))


@dataclass(frozen=True)
class TransformImage:
    """A ``prepare_image`` by a transform of torchvision's kind: image -> tensor (3, side, side)."""

    transform: Callable[[Image], Tensor]

    def __call__(self, image: Image) -> np.ndarray:
        """(3, side, side) float32."""
        return self.transform(image).numpy()


def pad_tokens(rows: Sequence[Sequence[int]], *, end_id: int, length: int | None = None, device=None) -> Tensor:
    """(N, T) token ids, padded with ``end_id`` to the longest row or to ``length``.

    What stands behind the first end token cannot change a causal tower's feature there.
    """
    width = length or max(map(len, rows))
    return torch.tensor([[*row, *[end_id] * (width - len(row))] for row in rows], device=device)
