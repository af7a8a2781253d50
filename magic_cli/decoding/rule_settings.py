"""Settings of the rules on the next token; torch is imported when the rules are built."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from magic_cli import errors
from magic_cli.decoding.method import MOST_TOKENS
from magic_cli.decoding.protocols import LanguageModel
from magic_cli.errors import SettingsError

if TYPE_CHECKING:
    from magic_cli.decoding.rules import Rule, StopTexts

_require = partial(errors.require, prefix="rules")


@dataclass
class RuleSettings:
    """Rules that hold for every method that writes token by token.

    Attributes:
        repetition_penalty: Makes tokens of the prompt and of the text so far less likely if greater than 1; 0.001 to 1000,
            1 is off.
        forbidden_words: Words and phrases that no text gets, whatever their case and their spelling in tokens.
        min_length: No text ends before so many tokens, prompt not counted, by whatever may end it: an end token, a stop text that
            begins earlier, a story's fifth sentence; 0 to 32,768.
        stop_texts: A text ends before the first of these that is written; upper and lower case differ. As in forbidden_words, ``\\n``
            is a line break and ``\\t`` a tab.
        repetition_in_prompt: Whether repetition_penalty counts the prompt's tokens, too.
    """

    repetition_penalty: float = 1.0
    forbidden_words: list[str] = field(default_factory=list)
    min_length: int = 0
    stop_texts: list[str] = field(default_factory=list)
    repetition_in_prompt: bool = True

    def __post_init__(self) -> None:
        if not math.isfinite(self.repetition_penalty):
            raise SettingsError(f"rules.repetition_penalty must be a finite number, got {self.repetition_penalty}")
        _require("repetition_penalty", self.repetition_penalty, above=0, floor=0.001, limit=1000)
        _require("min_length", self.min_length, at_least=0, limit=MOST_TOKENS)
        for name, entries in (("forbidden_words", self.forbidden_words), ("stop_texts", self.stop_texts)):
            if isinstance(entries, str):
                raise SettingsError(f"rules.{name} must be a list, got {entries!r}; write rules.{name}=[{entries}]")
            # the command line hands these on as they are typed
            read = [entry.replace("\\n", "\n").replace("\\t", "\t") if isinstance(entry, str) else entry for entry in entries]
            setattr(self, name, read)
            for place, entry in enumerate(read, start=1):
                # a line break is a text to stop at, but no word
                if not isinstance(entry, str) or not (entry if name == "stop_texts" else entry.strip()):
                    wrong = f"got {entry!r} as number {place}; leave it out"
                    raise SettingsError(f"rules.{name} must hold texts that are not empty, {wrong}")

    @property
    def is_default(self) -> bool:
        """Whether no rule is set."""
        return self == RuleSettings()

    def build(self, model: LanguageModel) -> tuple[list[Rule], StopTexts | None]:
        """The rules that are set, in the order in which they apply, and what ends a text beside its end token, if anything is set.

        Raises:
            SettingsError: A text could never be found, since it holds a special token.
        """
        from magic_cli.decoding import rules
        from magic_cli.decoding.token_texts import token_texts

        for name, entries in (("forbidden_words", self.forbidden_words), ("stop_texts", self.stop_texts)):
            for entry in entries:
                if special := model.special_ids.intersection(model.encode(entry)):
                    [told] = model.token_texts([min(special)])
                    raise SettingsError(
                        f"rules.{name}: {entry!r} holds the model's special token {told!r}, which stands in no text; leave it out"
                    )

        built: list[Rule] = []
        if self.repetition_penalty != 1:
            built.append(rules.RepetitionPenalty(self.repetition_penalty, of_prompt=self.repetition_in_prompt))
        if self.min_length:
            built.append(rules.MinimumLength(self.min_length, model.end_ids))
        if self.forbidden_words:
            built.append(rules.ForbiddenWords(self.forbidden_words, token_texts(model)))
        stops = self.stop_texts or self.min_length
        return built, rules.StopTexts(
            [as_decoded(model, text) for text in self.stop_texts], model.decode, min_length=self.min_length
        ) if stops else None


def as_decoded(model: LanguageModel, text: str) -> str:
    """A text as it reads inside what a model writes: without spaces that the clean-up of decoded text removes (" ." is ".")."""
    anchor = "x"  # some tokenizers change the beginning of a text
    [whole] = model.decode([model.encode(anchor + text)])
    return whole.removeprefix(anchor) if whole.startswith(anchor) and len(whole) > len(anchor) else text
