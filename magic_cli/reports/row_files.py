"""Finds the files and run folders for rows of the tables among the paths that the user names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from magic_cli.data.paths import ending, expanded, named_paths
from magic_cli.data.run_files import is_run, read_manifest, refuse_without_texts, without_texts
from magic_cli.errors import SettingsError
from magic_cli.reports.paper import ALL_TABLES, Paper, load_paper
from magic_cli.reports.paper_rows import recognise


@dataclass
class Located:
    """The result of a search."""

    rows: dict[Path, str] = field(default_factory=dict)
    """Row id of each file or run folder."""
    unknown: list[Path] = field(default_factory=list)
    """Run folders and prediction files that were found but belong to no row for certain."""
    empty: list[Path] = field(default_factory=list)
    """Run folders that were found but have no text yet."""


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The numbers of tables at the beginning, and the paths after them.

    >>> split_words(["1", "2", "runs/caption", "released"])
    (['1', '2'], ['runs/caption', 'released'])
    """
    numbers = []
    for word in words:
        if not word.isdigit() and word != ALL_TABLES:
            break
        numbers.append(word)
    return numbers, list(words[len(numbers) :])


def locate(places: Sequence[str], pairs: Sequence[str], paper: Paper | None = None) -> Located:
    """Find the files of rows.

    Args:
        places: Run folders, prediction files, folders of them, patterns.
        pairs: ``ROW=FILE``; they override what a file seems to be.
        paper: The paper; None: MAGIC's. Only MAGIC's runs are recognised by their settings.

    Raises:
        SettingsError: A path does not exist, a row is unknown, or the row of a file is unknown.
        MagicError: All that was found are runs without a text.
    """
    located = Located(dict(_pair(pair, paper or load_paper()) for pair in pairs))
    if len(located.rows) < len(pairs):
        raise SettingsError("--row: a file was given for two rows; each file is one row")
    named = {path.resolve() for path in located.rows}
    for place in places:
        path, found = expanded(place), named_paths(place)
        if not found:
            raise SettingsError(f"{place}: no such file or folder (looked at {path.absolute()}), and not the number of a table")
        for candidate in (inner for outer in found for inner in _begun_or_below(outer)):
            if candidate.resolve() in named:
                continue
            named.add(candidate.resolve())
            if without_texts(candidate):
                located.empty.append(candidate)
                continue
            row = row_of(candidate)
            if row is not None:
                located.rows[candidate] = row
            elif candidate == path:
                rows = ", ".join(load_paper().rows)
                raise SettingsError(
                    f"{place}: it is not known which row this is; name it, as in --row coco/magic={place} (rows: {rows})"
                )
            elif is_run(candidate) or "_result" in candidate.name:
                located.unknown.append(candidate)
    if located.empty and not located.rows and not located.unknown:
        refuse_without_texts(located.empty[0])
    return located


def row_of(path: Path) -> str | None:
    """The row id of a file or run folder; None if it is not certain.

    Raises:
        MagicError: A run's manifest is damaged.
    """
    if not is_run(path):
        return recognise(path)
    return recognise(
        path, read_manifest(path / "manifest.json", remedy="delete this folder, or name others", needs=["identity"])["identity"]
    )


def _pair(pair: str, paper: Paper) -> tuple[Path, str]:
    row, equals, place = pair.partition("=")
    path = expanded(place)
    if not equals or not place:
        raise SettingsError(f"--row {pair}: must be ROW=FILE, as in --row coco/magic=preds.json")
    row = paper.row(row).id
    if not path.exists():
        raise SettingsError(f"--row {pair}: no such file or folder (looked at {path.absolute()})")
    return path, row


def _begun_or_below(path: Path) -> list[Path]:
    """As ``candidates``; a folder that a run has only begun, and that holds no other runs, is one, too."""
    below = list(candidates(path))
    return [path] if without_texts(path) and not any(map(is_run, below)) else below


def candidates(path: Path) -> Iterator[Path]:
    """The path itself; for a folder that is not a run, the run folders and JSON files below it, except hidden ones."""
    if not path.is_dir() or is_run(path):
        yield path
        return
    for folder, folders, files in os.walk(path):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (here / name for name in folders if is_run(here / name))
        folders[:] = [name for name in folders if not is_run(here / name)]
        yield from (here / name for name in sorted(files) if ending(Path(name)) == ".json")
