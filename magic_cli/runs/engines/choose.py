"""Chooses the engine of a run, opens it and closes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from magic_cli.models.settings import EngineName
from magic_cli.runs.batches import BatchWriter
from magic_cli.runs.engines.base import Engine
from magic_cli.runs.engines.pool import WorkerPool
from magic_cli.runs.kinds import Item

if TYPE_CHECKING:
    from magic_cli.runs.engines.base import Record


@contextmanager
def open_engine(writer: BatchWriter, first: Item, run: Record) -> Iterator[Engine]:
    """The engine that ``run.engine`` and ``run.devices`` name, with its models loaded.

    Args:
        writer: Writes batches; has loaded nothing yet.
        first: The first item that needs a text.
        run: Receives facts about the models, and at the end the counts of the work done.

    Raises:
        MagicError: The engine cannot start, or the run was begun with other models.
    """
    with _chosen(writer.settings.run)(writer, first, run) as engine:
        try:
            if isinstance(engine, WorkerPool):
                from magic_cli.runs.caption_bank import build_caption_indexes

                build_caption_indexes(engine)
            yield engine
        finally:
            counts, seconds = engine.work()
            run.record(work=counts, phase_seconds={name: round(spent, 3) for name, spent in seconds.items()})


def _chosen(options: Any) -> Callable[[BatchWriter, Item, Record], Engine]:
    """The class of the engine, by the settings of the group ``run``."""
    if options.engine is EngineName.ray:
        from magic_cli.runs.engines.ray_actors import RayEngine

        return RayEngine
    if options.devices is not None:
        from magic_cli.runs.engines.processes import ProcessEngine

        return ProcessEngine
    from magic_cli.runs.engines.local import LocalEngine

    return LocalEngine
