"""A transformers cache that appends to what it holds, instead of copying all of it for every token. Needs transformers when imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class GrowingCache(DynamicCache):
    """``DynamicCache`` of ``GrowingLayer``s."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_class_to_replicate = GrowingLayer


@dataclass
class _Room:
    """Memory with free places behind the tokens; forks of a layer share it."""

    keys: Tensor
    """(B, heads, capacity, d)."""
    values: Tensor
    taken: int
    """Places that some fork has written."""


class GrowingLayer(DynamicLayer):
    """The keys and values (B, heads, T, d) of one layer, with free places behind them.

    A shallow copy may grow without changing the layer it comes from: it writes to the places behind the T tokens only if no other copy
    has, else to memory of its own. Places that were cropped are free again, so only the copy that grew last may be cropped.
    """

    _room: _Room | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, heads, S, d); returns all (B, heads, T + S, d)."""
        length, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        # what is read first stays apart: many texts, perhaps of several threads, go on from one prompt
        if not length or key_states.device.type != "cpu" or not torch.is_inference_mode_enabled():
            return super().update(key_states, value_states, *args, **kwargs)
        room = self._room
        if room is None or not self._is_at_end(room) or end > room.keys.shape[2]:
            assert self.keys is not None and self.values is not None, "a layer that has tokens has their keys and values"
            capacity = end + end // 4 + 16
            room = self._room = _Room(_with_room(self.keys, capacity), _with_room(self.values, capacity), taken=length)
        room.keys[:, :, length:end], room.values[:, :, length:end] = key_states, value_states
        room.taken = end
        self.keys, self.values = room.keys[:, :, :end], room.values[:, :, :end]
        return self.keys, self.values

    def crop(self, tokens_to_remove: int) -> None:
        """Drop the last tokens; the number is negative."""
        room = self._room
        is_last = room is not None and self._is_at_end(room)
        super().crop(tokens_to_remove)
        if room is not None and is_last:
            room.taken = self.get_seq_length()

    def _is_at_end(self, room: _Room) -> bool:
        """Whether the free places are right behind this layer's tokens (not so once rows were selected: they are elsewhere)."""
        return self.keys is not None and self.keys.data_ptr() == room.keys.data_ptr() and self.get_seq_length() == room.taken


def _with_room(part: Tensor, capacity: int) -> Tensor:
    """Keys or values (B, heads, T, d) at the beginning of new memory, (B, heads, capacity, d)."""
    room = part.new_empty(*part.shape[:2], capacity, part.shape[3])
    room[:, :, : part.shape[2]] = part
    return room
