"""What differs between captions and stories: the contract between a command and the run that carries it out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from magic_cli.data.image_names import identities
from magic_cli.data.images import StoredImage

if TYPE_CHECKING:
    from magic_cli.decoding.rules import StopTexts
    from magic_cli.decoding.text import TextFormat
    from magic_cli.models.language.language_model import HuggingFaceLanguageModel
    from magic_cli.models.language.tokens import Tokens


class Item(Protocol):
    """One text to write."""

    @property
    def id(self) -> str:
        """Unique in its run."""

    @property
    def path(self) -> Path | StoredImage | None:
        """The image that is looked at; None: the text is written without one."""


ItemT = TypeVar("ItemT", bound=Item)
"""The items of one kind of text."""


class Unwritable(Exception):
    """No text can be written for an item, and the image is not the cause. The message is the reason."""


class WritingTask(Generic[ItemT]):
    """Base class of the kinds of text."""

    text: ClassVar[str]
    """What one text is called; also its key in predictions.jsonl."""
    texts: ClassVar[str]
    unit: ClassVar[str]
    """What gets one text each, such as "image"; for progress bars."""
    changed: ClassVar[tuple[str, str]]
    """Words after a count of 1 and of more, as in "2 images have changed since they were captioned and are captioned again"."""
    dropped: ClassVar[tuple[str, str]]
    """As in "2 images are no longer in the dataset"."""
    untraced: ClassVar[tuple[str, str]]
    """As in "2 images were captioned without trace earlier"."""
    failed: ClassVar[tuple[str, str]]
    """As in "2 images could not be read"."""

    def items(self) -> Sequence[ItemT]:
        """All items to write, in a fixed order.

        Raises:
            MagicError: Files are missing or malformed.
        """
        raise NotImplementedError(f"{type(self).__name__}.items")

    def images(self, item: ItemT) -> Sequence[Path | StoredImage]:
        """The images that must be read before the item is written."""
        return [] if item.path is None else [item.path]

    def facts(self, items: Sequence[ItemT]) -> dict[str, Any]:
        """What the manifest says about the items, apart from their number."""
        raise NotImplementedError(f"{type(self).__name__}.facts")

    def notes(self) -> list[str]:
        """Notes about the input that the user should read before the run begins."""
        raise NotImplementedError(f"{type(self).__name__}.notes")

    def text_format(self, model: HuggingFaceLanguageModel, stop: StopTexts | None) -> TextFormat:
        """When a text ends, and which part of it is returned; ``stop``: texts that end one."""
        raise NotImplementedError(f"{type(self).__name__}.text_format")

    def prompt(self, model: Tokens, item: ItemT) -> list[int]:
        """Token ids before the text.

        Raises:
            Unwritable: No text can be written for this item.
        """
        raise NotImplementedError(f"{type(self).__name__}.prompt")

    def image_names(self, item: ItemT) -> tuple[str, ...]:
        """The names that identify the item's image (``data.image_names.identities``)."""
        return () if item.path is None else identities(item.path.name)

    def describe(self, item: ItemT) -> dict[str, Any]:
        """The item's keys in failures.jsonl."""
        raise NotImplementedError(f"{type(self).__name__}.describe")

    def prediction(self, item: ItemT, *, digest: str | None, text: str, **details: Any) -> dict[str, Any]:
        """The item's line of predictions.jsonl; ``digest`` is the SHA-256 of its image, ``details`` say how the text was made."""
        raise NotImplementedError(f"{type(self).__name__}.prediction")

    def check(self, prediction: Mapping[str, Any]) -> str | None:
        """What is wrong with a line of an earlier start; None: nothing."""
        text = prediction.get(self.text)
        return None if isinstance(text, str) else f"the {self.text} must be a text, got {str(text)[:60]!r}"

    def still_holds(self, item: ItemT, prediction: Mapping[str, Any]) -> bool:
        """Whether the text of an earlier start is still valid for this item, apart from its image."""
        raise NotImplementedError(f"{type(self).__name__}.still_holds")

    def refreshed(self, item: ItemT, prediction: dict[str, Any]) -> dict[str, Any]:
        """The prediction of an earlier start, updated with the data that the item has now; the text stays."""
        return prediction

    def label(self, failure: Mapping[str, Any]) -> str:
        """The name by which the user knows the item of a line of failures.jsonl."""
        raise NotImplementedError(f"{type(self).__name__}.label")

    def line(self, item: ItemT, prediction: Mapping[str, Any]) -> tuple[str, str]:
        """What stdout shows: the name of the item and its text."""
        raise NotImplementedError(f"{type(self).__name__}.line")

    def texts_of(self, predictions: Mapping[str, Mapping[str, Any]]) -> Mapping[str, str]:
        """The texts alone, each read when it is asked for."""
        return _Texts(predictions, self.text)

    def exports(self, items: Sequence[ItemT], predictions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Files for other tools and for people, written at the end: ``{file name: JSON document, or text}``."""
        raise NotImplementedError(f"{type(self).__name__}.exports")


class _Texts(Mapping[str, str]):
    def __init__(self, predictions: Mapping[str, Mapping[str, Any]], key: str) -> None:
        self._predictions, self._key = predictions, key

    def __getitem__(self, item: str) -> str:
        return self._predictions[item][self._key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._predictions)

    def __len__(self) -> int:
        return len(self._predictions)
