"""magic human-eval: forms for people who judge stories, and the scores of their answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_json, read_json_object
from magic_cli.data.paths import expanded, make_output, named_paths
from magic_cli.errors import MagicError
from magic_cli.files import write_atomically
from magic_cli.human_eval.answers import read_ratings
from magic_cli.human_eval.aspects import ASPECTS
from magic_cli.human_eval.forms import Form, check_key, draw, make_forms, make_key
from magic_cli.human_eval.page import page, photo_uri
from magic_cli.human_eval.scoring import score
from magic_cli.human_eval.settings import HumanEvalAction, HumanEvalSettings, Incomplete, MissingPhotos
from magic_cli.human_eval.stories import Item, StorySystem, find_photo, match, read_systems
from magic_cli.reports.human_eval import human_eval_tables
from magic_cli.reports.tables import render
from magic_cli.terminal.streams import print_line
from magic_cli.terminal.wording import counted

_KEY, _SCORES = "key.json", "scores.json"


def run(settings: HumanEvalSettings) -> int:
    """Make the forms of a study, or score its answers; returns 0."""
    if settings.action is HumanEvalAction.make:
        _make(settings)
    else:
        _score(settings)
    return 0


def _make(settings: HumanEvalSettings) -> None:
    """Write form-1.html, ... and key.json; the forms' names go to stdout."""
    systems = read_systems(_named(settings.files), settings.systems, human=settings.human)
    matched, left_out = match(systems)
    items = draw(matched, settings.items, settings.seed)
    photos = _photos(items, settings)
    forms = make_forms(items, photos, annotators=settings.annotators, seed=settings.seed)
    key = make_key(forms, {system.name: str(system.source) for system in systems}, settings.seed)
    folder = expanded(settings.output) if settings.output else Path("runs/human-eval") / key["study"][:8]
    _write_study(folder, forms, key)
    _tell(systems, forms, photos=len(photos), left_out=left_out)
    for form in forms:
        print_line(str(folder / form.file_name))
    print(f"magic: {folder / _KEY} tells whose story is whose: keep it, and send only the forms", file=sys.stderr)


def _photos(items: Sequence[Item], settings: HumanEvalSettings) -> dict[str, str]:
    """Data URI of the photo of every title that has one."""
    folder = expanded(settings.images) if settings.images else None
    if folder is not None and not folder.is_dir():
        raise MagicError(f"images={folder}: no such folder (looked at {folder.absolute()})")
    may_lack = settings.missing_photos is MissingPhotos.without
    found = {item.id: find_photo(item, images=folder, may_lack=may_lack) for item in items}
    return {item: photo_uri(photo, side=settings.image_side) for item, photo in found.items() if photo is not None}


def _write_study(folder: Path, forms: Sequence[Form], key: dict[str, Any]) -> None:
    """The key first: no form may go out whose key could be lost.

    Raises:
        MagicError: The folder holds another study, whose answers could not be scored without its key.
    """
    file = folder / _KEY
    if file.exists():
        before = read_json_object(file, remedy="set output to another folder")
        if before.get("study") != key["study"]:
            raise MagicError(
                f"output={folder}: holds the key of another study, without which its answers are lost; set output to another folder"
            )
    make_output(folder)
    write_atomically(file, json.dumps(key, ensure_ascii=False, indent=1) + "\n")
    for form in forms:
        write_atomically(folder / form.file_name, page(form, key["study"]))


def _tell(systems: Sequence[StorySystem], forms: Sequence[Form], *, photos: int, left_out: int) -> None:
    cards, questions = len(forms[0].cards), len(forms[0].questions())
    print(
        f"magic: {counted(len(forms), 'form')}, each of {counted(cards, 'title')} ({photos} with a photo) and {counted(len(systems), 'system')}: {counted(questions, 'question')}",
        file=sys.stderr,
    )
    if left_out:
        print(
            f"magic: {counted(left_out, 'title')} left out, which some system has no story for, or which stand twice and have no id",
            file=sys.stderr,
        )


def _score(settings: HumanEvalSettings) -> None:
    """Print the tables and write scores.json."""
    key_file = expanded(settings.key)
    key = read_json(key_file, setting="key", hint="name the key.json that `magic human-eval make` wrote")
    check_key(key, settings.key)
    paths = [Path(file) for file in _named(settings.files)]
    ratings = read_ratings(paths, key, accept_incomplete=settings.incomplete is Incomplete.accept)
    facts = {"study": key["study"], "forms": len(key["forms"]), "sources": key["systems"], "files": list(map(str, paths))}
    document = score(ratings, settings.bootstrap) | facts | {"bootstrap": asdict(settings.bootstrap)}
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    labels = {aspect.key: aspect.label for aspect in ASPECTS}
    as_json = settings.format.value == "json"
    print(text if as_json else render(human_eval_tables(document, labels), settings.format.value), end="", flush=True)
    folder = expanded(settings.output) if settings.output else key_file.parent
    make_output(folder)
    write_atomically(folder / _SCORES, text)
    print(f"magic: {folder / _SCORES}; `magic table 3` reads it", file=sys.stderr)


def _named(words: Sequence[str]) -> list[str]:
    """Files that words and patterns name; a word that names nothing stays, and is refused where it is read."""
    return [str(path) for word in words for path in named_paths(word) or [word]]
