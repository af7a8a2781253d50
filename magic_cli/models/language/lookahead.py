"""Ways to look one token ahead with any Hugging Face causal LM; the slowest of the three is in ``recompute.py``.

All keep the same promise (``prefill``, ``peek``, ``commit``, ``select``); ``probe.py`` finds out at load which one a
model can do. Rows are left-padded so that all rows of a batch grow in step.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from magic_cli.decoding.prompts import Prompt
from magic_cli.errors import MagicError
from magic_cli.models.language.network import Network

_MOST_PADDING = 1.25
"""Positions computed for each one that is wanted, above which a copy of the cache for each candidate costs less."""

_REMEMBERED_STARTS = 8


@dataclass
class Peek:
    """Candidates that were looked at, one of which may be committed."""

    ids: Tensor
    """(B, K) token ids."""
    hidden: Tensor
    """(B, K, H), NaN where a candidate was not wanted."""
    keep: Callable[[Tensor], Any] = lambda choice: None
    """Chosen candidates (B,) -> the cache with them appended; None where nothing is kept."""


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
    vectors: Tensor | None = None
    """(B, T0, D) input embeddings of the prompts, where they hold vectors and are read again (``Recompute``)."""
    peeked: Peek | None = None
    """The last peek, until one of its candidates is appended."""

    @property
    def lengths(self) -> Tensor:
        """(B,) real tokens of every row, which is also the position of the next token."""
        return self.valid.sum(dim=1)

    def append(self, choice: Tensor) -> None:
        """Move the chosen candidates (B,) of the last peek into the sequences and the cache."""
        peeked, self.peeked = self.peeked, None
        if peeked is None:
            raise TypeError("a candidate is committed that was not looked at: call peek first")
        rows = torch.arange(len(choice), device=choice.device)
        self.cache = peeked.keep(choice)
        self.ids = torch.cat([self.ids, peeked.ids[rows, choice, None]], dim=1)
        self.hidden = torch.cat([self.hidden, peeked.hidden[rows, choice, None]], dim=1)
        self.valid = torch.nn.functional.pad(self.valid, (0, 1), value=True)


class LookAhead:
    """Base of the three ways.

    Args:
        network: The model's forward pass.
    """

    name: str

    def __init__(self, network: Network) -> None:
        self.network = network
        self._starts: OrderedDict[tuple[int, ...], State] = OrderedDict()

    def start(self, prompts: Sequence[Prompt]) -> State:
        """Like ``prefill``, but remembers the states of single texts: all captions of a run begin with the same text."""
        if len(prompts) > 1 or prompts[0].vectors:
            return self.prefill(prompts)
        key = tuple(prompts[0].ids)
        if key not in self._starts:
            self._starts[key] = self.prefill(prompts)
            if len(self._starts) > _REMEMBERED_STARTS:
                self._starts.popitem(last=False)
        self._starts.move_to_end(key)
        return copy.copy(self._starts[key])  # a state's tensors and cache are never changed in place

    def prefill(self, prompts: Sequence[Prompt]) -> State:
        """Read B prompts, left-padded to the longest."""
        ids, valid = left_pad([prompt.readable for prompt in prompts], self.network.device)
        positions = (valid.cumsum(dim=1) - 1).clamp(min=0)
        cache = self._new_cache()
        mask = self._prefill_mask(valid)
        vectors = self._vectors(prompts, ids)
        instead = {} if vectors is None else {"inputs_embeds": vectors}
        hidden, cache = self.network.hidden(ids, mask, positions, cache, use_cache=True, **instead)
        if self.network.head_is_plain:
            logits = self.network.logits(hidden[:, -1])
        else:
            logits = self.network.own_logits(ids, mask, positions, self._new_cache(), **instead)
        return State(ids, valid, hidden, logits, cache)

    def _vectors(self, prompts: Sequence[Prompt], ids: Tensor) -> Tensor | None:
        """(B, T, D) input embeddings of left-padded prompts ``ids`` (B, T); None if they are plain ids.

        Raises:
            MagicError: The model takes no vectors, or vectors of another size.
        """
        if not any(prompt.vectors for prompt in prompts):
            return None
        name = self.network.model.config.name_or_path or type(self.network.model).__name__
        if not self.network.takes_vectors:
            raise MagicError(
                f"language_model: {name} reads token ids only, no vectors (images) in their places; use another language model"
            )
        vectors = self.network.embed(ids).clone()
        for row, prompt in enumerate(prompts):
            for place, vector in prompt.vectors.items():
                if vector.shape != vectors.shape[2:]:
                    raise MagicError(
                        f"language_model: {name} takes vectors of {vectors.shape[2]} numbers in a prompt, got {tuple(vector.shape)}"
                    )
                vectors[row, ids.shape[1] - len(prompt.ids) + place] = vector.to(vectors)
        return vectors

    def look(self, state: State, ids: Tensor, wanted: Tensor | None = None) -> Tensor:
        """``peek``, which has nothing to do if nothing is wanted."""
        if wanted is not None and not wanted.any():
            return state.hidden.new_full((*ids.shape, state.hidden.shape[-1]), torch.nan)
        return self.peek(state, ids, wanted)

    def peek(self, state: State, ids: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Hidden states (B, K, H) of the candidates ``ids`` (B, K), or of those that are ``wanted`` (B, K), NaN for the rest."""
        raise NotImplementedError(f"{type(self).__name__}.peek")

    def commit(self, state: State, choice: Tensor) -> None:
        """Append the candidates ``choice`` (B,) of the last peek to ``state``, in place."""
        raise NotImplementedError(f"{type(self).__name__}.commit")

    def select(self, state: State, rows: Tensor) -> State:
        """The state of ``rows`` (R,); the last peek is forgotten."""
        cache = _fork(state.cache, rows) if state.cache is not None else None
        vectors = None if state.vectors is None else state.vectors[rows]
        return State(state.ids[rows], state.valid[rows], state.hidden[rows], state.logits[rows], cache, vectors)

    def _new_cache(self) -> Any:
        return None

    def _prefill_mask(self, valid: Tensor) -> Tensor | None:
        return valid.long()


class RepeatedCache(LookAhead):
    """One row for each candidate, on copies of its row's cache, of whatever kind the model keeps."""

    name = "repeated"

    def peek(self, state: State, ids: Tensor, wanted: Tensor | None = None) -> Tensor:
        wanted = torch.ones_like(ids, dtype=torch.bool) if wanted is None else wanted
        rows, columns = wanted.nonzero(as_tuple=True)  # (N)
        valid = torch.nn.functional.pad(state.valid, (0, 1), value=True)[rows]
        cache = _fork(state.cache, rows)
        hidden, cache = self.network.hidden(
            ids[rows, columns, None], self._step_mask(valid), state.lengths[rows, None], cache, use_cache=True
        )
        places = torch.zeros_like(ids)
        places[rows, columns] = torch.arange(len(rows), device=ids.device)
        state.peeked = Peek(
            ids,
            hidden.new_full((*ids.shape, hidden.shape[-1]), torch.nan).index_put((rows, columns), hidden[:, 0]),
            keep=lambda choice: _fork(cache, places.gather(1, choice[:, None]).squeeze(1)),
        )
        return state.peeked.hidden

    def commit(self, state: State, choice: Tensor) -> None:
        before, positions = state.cache, state.lengths[:, None]
        state.append(choice)
        if self.network.head_is_plain:
            state.logits = self.network.logits(state.hidden[:, -1])
        else:
            mask = self._step_mask(state.valid)
            state.logits = self.network.own_logits(state.ids[:, -1:], mask, positions, _fork(before), use_cache=True)

    def _step_mask(self, valid: Tensor) -> Tensor:
        """What a pass over one token a row is given as mask; ``valid`` (B, T) counts that token."""
        return valid.long()


class TreeStep(RepeatedCache):
    """All K candidates in one pass as K positions of one sequence, each blind to the others.

    They share the cached prefix, which is therefore never copied K times; a mask keeps them apart and all get the same
    position id. Committing keeps the chosen candidate's cache column and drops the others. Where rows want very different
    numbers of candidates, padding would cost more than copies, and each candidate is a row of its own.
    """

    name = "tree"

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        from magic_cli.models.fast.growing_cache import GrowingCache

        # plain: no sliding windows, so that columns are positions
        return DynamicCache() if self.network.is_compiled else GrowingCache()

    def _prefill_mask(self, valid: Tensor) -> Tensor:
        causal = torch.ones(valid.shape[1], valid.shape[1], dtype=torch.bool, device=valid.device).tril()
        # padding sees itself: where a whole row is masked, float16 overflows to NaN, which would reach the real tokens
        itself = torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
        return self._additive(causal & valid[:, None] | itself)

    def peek(self, state: State, ids: Tensor, wanted: Tensor | None = None) -> Tensor:
        most = ids.shape[1]
        if wanted is not None:
            total, most = torch.stack([wanted.sum(), wanted.sum(dim=1).max()]).tolist()
            if most * len(wanted) > _MOST_PADDING * total:  # a rectangle around the wanted ones would be padding for a good part
                return super().peek(state, ids, wanted)
            wanted = None if total == wanted.numel() else wanted
        columns = _columns(ids, wanted, most)  # (B, S)
        num_rows, width = columns.shape
        apart = torch.eye(width, dtype=torch.bool, device=ids.device).expand(num_rows, -1, -1)
        prefix = state.valid[:, None].expand(-1, width, -1)
        mask = self._additive(torch.cat([prefix, apart], dim=2))  # (B, 1, S, T + S)
        positions = state.lengths[:, None].expand(-1, width)
        hidden, cache = self.network.hidden(ids.gather(1, columns), mask, positions, _fork(state.cache), use_cache=True)
        if wanted is not None:
            every = hidden.new_full((*ids.shape, hidden.shape[-1]), torch.nan)
            hidden = every.scatter(1, columns[:, :, None].expand_as(hidden), hidden).masked_fill(~wanted[:, :, None], torch.nan)

        def keep(choice: Tensor) -> Any:
            from magic_cli.models.fast.growing_cache import keep_column

            if width > 1:
                keep_column(cache, (columns == choice[:, None]).int().argmax(dim=1), width)
            return cache

        state.peeked = Peek(ids, hidden, keep=keep)
        return hidden

    def _step_mask(self, valid: Tensor) -> Tensor:
        return self._additive(valid[:, None])

    def _additive(self, allowed: Tensor) -> Tensor:
        """(B, Q, T) bool -> (B, 1, Q, T) float mask: boolean masks are read wrongly by eager attention, -inf gives NaN."""
        dtype = self.network.model.dtype
        return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)[:, None]


def _fork(cache: Any, rows: Tensor | None = None) -> Any:
    """A cache of the same contents (of ``rows`` only) that may grow without changing the one it comes from.

    Raises:
        TypeError: It holds states that change in place.
    """
    if any(hasattr(layer, "recurrent_states") for layer in cache.layers):
        raise TypeError("a recurrent state cannot be forked")
    fork = copy.copy(cache)
    fork.layers = [copy.copy(layer) for layer in cache.layers]
    if rows is not None:
        fork.batch_select_indices(rows)
    return fork


def _columns(ids: Tensor, wanted: Tensor | None, most: int) -> Tensor:
    """Columns (B, S) of the wanted candidates in order; a row with fewer than the ``most`` of any goes on with its first others."""
    if wanted is None:
        return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    return (~wanted).int().argsort(dim=1, stable=True)[:, :most]


def left_pad(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids (B, T), 0 on padding, and which of them are real (B, T)."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    valid = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts], device=device)
    return ids, valid
