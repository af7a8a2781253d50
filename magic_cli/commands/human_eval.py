"""magic human-eval: forms for people who judge stories, or compare two systems, and the scores of their answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_json, read_json_object
from magic_cli.data.paths import expanded, make_output, named_paths
from magic_cli.errors import MagicError
from magic_cli.files import write_atomically
from magic_cli.human_eval.answers import read_preferences, read_ratings
from magic_cli.human_eval.aspects import Kind
from magic_cli.human_eval.forms import Form, check_key, draw, make_forms, make_key
from magic_cli.human_eval.page import page, photo_uri, picture_uri
from magic_cli.human_eval.pair_scoring import score_pairs
from magic_cli.human_eval.pairs import make_pair_forms, match_pair, read_pair
from magic_cli.human_eval.scoring import score
from magic_cli.human_eval.settings import HumanEvalAction, HumanEvalSettings, Incomplete, MissingPhotos
from magic_cli.human_eval.stories import Item, find_photo, match, read_systems
from magic_cli.reports.human_eval import human_eval_tables, pair_tables
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
    """Write form-1.html, ... and key.json; the names of the forms go to stdout."""
    make = _forms_of_stories if settings.kind is Kind.stories else _forms_of_pairs
    forms, sources, told = make(settings)
    key = make_key(forms, sources, settings.seed)
    folder = expanded(settings.output) if settings.output else Path("runs/human-eval") / key["study"][:8]
    _write_study(folder, forms, key)
    for line in told:
        print(f"magic: {line}", file=sys.stderr)
    for form in forms:
        print_line(str(folder / form.file_name))
    whose = "whose story is whose" if settings.kind is Kind.stories else "which system is A"
    print(f"magic: {folder / _KEY} tells {whose}: keep it, and send only the forms", file=sys.stderr)


_Made = tuple[list[Form], dict[str, str], list[str]]
"""The forms, the file of each system, and the messages about them."""


def _forms_of_stories(settings: HumanEvalSettings) -> _Made:
    systems = read_systems(_named(settings.files), settings.systems, human=settings.human)
    matched, left_out = match(systems)
    items = draw(matched, settings.items, settings.seed, settings.kind.judging)
    photos = _photos(items, settings)
    forms = make_forms(items, photos, annotators=settings.annotators, seed=settings.seed)
    told = [
        f"{counted(len(forms), 'form')}, each of {counted(len(items), 'title')} ({len(photos)} with a photo) and {counted(len(systems), 'system')}: {counted(len(forms[0].questions()), 'question')}"
    ]
    if left_out:
        told.append(f"{counted(left_out, 'title')} left out: a system has no story for it, or it appears twice and has no id")
    return forms, {system.name: str(system.source) for system in systems}, told


def _forms_of_pairs(settings: HumanEvalSettings) -> _Made:
    systems = read_pair(_named(settings.files), settings.systems)
    matched, left_out = match_pair(systems)
    items = draw(matched, settings.items, settings.seed, settings.kind.judging)
    uri = partial(picture_uri, side=settings.image_side)
    names = (systems[0].name, systems[1].name)
    forms = make_pair_forms(items, names, uri, annotators=settings.annotators, seed=settings.seed)
    asked = counted(len(forms[0].questions()), "question")
    told = [f"{counted(len(forms), 'form')}, each of {counted(len(items), 'pair')} of answers by {' and '.join(names)}: {asked}"]
    if left_out:
        told.append(
            f"{counted(left_out, 'item')} left out, which one system has no answer to, or neither wrote or drew anything for"
        )
    return forms, {system.name: str(system.source) for system in systems}, told


def _photos(items: Sequence[Item], settings: HumanEvalSettings) -> dict[str, str]:
    """A data URI for every title with a photo."""
    folder = expanded(settings.images) if settings.images else None
    if folder is not None and not folder.is_dir():
        raise MagicError(f"images={folder}: no such folder (looked at {folder.absolute()})")
    may_lack = settings.missing_photos is MissingPhotos.without
    found = {item.id: find_photo(item, images=folder, may_lack=may_lack) for item in items}
    return {item: photo_uri(photo, side=settings.image_side) for item, photo in found.items() if photo is not None}


def _write_study(folder: Path, forms: Sequence[Form], key: dict[str, Any]) -> None:
    """Write the key before the forms, so that no form exists without its key.

    Raises:
        MagicError: The folder holds another study; its answers could not be scored without its key.
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


def _score(settings: HumanEvalSettings) -> None:
    """Print the tables and write scores.json."""
    assert settings.key is not None  # the settings refuse a score without it
    key_file = expanded(settings.key)
    key = read_json(key_file, setting="key", hint="name the key.json that `magic human-eval make` wrote")
    kind = check_key(key, settings.key)
    paths = [Path(file) for file in _named(settings.files)]
    accept = settings.incomplete is Incomplete.accept
    facts = {"study": key["study"], "forms": len(key["forms"]), "sources": key["systems"], "files": list(map(str, paths))}
    if kind is Kind.stories:
        document = score(read_ratings(paths, key, accept_incomplete=accept), settings.bootstrap)
    else:
        document = score_pairs(read_preferences(paths, key, accept_incomplete=accept), settings.bootstrap)
    document |= facts | {"bootstrap": asdict(settings.bootstrap)}
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    labels = {aspect.key: aspect.label for aspect in kind.judging.aspects}
    tables = human_eval_tables if kind is Kind.stories else pair_tables
    as_json = settings.format.value == "json"
    print(text if as_json else render(tables(document, labels), settings.format.value), end="", flush=True)
    folder = expanded(settings.output) if settings.output else key_file.parent
    make_output(folder)
    write_atomically(folder / _SCORES, text)
    read_by = "3" if kind is Kind.stories else "vist"
    print(f"magic: {folder / _SCORES}; `magic table {read_by} --human-scores` reads it", file=sys.stderr)


def _named(words: Sequence[str]) -> list[str]:
    """The files that words and patterns name; a word that names nothing is kept, and refused when it is read."""
    return [name for word in words for name in [str(path) for path in named_paths(word)] or [word]]
