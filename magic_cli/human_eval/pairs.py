"""Two systems' answers to the same prompts, from runs of ``magic interleave``, and blinded forms that compare them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.answers import Answer, answers_of
from magic_cli.data.images import StoredImage
from magic_cli.data.named_images import image_at
from magic_cli.data.run_files import PREDICTIONS
from magic_cli.errors import MagicError, SettingsError
from magic_cli.human_eval.aspects import IMAGE, TEXT, Kind
from magic_cli.human_eval.forms import Form
from magic_cli.human_eval.sources import label_of, named_sources, records_of_run, refuse_same_names

_HINT = "name two run folders of `magic interleave`"
Shown = tuple[str, str]
"""A part that the form shows: ``text`` and the text, or ``image`` and its data URI."""


@dataclass(frozen=True)
class Told:
    """What both systems read at one point: texts and image files in order."""

    parts: tuple[str | Path | StoredImage, ...]

    @property
    def words(self) -> tuple[str | None, ...]:
        """The part that must be the same for both systems; image files may lie in different places."""
        return tuple(part if isinstance(part, str) else None for part in self.parts)


@dataclass(frozen=True)
class Answered:
    """One system's answers to one item."""

    before: Told
    told: tuple[Told, ...]
    """The texts and images of each step."""
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class PairSystem:
    """The run of one system."""

    name: str
    source: Path
    items: dict[str, Answered]


@dataclass(frozen=True)
class PairItem:
    """An item that both systems have answered."""

    id: str
    before: Told
    told: tuple[Told, ...]
    answers: dict[str, tuple[Answer, ...]]
    """Answers by system name."""


@dataclass(frozen=True)
class PairCard:
    """One item in a form."""

    item: str
    systems: tuple[str, ...]
    """The systems at side A and side B."""
    given: tuple[Shown, ...]
    """The history before the first step."""
    steps: tuple[tuple[tuple[Shown, ...], tuple[tuple[Shown, ...], ...]], ...]
    """For each step its prompt, and the answers of side A and side B."""

    def shown(self) -> dict[str, Any]:
        return {"given": self.given, "steps": self.steps}

    def keyed(self) -> dict[str, Any]:
        kinds = {kind for _, sides in self.steps for side in sides for kind, _ in side}
        return {"id": self.item, "title": self.item, "shown": [kind for kind in (TEXT, IMAGE) if kind in kinds]}


def read_pair(files: Sequence[str], named: Sequence[str]) -> list[PairSystem]:
    """Read the two systems that the user names.

    Args:
        files: Run folders, named after the folder.
        named: ``NAME=FOLDER``.

    Raises:
        MagicError: A folder is not such a run, there are not exactly two, or both have the same name.
    """
    sources = named_sources(files, named)
    if len(sources) != 2:
        raise SettingsError(f"kind=pairs compares two systems, got {len(sources)}; {_HINT}, and make a study of each two")
    systems = [_read_run(folder, name) for folder, name in sources]
    refuse_same_names(systems)
    return systems


def match_pair(systems: Sequence[PairSystem]) -> tuple[list[PairItem], int]:
    """The items that both have answered, in the first one's order; and the number of others (one answer, or two empty ones).

    Raises:
        MagicError: There are none, or the systems read different prompts.
    """
    first, second = systems
    items = []
    for name, one in first.items.items():
        other = second.items.get(name)
        if other is None:
            continue
        if [part.words for part in (one.before, *one.told)] != [part.words for part in (other.before, *other.told)]:
            raise MagicError(
                f"id {name!r}: {first.source} and {second.source} have different prompts; compare runs of the same items"
            )
        if any(answer.text or answer.image for answer in (*one.answers, *other.answers)):
            items.append(PairItem(name, one.before, one.told, {first.name: one.answers, second.name: other.answers}))
    if not items:
        raise MagicError(f"no item was answered by both {first.source} and {second.source}; compare runs of the same items")
    return items, len(first.items.keys() | second.items.keys()) - len(items)


def make_pair_forms(
    items: Sequence[PairItem], systems: tuple[str, str], uri: Callable[[Path | StoredImage], str], *, annotators: int, seed: int
) -> list[Form]:
    """One form for each annotator, with all items in a random order.

    Each system is side A as often as side B (or once more): in each form, over all forms of each item, and over all forms.

    Args:
        items: The items, at least one.
        systems: Both names.
        uri: Turns an image file into a data URI.
        annotators: At least 1.
        seed: Seed of all orders and sides.
    """
    rng = random.Random(f"{seed} sides")
    places = rng.sample(range(len(items)), len(items))
    turn = rng.randrange(2)
    steps = {item.id: _shown_item(item, uri) for item in items}
    forms = []
    for annotator in range(1, annotators + 1):
        cards = []
        for item, place in zip(items, places, strict=True):
            sides = systems if (place + annotator + turn) % 2 else systems[::-1]
            given, told, answers = steps[item.id]
            rows = tuple((one, tuple(answers[name][i] for name in sides)) for i, one in enumerate(told))
            cards.append(PairCard(item.id, sides, given, rows))
        order = random.Random(f"{seed} orders {annotator}").sample(cards, len(cards))
        forms.append(Form(annotator, tuple(order), Kind.pairs))
    return forms


def _shown_item(
    item: PairItem, uri: Callable[[Path | StoredImage], str]
) -> tuple[tuple[Shown, ...], list[tuple[Shown, ...]], dict[str, list[tuple[Shown, ...]]]]:
    """The content of an item's card: the history, each step's prompt, and each system's answers."""

    def shown(parts: Sequence[str | Path | StoredImage]) -> tuple[Shown, ...]:
        return tuple((TEXT, part) if isinstance(part, str) else (IMAGE, uri(part)) for part in parts)

    answers = {
        name: [shown([*([one.text] if one.text else []), *([one.image] if one.image else [])]) for one in some]
        for name, some in item.answers.items()
    }
    return shown(item.before.parts), [shown(told.parts) for told in item.told], answers


def _read_run(folder: Path, name: str | None) -> PairSystem:
    items = {}
    for number, record in enumerate(records_of_run(folder, _HINT), start=1):
        place = f"{folder / PREDICTIONS} record {number}"
        if not isinstance(record.get("id"), str) or "steps" not in record:
            raise MagicError(f"{place}: holds no answers to the steps of an item; {_HINT}")
        answers = answers_of(record, folder, place)
        told = tuple(_told(step.get("parts", []), place) for step in record["steps"])
        items[record["id"]] = Answered(_told(record.get("history", []), place), told, answers)
    if not items:
        raise MagicError(f"{folder / PREDICTIONS}: holds no answers; {_HINT}")
    return PairSystem(label_of(folder, name), folder, items)


def _told(parts: Any, place: str) -> Told:
    if not isinstance(parts, list) or not all(
        isinstance(part, Mapping) and isinstance(part.get("text", part.get("image")), str) for part in parts
    ):
        raise MagicError(f"{place}: parts must be a list of texts and images, got {str(parts)[:60]!r}; {_HINT}")
    return Told(tuple(part["text"] if "text" in part else image_at(part["image"]) for part in parts))
