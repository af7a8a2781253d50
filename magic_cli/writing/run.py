"""One run of a command that writes texts: its folder, what is taken over from an earlier start, and what is said at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from magic_cli.data.images import quiet_pillow
from magic_cli.models.sources import describe_source, local_files, sha256
from magic_cli.run_folders import run_folder
from magic_cli.runs import RunFolder
from magic_cli.settings import as_plain, settings_that_matter
from magic_cli.writing.task import Item, WritingTask
from magic_cli.writing.writer import Writer

DONE, SOME_FAILED = 0, 3


def write_texts(settings: Any, task: WritingTask) -> int:
    """Write every text of a task into its run folder; returns 0, or 3 if some could not be written.

    Texts go to stdout as ``name<TAB>text``, in the order of the task's items, those of an earlier start included.
    """
    quiet_pillow()
    items = task.items()
    with RunFolder(
        run_folder(settings), settings=as_plain(settings), identity=settings_that_matter(settings), planned=len(items)
    ) as run:
        run.manifest |= task.facts(items)
        _check_unchanged(settings, task, run, items)
        for note in task.notes():
            _tell(note)
        Writer(settings, task, run).write(items)
        done = [item for item in items if item.id in run.predictions]
        run.finish(task.exports(done, {item.id: run.predictions[item.id][task.text] for item in done}))
    return _report(task, run)


def _check_unchanged(settings: Any, task: WritingTask, run: RunFolder, items: Sequence[Item]) -> None:
    """Before a run goes on: its models must be the same, texts of items that have changed are taken back, the others brought up to date.

    Raises:
        MagicError: A local model's files have changed.
    """
    groups = {"language_model": settings.language_model, "image_text_model": settings.image_text_model}
    sources = {name: local_files(group) for name, group in groups.items() if name in run.manifest.get("models", {})}
    run.check_model_files({name: describe_source(groups[name], path)["files"] for name, path in sources.items() if path is not None})
    changed = [item.id for item in items if item.id in run.predictions and _has_changed(task, item, run.predictions[item.id])]
    if changed:
        _tell(f"{len(changed)} {task.changed}, e.g. {changed[0]}")
        run.forget(changed)
    before = run.predictions
    refreshed = [new for item in items if item.id in before and (new := task.refreshed(item, before[item.id])) != before[item.id]]
    if refreshed:
        run.replace(refreshed)
    if settings.run.trace and (untraced := len(run.predictions.keys() - run.traced)):
        _tell(f"{untraced} {task.untraced}; for theirs, set another run.dir")


def _has_changed(task: WritingTask, item: Item, prediction: dict[str, Any]) -> bool:
    if not task.still_holds(item, prediction):
        return True
    # an image that is gone cannot be looked at again: what was written of it stays
    return item.path is not None and item.path.is_file() and sha256(item.path) != prediction["image_sha256"]


def _tell(note: str) -> None:
    print(f"magic: {note}", file=sys.stderr)


def _report(task: WritingTask, run: RunFolder) -> int:
    """Tell what came out, on stderr; returns the exit status."""
    failed = [failure for failure in run.failures if not failure.get("skipped")]
    for failure in failed:
        _tell(f"no {task.text} for {task.label(failure)}: {failure['reason']}")
    skipped = len(run.failures) - len(failed)
    parts = [f"{len(run.predictions)} {task.texts}"]
    parts += [f"{len(failed)} {task.failed}"] if failed else []
    parts += [f"{skipped} skipped"] if skipped else []
    _tell(f"{', '.join(parts)}; run folder: {run.path}")
    return SOME_FAILED if failed else DONE
