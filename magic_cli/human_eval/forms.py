"""Blinded forms: the cards, their order and their letters; and the key that undoes the blinding.

A form does not contain the systems' names. Its id is a hash of everything that it shows, so answers can only be scored with the
key of the same form.
"""

from __future__ import annotations

import hashlib
import json
import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from magic_cli.errors import MagicError, SettingsError
from magic_cli.human_eval.aspects import PHOTO, Judging, Kind
from magic_cli.human_eval.stories import Item
from magic_cli.terminal.wording import counted

LETTERS = string.ascii_uppercase
KEY_KIND = "magic human-eval key 1"

T = TypeVar("T")


class Card(Protocol):
    """One page of a form: a title with its stories, or two answers."""

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems in the order shown: the first is A."""
        ...

    def shown(self) -> dict[str, Any]:
        """What the annotator sees."""
        ...

    def keyed(self) -> dict[str, Any]:
        """Its entry in key.json, except the letters: at least ``id`` and ``title``."""
        ...


@dataclass(frozen=True)
class StoryCard:
    """One title in a form."""

    item: Item
    systems: tuple[str, ...]
    photo: str | None
    """The photo as a data URI; None: no photo."""

    def shown(self) -> dict[str, Any]:
        return {"title": self.item.title, "photo": self.photo, "stories": [self.item.stories[name] for name in self.systems]}

    def keyed(self) -> dict[str, Any]:
        return {"id": self.item.id, "title": self.item.title, "photo": self.photo is not None}

    def labelled(self) -> list[tuple[str, str]]:
        """The letter and the text of each story."""
        return [(LETTERS[i], self.item.stories[name]) for i, name in enumerate(self.systems)]


@dataclass(frozen=True)
class Form:
    """The form of one annotator."""

    annotator: int
    """The annotator's number, from 1."""
    cards: tuple[Card, ...]
    kind: Kind = Kind.stories

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that identify the content and its order."""
        shown = json.dumps([self.annotator, [card.shown() for card in self.cards]], sort_keys=True)
        return hashlib.sha256(shown.encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        return f"form-{self.annotator}.html"

    def keyed(self) -> dict[str, Any]:
        """The entry in key.json: all cards in order, with the system behind each letter."""
        cards = [{**card.keyed(), "letters": dict(zip(LETTERS, card.systems, strict=False))} for card in self.cards]
        return {"annotator": self.annotator, "cards": cards}

    def questions(self) -> list[str]:
        """The names of all questions, in order."""
        return list(questions(self.keyed(), self.kind.judging))


@dataclass(frozen=True)
class Question:
    """The subject of a question."""

    item: str
    title: str
    system: str
    """The system that wrote the story; for a pair, the system that is A."""
    aspect: int
    """Number of the aspect in the study."""


def questions(form: Mapping[str, Any], judging: Judging) -> dict[str, Question]:
    """The questions of a form in key.json, by name, in the form's order.

    The name is ``<card from 1>.<letter>.<aspect>``; for a question about a pair, ``<card>.<aspect>``.
    """
    found = {}
    for number, card in enumerate(form["cards"], start=1):
        judged = {"": card["letters"]["A"]} if judging.is_of_pairs else card["letters"]
        for letter, system in judged.items():
            for aspect in judging.asked(_shown(card)):
                name = question_name(number, letter, aspect.key)
                found[name] = Question(card["id"], card["title"], system, judging.aspects.index(aspect))
    return found


def question_name(card: int, letter: str, aspect: str) -> str:
    """The name of a question in a form and its answers; ``letter`` is empty if it is about the whole card."""
    return ".".join(part for part in (str(card), letter, aspect) if part)


def _shown(card: Mapping[str, Any]) -> Sequence[str]:
    """What a card in key.json shows beside stories, so that there are questions about it."""
    return card["shown"] if "shown" in card else [PHOTO] * card["photo"]


def draw(items: Sequence[T], count: int | None, seed: int, judging: Judging) -> list[T]:
    """A random sample without replacement.

    Raises:
        SettingsError: There are fewer items.
    """
    if count is None:
        return list(items)
    if count > len(items):
        few = counted(len(items), f"{judging.unit} has", f"{judging.unit}s have")
        raise SettingsError(
            f"items={count}: only {few} {judging.piece} of every system; set items={len(items)}, or items=null for all"
        )
    return random.Random(f"{seed} {judging.unit}s").sample(list(items), count)


def make_forms(items: Sequence[Item], photos: Mapping[str, str], *, annotators: int, seed: int) -> list[Form]:
    """One form for each annotator, with all titles; the order of titles and of stories is random in each form.

    Args:
        items: The titles, with stories of the same systems.
        photos: Data URI by title id; titles that are not in it have no photo.
        annotators: At least 1.
        seed: Seed of all orders.

    Raises:
        SettingsError: There are more systems than letters.
    """
    systems = sorted(items[0].stories)
    if len(systems) > len(LETTERS):
        raise SettingsError(f"{counted(len(systems), 'system')}: a form shows at most {len(LETTERS)}")
    forms = []
    for annotator in range(1, annotators + 1):
        rng = random.Random(f"{seed} orders {annotator}")
        order = rng.sample(list(items), len(items))
        cards = [StoryCard(item, tuple(rng.sample(systems, len(systems))), photos.get(item.id)) for item in order]
        forms.append(Form(annotator, tuple(cards)))
    return forms


def study_id(forms: Sequence[Form]) -> str:
    """Sixteen hexadecimal digits that identify forms which belong together."""
    return hashlib.sha256(" ".join(form.id for form in forms).encode()).hexdigest()[:16]


def make_key(forms: Sequence[Form], sources: Mapping[str, str], seed: int) -> dict[str, Any]:
    """The content of key.json: for every form its cards in order, with the system behind each letter.

    Args:
        forms: All forms of the study.
        sources: Each system's file, by name.
        seed: The seed of the forms.
    """
    kind = forms[0].kind
    return {
        "kind": KEY_KIND,
        **({} if kind is Kind.stories else {"judged": kind.value}),
        "study": study_id(forms),
        "seed": seed,
        "systems": dict(sources),
        "forms": {form.id: form.keyed() for form in forms},
    }


def check_key(key: Any, place: str) -> Kind:
    """The kind of study that a key belongs to; anything that is not a key is refused.

    Raises:
        MagicError: It is not a key, or damaged.
    """
    remedy = "name the key.json that `magic human-eval make` wrote beside the forms"
    if not isinstance(key, Mapping) or key.get("kind") != KEY_KIND:
        raise MagicError(f"key={place}: is not a key of human evaluation; {remedy}")
    try:
        kind = Kind(key.get("judged", Kind.stories.value))
        systems = set(key["systems"])
        ids = [sorted(card["id"] for card in form["cards"]) for form in key["forms"].values()]
        if not ids[0] or any(one != ids[0] for one in ids) or len(set(ids[0])) < len(ids[0]):
            raise ValueError("forms that are not about the same titles")
        for form in key["forms"].values():
            if type(form["annotator"]) is not int:
                raise TypeError("a form without its annotator's number")
            for card in form["cards"]:
                _check_card(card, systems, kind)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise MagicError(f"key={place}: is damaged ({error}); {remedy}") from error
    return kind


def _check_card(card: Mapping[str, Any], systems: set[str], kind: Kind) -> None:
    sound = set(card["letters"].values()) == systems and {type(card["id"]), type(card["title"])} == {str}
    if kind is Kind.pairs:
        sound = sound and list(card["letters"]) == ["A", "B"] and isinstance(card["shown"], list)
    else:
        sound = sound and type(card["photo"]) is bool
    if not sound:
        raise TypeError("a card that does not hold every system once")
