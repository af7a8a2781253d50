"""Parts of a data set are the whole in its order, nearly equal, and of whole batches where they are large."""

import pytest

from magic_cli.runs.shards import Shard


@pytest.mark.parametrize(("total", "count"), [(0, 3), (1, 1), (2, 5), (10, 3), (965, 7), (25_014, 16), (3_300_000, 1000)])
def test_parts_are_the_whole(total, count):
    parts = [Shard(number, count).cut(range(total)) for number in range(1, count + 1)]
    assert [item for part in parts for item in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= max(1, 0.25 * total / count)


def test_large_parts_have_the_batches_of_the_whole():
    starts = [Shard(number, 16).cut(range(25_014))[0] for number in range(1, 17)]
    assert all(start % 128 == 0 for start in starts)


def test_part_knows_the_whole_that_it_is_of():
    ids = ["a", "b", "c"]
    one, two, other = Shard(1, 2).facts(ids), Shard(2, 2).facts(ids), Shard(1, 2).facts(["a", "c", "b"])
    assert one["ids_sha256"] == two["ids_sha256"] != other["ids_sha256"]
    assert (one["part"], one["parts"], one["items"]) == (1, 2, 3)
