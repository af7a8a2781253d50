"""Run folders: recovery, locking, identity."""

import json
import os
import subprocess
import sys

import pytest

from magic_cli.errors import MagicError
from magic_cli.files import append_lines, recover_lines
from magic_cli.runs.folder import RunFolder

SETTINGS = {"decoding": {"k": 5}}


def open_run(path, identity=SETTINGS):
    return RunFolder(path, settings=SETTINGS, identity=identity, planned=2)


def test_predictions_are_continued_when_a_run_is_opened_again(tmp_path):
    with open_run(tmp_path / "r") as run:
        run.add_predictions([{"id": "a", "caption": "é"}])
    with open_run(tmp_path / "r") as run:
        assert run.predictions == {"a": {"id": "a", "caption": "é"}}
        run.add_predictions([{"id": "b", "caption": "y"}])
        run.finish({})
    assert [json.loads(line)["id"] for line in (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()] == ["a", "b"]
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["status"] == "complete" and len(manifest["sessions"]) == 2
    assert manifest["counts"] == {"planned": 2, "predictions": 2, "failures": 0, "skipped": 0}


def test_files_that_loading_does_not_read_may_go(tmp_path):
    """An earlier start recorded them, too."""
    read, notes = (
        {"model.safetensors": "1", "tokenizer.json": "2"},
        {"checkpoints/best/model.safetensors": "3", "report.json": "4"},
    )
    with open_run(tmp_path / "r") as run:
        run.use_models({"language_model": {"name": None, "files": {**read, **notes}}})
        run.add_predictions([{"id": "a", "caption": "x"}])
    with open_run(tmp_path / "r") as run:
        run.check_model_files({"language_model": read})
        run.use_models({"language_model": {"name": None, "files": read}})
    with pytest.raises(MagicError, match="was begun with other model files"), open_run(tmp_path / "r") as run:
        run.check_model_files({"language_model": {"tokenizer.json": "2"}})


@pytest.mark.parametrize("tail", [b'{"id": "b", "cap', b'{"id": "b"}', '{"id": "é'.encode()[:-1], b"\0\0\0\0"])
def test_unfinished_line_is_cut_off(tmp_path, tail):
    file = tmp_path / "predictions.jsonl"
    append_lines(file, [{"id": "a"}])
    whole = file.read_bytes()
    file.write_bytes(whole + tail)
    assert recover_lines(file) == [{"id": "a"}]
    assert file.read_bytes() == whole


def test_damaged_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "predictions.jsonl").write_text('{"id": "a"}\n{"id\n{"id": "b"}\n')
    with pytest.raises(MagicError, match=r"predictions.jsonl line 2: not valid JSON"):
        recover_lines(tmp_path / "predictions.jsonl")


def test_repeated_id_is_named(tmp_path):
    (tmp_path / "predictions.jsonl").write_text('{"id": "a"}\n{"id": "a"}\n')
    (tmp_path / "manifest.json").write_text(json.dumps({"identity": SETTINGS}))
    with pytest.raises(MagicError, match="line 2: the id 'a' stands here twice"), open_run(tmp_path):
        pass


def test_folder_of_other_settings_is_refused_with_the_difference(tmp_path):
    with open_run(tmp_path / "r"):
        pass
    with (
        pytest.raises(MagicError, match=r"other settings \(decoding.k 5 -> 6\)"),
        open_run(tmp_path / "r", {"decoding": {"k": 6}}),
    ):
        pass


def test_folder_with_foreign_predictions_is_refused(tmp_path):
    (tmp_path / "predictions.jsonl").write_text("")
    with pytest.raises(MagicError, match="no manifest.json"), open_run(tmp_path):
        pass


def test_other_model_files_are_refused_when_predictions_exist(tmp_path):
    with open_run(tmp_path) as run:
        run.use_models({"language_model": {"files": {"w": "1"}}})
        run.add_predictions([{"id": "a"}])
    with pytest.raises(MagicError, match="language_model.files.w 1 -> 2"), open_run(tmp_path) as run:
        run.use_models({"language_model": {"files": {"w": "2"}}})


def test_dropped_predictions_of_other_model_files_never_come_back(tmp_path):
    with open_run(tmp_path) as run:
        run.use_models({"language_model": {"files": {"w": "1"}}})
        run.add_predictions([{"id": "a"}, {"id": "b"}])
        run.drop(["a", "b"])
        assert list(run.dropped()) == ["a", "b"]
    with open_run(tmp_path) as run:
        run.check_model_files({"language_model": {"w": "1"}})
        assert list(run.dropped()) == ["a", "b"]
        run.check_model_files({"language_model": {"w": "2"}})
        assert run.dropped() == {}


def test_predictions_are_dropped_once_when_a_kill_comes_before_they_are_forgotten(tmp_path):
    with open_run(tmp_path) as run:
        run.add_predictions([{"id": "a", "caption": "new"}, {"id": "b"}])
    append_lines(tmp_path / "dropped.jsonl", [{"id": "a", "caption": "old"}, {"id": "b"}])
    with open_run(tmp_path) as run:
        run.drop(["a", "b"])
    assert [json.loads(line) for line in (tmp_path / "dropped.jsonl").read_text().splitlines()] == [
        {"id": "a", "caption": "old"}, {"id": "b"}, {"id": "a", "caption": "new"},
    ]  # fmt: skip


def test_second_process_is_refused_and_the_first_goes_on(tmp_path):
    code = ("import sys; from pathlib import Path; from magic_cli.runs.folder import RunFolder\n"
            "from magic_cli.errors import MagicError\n"
            "try:\n    RunFolder(Path(sys.argv[1]), settings={}, identity={'decoding': {'k': 5}}, planned=2).__enter__()\n"
            "except MagicError as e:\n    print(e); sys.exit(2)\n")  # fmt: skip
    with open_run(tmp_path) as run:
        answer = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
        assert answer.returncode == 2 and "another process is working on this run" in answer.stdout
        run.add_predictions([{"id": "a"}])
    with open_run(tmp_path) as run:
        assert list(run.predictions) == ["a"]


def test_traces_of_items_without_prediction_are_dropped(tmp_path):
    with open_run(tmp_path) as run:
        run.add_trace([{"id": "a", "step": 0}, {"id": "b", "step": 0}])
        run.add_predictions([{"id": "a"}])
    with open_run(tmp_path):
        pass
    assert [json.loads(line)["id"] for line in (tmp_path / "trace.jsonl").read_text().splitlines()] == ["a"]


def test_run_is_marked_interrupted_when_an_error_ends_it(tmp_path):
    with pytest.raises(RuntimeError), open_run(tmp_path) as run:
        run.add_predictions([{"id": "a"}])
        raise RuntimeError
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "interrupted"


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MagicError, match="cannot be written"), open_run(tmp_path / "file" / "run"):
        pass


def test_half_a_write_is_an_error_and_not_a_broken_line(tmp_path, file_size_limit):
    file = tmp_path / "predictions.jsonl"
    append_lines(file, [{"id": "a"}])
    with file_size_limit(20), pytest.raises(OSError, match="File too large"):
        append_lines(file, [{"id": "b", "caption": "longer than what is left"}])
    assert recover_lines(file) == [{"id": "a"}]


@pytest.mark.skipif(os.geteuid() != 0 and not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_loses_nothing_that_was_written(tmp_path):
    append_lines(tmp_path / "predictions.jsonl", [{"id": "a"}])
    with pytest.raises(OSError, match="No space left"):
        append_lines(__import__("pathlib").Path("/dev/full"), [{"id": "b"}])
    assert recover_lines(tmp_path / "predictions.jsonl") == [{"id": "a"}]


def test_run_that_was_stopped_out_of_order_is_brought_into_order_by_the_next_start(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path / "r") as run:
        run.add_predictions([{"id": name, "caption": "x"} for name in "dcab"])
        raise KeyboardInterrupt
    with open_run(tmp_path / "r") as run:
        run.arrange([["a", "b"], ["c", "d"]])
        run.finish({})
    assert [json.loads(line)["id"] for line in (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()] == list("abcd")


def test_order_of_batches_is_that_of_failures_and_steps_too(tmp_path):
    with open_run(tmp_path / "r") as run:
        for batch in (["d", "c"], ["b", "a"]):
            run.add_failures([{"id": batch[0], "reason": "x"}])
            run.add_trace([{"id": name, "step": step, "f": [1.0]} for step in (0, 1) for name in batch])
            run.add_predictions([{"id": batch[1], "caption": "x"}])
        run.arrange([["a", "b"], ["c", "d"]])
        assert [failure["id"] for failure in run.failures] == ["b", "d"]
    steps = [json.loads(line) for line in (tmp_path / "r" / "trace.jsonl").read_text().splitlines()]
    assert [(step["id"], step["step"]) for step in steps] == [
        ("b", 0),
        ("a", 0),
        ("b", 1),
        ("a", 1),
        ("d", 0),
        ("c", 0),
        ("d", 1),
        ("c", 1),
    ]


@pytest.mark.parametrize(
    ("before", "identity", "held"),
    [
        ({"format": 1, "kind": "images", "inputs": "a", "dtype": "x"}, SETTINGS, "something else"),
        ({"task": "caption", **SETTINGS}, {"task": "story", **SETTINGS}, "a run of magic caption"),
        ({"task": "story", **SETTINGS}, SETTINGS, "a run of magic story"),
    ],
)
def test_folder_of_another_command_is_not_called_a_run_with_other_settings(tmp_path, before, identity, held):
    (tmp_path / "manifest.json").write_text(json.dumps({"identity": before}))
    with (
        pytest.raises(MagicError, match=f"holds {held}, not a run of this command; set another run.dir$"),
        open_run(tmp_path, identity),
    ):
        raise AssertionError("it must not open")
