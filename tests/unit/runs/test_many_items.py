"""Of a run of many items, only those that are at work are in memory."""

import gc
import tracemalloc
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from magic_cli.models.work_counter import WorkCounter
from magic_cli.runs.batch_list import BatchList
from magic_cli.runs.batches import BatchResult
from magic_cli.runs.engines.local import LocalEngine
from tests.unit.runs.test_dispatch import Pool

NUMBER, SIZE = 20_000, 4
MOST_BYTES = 400_000
"""A list of all batches, or of all paths, would take some megabytes."""


class Made(Sequence):
    """Items that are made when they are asked for, and counted."""

    def __init__(self):
        self.count = 0

    def __len__(self):
        return NUMBER

    def __getitem__(self, place):
        if isinstance(place, slice):
            return [self[row] for row in range(*place.indices(NUMBER))]
        self.count += 1
        return SimpleNamespace(id=f"item-{place}", path=f"{place}.jpg")


class Reader:
    """The image of an item is its path."""

    def read(self, path):
        return path


class OneByOne:
    """A batch writer without models, which checks that each item gets its own image."""

    def __init__(self, workers):
        self.settings = SimpleNamespace(run=SimpleNamespace(workers=workers))
        self.reader, self.work = Reader(), WorkCounter()

    def images(self, batch):
        return [item.path for item in batch.items]

    def write(self, batch, images):
        assert images == self.images(batch)
        return BatchResult(batch.number, predictions=[{"id": item.id} for item in batch.items])


@pytest.mark.parametrize("engine", [Pool(workers=3, deaths=0.01, machines=0.01), LocalEngine(OneByOne(0), None, None)])
def test_batches_are_made_when_it_is_their_turn_and_not_kept(engine, capsys):
    items, seen = Made(), bytearray(NUMBER)
    batches = BatchList(items, SIZE, ())
    gc.collect()
    tracemalloc.start()
    try:
        for result in engine.results(batches):
            for line in result.predictions:
                seen[int(line["id"].removeprefix("item-"))] += 1
            capsys.readouterr()  # what is told of deaths is not what is weighed
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == bytearray([1]) * NUMBER
    assert items.count <= 2 * NUMBER + SIZE, "once to read ahead, once to write"
    assert peak < MOST_BYTES
