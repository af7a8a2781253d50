"""Exact search equals argsort over all rows; approximate indexes are built, kept, checked and nearly as good."""

import fcntl
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from magic_cli.errors import SettingsError
from magic_cli.retrieval import approximate
from magic_cli.retrieval.approximate import sample
from magic_cli.retrieval.search import InMemory, OnDisk, Search, open_search
from magic_cli.retrieval.settings import IndexSettings
from tests.reference.nearest import nearest
from tests.unit.retrieval.conftest import write


def stored(features):
    return features.take(np.arange(features.rows))


@pytest.mark.parametrize("candidates", [InMemory, OnDisk])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_exact_search_equals_its_slow_twin(candidates, dtype, rng, tmp_path):
    features = write(tmp_path / "index", rng.standard_normal((333, 16)), dtype=dtype)
    queries = rng.standard_normal((300, 16)).astype(np.float32)
    scores, numbers = Search(features, candidates(features)).best(queries, 9)
    expected_scores, expected_numbers = nearest(stored(features), queries, 9)
    assert np.array_equal(numbers, expected_numbers) and np.array_equal(scores, expected_scores)


@pytest.mark.parametrize("candidates", [InMemory, OnDisk])
def test_ties_go_to_the_lower_number_however_many_there_are(candidates, rng, tmp_path):
    rows = rng.standard_normal((250, 33))
    same = rng.permutation(250)[:120]
    rows[same] = rows[same[0]]
    features = write(tmp_path / "index", rows)
    query = rows[same[0]][None] + 0.1 * rng.standard_normal((1, 33))
    scores, numbers = Search(features, candidates(features)).best(query, 5)
    assert numbers[0].tolist() == sorted(same)[:5]
    assert len(set(scores[0])) == 1


def test_blocks_of_any_size_give_the_same(rng, tmp_path, monkeypatch):
    features = write(tmp_path / "index", rng.standard_normal((333, 16)))
    queries = rng.standard_normal((3, 16))
    whole = Search(features, InMemory(features)).best(queries, 40)
    blocks = features.blocks
    monkeypatch.setattr(features, "blocks", lambda: blocks(7))
    parts = Search(features, OnDisk(features)).best(queries, 40)
    assert np.array_equal(whole[0], parts[0]) and np.array_equal(whole[1], parts[1])


def test_more_results_than_rows_gives_all_rows(rng, tmp_path):
    features = write(tmp_path / "index", rng.standard_normal((5, 4)))
    scores, numbers = Search(features, OnDisk(features)).best(rng.standard_normal((2, 4)), 50)
    assert scores.shape == (2, 5) and [sorted(row) for row in numbers.tolist()] == [[0, 1, 2, 3, 4]] * 2


def test_no_queries_give_no_results(rng, tmp_path):
    features = write(tmp_path / "index", rng.standard_normal((5, 4)))
    scores, numbers = Search(features, OnDisk(features)).best(np.empty((0, 4)), 3)
    assert scores.shape == numbers.shape == (0, 3)


def test_exact_index_takes_memory_only_up_to_the_setting(rng, tmp_path):
    features = write(tmp_path / "index", rng.standard_normal((50, 4)))
    for gib, kind in ((1.0, InMemory), (0.0, OnDisk)):
        assert type(open_search(features, IndexSettings(memory_gib=gib), threads=1)._candidates) is kind


def clustered(rng, rows=3000, dim=24):
    centres = rng.standard_normal((60, dim))
    return centres[rng.integers(60, size=rows)] + 0.5 * rng.standard_normal((rows, dim))


@pytest.mark.parametrize(("kind", "name"), [("ivf", "ivf-nlist219.faiss"), ("hnsw", "hnsw-m32-ef_construction200.faiss")])
def test_approximate_index_finds_nearly_all_and_is_built_once(kind, name, rng, tmp_path, capfd):
    rows = clustered(rng)
    features = write(tmp_path / "index", rows, shard_rows=1000)
    queries = rows[::50] + 0.1 * rng.standard_normal((60, 24))
    _, expected = nearest(stored(features), queries, 10)
    scores, numbers = open_search(features, IndexSettings(kind=kind), threads=1).best(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(numbers, expected, strict=True)])
    assert recall > 0.95
    assert (np.diff(scores, axis=1) <= 0).all()
    out, err = capfd.readouterr()
    assert out == "" and f"building {name} over 3000 features" in err
    before = (tmp_path / "index" / name).read_bytes()
    again = open_search(features, IndexSettings(kind=kind), threads=1).best(queries, 10)
    assert np.array_equal(again[1], numbers) and capfd.readouterr().err == ""
    (tmp_path / "index" / name).unlink()
    open_search(features, IndexSettings(kind=kind), threads=1)
    assert (tmp_path / "index" / name).read_bytes() == before, "one thread gives the same file every time"


def test_processes_that_need_the_same_index_build_it_once(rng, tmp_path, monkeypatch, capfd):
    features, settings = write(tmp_path / "index", rng.standard_normal((200, 8))), IndexSettings(kind="ivf", nlist=4)
    file, builds, began = approximate.index_file(features, settings), [], threading.Event()
    build = approximate.build
    monkeypatch.setattr(approximate, "build", lambda *args: (builds.append(args), build(*args)))
    monkeypatch.setattr(approximate, "_refuse_read_only", lambda *args: began.set())
    with (features.folder / ".lock").open("w") as lock, ThreadPoolExecutor() as other:
        fcntl.flock(lock, fcntl.LOCK_EX)
        opened = other.submit(approximate.Approximate, features, settings)
        assert began.wait(60) and not builds, "the other one waits"
        build(features, settings, file)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert opened.result(timeout=60).top(rng.standard_normal((1, 8)).astype(np.float32), 3)[1].shape == (1, 3)
    assert not builds


def test_damaged_or_foreign_index_file_is_built_again(rng, tmp_path, capsys):
    features = write(tmp_path / "index", clustered(rng, 500))
    settings = IndexSettings(kind="ivf", nlist=4)
    open_search(features, settings, threads=1)
    file = tmp_path / "index" / "ivf-nlist4.faiss"
    whole = file.read_bytes()
    for change, problem in (
        (lambda: file.write_bytes(whole[:-9]), "is damaged"),
        (lambda: forge(file), "belongs to other features"),
    ):
        change()
        capsys.readouterr()
        open_search(features, settings, threads=1)
        assert f"{problem}; it is built again" in capsys.readouterr().err
        assert file.read_bytes() == whole


def forge(file):
    facts = json.loads(file.with_suffix(".json").read_text())
    file.with_suffix(".json").write_text(json.dumps(facts | {"features": "0" * 64}))


def test_sample_is_even_and_always_the_same(rng, tmp_path):
    features = write(tmp_path / "index", rng.standard_normal((400, 4)))
    first = sample(features, 50)
    assert first.shape == (50, 4) and np.array_equal(first, sample(features, 50))
    assert len(np.unique(first, axis=0)) == 50
    assert np.array_equal(sample(features, 1000), stored(features).astype(np.float32))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"kind": "hsnw"}, "search.kind='hsnw' is unknown; did you mean hnsw"),
        ({"nlist": 0}, "search.nlist must be at least 1, got 0"),
        ({"features": "float8"}, "search.features='float8' is unknown"),
        ({"memory_gib": float("nan")}, "search.memory_gib must be in"),
    ],
)
def test_settings_out_of_range_are_refused(override, message):
    with pytest.raises(SettingsError, match=message):
        IndexSettings(**override)
