"""Settings of ``magic train-vokens``. Does not import torch, so that settings load fast."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from magic_cli.data.interleaved import InterleavedItem, read_interleaved
from magic_cli.data.paths import expanded
from magic_cli.errors import MOST_ITEMS, SettingsError, require, require_weight
from magic_cli.interleaved.settings import AdapterKind, AdapterSettings
from magic_cli.training.settings import (
    WITHOUT_EFFECT,
    Averaging,
    OptimizerSettings,
    Selection,
    TrainingRunSettings,
    ValidateSettings,
    as_plain,
    named_run,
    without,
)


class Stage(Enum):
    """Stage one aligns the vokens with images (UAS); stage two learns from texts and images in turn (MLS)."""

    uas = "uas"
    mls = "mls"


class LabelMask(Enum):
    """Which vokens are learnt as text: the first and the last (released code), or only the first (as was intended)."""

    released = "released"
    first_only = "first_only"


@dataclass
class VokenItems:
    """Training items: texts and images in turn, with their answers (docs/interleaved.md).

    Attributes:
        name: The name in runs.
        path: File of the training items.
        validation: File of the items that choose the best checkpoint; null: ``held_out`` of the training items do.
        root: Folder of the images; null: the folder of each file.
        held_out: Share (below 1) or number (from 1) of the training items to hold out for validation.
        limit: Only the first so many training items, at least 1; null: all.
    """

    name: str = "items"
    path: str | None = None
    validation: str | None = None
    root: str | None = None
    held_out: float = 0.05
    limit: int | None = None

    def __post_init__(self) -> None:
        require("held_out", self.held_out, at_least=0, limit=MOST_ITEMS, prefix="dataset")
        if math.isnan(self.held_out) or (self.held_out >= 1 and self.held_out != int(self.held_out)):
            raise SettingsError(f"dataset.held_out must be a share below 1 or a whole number of items, got {self.held_out}")
        if self.limit is not None:
            require("limit", self.limit, at_least=1, limit=MOST_ITEMS, prefix="dataset")

    def training_and_validation(self) -> tuple[list[InterleavedItem], list[InterleavedItem]]:
        """The training items and the validation items; the latter are spread evenly over the file.

        Raises:
            MagicError: A file is missing or malformed, or nothing is left to train on.
        """
        if self.path is None:
            raise SettingsError("dataset.path: no training items; give --items FILE (JSON lines, see docs/interleaved.md)")
        items = self._read("path", self.path)[: self.limit]
        if self.validation is not None:
            return items, self._read("validation", self.validation)
        count = round(self.held_out * len(items)) if self.held_out < 1 else int(self.held_out)
        if count >= len(items):
            raise SettingsError(f"dataset.held_out={self.held_out:g} leaves none of {len(items)} items to train on; lower it")
        chosen = {round((i + 0.5) * len(items) / count) for i in range(count)}
        return [item for i, item in enumerate(items) if i not in chosen], [item for i, item in enumerate(items) if i in chosen]

    def _read(self, name: str, path: str) -> list[InterleavedItem]:
        setting = f"dataset.{name}"
        return read_interleaved(expanded(path, setting), setting=setting, images=self.root)


@dataclass
class VokenObjectiveSettings:
    """The loss: a L_text + b L_LDM + c L_CAP.

    Attributes:
        text_weight: a, weight of the cross-entropy of the answers, 0 to 1000.
        image_weight: b, weight of the noise loss, 0 to 1000.
        caption_weight: c, weight of the distance to the diffusion model's text encoder, 0 to 1000; used in micro-batches in which
            all images have captions.
        min_snr: Signal-to-noise ratios above it get less weight, 0.001 to 1,000,000; null: all weigh the same (as in the paper).
        drop: Share of the images whose vokens are blanked, for classifier-free guidance, in [0, 1].
        label_mask: Which vokens are learnt as text.
        averaging: How the micro-batches of one update are averaged.
        flip: Whether images are mirrored at random.
    """

    text_weight: float = 0.01
    image_weight: float = 1.0
    caption_weight: float = 0.1
    min_snr: float | None = 5.0
    drop: float = 0.1
    label_mask: LabelMask = LabelMask.released
    averaging: Averaging = Averaging.micro_batches
    flip: bool = True

    def __post_init__(self) -> None:
        for name in ("text_weight", "image_weight", "caption_weight"):
            require_weight(name, getattr(self, name), prefix="objective", limit=1000)
        require("drop", self.drop, at_least=0, at_most=1, prefix="objective")
        require_weight("drop", self.drop, prefix="objective", limit=1)
        if self.min_snr is not None:
            require("min_snr", self.min_snr, above=0, floor=0.001, limit=1_000_000, prefix="objective")
        if not (self.text_weight or self.image_weight or self.caption_weight):
            raise SettingsError("objective: all three weights are 0, so there is nothing to learn; set one of them")


@dataclass
class VokenOptimizerSettings(OptimizerSettings):
    """AdamW and its schedule; the defaults are those of the released code.

    Attributes:
        eps: AdamW's epsilon, 1e-15 to 1.
        weight_decay: Decoupled weight decay, 0 to 10.
        clip_norm: Longest gradient, 1e-6 to 1,000,000; null: not clipped.
        epochs: Passes over the training items, up to 100,000, if ``steps`` is null.
        warmup_steps: Steps over which the learning rate rises, 0 to 1,000,000,000; null: the share ``warmup`` of all steps.
        mapper_factor: The mapper's learning rate as a multiple of ``lr``, 1e-6 to 1,000,000; 10 in stage one.
        dropout: Always null: only the adapter has dropout (``adapter.dropout``).
    """

    eps: float = 1e-8
    weight_decay: float = 0.01
    clip_norm: float | None = None
    epochs: float = 2.0
    warmup_steps: int | None = 1000
    mapper_factor: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dropout is not None:
            raise SettingsError(
                f"optimizer.dropout={self.dropout}: belongs to magic finetune-lm; leave it out, or set adapter.dropout (stage=mls)"
            )
        if self.warmup_steps is not None:
            require("warmup_steps", self.warmup_steps, at_least=0, limit=MOST_ITEMS, prefix="optimizer")
        require("mapper_factor", self.mapper_factor, above=0, floor=1e-6, limit=1_000_000, prefix="optimizer")

    def warmup_of(self, total: int) -> int:
        return super().warmup_of(total) if self.warmup_steps is None else self.warmup_steps


@dataclass
class VokenRunSettings(TrainingRunSettings):
    """Where and how training runs; by default one device works on two items at a time, as in the released code.

    Attributes:
        batch_size: The most items that one device works on at a time.
        accumulation: So many micro-batches make one update, over all devices together.
        max_length: The most tokens of an item, image vectors included, 8 to 131,072; longer items are left out.
    """

    batch_size: int = 2
    accumulation: int = 24
    seed: int = 42
    max_length: int = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        require("max_length", self.max_length, at_least=8, limit=131_072, prefix="run")


@dataclass
class TrainVokensSettings:
    """Everything ``magic train-vokens`` needs.

    Attributes:
        stage: Which stage.
        interleaved_model: The models; stage two continues from its vokens.
        prompt: How parts become what the model reads (a prompt form of ``magic interleave``).
        one_stage: Train everything at once, without a stage one.
    """

    stage: Stage
    interleaved_model: Any
    prompt: Any
    dataset: VokenItems = field(default_factory=VokenItems)
    one_stage: bool = False
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    objective: VokenObjectiveSettings = field(default_factory=VokenObjectiveSettings)
    optimizer: VokenOptimizerSettings = field(default_factory=VokenOptimizerSettings)
    validate: ValidateSettings = field(default_factory=ValidateSettings)
    run: VokenRunSettings = field(default_factory=VokenRunSettings)

    def __post_init__(self) -> None:
        begins = self.interleaved_model.vokens is not None
        if self.stage is Stage.mls and not begins and not self.one_stage:
            raise SettingsError(
                "interleaved_model.vokens: stage two goes on from stage one; name its folder (--vokens DIR), or set one_stage=true to train everything at once"
            )
        if self.one_stage and (begins or self.stage is Stage.uas):
            raise SettingsError(
                "one_stage=true is stage=mls without a stage one before it; leave it out, or set interleaved_model.vokens=null"
            )
        if self.stage is Stage.uas and self.adapter.kind is not AdapterKind.none:
            raise SettingsError(f"adapter.kind={self.adapter.kind.value}: stage one trains no adapter; leave it out, or set none")
        if self.validate.select_on is Selection.test:
            raise SettingsError("validate.select_on=test: there are no test items here; set validation or last")

    @property
    def averaging(self) -> Averaging:
        """How the micro-batches of one update are averaged."""
        return self.objective.averaging

    @property
    def trains_all_of_mapper(self) -> bool:
        """Whether the mapper's linear layers and queries are trained, too, and not only its transformer."""
        return self.stage is Stage.uas or self.one_stage

    @property
    def run_folder(self) -> Path:
        """``run.dir``, or a folder named after stage and items, with a hash of all settings that matter."""
        if self.run.dir:
            return expanded(self.run.dir, "run.dir")
        return named_run("train-vokens", f"{self.stage.value}-{self.dataset.name}", identity(self))

    def claim(self) -> tuple[str, str] | None:
        """The run folder that the user named and the identity of the run in it; None if no folder was named."""
        return (self.run.dir, json.dumps(identity(self), sort_keys=True)) if self.run.dir else None


def identity(settings: TrainVokensSettings) -> dict[str, Any]:
    """The settings that can change the weights; they identify a run."""
    return without(as_plain(settings), {"run": WITHOUT_EFFECT})
