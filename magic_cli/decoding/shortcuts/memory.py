"""Steps remembered from one text to the next. Apart from the image, all numbers of a step depend on the text so far alone.

Captions by one language model often begin alike: of the 52,110 steps (words) in the paper's captions of the 4,982 COCO test
images, 61 % have a beginning that an earlier caption had.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from magic_cli.decoding.step import Candidates

if TYPE_CHECKING:
    from torch import Tensor

_FAVOURED = 0.8
"""The share of the memory for steps that were used at least twice. For the paper's COCO captions, half of the steps are found
with room for 1,380 steps (123 MiB); without this share it would be 46 %."""

_OVERHEAD = 2048
"""About how many bytes a step takes apart from its numbers."""


@dataclass(frozen=True)
class KnownStep:
    """All numbers of a step that do not depend on the image: for R rows (the first dimension of all tensors), or for one row
    without that dimension."""

    ids: Tensor
    """(R, K) the candidates."""
    confidence: Tensor
    """(R, K) their probabilities."""
    features: tuple[Tensor, ...] = ()
    """(R, K, E) of their texts, for each guide, NaN where a text was not read; empty: none was."""
    penalty: Tensor | None = None
    """(R, K) their degeneration penalties, NaN where none was asked for; None: the penalty has no weight."""
    forbidden: Tensor | None = None
    """(R, K) bool: candidates that may not come next; None: all may."""
    alone: bool = False
    """Whether it was computed for one row alone, without shortcuts."""

    @classmethod
    def of(cls, found: Candidates) -> KnownStep:
        """The numbers of scored candidates."""
        return cls(found.ids, found.confidence, found.features, found.penalty, found.forbidden)

    def row(self, index: int, *, alone: bool = False) -> KnownStep:
        """A copy of one row's numbers."""
        return replace(self._with_each(lambda tensor: tensor[index].clone()), alone=alone)

    def as_candidates(self) -> Candidates:
        """One row's numbers as the candidates of a step with R = 1 rows."""
        rows = self._with_each(lambda tensor: tensor[None])
        return Candidates(rows.ids, rows.confidence, forbidden=rows.forbidden, features=rows.features, penalty=rows.penalty)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return _OVERHEAD + sum(tensor.numel() * tensor.element_size() for tensor in self._tensors())

    def with_numbers_of(self, other: KnownStep) -> KnownStep:
        """The same step, with those penalties and features added that the other one has of the same candidates. Rounding may order
        candidates differently; then nothing is added."""
        if not self.ids.equal(other.ids):
            return self
        penalty, features = self.penalty, self.features or other.features
        if penalty is not None and other.penalty is not None:
            penalty = penalty.where(other.penalty.isnan(), other.penalty)
        if self.features and other.features:
            features = tuple(new.where(~new.isnan(), old) for old, new in zip(self.features, other.features, strict=True))
        return replace(self, penalty=penalty, features=features)

    def _tensors(self) -> list[Tensor]:
        return [*self.features, *(one for one in (self.ids, self.confidence, self.penalty, self.forbidden) if one is not None)]

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> KnownStep:
        return replace(
            self,
            ids=change(self.ids),
            confidence=change(self.confidence),
            features=tuple(map(change, self.features)),
            penalty=None if self.penalty is None else change(self.penalty),
            forbidden=None if self.forbidden is None else change(self.forbidden),
        )


class StepMemory:
    """The steps of one method with one pair of models. They are found again by the tokens before them.

    Args:
        limit: The most bytes. The step that was unused for the longest time is dropped first; steps used once go before others.

    Attributes:
        met: How many steps were found in the memory.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.met, self._size = limit, 0, 0
        self._once: OrderedDict[tuple[int, ...], KnownStep] = OrderedDict()
        self._again: OrderedDict[tuple[int, ...], KnownStep] = OrderedDict()
        self._again_size = 0

    def __len__(self) -> int:
        return len(self._once) + len(self._again)

    def get(self, prompt: Sequence[int], generated: Sequence[int]) -> KnownStep | None:
        """The known step after these tokens; None: it is not known."""
        key = _key(prompt, generated)
        found = self._once.pop(key, None)
        if found is not None:
            self._again_size += found.size
        else:
            found = self._again.pop(key, None)
        if found is not None:
            self._again[key] = found
            self._make_room()
        return found

    def put(self, prompt: Sequence[int], generated: Sequence[int], evidence: KnownStep) -> None:
        """Remember one row's step. If the step is known, its new numbers are added; a step that was computed alone stays as it
        is."""
        key = _key(prompt, generated)
        place = self._again if key in self._again else self._once
        known = place.get(key)
        if known is not None and not evidence.alone:
            evidence = known if known.alone else known.with_numbers_of(evidence)
        place[key] = evidence
        growth = evidence.size - (0 if known is None else known.size)
        self._size += growth
        self._again_size += growth if place is self._again else 0
        self._make_room()

    def _make_room(self) -> None:
        while self._again_size > _FAVOURED * self.limit:
            key, evidence = self._again.popitem(last=False)
            self._again_size -= evidence.size
            self._once[key] = evidence
        while self._size > self.limit:
            _, evidence = self._once.popitem(last=False)
            self._size -= evidence.size


def _key(prompt: Iterable[int], generated: Iterable[int]) -> tuple[int, ...]:
    return (*prompt, -1, *generated)  # -1 is no token: the same tokens are another step where more of them belong to the prompt
