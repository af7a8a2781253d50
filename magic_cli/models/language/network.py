"""The network behind a causal LM as looking ahead needs it: body and output head apart, its work counted."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from magic_cli.models.fast.compiling import compiled
from magic_cli.models.fast.lean_gpt2 import LeanGPT2
from magic_cli.models.fast.lean_modules import unpack_products
from magic_cli.models.language.bodies import find_body, num_embeddings, takes_positions
from magic_cli.models.work_counter import WorkCounter

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Network:
    """The torch module behind a causal LM: one forward pass, hidden states out, head apart.

    Args:
        model: A Hugging Face causal LM in eval mode.
        work: Where positions and head rows are counted.

    Attributes:
        num_embeddings: Token ids that it can read: 0 up to this.

    Raises:
        ModelFault: It gives no hidden states, or has no output head.
    """

    def __init__(self, model: PreTrainedModel, work: WorkCounter) -> None:
        self.model, self.body, self.work = model, find_body(model), work
        self.head = model.get_output_embeddings()
        self.num_embeddings = num_embeddings(model)
        self.takes_positions = takes_positions(self.body)
        self.lean = LeanGPT2.of(self.body)
        self.prefix: Sequence[tuple[Tensor, Tensor]] | None = None
        """Keys and values (1, heads, n, d) of each layer that come before every text, as prefix tuning learns them."""
        self.is_compiled = False
        self.head_is_plain = True
        """Whether ``head(hidden)`` are the model's own logits; the probe clears it for scaled or capped heads."""

    @property
    def device(self) -> torch.device:
        return self.model.device

    def compile(self) -> None:
        """Run the forward pass through torch.compile from now on."""
        unpack_products(self.body)  # the compiler packs for itself
        self.body, self.lean, self.is_compiled = compiled(self.body), None, True

    def begin_with(self, prefix: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Let keys and values (1, heads, n, d) of each layer come before every text; a token's place is counted behind them."""
        device, dtype = self.model.device, self.model.dtype
        self.prefix = [(keys.to(device, dtype), values.to(device, dtype)) for keys, values in prefix]

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings (B, T, D) of ``ids`` (B, T), as vectors in a prompt stand beside them."""
        return self.model.get_input_embeddings()(ids)

    @cached_property
    def takes_vectors(self) -> bool:
        """Whether the model reads input embeddings just as it reads token ids; found out by trying."""
        if "inputs_embeds" not in inspect.signature(self.body.forward).parameters:
            return False
        ids = torch.arange(min(4, self.num_embeddings), device=self.device)[None]
        by_ids, by_vectors = self.body(ids, use_cache=False), self.body(inputs_embeds=self.embed(ids), use_cache=False)
        expected = by_ids.last_hidden_state
        return bool((by_vectors.last_hidden_state - expected).abs().amax() <= 1e-2 * expected.abs().amax())

    def hidden(self, ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None, cache: Any = None, **options):
        """Last-layer hidden states (B, T, H) of ``ids`` (B, T), and the cache after them.

        Of input embeddings if ``inputs_embeds`` (B, T, D) is among the options; the ids then only count.
        """
        with self.work.phase("language_model"):
            self.work.add("lm_positions", ids.numel())
            mask, positions, cache = self._behind_prefix(ids, mask, positions, cache)
            if (
                self.lean is not None
                and cache is not None
                and mask is not None
                and mask.dim() == 4
                and positions is not None
                and "inputs_embeds" not in options
            ):
                return self.lean(ids, mask, positions, cache), cache
            out = self.body(**self._inputs(ids, mask, positions, options), past_key_values=cache)
        return out.last_hidden_state, getattr(out, "past_key_values", None)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token scores (B, V) in float32 of hidden states (B, H)."""
        with self.work.phase("language_model"):
            self.work.add("head_rows", hidden.shape[0])
            return self.head(hidden).float()

    def own_logits(self, ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None, cache: Any = None, **options):
        """Next-token scores (B, V), at least float32, after ``ids`` (B, T) by the model's ordinary forward pass."""
        with self.work.phase("language_model"):
            self.work.add("lm_positions", ids.numel())
            self.work.add("head_rows", ids.shape[0])
            mask, positions, cache = self._behind_prefix(ids, mask, positions, cache)
            out = self.model(**self._inputs(ids, mask, positions, options), past_key_values=cache)
        logits = out.logits[:, -1]
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _behind_prefix(
        self, ids: Tensor, mask: Tensor | None, positions: Tensor | None, cache: Any
    ) -> tuple[Tensor | None, Tensor | None, Any]:
        """Mask, positions and cache of a pass over ``ids`` (B, T), with the prefix before it, if there is one."""
        if self.prefix is None:
            return mask, positions, cache
        from transformers import DynamicCache

        cache = DynamicCache() if cache is None else cache
        if cache.get_seq_length() == 0:
            for layer, (keys, values) in enumerate(self.prefix):
                cache.update(*(part.expand(ids.shape[0], -1, -1, -1) for part in (keys, values)), layer)
        length = self.prefix[0][0].shape[2]
        if mask is not None:  # an additive one has four dimensions, and 0 where a token is seen
            mask = torch.nn.functional.pad(mask, (length, 0), value=1 if mask.dim() == 2 else 0)
        return mask, None if positions is None else positions + length, cache

    def _inputs(self, ids: Tensor, mask: Tensor | None, positions: Tensor | None, options: Mapping[str, Any]) -> dict[str, Any]:
        inputs = dict(options) if "inputs_embeds" in options else {"input_ids": ids, **options}
        if mask is not None:
            inputs["attention_mask"] = mask
        if positions is not None and self.takes_positions:
            inputs["position_ids"] = positions
        return inputs
