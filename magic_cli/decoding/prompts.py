"""Prompts: token ids, some of which may be replaced by vectors, as for images in models that read both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Prompt:
    """The beginning that one text continues."""

    ids: Sequence[int]
    """Token ids, at least one. Where a vector is, the id is only a placeholder: any number will do."""
    vectors: Mapping[int, Tensor] = field(default_factory=dict)
    """``{position: (D,) input embedding}`` in place of the token's own; positions count from 0."""

    def __post_init__(self) -> None:
        outside = [place for place in self.vectors if not 0 <= place < len(self.ids)]
        if outside:
            raise ValueError(f"vectors stand at places 0 to {len(self.ids) - 1} of a prompt, got {outside[0]}")

    @property
    def words(self) -> list[int]:
        """The real tokens, which methods and rules read."""
        return [token for place, token in enumerate(self.ids) if place not in self.vectors]

    @property
    def readable(self) -> list[int]:
        """All ids; those of vectors are replaced by an id that every model has."""
        return [0 if place in self.vectors else token for place, token in enumerate(self.ids)]

    @classmethod
    def of(cls, prompt: Prompt | Sequence[int]) -> Prompt:
        """The prompt itself; plain ids become a prompt without vectors."""
        return prompt if isinstance(prompt, Prompt) else cls(list(prompt))
