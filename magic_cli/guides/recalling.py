"""Recalls captions for images, and mixes them with the images. Shape letters: B images, n neighbours, E features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from magic_cli.guides.base import Images
from magic_cli.retrieval.caption_index import CaptionIndex


@dataclass(frozen=True)
class Recalled:
    """The memory of B images.

    Attributes:
        memory: (B, E), of length 1; zero if nothing was recalled.
        mean_cosines: For each image the mean cosine with its neighbours, in [-1, 1]; None: it has no neighbours.
        texts: For each image the captions that were recalled, best first.
        images_excluded: How many of the images have captions of their own in the index.
        captions_excluded: How many captions these are; they were left out.
    """

    memory: Tensor
    mean_cosines: list[float | None]
    texts: list[list[str]]
    images_excluded: int
    captions_excluded: int


def recall(index: CaptionIndex, images: Images, *, neighbours: int, temperature: float) -> Recalled:
    """The memory of each image. An image's own captions, recognised by its names, are left out.

    Each row is computed alone, so that its numbers do not depend on the batch.
    """
    own = [index.captions.own(names) for names in images.names]
    vectors = images.features[0]
    scores, numbers = index.best(vectors, neighbours + max(map(len, own)))
    memory, cosines, texts = np.zeros(vectors.shape, np.float32), [], []
    for row, barred in enumerate(own):
        places = [place for place, number in enumerate(numbers[row]) if number >= 0 and number not in barred][:neighbours]
        if places:
            memory[row] = weighted_mean(scores[row, places], index.search.features.take(numbers[row, places]), temperature)
        texts.append([index.captions.texts[number] for number in numbers[row, places]])
        cosines.append(float(scores[row, places].mean()) if places else None)
    memory_there = torch.from_numpy(memory).to(vectors.device)
    return Recalled(memory_there, cosines, texts, sum(map(bool, own)), sum(map(len, own)))


def weighted_mean(cosines: np.ndarray, features: np.ndarray, temperature: float) -> np.ndarray:
    """The mean of features (n, E), weighted by softmax(cosines / temperature) (n,), with length 1."""
    weights = np.exp((cosines - cosines.max()) / temperature)
    mean = (weights[:, None] * features.astype(np.float64)).sum(axis=0) / weights.sum()
    length = np.linalg.norm(mean)
    return mean / length if length else mean


def mixed(images: Tensor, memory: Tensor, share: Tensor) -> Tensor:
    """``(1 - share) images + share memory`` of directions, (B, E), with the length of the image's feature. Share 0: the image."""
    unit = torch.nn.functional.normalize
    weight = share[:, None]
    direction = unit((1 - weight) * unit(images, dim=-1) + weight * memory, dim=-1)
    return torch.where(weight > 0, images.norm(dim=-1, keepdim=True) * direction, images)
