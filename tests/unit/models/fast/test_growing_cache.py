"""The growing cache against transformers' own, which copies everything at each step."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import DynamicCache

from magic_cli.models.fast import growing_cache
from magic_cli.models.fast.growing_cache import GrowingCache, keep_column


def fork(cache: DynamicCache) -> DynamicCache:
    forked = copy.copy(cache)
    forked.layers = [copy.copy(layer) for layer in cache.layers]
    return forked


class Both:
    """The same calls on both caches, whose layers hold keys and values of ``widths``."""

    def __init__(self, *widths: tuple[int, int]) -> None:
        self.caches: tuple[DynamicCache, ...] = (GrowingCache(), DynamicCache())
        self.generator = torch.Generator().manual_seed(0)
        self.widths = widths or ((4, 4), (4, 4))

    def fork(self) -> Both:
        other = copy.copy(self)
        other.caches = tuple(map(fork, self.caches))
        return other

    def append(self, columns: int, rows: int = 2) -> None:
        for layer, widths in enumerate(self.widths):
            parts = [torch.randn(rows, 3, columns, width, generator=self.generator) for width in widths]
            own, expected = (cache.update(*parts, layer) for cache in self.caches)
            assert all(map(torch.equal, own, expected))

    def crop(self, columns: int) -> None:
        for cache in self.caches:
            cache.crop(-columns)

    def keep(self, *columns: int, width: int) -> None:
        for cache in self.caches:
            keep_column(cache, torch.tensor(columns), width)

    def select(self, *rows: int) -> None:
        for cache in self.caches:
            cache.batch_select_indices(torch.tensor(rows))

    def assert_equal(self) -> None:
        own, expected = ([(layer.keys, layer.values) for layer in cache.layers] for cache in self.caches)
        assert all(torch.equal(a, b) for x, y in zip(own, expected, strict=True) for a, b in zip(x, y, strict=True))


@torch.inference_mode()
def test_texts_grow_as_in_the_library_when_rows_end_on_the_way():
    both = Both()
    both.append(3)
    for step in range(40):
        both = both.fork()
        both.append(5, rows=2 if step < 25 else 1)
        both.crop(4)
        if step == 24:
            both.select(1)
        both.assert_equal()


@pytest.mark.parametrize("widths", [((4, 4), (4, 4), (4, 4)), ((4, 4), (2, 2)), ((6, 4), (6, 4))], ids=str)
@pytest.mark.parametrize("block", [1, 1 << 20])
@torch.inference_mode()
def test_one_column_of_each_row_is_kept_whatever_the_layers_shapes(widths, block, monkeypatch):
    monkeypatch.setattr(growing_cache, "_BLOCK", block)
    both = Both(*widths)
    both.append(3, rows=3)
    for kept in ((0, 2, 1), (4, 4, 0), (0, 0, 0)):
        both = both.fork()
        both.append(5, rows=3)
        both.keep(*kept, width=5)
        both.assert_equal()
    both.select(2, 0, 2, 1)
    both.assert_equal()
    both.append(2, rows=4)
    both.keep(1, 0, 1, 1, width=2)
    both.assert_equal()


@torch.inference_mode()
def test_selected_rows_have_room_and_leave_the_others_as_they_are():
    both = Both()
    both.append(3)
    both.append(1)
    fewer = both.fork()
    fewer.select(1)
    place = fewer.caches[0].layers[1].values.data_ptr()
    fewer.append(4, rows=1)
    assert fewer.caches[0].layers[1].values.data_ptr() == place
    both.append(2)
    both.assert_equal()
    fewer.assert_equal()


@pytest.mark.parametrize("number", [1, 8, 60])
@torch.inference_mode()
def test_pieces_of_memory_have_the_same_size_however_many_rows_are_selected(number, monkeypatch):
    monkeypatch.setattr(growing_cache, "_BLOCK", 100_000)
    both = Both(*((4, 4),) * 6)
    both.append(3, rows=8)
    both.append(1, rows=8)
    both.select(*(row % 8 for row in range(number)))
    sizes = [block.nbytes for block in both.caches[0].room.blocks]
    assert max(sizes) <= 100_000 and (len(sizes) == 1 or sizes[0] > 50_000)


@torch.inference_mode()
def test_columns_are_kept_in_layers_of_unequal_lengths():
    both = Both()
    both.append(5)
    for cache in both.caches:
        cache.layers[1].crop(-1)
    both.keep(1, 2, width=3)
    both.assert_equal()
    assert both.caches[0].layers[1].keys.shape[2] == 2


@torch.inference_mode()
def test_forks_do_not_disturb_each_other():
    start = Both()
    start.append(3)
    forks = [start.fork() for _ in range(3)]
    for text in forks:
        text.append(2)
    again = forks[0].fork()
    again.append(4)
    other = forks[0].fork()
    other.append(1)
    other.crop(1)
    forks[0].append(1)
    for text in (start, *forks, again, other):
        text.assert_equal()


@torch.inference_mode()
def test_places_of_another_fork_stay_when_one_that_did_not_grow_last_is_cropped():
    first = Both()
    first.append(3)
    first.append(3)
    second = first.fork()
    second.append(2)
    first.crop(2)
    first.append(2)
    first.assert_equal()
    second.assert_equal()


@torch.inference_mode()
def test_nothing_is_copied_when_there_is_room():
    cache = GrowingCache()
    for columns in (3, 2, 1):
        cache.update(*torch.zeros(2, 1, 1, columns, 4), 0)
        if columns == 2:
            places = cache.layers[0].keys.data_ptr(), cache.layers[0].values.data_ptr()
    assert places == (cache.layers[0].keys.data_ptr(), cache.layers[0].values.data_ptr())


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_it_grows_with_and_without_gradients(mode):
    with torch.inference_mode():
        both = Both()
        both.append(3)
        both.append(1)
    with mode():
        both.append(2)
