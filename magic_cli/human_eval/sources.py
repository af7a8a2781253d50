"""The files of a study's systems, as the user names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from magic_cli.data.json_files import read_growing_lines
from magic_cli.data.paths import expanded
from magic_cli.data.predictions import system_name
from magic_cli.data.run_files import PREDICTIONS, refuse_without_texts
from magic_cli.errors import MagicError, SettingsError


class Named(Protocol):
    """A system with a name."""

    @property
    def name(self) -> str:
        """The name in the scores."""
        ...


def named_sources(files: Sequence[str], named: Sequence[str]) -> list[tuple[Path, str | None]]:
    """Each system's file or folder, and its name; None: the file's or folder's name is used.

    Args:
        files: Run folders and files.
        named: ``NAME=FILE``.

    Raises:
        SettingsError: An entry of ``named`` has another form.
    """
    return [(expanded(file), None) for file in files] + [_split_name(word) for word in named]


def records_of_run(folder: Path, hint: str) -> list[dict[str, Any]]:
    """The lines of a run's predictions.jsonl; an unfinished last line is left out.

    Args:
        folder: The run folder.
        hint: What may be given instead, for the error message.

    Raises:
        MagicError: It is not a run folder, has no text yet, or a line is damaged.
    """
    lines = folder / PREDICTIONS
    refuse_without_texts(folder)
    if not lines.is_file():
        raise MagicError(f"{folder}: is not a run folder, since it has no {PREDICTIONS}; {hint}")
    return read_growing_lines(lines, setting="files", hint="remove the damaged line, and start the run's command again")[0]


def label_of(source: Path, name: str | None) -> str:
    """The name in the scores: the one that the user gave, else that of the folder or file."""
    return name or (source.resolve().name if source.is_dir() else system_name(source))


def refuse_same_names(systems: Sequence[Named]) -> None:
    """Refuse two systems with the same name.

    Raises:
        SettingsError: Two have the same name; names it.
    """
    for name, count in Counter(system.name for system in systems).items():
        if count > 1:
            raise SettingsError(f"{count} systems are called {name!r}; give them names with --system NAME=FILE")


def _split_name(word: str) -> tuple[Path, str]:
    name, equals, file = word.partition("=")
    if not (name.strip() and equals and file):
        raise SettingsError(f"--system {word!r}: write NAME=FILE, e.g. --system magic=runs/story/mine")
    return expanded(file), name.strip()
