"""The training of the vokens, as a task of the training loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from magic_cli.errors import MagicError
from magic_cli.interleaved.folders import require_names
from magic_cli.interleaved.training.losses import VokenObjective, label_mask
from magic_cli.interleaved.training.samples import Collator, VokenSample
from magic_cli.interleaved.training.settings import TrainVokensSettings
from magic_cli.models.faults import ModelFault
from magic_cli.terminal.progress import progress
from magic_cli.training.batching import plan_of
from magic_cli.training.simctg import IGNORED

_MEASURED_AT_ONCE = 16
_MEASURING_SEED = 0


class VokenTask:
    """The three losses of a stage (implements ``training.task.Task``).

    Args:
        objective: Losses and models.
        settings: Settings of the command.
        collate: Makes micro-batches.
        samples: Training samples.
        measured: Samples that choose the best checkpoint.
    """

    def __init__(
        self,
        objective: VokenObjective,
        settings: TrainVokensSettings,
        collate: Collator,
        samples: Sequence[VokenSample],
        measured: Sequence[VokenSample],
    ) -> None:
        self.module, self.settings, self.collate = objective, settings, collate
        self.samples, self.measured, self.num_samples = samples, measured, len(samples)
        options = settings.objective
        self.weights = (options.text_weight, options.image_weight, options.caption_weight)
        self._plan = plan_of(settings, [len(sample.ids) for sample in samples])
        self._free = self._freed()

    def _freed(self) -> dict[str, Tensor]:
        """The trained parameters, by their names in vokens.safetensors; everything else is frozen."""
        module, is_whole = self.module, self.settings.trains_all_of_mapper
        adapted = module.adapter.parameters() if module.adapter is not None else {}
        module.requires_grad_(False)
        mapper = {
            name: weight for name, weight in module.mapper.named_parameters() if is_whole or name.startswith("transformer.")
        }
        named = (("rows", dict(module.rows.named_parameters())), ("mapper", mapper), ("adapter", adapted))
        free = {f"{part}.{name}": weight for part, weights in named for name, weight in weights.items()}
        for weight in free.values():
            weight.requires_grad_(True)
        return free

    def groups(self) -> list[dict[str, Any]]:
        of_mapper = [weight for name, weight in self._free.items() if name.startswith("mapper.")]
        others = [weight for name, weight in self._free.items() if not name.startswith("mapper.")]
        return [{"params": others}, {"params": of_mapper, "factor": self.settings.optimizer.mapper_factor}]

    def micro_batches(self, update: int) -> list[list[VokenSample]]:
        return [[self.samples[i] for i in indices] for indices in self._plan.micro_batches(update)]

    def tensors(self, batch: Sequence[VokenSample]) -> list[Any]:
        return [self.collate(batch, flip=self.settings.objective.flip)]

    def counts(self, batch: Sequence[VokenSample]) -> tuple[int, int, int]:
        """Numbers of learnt tokens, of images, and of images with captions (0 unless all have one)."""
        labels = self._labels(batch)
        pictures = [sample for sample in batch if sample.drawn is not None]
        captioned = len(pictures) if self._uses_captions and all(sample.caption is not None for sample in pictures) else 0
        return int((labels != IGNORED).sum()), len(pictures), captioned

    @property
    def _uses_captions(self) -> bool:
        return self.module.texts is not None and self.module.options.with_captions

    def _labels(self, batch: Sequence[VokenSample]) -> Tensor:
        labels = torch.tensor([i for sample in batch for i in sample.ids[sample.num_prompt :]])
        return label_mask(labels, self.module.rows.ids, self.settings.objective.label_mask)

    def size(self, batch: Sequence[VokenSample]) -> tuple[int, int]:
        lengths = [len(sample.ids) for sample in batch]
        return sum(lengths), len(batch) * max(lengths)

    def line(self, sums: Sequence[float], counts: Sequence[int]) -> dict[str, float]:
        means = [total / max(1, count) for total, count in zip(sums, counts, strict=True)]
        line = {
            "loss": sum(weight * mean for weight, mean in zip(self.weights, means, strict=True)),
            "text_loss": means[0],
            "image_loss": means[1],
        }
        return line | ({"caption_loss": means[2]} if self._uses_captions else {})

    def note(self, line: dict[str, float]) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in line.items() if name.endswith("loss"))

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """The losses on the validation samples, always with the same noise, without blanking or mirroring."""
        if not self.measured:
            return {}
        was_training = self.module.training
        self.module.eval()
        device = self.module.mapper.queries.device
        sums, counts = torch.zeros(3), [0, 0, 0]
        batches = [self.measured[start : start + _MEASURED_AT_ONCE] for start in range(0, len(self.measured), _MEASURED_AT_ONCE)]
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            progress(len(batches), "validation", "batch", leave=False) as bar,
        ):
            torch.manual_seed(_MEASURING_SEED)
            for batch in batches:
                losses = self.module(self.collate(batch, flip=False).to(device))
                sums += torch.stack([loss.float().cpu() for loss in losses])
                counts = [before + new for before, new in zip(counts, self.counts(batch), strict=True)]
                bar.update()
        self.module.train(was_training)
        return self.line(sums.tolist(), counts)

    def state(self) -> dict[str, Any]:
        return {name: weight.detach().clone() for name, weight in self._free.items()}

    @torch.no_grad()
    def take(self, weights: dict[str, Any], file: Path) -> None:
        try:
            require_names(self._free, weights)
        except ModelFault as fault:
            raise MagicError(
                f"{file}: the checkpoint does not fit the model ({fault.faults[0].text}); delete it; the one before is then used"
            ) from None
        for name, weight in self._free.items():
            weight.copy_(weights[name])
