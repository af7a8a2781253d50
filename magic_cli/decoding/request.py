"""The request to ``generate``, and its result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from magic_cli.decoding.guides import Guide, ImageGuide
from magic_cli.decoding.prompts import Prompt
from magic_cli.decoding.protocols import LanguageModel
from magic_cli.decoding.text import EveryToken, TextFormat
from magic_cli.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

    from magic_cli.decoding.rules import Rule
    from magic_cli.decoding.shortcuts.memory import StepMemory


OnStep = Callable[[int, int, dict[str, Any]], None]
"""``on_step(prompt index, step index, details)``: called after each choice, for traces."""


_LAZY_ON_GPU = 16


def is_lazy(device: str, texts: int) -> bool:
    """Whether candidates that can no longer win are better skipped (``Options.lazy``).

    On a GPU from 16 texts side by side: with fewer, finding them takes longer than looking at all (captions a second on an H200 with 1, 8,
    64 and 256 texts: 12 % and 4 % fewer, 24 % and 39 % more).

    Args:
        device: Kind of device, such as ``cpu``.
        texts: Written side by side.

    >>> is_lazy("cpu", 1), is_lazy("cuda", 8), is_lazy("cuda", 64)
    (True, False, True)
    """
    return device == "cpu" or texts >= _LAZY_ON_GPU


@dataclass(frozen=True)
class Options:
    """How texts are written.

    Attributes:
        text_format: Says when a text has ended, or can no longer change, and which part of it is returned. None: each text gets
            as many tokens as fit.
        seeds: One for every prompt, for sampled methods (default 0). Each row has its own generator, so neither batching nor
            order changes its tokens.
        rules: Rules on the next token; every method obeys them, in this order.
        on_step: Called as ``on_step(prompt index, step index, details)`` after each choice; what was not evaluated is None.
        new_tokens: The most tokens for a prompt, at least 1; None: as many as ``decoding_len`` allows.
        with_hidden: Whether the result contains the last-layer hidden states from which the tokens were chosen.
        lazy: Skip candidates that can no longer win; the tokens are the same.
        memory: Steps of earlier calls with the same method, rules and models, which are then not computed; new steps are added.
        settle_ties: If rounding could decide a choice, compute it again for its row alone. Then MAGIC, contrastive and greedy
            search write the same tokens for any batch, ``lazy`` and ``memory``, as long as rounding stays within the margins of
            ``scoring.py``. This is meant for float32: in 16 bits nearly every step has ties.
        counts: Receives counts of what was spared (``Step.counts``); None: nobody counts.
    """

    text_format: TextFormat | None = None
    seeds: Sequence[int] | None = None
    rules: Sequence[Rule] = ()
    on_step: OnStep | None = None
    new_tokens: int | None = None
    with_hidden: bool = False
    lazy: bool = True
    memory: StepMemory | None = None
    settle_ties: bool = True
    counts: Counter[str] | None = None


@dataclass
class Request:
    """Everything that a method gets, checked."""

    language_model: LanguageModel | None
    """None: the method needs none."""
    prompts: list[Prompt]
    guides: Sequence[Guide]
    """Present if the method needs an image."""
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        count = len(self.prompts)
        lengths = {"seeds": len(self.options.seeds) if self.options.seeds is not None else count}
        lengths |= {
            f"vectors of guide {number}": len(guide.vectors)
            for number, guide in enumerate(self.guides, 1)
            if isinstance(guide, ImageGuide)
        }
        for name, length in lengths.items():
            if length != count:
                raise SettingsError(f"generate: there must be as many {name} as prompts, which are {count}, got {length}")
        for number, guide in enumerate(self.guides, start=1):
            if not guide.weight >= 0:
                raise SettingsError(
                    f"generate: guide {number} has the weight {guide.weight}; it must be at least 0, and 0 leaves the guide out"
                )
        empty = [number for number, prompt in enumerate(self.prompts, start=1) if not prompt.ids]
        if empty and self.language_model is not None:
            raise SettingsError(f"generate: prompt {empty[0]} has no tokens; begin it with the model's start token")

    @property
    def model(self) -> LanguageModel:
        """The language model, for methods that need one."""
        if self.language_model is None:
            raise TypeError("generate: this method needs a language model, but was given none")
        return self.language_model

    def room(self, decoding_len: int, index: int) -> int:
        """How many tokens may be written for one prompt, by a method with this ``decoding_len``."""
        room = decoding_len - len(self.prompts[index].ids)
        return room if self.options.new_tokens is None else min(room, self.options.new_tokens)

    @property
    def text_format(self) -> TextFormat:
        """How texts end, and which part of them is returned."""
        return self.options.text_format or EveryToken(self.model)

    def seed(self, index: int) -> int:
        """The seed of one prompt."""
        return 0 if self.options.seeds is None else self.options.seeds[index]

    def image_guide(self, method: str) -> ImageGuide:
        """The only guide of a method that compares whole texts with an image.

        Raises:
            SettingsError: There are others.
        """
        if len(self.guides) == 1 and isinstance(self.guides[0], ImageGuide):
            return self.guides[0]
        raise SettingsError(f"guides: {method} takes the image as its only guide, got {len(self.guides)}; use decoding=magic")


@dataclass
class Written:
    """The result for one prompt."""

    ids: list[int]
    """Generated token ids, prompt excluded."""
    hidden: Tensor | None = None
    """(T, H) last-layer hidden states from which these tokens were chosen, if requested: of the prompt's last token and of all
    generated tokens but the last."""
    text: str | None = None
    """The text itself, from methods that find texts instead of writing tokens."""
    details: dict[str, Any] = field(default_factory=dict)
    """Further data of the method, for predictions.jsonl."""
