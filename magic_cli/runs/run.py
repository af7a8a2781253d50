"""One run of a command that writes texts: opens the folder, takes over earlier texts, writes the rest, and reports at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from magic_cli.data.images import StoredImage, digest_of, quiet_pillow
from magic_cli.data.parquet import require_pyarrow
from magic_cli.data.parquet_export import ParquetRows
from magic_cli.data.stored_images import is_same_address
from magic_cli.errors import MagicError
from magic_cli.models.sources import describe_source, local_files
from magic_cli.runs.batch_list import Chosen
from magic_cli.runs.folder import DROPPED, PARQUET, PREDICTIONS, RunFolder
from magic_cli.runs.identity import as_plain, settings_that_matter
from magic_cli.runs.kinds import Item, WritingTask
from magic_cli.runs.naming import run_folder
from magic_cli.runs.predictions import follows
from magic_cli.runs.writer import Writer
from magic_cli.terminal.progress import progress
from magic_cli.terminal.wording import counted, duration, speed

DONE, SOME_FAILED = 0, 3


def write_texts(settings: Any, task: WritingTask, writer: Callable[..., Writer] = Writer) -> int:
    """Write every text of a task into its run folder; returns 0, or 3 if some could not be written.

    Texts go to stdout as ``name<TAB>text``, in the order of the items, with those of an earlier start.

    Args:
        settings: Settings of the command.
        task: The kind of text.
        writer: The class that writes the texts.
    """
    quiet_pillow()
    if settings.run.parquet:
        require_pyarrow("run.parquet=true")
    began = time.monotonic()
    items, shard = task.items(), settings.run.part
    of_part = {} if shard is None else {"shard": shard.facts([item.id for item in items])}
    items = items if shard is None else shard.cut(items)
    with RunFolder(
        run_folder(settings), settings=as_plain(settings), identity=settings_that_matter(settings), planned=len(items)
    ) as run:
        run.manifest |= task.facts(items) | of_part
        _check_unchanged(settings, task, run, items)
        for note in [*task.notes(), *settings.notes()]:
            _tell(note)
        before, author = len(run.predictions), writer(settings, task, run)
        author.write(items)
        exports = task.exports(Chosen(items, run.predictions), run.predictions)
        if settings.run.parquet:
            exports[PARQUET] = ParquetRows(run.predictions.values)
        run.finish(exports)
        new = len(run.predictions) - before
    return _report(task, run, _spent(task, new, time.monotonic() - began, author.loading_seconds))


def _check_unchanged(settings: Any, task: WritingTask, run: RunFolder, items: Sequence[Item]) -> None:
    """Before a run continues: compare the models, take back texts of items that have changed, update the others.

    Raises:
        MagicError: A local model's files have changed.
    """
    groups = settings.models
    sources = {name: local_files(group) for name, group in groups.items() if name in run.manifest.get("models", {})}
    run.check_model_files(
        {name: describe_source(groups[name], path)["files"] for name, path in sources.items() if path is not None}
    )
    _check_texts(task, run)
    _drop(settings, task, run, items)
    states = settings.dataset.states()
    same = {place for place, state in states.items() if run.manifest.get("image_files", {}).get(place) == state}
    changed = _changed(task, items, run, same)
    if changed:
        _tell(f"{counted(len(changed), *task.changed)}, {_names(changed)}")
        run.forget(changed)
    if states:
        run.manifest["image_files"] = states
    if refreshed := list(_refreshed(task, items, run)):
        run.replace(refreshed)
    if settings.run.trace:
        _tell_of_traces(settings, task, run)


def _check_texts(task: WritingTask, run: RunFolder) -> None:
    """Refuse lines of predictions.jsonl that this command cannot have written.

    Raises:
        MagicError: Names the file and the line.
    """
    for number, prediction in enumerate(run.predictions.values(), start=1):
        if problem := task.check(prediction):
            raise MagicError(
                f"{run.path / PREDICTIONS} line {number}: {problem}; remove that line; its item is then written again"
            )


def _drop(settings: Any, task: WritingTask, run: RunFolder, items: Sequence[Item]) -> None:
    """Leave only predictions of items that are asked for; those of others are set aside, and used again when their items are back."""
    if not follows(run.predictions, (item.id for item in items)):
        asked = {item.id for item in items}
        gone = [item for item in run.predictions if item not in asked]
    else:
        gone = []
    if gone:
        _tell(f"{counted(len(gone), *task.dropped)} {run.path / DROPPED}, {_names(gone)}")
        run.drop(gone)
    if settings.run.trace:
        return  # they have lost their traces
    dropped = run.dropped()
    wanted = {item.id: item for item in items if item.id in dropped} if dropped else {}
    back = [
        record
        for name, record in dropped.items()
        if name in wanted
        and name not in run.predictions
        and not task.check(record)
        and not _has_changed(task, wanted[name], record)
    ]
    if back:
        _tell(
            f"{counted(len(back), task.text, task.texts)} taken back from {run.path / DROPPED}, {_names([record['id'] for record in back])}"
        )
        run.take_back(back)


def _tell_of_traces(settings: Any, task: WritingTask, run: RunFolder) -> None:
    """Say which items have no trace although one was asked for, because their texts were written without it."""
    untraced = run.predictions.keys() - run.traces.keys()
    if untraced:
        _tell(f"{counted(len(untraced), *task.untraced)}; for {_theirs(untraced)}, set another run.dir")
    thin = [item for item, is_whole in run.traces.items() if not is_whole]
    if thin and settings.run.lazy is not True:
        which = counted(
            len(thin),
            "trace was written with run.lazy=true earlier and leaves",
            "traces were written with run.lazy=true earlier and leave",
        )
        _tell(f"{which} numbers out; for {'a whole one' if len(thin) == 1 else 'whole ones'}, set another run.dir")


def _theirs(items: Collection[str]) -> str:
    return "its trace" if len(items) == 1 else "theirs"


def _names(items: Sequence[str]) -> str:
    return f"e.g. {items[0]}" if len(items) > 1 else items[0]


def _changed(task: WritingTask, items: Sequence[Item], run: RunFolder, same: Collection[str]) -> list[str]:
    """Ids of the items whose texts of an earlier start hold no longer; ``same`` are files that are as they were, with all their images."""
    changed, away = [], 0
    with progress(len(run.predictions), "checking", task.unit, leave=False) as bar:
        for item in items if run.predictions else ():
            if item.id not in run.predictions:
                continue
            away += item.path is not None and is_same_address(item.path, run.predictions[item.id].get("image"))
            is_same = isinstance(item.path, StoredImage) and item.path.container in same
            if not is_same and _has_changed(task, item, run.predictions[item.id]):
                changed.append(item.id)
            bar.update()
    if away:
        which = counted(away, f"{task.text} of an image behind an address stays", f"{task.texts} of images behind addresses stay")
        _tell(f"{which}: whether such images have changed is not asked; for new ones, set another run.dir")
    return changed


def _refreshed(task: WritingTask, items: Sequence[Item], run: RunFolder) -> Iterator[dict[str, Any]]:
    """Texts of an earlier start that still hold, but of whose items something else is known now, with that."""
    for item in items if run.predictions else ():
        if item.id in run.predictions:
            before = run.predictions[item.id]
            if (now := task.refreshed(item, dict(before))) != before:
                yield now


def _has_changed(task: WritingTask, item: Item, prediction: dict[str, Any]) -> bool:
    if not task.still_holds(item, prediction):
        return True
    if item.path is None or is_same_address(item.path, prediction.get("image")):
        return False
    # an image that is gone cannot be looked at again: what was written of it stays
    return digest_of(item.path) not in (None, prediction.get("image_sha256"))


def _tell(note: str) -> None:
    print(f"magic: {note}", file=sys.stderr)


def _spent(task: WritingTask, new: int, seconds: float, loading: float) -> str:
    """What this start did: the number of texts, the time, and the speed without loading."""
    if not new:
        return "nothing new"
    pace = speed(new, seconds - loading, task.text)
    return f"{new:,} new in {duration(seconds)}, {duration(loading)} of it loading: {pace}"


def _report(task: WritingTask, run: RunFolder, spent: str) -> int:
    """Report the result on stderr; returns the exit status."""
    failed = [failure for failure in run.failures if not failure.get("skipped")]
    for failure in failed:
        _tell(f"no {task.text} for {task.label(failure)}: {failure['reason']}")
    if run.withdrawn:
        are = "is" if len(run.withdrawn) == 1 else "are"
        _tell(f"{', '.join(run.withdrawn)} scored other {task.texts} and {are} deleted; run `magic evaluate {run.path}`")
    skipped = len(run.failures) - len(failed)
    parts = [counted(len(run.predictions), task.text, task.texts)]
    parts += [counted(len(failed), *task.failed)] if failed else []
    parts += [f"{skipped} skipped"] if skipped else []
    _tell(f"{', '.join(parts)}; {spent}; run folder: {run.path}")
    return SOME_FAILED if failed else DONE
