"""Three ways to look one token ahead with any Hugging Face causal LM, from fast to general.

All keep the same promise (``prefill``, ``peek``, ``commit``, ``select``); ``probe.py`` finds out at load which one a
model can do. Rows are left-padded so that all rows of a batch grow in step.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from magic_cli.work import Work


class Network:
    """The torch module behind a causal LM: one forward pass, hidden states out, head apart.

    Args:
        model: A Hugging Face causal LM in eval mode.
        work: Where positions and head rows are counted.
    """

    def __init__(self, model: torch.nn.Module, work: Work) -> None:
        self.model, self.body, self.work = model, model.base_model, work
        self.head = model.get_output_embeddings()
        self.takes_positions = "position_ids" in inspect.signature(self.body.forward).parameters
        self.head_is_plain = True
        """Whether ``head(hidden)`` are the model's own logits; the probe clears it for scaled or capped heads."""

    @property
    def device(self) -> torch.device:
        return self.model.device

    def hidden(self, ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None, cache: Any = None, **options):
        """Last-layer hidden states (B, T, H) of ``ids`` (B, T), and the cache after them."""
        with self.work.phase("language_model"):
            self.work.add("lm_positions", ids.numel())
            out = self.body(ids, **self._inputs(mask, positions), past_key_values=cache, **options)
        return out.last_hidden_state, getattr(out, "past_key_values", None)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token scores (B, V) in float32 of hidden states (B, H)."""
        with self.work.phase("language_model"):
            self.work.add("head_rows", hidden.shape[0])
            return self.head(hidden).float()

    def own_logits(self, ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None, cache: Any = None, **options):
        """Next-token scores (B, V) after ``ids`` (B, T) by the model's ordinary forward pass."""
        with self.work.phase("language_model"):
            self.work.add("lm_positions", ids.numel())
            self.work.add("head_rows", ids.shape[0])
            out = self.model(ids, **self._inputs(mask, positions), past_key_values=cache, **options)
        return out.logits[:, -1].float()

    def _inputs(self, mask: Tensor | None, positions: Tensor | None) -> dict[str, Tensor]:
        inputs = {} if mask is None else {"attention_mask": mask}
        if positions is not None and self.takes_positions:
            inputs["position_ids"] = positions
        return inputs


@dataclass
class State:
    """B sequences as far as they have been read (see ``protocols.LanguageModelState``)."""

    ids: Tensor
    """(B, T) token ids, 0 on padding."""
    valid: Tensor
    """(B, T) bool."""
    hidden: Tensor
    """(B, T, H)."""
    logits: Tensor
    """(B, V)."""
    cache: Any = None
    peeked_ids: Tensor | None = None
    """(B, K) candidates of the last peek."""
    peeked_hidden: Tensor | None = None
    """(B, K, H)."""
    peeked_cache: Any = None

    @property
    def lengths(self) -> Tensor:
        """(B,) real tokens of every row, which is also the position of the next token."""
        return self.valid.sum(dim=1)

    def append(self, choice: Tensor) -> None:
        """Move the chosen candidates (B,) of the last peek into the sequences."""
        rows = torch.arange(len(choice), device=choice.device)
        self.ids = torch.cat([self.ids, self.peeked_ids[rows, choice, None]], dim=1)
        self.hidden = torch.cat([self.hidden, self.peeked_hidden[rows, choice, None]], dim=1)
        self.valid = torch.nn.functional.pad(self.valid, (0, 1), value=True)
        self.peeked_ids = self.peeked_hidden = None


class LookAhead:
    """Base of the three ways.

    Args:
        network: The model's forward pass.
    """

    name: str

    def __init__(self, network: Network) -> None:
        self.network = network

    def prefill(self, prompts: Sequence[Sequence[int]]) -> State:
        """Read B prompts, left-padded to the longest."""
        ids, valid = _left_pad(prompts, self.network.device)
        positions = (valid.cumsum(dim=1) - 1).clamp(min=0)
        cache = self._new_cache()
        mask = self._prefill_mask(valid)
        hidden, cache = self.network.hidden(ids, mask, positions, cache, use_cache=True)
        if self.network.head_is_plain:
            logits = self.network.logits(hidden[:, -1])
        else:
            logits = self.network.own_logits(ids, mask, positions, self._new_cache())
        return State(ids, valid, hidden, logits, cache)

    def peek(self, state: State, ids: Tensor) -> Tensor:
        """Hidden states (B, K, H) of the candidates ``ids`` (B, K)."""
        raise NotImplementedError(f"{type(self).__name__}.peek")

    def commit(self, state: State, choice: Tensor) -> None:
        """Append the candidates ``choice`` (B,) of the last peek to ``state``, in place."""
        raise NotImplementedError(f"{type(self).__name__}.commit")

    def select(self, state: State, rows: Tensor) -> State:
        """The state of ``rows`` (R,); the last peek is forgotten."""
        cache = state.cache
        if cache is not None:
            cache = copy.copy(cache)
            cache.layers = [copy.copy(layer) for layer in cache.layers]  # selection must not change the caller's state
            cache.batch_select_indices(rows)
        return State(state.ids[rows], state.valid[rows], state.hidden[rows], state.logits[rows], cache)

    def _new_cache(self) -> Any:
        return None

    def _prefill_mask(self, valid: Tensor) -> Tensor | None:
        return valid.long()


class TreeStep(LookAhead):
    """All K candidates in one pass as K positions of one sequence, each blind to the others.

    They share the cached prefix, which is therefore never copied K times; a mask keeps them apart and all get the same
    position id. Committing keeps the chosen candidate's cache column and drops the others.
    """

    name = "tree"

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache()  # plain: no sliding windows, so that columns are positions

    def _prefill_mask(self, valid: Tensor) -> Tensor:
        causal = torch.ones(valid.shape[1], valid.shape[1], dtype=torch.bool, device=valid.device).tril()
        # padding sees itself: where a whole row is masked, float16 overflows to NaN, which would reach the real tokens
        itself = torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
        return self._additive(causal & valid[:, None] | itself)

    def peek(self, state: State, ids: Tensor) -> Tensor:
        num_rows, num_candidates = ids.shape
        self._forget_peek(state)
        apart = torch.eye(num_candidates, dtype=torch.bool, device=ids.device).expand(num_rows, -1, -1)
        prefix = state.valid[:, None].expand(-1, num_candidates, -1)
        mask = self._additive(torch.cat([prefix, apart], dim=2))  # (B, 1, K, T + K)
        positions = state.lengths[:, None].expand(-1, num_candidates)
        hidden, state.cache = self.network.hidden(ids, mask, positions, state.cache, use_cache=True)
        state.peeked_ids, state.peeked_hidden = ids, hidden
        return hidden

    def commit(self, state: State, choice: Tensor) -> None:
        num_rows, num_candidates = state.peeked_ids.shape
        length = state.ids.shape[1]
        if num_candidates > 1:
            rows = torch.arange(num_rows, device=choice.device)
            for layer in state.cache.layers:
                layer.keys[:, :, length] = layer.keys[rows, :, length + choice]
                layer.values[:, :, length] = layer.values[rows, :, length + choice]
            state.cache.crop(-(num_candidates - 1))
        state.append(choice)
        if self.network.head_is_plain:
            state.logits = self.network.logits(state.hidden[:, -1])
            return
        state.cache.crop(-1)
        mask = self._additive(state.valid[:, None])
        positions = state.lengths[:, None] - 1
        state.logits = self.network.own_logits(state.ids[:, -1:], mask, positions, state.cache, use_cache=True)

    def select(self, state: State, rows: Tensor) -> State:
        self._forget_peek(state)
        return super().select(state, rows)

    def _forget_peek(self, state: State) -> None:
        if state.peeked_ids is not None:
            state.cache.crop(-state.peeked_ids.shape[1])
            state.peeked_ids = state.peeked_hidden = None

    def _additive(self, allowed: Tensor) -> Tensor:
        """(B, Q, T) bool -> (B, 1, Q, T) float mask: boolean masks are read wrongly by eager attention, -inf gives NaN."""
        dtype = self.network.model.dtype
        return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)[:, None]


class RepeatedCache(LookAhead):
    """One row for each candidate on a K-fold copy of the cache, of whatever kind the model keeps."""

    name = "repeated"

    def peek(self, state: State, ids: Tensor) -> Tensor:
        num_rows, num_candidates = ids.shape
        cache = copy.deepcopy(state.cache)
        cache.batch_repeat_interleave(num_candidates)
        valid = torch.nn.functional.pad(state.valid, (0, 1), value=True).repeat_interleave(num_candidates, dim=0)
        positions = state.lengths.repeat_interleave(num_candidates)[:, None]
        hidden, cache = self.network.hidden(ids.reshape(-1, 1), valid.long(), positions, cache, use_cache=True)
        state.peeked_ids, state.peeked_cache = ids, cache
        state.peeked_hidden = hidden.view(num_rows, num_candidates, -1)  # (B * K, 1, H) -> (B, K, H)
        return state.peeked_hidden

    def commit(self, state: State, choice: Tensor) -> None:
        num_rows, num_candidates = state.peeked_ids.shape
        before, positions = state.cache, state.lengths[:, None]
        state.peeked_cache.batch_select_indices(torch.arange(num_rows, device=choice.device) * num_candidates + choice)
        state.cache, state.peeked_cache = state.peeked_cache, None
        state.append(choice)
        if self.network.head_is_plain:
            state.logits = self.network.logits(state.hidden[:, -1])
        else:
            state.logits = self.network.own_logits(state.ids[:, -1:], state.valid.long(), positions, before, use_cache=True)


class Recompute(LookAhead):
    """No cache and no padding: every candidate's whole sequence is read again. Slow, and right for every model."""

    name = "recompute"

    def prefill(self, prompts: Sequence[Sequence[int]]) -> State:
        ids, valid = _left_pad(prompts, self.network.device)
        hidden = None
        for rows, tokens in self._same_length(ids, valid):
            part, _ = self.network.hidden(tokens, use_cache=False)
            if hidden is None:
                hidden = part.new_zeros(*ids.shape, part.shape[-1])
            hidden[rows, ids.shape[1] - tokens.shape[1] :] = part
        state = State(ids, valid, hidden, logits=hidden.new_zeros(0))
        state.logits = self._logits(state)
        return state

    def peek(self, state: State, ids: Tensor) -> Tensor:
        num_candidates = ids.shape[1]
        peeked = state.hidden.new_zeros(*ids.shape, state.hidden.shape[-1])
        for rows, tokens in self._same_length(state.ids, state.valid):
            repeated = tokens.repeat_interleave(num_candidates, dim=0)
            sequences = torch.cat([repeated, ids[rows].reshape(-1, 1)], dim=1)
            hidden, _ = self.network.hidden(sequences, use_cache=False)
            peeked[rows] = hidden[:, -1].view(len(rows), num_candidates, -1)
        state.peeked_ids, state.peeked_hidden = ids, peeked
        return peeked

    def commit(self, state: State, choice: Tensor) -> None:
        state.append(choice)
        state.logits = self._logits(state)

    def _logits(self, state: State) -> Tensor:
        if self.network.head_is_plain:
            return self.network.logits(state.hidden[:, -1])
        parts = [(rows, self.network.own_logits(ids, use_cache=False)) for rows, ids in self._same_length(state.ids, state.valid)]
        order = torch.cat([rows for rows, _ in parts]).argsort()
        return torch.cat([logits for _, logits in parts])[order]

    def _same_length(self, ids: Tensor, valid: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Rows of equal length together: [(row indices, their unpadded tokens)]."""
        lengths = valid.sum(dim=1)
        groups = []
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().squeeze(1)
            groups.append((rows, ids[rows, ids.shape[1] - length :]))
        return groups


def _left_pad(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids (B, T), 0 on padding, and which of them are real (B, T)."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    valid = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts], device=device)
    return ids, valid
