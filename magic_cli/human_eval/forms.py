"""Blinded forms: which titles, in which order, under which letters; and the key that undoes the blinding.

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
from typing import Any

from magic_cli.errors import MagicError, SettingsError
from magic_cli.human_eval.aspects import aspects_asked
from magic_cli.human_eval.stories import Item
from magic_cli.terminal.wording import counted

LETTERS = string.ascii_uppercase
KEY_KIND = "magic human-eval key 1"


@dataclass(frozen=True)
class Card:
    """One title in a form."""

    item: Item
    systems: tuple[str, ...]
    """In the order in which their stories are shown: the first one's is story A."""
    photo: str | None
    """Data URI."""

    def shown(self) -> dict[str, Any]:
        """What the annotator sees."""
        return {"title": self.item.title, "photo": self.photo, "stories": [self.item.stories[name] for name in self.systems]}

    def labelled(self) -> list[tuple[str, str]]:
        """Letter and text of each story."""
        return [(LETTERS[i], self.item.stories[name]) for i, name in enumerate(self.systems)]


@dataclass(frozen=True)
class Form:
    """One annotator's form."""

    annotator: int
    """From 1."""
    cards: tuple[Card, ...]

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that name what is shown, and in which order."""
        shown = json.dumps([self.annotator, [card.shown() for card in self.cards]], sort_keys=True)
        return hashlib.sha256(shown.encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        return f"form-{self.annotator}.html"

    def questions(self) -> list[str]:
        """Names of all questions, in their order: ``<card from 1>.<letter>.<aspect>``."""
        return [
            question_name(number, letter, aspect.key)
            for number, card in enumerate(self.cards, start=1)
            for letter, _ in card.labelled()
            for aspect in aspects_asked(card.photo is not None)
        ]


def question_name(card: int, letter: str, aspect: str) -> str:
    """What a question is called in a form and in its answers."""
    return f"{card}.{letter}.{aspect}"


def draw(items: Sequence[Item], count: int | None, seed: int) -> list[Item]:
    """A random sample of titles without replacement.

    Raises:
        SettingsError: There are not so many.
    """
    if count is None:
        return list(items)
    if count > len(items):
        raise SettingsError(
            f"items={count}: only {counted(len(items), 'title has', 'titles have')} a story of every system; set items={len(items)}, or items=null for all"
        )
    return random.Random(f"{seed} titles").sample(list(items), count)


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
        cards = [Card(item, tuple(rng.sample(systems, len(systems))), photos.get(item.id)) for item in order]
        forms.append(Form(annotator, tuple(cards)))
    return forms


def study_id(forms: Sequence[Form]) -> str:
    """Sixteen hexadecimal digits that name forms which belong together."""
    return hashlib.sha256(" ".join(form.id for form in forms).encode()).hexdigest()[:16]


def make_key(forms: Sequence[Form], sources: Mapping[str, str], seed: int) -> dict[str, Any]:
    """What key.json holds: for every form its titles in their order, and whose story each letter is.

    Args:
        forms: All forms of the study.
        sources: File by system's name.
        seed: With which they were made.
    """
    return {
        "kind": KEY_KIND,
        "study": study_id(forms),
        "seed": seed,
        "systems": dict(sources),
        "forms": {
            form.id: {
                "annotator": form.annotator,
                "cards": [
                    {
                        "id": card.item.id,
                        "title": card.item.title,
                        "photo": card.photo is not None,
                        "letters": dict(zip(LETTERS, card.systems, strict=False)),
                    }
                    for card in form.cards
                ],
            }
            for form in forms
        },
    }


def check_key(key: Any, place: str) -> None:
    """Refuse what is no key.

    Raises:
        MagicError: Says what is wrong.
    """
    remedy = "name the key.json that `magic human-eval make` wrote beside the forms"
    if not isinstance(key, Mapping) or key.get("kind") != KEY_KIND:
        raise MagicError(f"key={place}: is no key of human evaluation; {remedy}")
    try:
        systems = set(key["systems"])
        ids = [sorted(card["id"] for card in form["cards"]) for form in key["forms"].values()]
        if not ids[0] or any(one != ids[0] for one in ids) or len(set(ids[0])) < len(ids[0]):
            raise ValueError("forms that are not about the same titles")
        for form in key["forms"].values():
            for card in form["cards"]:
                sound = set(card["letters"].values()) == systems and {type(card["id"]), type(card["title"])} == {str}
                if not sound or type(card["photo"]) is not bool or type(form["annotator"]) is not int:
                    raise TypeError("a card that does not hold every system once")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise MagicError(f"key={place}: is damaged ({error}); {remedy}") from error
