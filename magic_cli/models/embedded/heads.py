"""The learned part of the embedded matcher: two projection heads and one temperature.

Shapes: N rows, F features of a frozen backbone, E image-text embedding.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from magic_cli.models.embedded.backbones import IMAGE_FEATURES, TEXT_FEATURES


@dataclass
class HeadShape:
    """The two sizes that the weights on disk must agree with."""

    embedding: int = 384
    hidden: int = 384


class ProjectionHead(nn.Module):
    """Standardise, drop, project: frozen features (N, F) -> embedding (N, E) of length 1.

    A linear map plus one hidden layer that starts at zero, so training begins from the linear head and bends it only
    where that helps.
    """

    def __init__(self, features: int, embedding: int, hidden: int, dropout: float = 0.0):
        """Make a head with random weights and identity standardisation.

        Args:
            features: F.
            embedding: E.
            hidden: width of the hidden layer.
            dropout: share of the features hidden at each training step; the one thing that keeps 1,984 photo features
                from memorising a few thousand photos.
        """
        super().__init__()
        self.linear = nn.Linear(features, embedding)
        self.widen = nn.Linear(features, hidden)
        self.narrow = nn.Linear(hidden, embedding)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)
        self.dropout = dropout
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def fit_standardisation(self, features: Tensor) -> None:
        """Take mean and deviation from the training features (N, F)."""
        self.mean.copy_(features.mean(0))
        self.deviation.copy_(features.std(0).clamp_min(1e-4))

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) -> (N, E); any leading dimensions are kept."""
        # A few ReLU channels are nearly always 0; without the clamp one rare firing outweighs all the others.
        standard = ((features - self.mean) / self.deviation).clamp(-6, 6)
        kept = functional.dropout(standard, self.dropout, self.training)
        bend = functional.dropout(functional.gelu(self.widen(kept)), self.dropout, self.training)
        return functional.normalize(self.linear(kept) + self.narrow(bend), dim=-1)


class ProjectionHeads(nn.Module):
    """Both heads and the multiplier that turns a cosine into a logit."""

    def __init__(self, shape: HeadShape, *, image_dropout: float = 0.0, text_dropout: float = 0.0):
        """Make untrained heads.

        Args:
            shape: the sizes.
            image_dropout: see `ProjectionHead`.
            text_dropout: see `ProjectionHead`.
        """
        super().__init__()
        self.image = ProjectionHead(IMAGE_FEATURES, shape.embedding, shape.hidden, image_dropout)
        self.text = ProjectionHead(TEXT_FEATURES, shape.embedding, shape.hidden, text_dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))
