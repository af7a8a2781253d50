"""A folder of features survives kills, and notices what does not belong to it or is damaged."""

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest

from magic_cli.errors import MagicError
from magic_cli.retrieval.features import Features, line_starts
from magic_cli.retrieval.search import open_search
from magic_cli.retrieval.settings import IndexSettings
from magic_cli.retrieval.store import FeatureWriter
from tests.unit.retrieval.conftest import write


def files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".lock"}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_features_come_back_in_order_scaled_to_length_1(dtype, rng, tmp_path):
    features = rng.standard_normal((257, 7)).astype(np.float32)
    store = write(tmp_path / "index", features, dtype=dtype)
    unit = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(dtype)
    assert sorted(f.name for f in store.folder.glob("*.bin")) == [f"features-0000{i}.bin" for i in range(3)]
    assert np.array_equal(np.concatenate([block for _, block in store.blocks(30)]), unit.astype(np.float32))
    assert [start for start, _ in store.blocks(60)] == [0, 60, 100, 160, 200]
    numbers = np.array([[256, 0, 99], [100, 199, 200]])
    assert np.array_equal(store.take(numbers), unit[numbers])
    assert store.items([256, 0, 100]) == [{"id": "256"}, {"id": "0"}, {"id": "100"}]


def test_second_build_does_nothing(rng, tmp_path):
    features = rng.standard_normal((90, 4))
    write(tmp_path / "index", features)
    before = files(tmp_path / "index")
    with FeatureWriter(tmp_path / "index", "index", {"kind": "test"}, dtype="float16", shard_rows=100) as store:
        assert store.is_complete
    assert files(tmp_path / "index") == before
    assert set(before) == {"features-00000.bin", "items.jsonl", "failures.jsonl", "manifest.json"}


def _build_and_die(folder, features, batches, point):
    """Dies of SIGKILL after so many batches, in the middle of writing the next one."""
    import magic_cli.retrieval.store as module

    written = []
    original = getattr(module, point)

    def kill(file, *args):
        if len(written) == batches and file.name.startswith(("items", "failures", "manifest", "features")):
            original(file, *args)
            os.kill(os.getpid(), signal.SIGKILL)
        if file.name == "progress.jsonl":
            written.append(1)
        return original(file, *args)

    setattr(module, point, kill)
    write(folder, features)


@pytest.mark.parametrize("batches", [0, 1, 2, 5])
def test_killed_build_goes_on_and_ends_byte_identical(batches, rng, tmp_path):
    features = rng.standard_normal((380, 5))
    write(tmp_path / "undisturbed", features)
    child = multiprocessing.get_context("fork").Process(
        target=_build_and_die, args=(tmp_path / "killed", features, batches, "append_lines")
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    with (tmp_path / "killed" / "items.jsonl").open("a") as stream:
        stream.write('{"id": "half a li')  # a line that the kill cut off
    with pytest.raises(MagicError, match="is not complete; start its build again"):
        Features(tmp_path / "killed", "index")
    with FeatureWriter(tmp_path / "killed", "index", {"kind": "test"}, dtype="float16", shard_rows=100) as store:
        assert store.inputs_done == batches * 64, "what was done is not done again"
    write(tmp_path / "killed", features)
    assert files(tmp_path / "killed") == files(tmp_path / "undisturbed")


def open_complete(folder):
    with FeatureWriter(folder, "index", {"kind": "test"}, dtype="float16", shard_rows=100) as store:
        assert store.is_complete
    assert Features(folder, "index").rows == 90


def test_finished_index_is_used_while_another_process_holds_its_lock(rng, tmp_path):
    write(tmp_path / "index", rng.standard_normal((90, 4)))
    with (tmp_path / "index" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of this open file: another one, even of this process, would wait for ever
        child = multiprocessing.get_context("fork").Process(target=open_complete, args=(tmp_path / "index",))
        child.start()
        child.join(30)
        still_waits = child.is_alive()
        child.kill()
    assert not still_waits and child.exitcode == 0


def test_finished_index_in_a_read_only_folder_is_used_and_nothing_else_is_built_there(rng):
    folder = Path(tempfile.mkdtemp())  # tmp_path is closed to the other user that root has to become
    write(folder / "index", rng.standard_normal((90, 4)))
    (folder / "index" / ".lock").unlink()  # as in a copy
    (folder / "index" / "progress.jsonl").touch()
    for path in (*(folder / "index").iterdir(), folder / "index", folder):
        path.chmod(0o555)

    def use():
        if os.getuid() == 0:
            os.setuid(65534)  # root may write anywhere
        open_complete(folder / "index")
        with pytest.raises(MagicError, match=r"index: was built from something else \(kind test -> other\)"):
            write(folder / "index", np.eye(4), identity={"kind": "other"})
        settings = IndexSettings(kind="ivf", nlist=2)
        with pytest.raises(
            MagicError, match=r"ivf-nlist2\.faiss: must be built, but its folder cannot be written; set search\.kind=exact, or"
        ):
            open_search(Features(folder / "index", "index"), settings, threads=1)

    child = multiprocessing.get_context("fork").Process(target=use)
    child.start()
    child.join()
    for path in (folder, folder / "index"):
        path.chmod(0o755)
    shutil.rmtree(folder)
    assert child.exitcode == 0


def test_progress_that_a_kill_left_in_a_finished_index_goes(rng, tmp_path):
    write(tmp_path / "index", rng.standard_normal((90, 4)))
    (tmp_path / "index" / "progress.jsonl").touch()
    open_complete(tmp_path / "index")
    assert not (tmp_path / "index" / "progress.jsonl").exists()


def test_failures_and_inputs_are_counted_and_survive(tmp_path):
    for attempt in range(2):  # the second goes on where the first stopped
        with FeatureWriter(tmp_path / "index", "index", {"kind": "test"}, dtype="float32") as store:
            assert store.inputs_done == 3 * attempt
            store.add(np.eye(3)[:2], [{"id": "a"}, {"id": "b"}], [{"id": "c", "reason": "broken"}], inputs=3)
            if attempt:
                store.finish()
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text())
    assert {name: manifest[name] for name in ("inputs", "rows", "failures", "dim")} == {
        "inputs": 6,
        "rows": 4,
        "failures": 2,
        "dim": 3,
    }


def test_batches_without_features_leave_an_empty_index(tmp_path):
    with FeatureWriter(tmp_path / "index", "index", {"kind": "test"}, dtype="float32") as store:
        store.add(np.empty((0, 0)), [], [{"id": "c", "reason": "broken"}], inputs=1)
        store.finish()
    store = Features(tmp_path / "index", "index")
    assert store.rows == 0 and list(store.blocks()) == []


def test_other_identity_is_refused_with_what_differs(rng, tmp_path):
    write(tmp_path / "index", rng.standard_normal((10, 4)), identity={"model": {"files": {"a": "1"}}})
    with pytest.raises(MagicError, match=r"index=.*: was built from something else \(model.files.a 1 -> 2\)"):
        write(tmp_path / "index", rng.standard_normal((10, 4)), identity={"model": {"files": {"a": "2"}}})


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(MagicError, match=r"is not empty and has no manifest.json \(but letters.txt\); set another folder$"):
        write(tmp_path, np.eye(3))
    assert [file.name for file in tmp_path.iterdir()] == ["letters.txt"]


@pytest.mark.parametrize("name", ["features-00001.bin", "items.jsonl"])
def test_damaged_file_is_noticed(name, rng, tmp_path):
    write(tmp_path / "index", rng.standard_normal((150, 4)))
    file = tmp_path / "index" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(MagicError, match=f"{name}: is damaged"):
        Features(tmp_path / "index", "index")
    file.unlink()
    with pytest.raises(MagicError, match=f"{name}: is missing"):
        Features(tmp_path / "index", "index", check=False)


def test_features_that_were_half_written_are_written_again(rng, tmp_path, file_size_limit):
    features = rng.standard_normal((64, 400)).astype(np.float32)  # 51,200 bytes
    write(tmp_path / "undisturbed", features)
    with file_size_limit(40_000), pytest.raises(OSError, match="File too large"):
        write(tmp_path / "full", features)
    write(tmp_path / "full", features)
    assert files(tmp_path / "full") == files(tmp_path / "undisturbed")


def test_shard_shorter_than_recorded_is_noticed_before_going_on(rng, tmp_path):
    with FeatureWriter(tmp_path / "index", "index", {"kind": "test"}, dtype="float16") as store:
        store.add(rng.standard_normal((5, 4)), [{"id": "x"}] * 5, [], inputs=5)
    os.truncate(tmp_path / "index" / "features-00000.bin", 39)
    with pytest.raises(MagicError, match=r"is damaged \(39 bytes where 40 were written\)"):
        write(tmp_path / "index", rng.standard_normal((5, 4)), shard_rows=100_000)


def test_missing_index_is_one_line(tmp_path):
    with pytest.raises(MagicError, match="there is no index; build it first"):
        Features(tmp_path / "index", "index")


def test_line_starts_are_found_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("magic_cli.retrieval.features._SCAN_BYTES", 4)
    file = tmp_path / "lines"
    file.write_bytes(b"ab\ncdefgh\n\ni\n")
    assert line_starts(file).tolist() == [0, 3, 10, 11]
    file.write_bytes(b"")
    assert line_starts(file).tolist() == []
