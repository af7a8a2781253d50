"""Adapters of the frozen language model in stage two: low-rank updates or a learnt prefix, both by peft."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from magic_cli.errors import MagicError
from magic_cli.interleaved.folders import require_names
from magic_cli.interleaved.settings import AdapterKind, AdapterSettings


class Adapter:
    """An adapter inside a causal LM; the model is changed in place.

    Args:
        model: A Hugging Face causal LM; its own weights are frozen.
        settings: Which adapter; the kind must not be ``none``.

    Raises:
        MagicError: The model has no layers with the given names, or accepts no prefix.
    """

    def __init__(self, model: Any, settings: AdapterSettings) -> None:
        from peft import LoraConfig, PeftConfig, PrefixTuningConfig, TaskType, get_peft_model

        self.settings = settings
        if settings.kind is AdapterKind.lora:
            weight: Any = settings.alpha  # peft divides it by r, and takes numbers that are not whole, too
            config: PeftConfig = LoraConfig(
                task_type=TaskType.CAUSAL_LM, r=settings.r, lora_alpha=weight, lora_dropout=settings.dropout,
                target_modules=list(settings.targets), bias="none",
            )  # fmt: skip
        else:
            config = PrefixTuningConfig(
                task_type=TaskType.CAUSAL_LM, num_virtual_tokens=settings.prefix_length, prefix_projection=True,
                encoder_hidden_size=settings.prefix_width,
            )  # fmt: skip
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # peft uses an old name of transformers
                self.wrapped = get_peft_model(model, config)
        except (ValueError, AttributeError, KeyError) as error:  # peft's errors for a model that it cannot adapt
            text = str(error).splitlines()[0][:160]
            raise MagicError(
                f"adapter: the language model cannot be adapted by {settings.kind.value} ({text}); set adapter.targets, or another adapter.kind"
            ) from error

    def parameters(self) -> dict[str, Tensor]:
        """The trained parameters, by name."""
        return {name: weight for name, weight in self.wrapped.named_parameters() if weight.requires_grad}

    @torch.no_grad()
    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Continue from trained weights.

        Raises:
            ModelFault: Names or shapes differ.
        """
        own = self.parameters()
        require_names(own, weights)
        for name, weight in own.items():
            weight.copy_(weights[name])

    @property
    def prefix_length(self) -> int:
        """Positions that the prefix takes before every text; 0: there is none."""
        return self.settings.prefix_length if self.settings.kind is AdapterKind.prefix else 0

    def prefix(self, batch_size: int) -> Any:
        """The prefix of B texts as a cache of keys and values; differentiable."""
        return self.wrapped.get_prompt(batch_size)

    @torch.no_grad()
    def settle(self) -> list[tuple[Tensor, Tensor]] | None:
        """Merge the adapter into the model, for use without training: low-rank updates are added to the weights.

        Returns:
            Keys and values (1, heads, n, d) of each layer, to put before every text; None: there is no prefix.
        """
        if self.settings.kind is AdapterKind.lora:
            self.wrapped.merge_and_unload()
            return None
        self.wrapped.eval()
        cache = self.prefix(1)
        return [(layer.keys.detach().clone(), layer.values.detach().clone()) for layer in cache.layers]


def describe(settings: AdapterSettings) -> dict[str, Any]:
    """The settings in the form of vokens.json."""
    return asdict(settings) | {"kind": settings.kind.value, "targets": list(settings.targets)}
