"""MMDialog (Feng et al. 2023): dialogues of turns with a text and perhaps an image, as MiniGPT-5 uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.interleaved import InterleavedItem, Part, Step
from magic_cli.data.interleaved_datasets import Found, InterleavedDataset
from magic_cli.data.json_files import whole_characters
from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.data.paths import expanded
from magic_cli.data.text_files import read_text, text_lines
from magic_cli.errors import MOST_ITEMS, MagicError, SettingsError, require

HINT = "set dataset.conversations to a conversations file of MMDialog, one dialogue per line, with the images beside it (data/README.md)"
BROKEN = frozenset({"-3872362534310063124", "3713630103994725971"})
"""Images that the released code leaves out."""
_TEXT, _MEDIA = "__TEXT__", "__MEDIA__"


class _Cut(Exception):
    """A dialogue is cut before a turn; the message is the reason."""


@dataclass
class MmDialogDataset(InterleavedDataset):
    """Dialogues, each one item. It begins with the first turn; every later turn, by either speaker, is a step.

    A dialogue ends before the first turn that has no text, a text ending in ``.jpg``, too long a text, or a missing image.

    Attributes:
        conversations: The file, one dialogue a line.
        root: Folder of the images, ``<key>.jpg``; null: the folder of the file.
        max_tokens: Longest text of a turn in tokens of the language model; null: no limit. The released code trains with 50.
        max_words: Longest text of a turn in words (parted by spaces); null: no limit. Until March 2024 the released code used 20.
        released: Take a turn's first element as its text and the second as its image, and ignore others, as the released code.
    """

    conversations: str | None = None
    root: str | None = None
    max_tokens: int | None = None
    max_words: int | None = None
    released: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.given("conversations")
        for setting in ("max_tokens", "max_words"):
            if getattr(self, setting) is not None:
                require(setting, getattr(self, setting), at_least=1, limit=MOST_ITEMS, prefix="dataset")
        self._count_tokens: Callable[[str], int] | None = None

    def connect(self, count_tokens: Callable[[str], int]) -> None:
        """Set the function that counts tokens. Call it before the items are read if ``max_tokens`` is set."""
        self._count_tokens = count_tokens

    def hint(self) -> str:
        return HINT

    def find(self) -> Found:
        """The items, and the turns before which dialogues end, as ``<dialogue>_<turn>``."""
        if self.max_tokens is not None and self._count_tokens is None:
            raise SettingsError(
                f"dataset.max_tokens={self.max_tokens} counts tokens of the model that is trained; for other commands set it to null"
            )
        file = expanded(self.given("conversations"), "dataset.conversations")
        root = expanded(self.root, "dataset.root") if self.root else file.parent
        items: dict[str, InterleavedItem] = {}
        left_out = []
        for number, dialogue, turns in _dialogues(file):
            place = f"dataset.conversations={file} line {number}"
            if dialogue in items:
                raise MagicError(f"{place}: the conversation_id {dialogue!r} appears twice; ids must differ")
            kept: list[tuple[Part, ...]] = []
            try:
                for turn in turns:
                    kept.append(self._turn(turn, root, f"{place} turn {len(kept)}"))
            except _Cut as reason:
                left_out.append((f"{dialogue}_{len(kept)}", f"the dialogue ends before this turn: {reason}"))
            if len(kept) > 1:
                first, *others = kept
                items[dialogue] = InterleavedItem(dialogue, tuple(Step((), turn) for turn in others), first)
                if len(items) == self.limit:
                    break
        return list(items.values()), left_out

    def _turn(self, turn: Any, root: Path, place: str) -> tuple[Part, ...]:
        """The text of a turn and, if it has one, its image.

        Raises:
            _Cut: The dialogue ends before this turn.
            MagicError: The turn has another form.
        """
        text, key = _content(turn, place, released=self.released)
        if not (text if self.released else text.strip()):
            raise _Cut("it has no text")
        if text.endswith(".jpg"):
            raise _Cut("its text ends in .jpg")
        if self.max_words is not None and (words := len(text.split(" "))) > self.max_words:
            raise _Cut(f"its text has {words} words, and dataset.max_words={self.max_words}")
        count = self._count_tokens
        if self.max_tokens is not None and count is not None and (tokens := count(text)) > self.max_tokens:
            raise _Cut(f"its text has {tokens} tokens, and dataset.max_tokens={self.max_tokens}")
        if key is None:
            return (Part(text),)
        if key in BROKEN:
            raise _Cut(f"its image {key} is one that the released code leaves out")
        image = root / f"{key}.jpg"
        if not image.is_file():
            raise _Cut(f"no image {image}")
        return (Part(text), Part(image=image))


def _dialogues(file: Path) -> Iterator[tuple[int, str, Sequence[Any]]]:
    """The line number, the id and the turns of each dialogue. Other data on a line, such as negative candidates, are ignored."""
    for number, line in text_lines(read_text(file, setting="dataset.conversations", hint=HINT)):
        place = f"dataset.conversations={file} line {number}"
        try:
            record = parse_object(line)
        except JSONFault as fault:
            raise MagicError(f"{place}: {fault.problem}; {HINT}") from None
        dialogue, turns = record.get("conversation_id"), record.get("conversation")
        if isinstance(dialogue, bool) or not isinstance(dialogue, int | str) or not isinstance(turns, list):
            raise MagicError(f"{place}: needs a conversation_id and a list called conversation; {HINT}")
        yield number, str(dialogue), turns


def _content(turn: Any, place: str, *, released: bool) -> tuple[str, str | None]:
    """The text of a turn, and the key of its image. Keys are signed 64-bit numbers, written as texts."""
    elements = turn.get("turn") if isinstance(turn, dict) else None
    if not isinstance(elements, list) or not elements or not all(isinstance(element, dict) for element in elements):
        raise MagicError(f'{place}: must be {{"turn": [{{"{_TEXT}": ...}}, {{"{_MEDIA}": ...}}?]}}, got {str(turn)[:60]!r}')
    if released:
        if not isinstance(elements[0].get(_TEXT), str) or len(elements) > 1 and elements[1].get(_MEDIA) is None:
            raise MagicError(
                f"{place}: must begin with a text and go on with an image, as the released code needs it; set dataset.released=false"
            )
        return whole_characters(elements[0][_TEXT]), str(elements[1][_MEDIA]) if len(elements) > 1 else None
    texts = [element[_TEXT] for element in elements if isinstance(element.get(_TEXT), str)]
    keys = [str(element[_MEDIA]) for element in elements if isinstance(element.get(_MEDIA), str | int)]
    if len(texts) + len(keys) < len(elements):
        raise MagicError(f"{place}: each of its elements must be a {_TEXT} or a {_MEDIA}, got {str(elements)[:60]!r}")
    return whole_characters(" ".join(text for text in texts if text.strip())), keys[0] if keys else None
