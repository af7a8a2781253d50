"""Turns run folders into one page of HTML."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any

from magic_cli import __version__
from magic_cli.data.paths import expanded, make_output, named_paths
from magic_cli.data.run_files import REPORT
from magic_cli.data.system import System
from magic_cli.errors import MagicError, SettingsError
from magic_cli.evaluation.corpora import find_systems
from magic_cli.evaluation.evaluate import match_files
from magic_cli.evaluation.own_model import with_own_model
from magic_cli.evaluation.settings import DEFAULT_SCORER
from magic_cli.evaluation.stories import story_systems
from magic_cli.files import write_atomically
from magic_cli.pages.html import as_html, data_block, document
from magic_cli.report_page.contents import Page, build_contents
from magic_cli.report_page.pictures import PictureList
from magic_cli.report_page.retrieved import refuse_mixed, retrieved_contents
from magic_cli.report_page.scores import score, with_quick_metrics
from magic_cli.report_page.settings import MOST_SHOWN, ReportSettings
from magic_cli.terminal.wording import counted

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = ("data", "pieces", "values", "list", "item", "whatif", "inspector", "measures", "histograms", "runs", "main")
"""The scripts, in the order in which they need each other."""


@dataclass(frozen=True)
class Report:
    """A page that was written."""

    file: Path
    items: int
    systems: int
    failures: int
    notes: tuple[str, ...]
    """Notes for the user."""


def write_report(settings: ReportSettings) -> Report:
    """Score the systems, collect the data and write the page.

    Raises:
        MagicError: Systems cannot be read or scored, or the page cannot be written.
    """
    paths = [path for word in settings.systems for path in named_paths(word, setting="systems")]
    file = _file(settings, paths)
    pictures = PictureList(settings.pictures, settings.picture_side, file)
    notes: list[str] = []
    if paths and refuse_mixed(paths):
        contents = retrieved_contents(paths, pictures)
    else:
        contents = _scored_contents(settings, pictures, notes)
    names = [system["name"] for system in contents["systems"]]
    title = settings.title if settings.title is not None else _some(names)
    make_output(file.parent)
    try:
        made = pictures.make()
        write_atomically(file, page(title, contents, made))
        pictures.delete_others(made)
        notes += _not_shown(made)
    except OSError as error:
        raise MagicError(f"output={file}: cannot be written ({error.strerror}); set output to another file") from error
    failures = sum(len(system["failures"]) for system in contents["systems"])
    return Report(file, len(contents["items"]), len(names), failures, tuple(notes))


def _not_shown(made: Sequence[Mapping[str, str]]) -> list[str]:
    """What to say of images that no thumbnail could be made of."""
    faults = [picture for picture in made if "fault" in picture]
    if not faults:
        return []
    first = f"{faults[0]['name']}: {faults[0]['fault']}"
    which = f"{len(faults)} of {counted(len(made), 'image')} cannot be shown"
    return [f"{which} ({first}{' ...' if faults[1:] else ''}); if they are elsewhere now, name their folder with --images"]


def report_of_runs(folders: Sequence[Path]) -> Report:
    """The page of runs, with all settings at their defaults.

    Raises:
        MagicError: As in ``write_report``.
    """
    return write_report(ReportSettings(DEFAULT_SCORER, systems=[str(folder) for folder in folders]))


def _scored_contents(settings: ReportSettings, pictures: PictureList, notes: list[str]) -> Page:
    systems = find_systems(settings.systems, id_key=settings.id_key, caption_key=settings.caption_key, tell=notes.append)
    systems = story_systems(systems, settings)
    _refuse_mixed_kinds(systems)
    systems = _sampled(systems, settings, notes)
    settings = with_quick_metrics(settings, systems)
    settings, warning = with_own_model(settings, systems)
    if warning:
        notes.append(warning)
    prepared = match_files(systems, settings)
    scored = score(prepared, settings)
    for one in scored["systems"]:
        # what an earlier evaluation could not run is no news of this page
        not_run = {name: why for name, why in one["document"]["not_run"].items() if name in settings.metrics.names}
        notes += [f"{name} not run: {why}" for name, why in not_run.items()]
    notes[:] = dict.fromkeys(notes)
    return build_contents(prepared, scored, pictures, traced_items=settings.traced_items)


def _sampled(systems: Sequence[System], settings: ReportSettings, notes: list[str]) -> list[System]:
    """The systems with the items that the page is to show.

    Raises:
        SettingsError: They are too many for a page.
    """
    count = max(len(system.items) for system in systems)
    if settings.sample is None:
        if count > MOST_SHOWN:
            raise SettingsError(
                f"systems: {count:,} items are too many for one page, which can show {MOST_SHOWN:,}; show some of them with --sample 1000"
            )
        return list(systems)
    ids = list(dict.fromkeys(item.id for system in systems for item in system.items))
    if settings.sample >= len(ids):
        return list(systems)
    chosen = {ids[place * len(ids) // settings.sample] for place in range(settings.sample)}
    notes.append(f"the page shows {settings.sample:,} of {len(ids):,} items, and its numbers are theirs alone")
    return [
        replace(system, items=tuple(item for item in system.items if item.id in chosen), planned=None, failed=0)
        for system in systems
    ]


def _refuse_mixed_kinds(systems: Sequence[System]) -> None:
    kinds = {(system.writes_stories, system.writes_answers): system for system in systems}
    if len(kinds) > 1:
        first, other = list(kinds.values())[:2]
        raise SettingsError(f"systems: {first.source} and {other.source} hold different kinds of texts; report them apart")


def _file(settings: ReportSettings, paths: Sequence[Path]) -> Path:
    """The file of the page."""
    if settings.output:
        return expanded(settings.output, "output")
    if len(paths) == 1 and paths[0].is_dir():
        return paths[0] / REPORT
    names = "\n".join(str(path.resolve()) for path in paths)
    return Path("runs", "report", f"{hashlib.sha256(names.encode(errors='surrogateescape')).hexdigest()[:8]}.html")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown


def page(title: str, contents: Page, pictures: list[dict[str, str]]) -> str:
    """The page as HTML.

    Args:
        title: The heading.
        contents: The data.
        pictures: The result of ``PictureList.make``.
    """
    made = {"title": title, "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "magic": __version__}
    apart = ("traces", "tokens")  # parsed when a trace is opened
    traces: dict[str, Any] = {name: contents[name] for name in apart}
    data = {**made, **{name: value for name, value in contents.items() if name not in apart}}
    blocks = [data_block("data", data), data_block("pictures", pictures), data_block("traces", traces)]
    body = Template(_read("report.html")).substitute(title=as_html(title), data="\n".join(blocks))
    script = "".join(_read(f"{name}.js") for name in _SCRIPTS)
    return document(title, body, style=_read("report.css"), scripts=[f'"use strict";\n(() => {{\n{script}}})();'])


def _read(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")
