"""A damaged folder of features is refused in one line with the file and the remedy, however it is damaged."""

import json

import numpy as np
import pytest

from magic_cli.errors import MagicError
from magic_cli.retrieval.features import Features
from magic_cli.retrieval.store import FeatureWriter
from tests.unit.retrieval.conftest import write


@pytest.fixture
def index(rng, tmp_path):
    write(tmp_path / "index", rng.standard_normal((150, 4)).astype(np.float32))
    return tmp_path / "index"


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("name", "size"),
    [("features-00000.bin", 0), ("features-00001.bin", 1), ("features-00001.bin", 392), ("features-00000.bin", 900)],
)
def test_features_file_of_another_size_is_refused(index, name, size, check):
    with (index / name).open("r+b") as stream:
        stream.truncate(size)
    with pytest.raises(MagicError, match=rf"{name}: is damaged.*; delete .*index and build it again$"):
        Features(index, "index", check=check)


def changed(**entries):
    return lambda manifest: manifest | entries


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda _: [], "it holds no object"),
        (lambda _: "x", "it holds no object"),
        (lambda _: 5, "it holds no object"),
        (lambda _: None, "it holds no object"),
        (changed(status=5), "status is '5'"),
        (changed(status="ready"), "status is 'ready'"),
        (changed(identity=[]), "identity is '[]'"),
        (changed(identity={"kind": "test", "features": "float16", "shard_rows": 0}), "identity"),
        (changed(identity={"kind": "test", "features": ["float16"], "shard_rows": 100}), "identity"),
        (changed(rows="150"), "rows is '150'"),
        (changed(rows=True), "rows is 'True'"),
        (changed(rows=10**18), "files"),
        (changed(dim=None), "dim is 'None'"),
        (changed(failures=None), "failures is 'None'"),
        (changed(files=None), "files is 'None'"),
        (lambda manifest: manifest | {"files": manifest["files"] | {"features-00001.bin": 1}}, "files"),
        (lambda manifest: manifest | {"files": {f"../{name}": digest for name, digest in manifest["files"].items()}}, "files"),
    ],
)
def test_manifest_that_cannot_be_is_refused(spoil, told, index):
    file = index / "manifest.json"
    file.write_text(json.dumps(spoil(json.loads(file.read_text()))))
    _is_refused(index, told)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[" * 100_000, b"9" * 10_000])
def test_manifest_that_is_no_json_is_refused(content, index):
    (index / "manifest.json").write_bytes(content)
    _is_refused(index, "its manifest.json is damaged")


def _is_refused(index, told):
    with pytest.raises(
        MagicError, match=r"^index=.*index: its manifest.json is damaged.*; set another folder, or delete this one$"
    ) as caught:
        Features(index, "index")
    assert told in str(caught.value) and "\n" not in str(caught.value)
    with (
        pytest.raises(MagicError, match="its manifest.json is damaged"),
        FeatureWriter(index, "index", {"kind": "test"}, dtype="float16"),
    ):
        pass


@pytest.mark.parametrize(
    "line",
    [
        "5",
        "[]",
        '"x"',
        "{}",
        '{"inputs": "1", "rows": 0, "dim": null, "failures": 0, "sizes": {"items.jsonl": 0, "failures.jsonl": 0}}',
    ],
)
def test_damaged_progress_of_a_build_is_refused(line, rng, tmp_path):
    store = FeatureWriter(tmp_path / "index", "index", {"kind": "test"}, dtype="float16")
    with store:
        store.add(rng.standard_normal((3, 4)), [{"id": "1"}] * 3, [], inputs=3)
    (tmp_path / "index" / "progress.jsonl").write_text(f"{line}\n")
    with (
        pytest.raises(
            MagicError,
            match="progress.jsonl( line 1)?: (is damaged|must be a JSON object, got [^;]*); delete .*index and start again",
        ),
        store,
    ):
        pass


def test_damaged_list_of_failures_is_refused(index):
    (index / "failures.jsonl").write_text("{")
    with pytest.raises(MagicError, match="failures.jsonl: is damaged"):
        list(Features(index, "index", check=False).failures())
