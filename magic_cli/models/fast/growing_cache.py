"""A transformers cache that appends to what it holds, instead of copying all of it for every token. Needs transformers when imported.

Shapes: B rows, T tokens, d numbers of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

_BLOCK = 4 << 20
"""Bytes of memory that are asked for at once. Of more, glibc gives back what is freed, and the system lays it out anew, page by page: with all
of 8 captions' 54 MB in one piece a tenth of a step went into that."""


class _Room:
    """Memory with free places behind the tokens, for all layers; forks of a cache share it.

    Args:
        parts: Keys and values of all layers in turn, (B, heads, T, d) each; they are copied.
        new: Further places that are needed at once; some more are laid out.
        rows: Which rows are copied, (R,); None: all.
    """

    def __init__(self, parts: Sequence[Tensor], new: int = 0, rows: Tensor | None = None) -> None:
        self.taken = parts[0].shape[2]
        """Places that some fork has written."""
        self.capacity = (self.taken + new) * 5 // 4 + 16
        alike = len({(part.shape, part.dtype) for part in parts}) == 1
        num_rows, num_heads, _, width = parts[0].shape
        size = (num_rows if rows is None else len(rows)) * num_heads * self.capacity * width * parts[0].itemsize
        at_once = max(1, _BLOCK // size) if alike else 1
        groups = [parts[first : first + at_once] for first in range(0, len(parts), at_once)]
        self.blocks = [_with_places(group, self.capacity, rows) for group in groups]
        """(parts, B, heads, capacity, d): some parts each; where their shapes differ, one."""
        self.parts = [part for block in self.blocks for part in block]


class GrowingCache(DynamicCache):
    """``DynamicCache`` with free places behind the T tokens, in memory that all layers share.

    A shallow copy of it and its layers may grow without changing the cache it comes from: it writes to the places behind the T tokens only if
    no other copy has, else to memory of its own. Places that were cropped are free again, so only the copy that grew last may be cropped.
    """

    layers: list[Any]  # all hold keys and values, which the library's type leaves open
    _room: _Room | None = None
    _end: int = 0
    """Tokens after the pass that is under way; every layer takes part in it."""

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, heads, S, d) of one layer, the first layer first; returns all (B, heads, T + S, d)."""
        if layer_idx == 0:
            self._room = self._room_for(key_states)
        if self._room is None:
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)
        layer, new = self.layers[layer_idx], key_states.shape[2]
        keys, values = self._room.parts[2 * layer_idx : 2 * layer_idx + 2]
        layer.keys, layer.values = keys.narrow(2, 0, self._end), values.narrow(2, 0, self._end)
        keys.narrow(2, self._end - new, new).copy_(key_states)
        values.narrow(2, self._end - new, new).copy_(value_states)
        return layer.keys, layer.values

    def _room_for(self, key_states: Tensor) -> _Room | None:
        """Room for keys (B, heads, S, d) in every layer; None where the library is to append."""
        length, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[2]
        # what is read first stays apart: many texts, perhaps of several threads, go on from one prompt (if nothing comes before it)
        if not length or key_states.device.type != "cpu" or not torch.is_inference_mode_enabled():
            return None
        room = self.room
        if room is None or end > room.capacity:
            if any(layer.get_seq_length() != length for layer in self.layers):
                return None  # some layers keep less than all
            room = _Room(self._parts, key_states.shape[2])
        room.taken = self._end = end
        return room

    @property
    def _parts(self) -> list[Tensor]:
        return [part for layer in self.layers for part in (layer.keys, layer.values)]

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the rows ``indices`` (R,)."""
        if self._room is None or not torch.is_inference_mode_enabled():
            return super().batch_select_indices(indices)
        self._room = _Room(self._parts, rows=indices)  # with places for what follows, lest all be copied twice
        self._hold(self._room)

    @property
    def room(self) -> _Room | None:
        """The memory that it lies in, if the free places there are right behind its tokens.

        Not so if another copy has written there.
        """
        room, first = self._room, self.layers[0].keys if self.layers else None
        if room is None or first is None or first.data_ptr() != room.parts[0].data_ptr():
            return None
        return room if first.shape[2] == room.taken else None

    def crop(self, tokens_to_remove: int) -> None:
        """Drop the last tokens; the number is negative, or 0."""
        room = self.room
        if room is None:
            super().crop(tokens_to_remove)
        else:
            room.taken += tokens_to_remove
            self._hold(room)

    def _hold(self, room: _Room) -> None:
        """Let the layers be what stands in a room."""
        for layer, keys, values in zip(self.layers, room.parts[::2], room.parts[1::2], strict=True):
            layer.keys, layer.values = keys.narrow(2, 0, room.taken), values.narrow(2, 0, room.taken)


def keep_column(cache: Any, column: Tensor, width: int) -> None:
    """Of the last ``width`` columns of each row of a ``DynamicCache`` keep one (B,), in place."""
    room = cache.room if isinstance(cache, GrowingCache) else None
    blocks = room.blocks if room is not None else [part[None] for layer in cache.layers for part in (layer.keys, layer.values)]
    rows, length = torch.arange(len(column), device=column.device), cache.get_seq_length()
    for block in blocks:
        first = (length if room is not None else block.shape[3]) - width  # layers of unequal lengths have no room
        kept = block[:, rows, :, first + column]  # (B, parts, heads, d): where two dimensions are indexed, these come first
        block[:, :, :, first] = kept.transpose(0, 1)
    cache.crop(1 - width)


def _with_places(parts: Sequence[Tensor], capacity: int, rows: Tensor | None) -> Tensor:
    """Keys or values (B, heads, T, d), of ``rows`` only, at the beginning of new memory, (parts, R, heads, capacity, d)."""
    num_rows, num_heads, length, width = parts[0].shape
    block = parts[0].new_empty(len(parts), num_rows if rows is None else len(rows), num_heads, capacity, width)
    for places, part in zip(block[:, :, :, :length], parts, strict=True):
        if rows is None:
            places.copy_(part)
        else:
            torch.index_select(part, 0, rows, out=places)
    return block
