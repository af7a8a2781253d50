"""Blinded forms: what is shown in which order and under which letters; and the key that undoes the blinding.

A form knows no system's name. Its id is a hash of all that it shows, so that answers can only be scored with the key of
the form that they were given in.
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
    """What a form asks about at a time: a title with its stories, or two answers."""

    systems: tuple[str, ...]
    """In the order in which they are shown: the first one's is A."""

    def shown(self) -> dict[str, Any]:
        """What the annotator sees."""
        ...

    def keyed(self) -> dict[str, Any]:
        """What key.json holds of it, beside the letters: at least ``id`` and ``title``."""
        ...


@dataclass(frozen=True)
class StoryCard:
    """One title in a form."""

    item: Item
    systems: tuple[str, ...]
    photo: str | None
    """Data URI."""

    def shown(self) -> dict[str, Any]:
        return {"title": self.item.title, "photo": self.photo, "stories": [self.item.stories[name] for name in self.systems]}

    def keyed(self) -> dict[str, Any]:
        return {"id": self.item.id, "title": self.item.title, "photo": self.photo is not None}

    def labelled(self) -> list[tuple[str, str]]:
        """Letter and text of each story."""
        return [(LETTERS[i], self.item.stories[name]) for i, name in enumerate(self.systems)]


@dataclass(frozen=True)
class Form:
    """One annotator's form."""

    annotator: int
    """From 1."""
    cards: tuple[Card, ...]
    kind: Kind = Kind.stories

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that name what is shown, and in which order."""
        shown = json.dumps([self.annotator, [card.shown() for card in self.cards]], sort_keys=True)
        return hashlib.sha256(shown.encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        return f"form-{self.annotator}.html"

    def keyed(self) -> dict[str, Any]:
        """As key.json holds it: all cards in their order, and whose work each letter is."""
        cards = [{**card.keyed(), "letters": dict(zip(LETTERS, card.systems, strict=False))} for card in self.cards]
        return {"annotator": self.annotator, "cards": cards}

    def questions(self) -> list[str]:
        """Names of all questions, in their order."""
        return list(questions(self.keyed(), self.kind.judging))


@dataclass(frozen=True)
class Question:
    """What a question is about."""

    item: str
    title: str
    system: str
    """Whose story it is; of a pair, whose answer is A."""
    aspect: int
    """Number among the study's aspects."""


def questions(form: Mapping[str, Any], judging: Judging) -> dict[str, Question]:
    """The questions of a form as key.json holds it, by name, in the form's order.

    A question is called ``<card from 1>.<letter>.<aspect>``; one about a pair, ``<card>.<aspect>``.
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
    """What a question is called in a form and in its answers; ``letter`` is empty where it is about the whole card."""
    return ".".join(part for part in (str(card), letter, aspect) if part)


def _shown(card: Mapping[str, Any]) -> Sequence[str]:
    """Of a card as key.json holds it: what is there to be judged beside the text of stories."""
    return card["shown"] if "shown" in card else [PHOTO] * card["photo"]


def draw(items: Sequence[T], count: int | None, seed: int, judging: Judging) -> list[T]:
    """A random sample without replacement.

    Raises:
        SettingsError: There are not so many.
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
    """One form for each annotator, with all titles, each form and each title in a random order of its own.

    Args:
        items: The titles, with stories of the same systems.
        photos: Data URI by title id; titles that are not in it have no photo.
        annotators: At least 1.
        seed: Of all orders.

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
    """Sixteen hexadecimal digits that name forms which belong together."""
    return hashlib.sha256(" ".join(form.id for form in forms).encode()).hexdigest()[:16]


def make_key(forms: Sequence[Form], sources: Mapping[str, str], seed: int) -> dict[str, Any]:
    """What key.json holds: for every form its cards in their order, and whose work each letter is.

    Args:
        forms: All forms of the study.
        sources: File by system's name.
        seed: With which they were made.
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
    """What people judge in a key's study; what is no key is refused.

    Raises:
        MagicError: Says what is wrong.
    """
    remedy = "name the key.json that `magic human-eval make` wrote beside the forms"
    if not isinstance(key, Mapping) or key.get("kind") != KEY_KIND:
        raise MagicError(f"key={place}: is no key of human evaluation; {remedy}")
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
