"""Settings of ``magic finetune-lm``."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from magic_cli.data.paths import expanded
from magic_cli.errors import MOST_ITEMS, MOST_SEED, SettingsError, require
from magic_cli.models.settings import MOST_SIDE_BY_SIDE, MachineSettings

_MOST_TOKENS = 131_072


class Normalisation(Enum):
    """The divisor of the contrastive sum: pairs of the whole batch (released code), or sequence by sequence (paper)."""

    batch = "batch"
    sequence = "sequence"


class Shape(Enum):
    """How the learning rate falls after the warm-up."""

    linear = "linear"
    cosine = "cosine"
    constant = "constant"


class Averaging(Enum):
    """Means over accumulated micro-batches: every token has the same weight, or every micro-batch (released code)."""

    tokens = "tokens"
    micro_batches = "micro_batches"


class Grouping(Enum):
    """Which samples share a micro-batch: those of similar length, or any."""

    length = "length"
    none = "none"


class Selection(Enum):
    """Which texts choose the best checkpoint. ``test`` is only for reproducing the released code."""

    validation = "validation"
    test = "test"
    last = "last"


@dataclass
class FreshModel:
    """A GPT-2 with random weights instead of a trained model.

    Attributes:
        layers: Transformer blocks, 1 to 1000; null: ``language_model`` is adapted, and the other settings have no effect.
        width: Size of hidden states, a multiple of ``heads``, at most 65,536.
        heads: Attention heads, 1 to 1024.
        positions: Longest sequence, 4 to 131,072 tokens.
        dropout: Dropout of all layers, in [0, 1).
        tokenizer: Folder of a tokenizer; null: a byte-level BPE is trained on the training texts.
        vocab_size: Tokens of the trained BPE, added tokens included, 260 to 1,000,000.
    """

    layers: int | None = None
    width: int = 256
    heads: int = 8
    positions: int = 128
    dropout: float = 0.0
    tokenizer: str | None = None
    vocab_size: int = 8192

    def __post_init__(self) -> None:
        if self.layers is not None:
            require("layers", self.layers, at_least=1, limit=1000, prefix="fresh")
        require("heads", self.heads, at_least=1, limit=1024, prefix="fresh")
        require("width", self.width, at_least=1, limit=65_536, prefix="fresh")
        require("positions", self.positions, at_least=4, limit=_MOST_TOKENS, prefix="fresh")
        require("dropout", self.dropout, at_least=0, below=1, prefix="fresh")
        require("vocab_size", self.vocab_size, at_least=260, limit=1_000_000, prefix="fresh")
        if self.width % self.heads:
            raise SettingsError(f"fresh.width must be a multiple of fresh.heads={self.heads}, got {self.width}")
        if self.tokenizer and not (expanded(self.tokenizer) / "tokenizer_config.json").is_file():
            raise SettingsError(
                f"fresh.tokenizer={self.tokenizer}: has no tokenizer_config.json; name a folder that save_pretrained wrote"
            )


@dataclass
class ObjectiveSettings:
    """The loss: cross-entropy plus the contrastive term.

    Attributes:
        margin: rho in [0, 1]; 0 leaves the contrastive term out.
        normalisation: The divisor of the contrastive sum.
        averaging: How the micro-batches of one step are averaged.
    """

    margin: float = 0.5
    normalisation: Normalisation = Normalisation.batch
    averaging: Averaging = Averaging.tokens

    def __post_init__(self) -> None:
        require("margin", self.margin, at_least=0, at_most=1, prefix="objective")


@dataclass
class OptimizerSettings:
    """AdamW and its schedule.

    Attributes:
        lr: Highest learning rate, 1e-12 to 10.
        beta1: Decay of the mean of gradients.
        beta2: Decay of the mean of squared gradients.
        eps: AdamW's epsilon, 1e-15 to 1.
        weight_decay: Decoupled weight decay, 0 to 10.
        clip_norm: Longest gradient, 1e-6 to 1,000,000; null: not clipped.
        steps: Updates in all, 1 to 1,000,000,000; null: from ``epochs``.
        epochs: Passes over the training texts, up to 100,000, if ``steps`` is null.
        warmup: Share of the steps over which the learning rate rises, in [0, 1).
        shape: How it falls afterwards.
        floor: Share of ``lr`` that it falls to.
        dropout: Dropout of the model's layers, in [0, 1); null: the model's own.
    """

    lr: float = 2e-5
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    steps: int | None = None
    epochs: float = 1.0
    warmup: float = 0.1
    shape: Shape = Shape.linear
    floor: float = 0.0
    dropout: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise SettingsError(f"optimizer.{name} must be a finite number, got {value}")
        require("lr", self.lr, above=0, floor=1e-12, limit=10, prefix="optimizer")
        require("beta1", self.beta1, at_least=0, below=1, prefix="optimizer")
        require("beta2", self.beta2, at_least=0, below=1, prefix="optimizer")
        require("eps", self.eps, above=0, floor=1e-15, limit=1, prefix="optimizer")
        require("weight_decay", self.weight_decay, at_least=0, limit=10, prefix="optimizer")
        require("epochs", self.epochs, above=0, limit=100_000, prefix="optimizer")
        require("warmup", self.warmup, at_least=0, below=1, prefix="optimizer")
        require("floor", self.floor, at_least=0, at_most=1, prefix="optimizer")
        if self.clip_norm is not None:
            require("clip_norm", self.clip_norm, above=0, floor=1e-6, limit=1_000_000, prefix="optimizer")
        if self.steps is not None:
            require("steps", self.steps, at_least=1, limit=MOST_ITEMS, prefix="optimizer")
        if self.dropout is not None:
            require("dropout", self.dropout, at_least=0, below=1, prefix="optimizer")

    def warmup_of(self, total: int) -> int:
        """The number of steps, of ``total``, over which the learning rate rises."""
        return int(self.warmup * total)


@dataclass
class ValidateSettings:
    """When the model is measured, and what the result decides.

    Attributes:
        every: Steps between two measurements; the last step is always measured.
        limit: Only the first so many validation texts; null: all.
        select_on: Which texts choose the checkpoint that becomes the result.
    """

    every: int = 500
    limit: int | None = None
    select_on: Selection = Selection.validation

    def __post_init__(self) -> None:
        require("every", self.every, at_least=1, limit=MOST_ITEMS, prefix="validate")
        if self.limit is not None:
            require("limit", self.limit, at_least=1, limit=MOST_ITEMS, prefix="validate")


@dataclass
class TrainingRunSettings(MachineSettings):
    """Where and how training runs.

    Attributes:
        batch_size: The most sequences that one device works on at a time.
        accumulation: So many micro-batches make one update, over all devices together, at most 65,536.
        parts: Micro-batches per update, a multiple of ``accumulation``; null: as many as are needed to keep padding below a
            tenth. Changes only speed and rounding.
        dtype: Number type of activations; weights and updates are always float32.
        dir: Run folder, which becomes the model's folder; null: ``runs/finetune-lm/<dataset>-<hash of the settings>``.
        seed: Seed of the order of texts, of dropout and of fresh weights.
        max_length: Tokens of a text without start and end token, 2 to 131,072; longer texts are cut.
        grouping: Which samples of an update share a micro-batch.
        checkpoint_every: Steps between two checkpoints.
        keep: How many of the newest checkpoints are kept, at least 1.
        log_every: Steps between two lines of metrics.jsonl.
        trackers: Trackers of ``accelerate`` that also get the metrics: tensorboard, wandb, ...
    """

    batch_size: int = 32
    accumulation: int = 4
    parts: int | None = None
    dir: str | None = None
    seed: int = 0
    max_length: int = 64
    grouping: Grouping = Grouping.length
    checkpoint_every: int = 500
    keep: int = 2
    log_every: int = 10
    trackers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        require("accumulation", self.accumulation, at_least=1, limit=MOST_SIDE_BY_SIDE, prefix="run")
        for name in ("checkpoint_every", "keep", "log_every"):
            require(name, getattr(self, name), at_least=1, limit=MOST_ITEMS, prefix="run")
        if self.parts is not None and (
            self.parts < 1 or self.parts % self.accumulation or self.parts > self.accumulation * self.batch_size
        ):
            raise SettingsError(
                f"run.parts must be a multiple of run.accumulation={self.accumulation} and at most {self.accumulation * self.batch_size}, got {self.parts}"
            )
        require("max_length", self.max_length, at_least=2, limit=_MOST_TOKENS, prefix="run")
        require("seed", self.seed, at_least=0, at_most=MOST_SEED, prefix="run")


@dataclass
class FinetuneSettings:
    """Everything ``magic finetune-lm`` needs."""

    dataset: Any
    language_model: Any
    fresh: FreshModel = field(default_factory=FreshModel)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    validate: ValidateSettings = field(default_factory=ValidateSettings)
    run: TrainingRunSettings = field(default_factory=TrainingRunSettings)

    def __post_init__(self) -> None:
        if self.validate.select_on is Selection.test and not self.dataset.test:
            raise SettingsError(
                f"validate.select_on=test: dataset={self.dataset.name} names no test texts; set dataset.test, or select_on=validation"
            )

    @property
    def margin(self) -> float:
        """The margin of the contrastive term."""
        return self.objective.margin

    @property
    def averaging(self) -> Averaging:
        """How the micro-batches of one update are averaged."""
        return self.objective.averaging

    @property
    def run_folder(self) -> Path:
        """``run.dir``, or a folder named after the data set, with a hash of all settings that matter."""
        if self.run.dir:
            return expanded(self.run.dir, "run.dir")
        return named_run("finetune-lm", self.dataset.name, identity(self))

    def claim(self) -> tuple[str, str] | None:
        """The run folder that the user named and the identity of the run in it; None if no folder was named."""
        return (self.run.dir, json.dumps(identity(self), sort_keys=True)) if self.run.dir else None


def as_plain(settings: Any) -> dict[str, Any]:
    """The settings of a command as dicts, lists and scalars."""
    return json.loads(json.dumps(asdict(settings), default=lambda choice: choice.value))


WITHOUT_EFFECT = ("dir", "device", "threads", "checkpoint_every", "keep", "trackers")
"""Settings of ``run`` that cannot change the weights."""


def identity(settings: FinetuneSettings) -> dict[str, Any]:
    """The settings that can change the weights; they identify a run."""
    return without(
        as_plain(settings), {"run": WITHOUT_EFFECT, "language_model": ("recommended", "look_ahead", "clean_up_spaces")}
    )


def without(plain: dict[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Plain settings without some names in each group."""
    return {
        group: {name: value for name, value in values.items() if name not in names[group]} if group in names else values
        for group, values in plain.items()
    }


def named_run(command: str, name: str, identity: dict[str, Any]) -> Path:
    """The folder of a run if the user named none: ``runs/<command>/<name>-<hash of the settings that matter>``."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    return Path("runs", command, f"{name}-{digest}")
