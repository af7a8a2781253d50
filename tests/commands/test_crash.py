"""Real processes killed with SIGKILL at random moments: nothing is lost, nothing is done twice."""

import json
import os
import random
import shutil
import signal
import time
import traceback

import pytest

from magic_cli.cli import main

FILES = ("predictions.jsonl", "failures.jsonl", "coco_results.json", "released_format.json", "trace.jsonl")
KILLS = int(os.environ.get("MAGIC_TEST_KILLS", "8"))  # 30 for the full check


def start(words) -> int:
    """Run ``magic`` in a forked process, so that starting costs no import; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        with open("output.txt", "a") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            status = main(words)
    except BaseException:  # noqa: BLE001 - the child must not return into pytest
        traceback.print_exc()
        status = 99
    os._exit(status)


def wait(pid) -> int:
    """Exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.slow
def test_killed_runs_end_byte_identical_to_an_undisturbed_one(tiny_photos, tiny_language_model_folder, tiny_clip_folder, tmp_path, monkeypatch):
    import torch  # noqa: F401 - imported before forking

    import magic_cli.commands.caption
    import magic_cli.hydra_app  # noqa: F401

    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(5):
        for file in sorted(tiny_photos.iterdir()):
            (photos / f"{i}-{file.name}").write_bytes(file.read_bytes())
    (photos / "1-broken.jpg").write_text("no picture")
    words = [
        "caption", "--images", "photos", f"language_model.path={tiny_language_model_folder}", "image_text_model=clip_vit_b32",
        f"image_text_model.path={tiny_clip_folder}", "decoding.k=8", "decoding.decoding_len=12", "run.threads=1", "run.batch_size=4", "run.trace=true",
    ]  # fmt: skip
    assert wait(start([*words, "run.dir=undisturbed"])) == 3
    began = time.perf_counter()
    assert wait(start([*words, "run.dir=timed"])) == 3  # the first start was slower than those to come
    duration = time.perf_counter() - began
    expected = {name: (tmp_path / "undisturbed" / name).read_bytes() for name in FILES}

    rng, lines_at_kill = random.Random(0), []
    for number in range(KILLS):
        folder = tmp_path / f"run{number}"
        while True:  # until the kill comes before the end
            pid = start([*words, f"run.dir={folder}"])
            time.sleep(duration * (number + rng.random()) / KILLS)  # random, and spread over the whole run
            os.kill(pid, signal.SIGKILL)
            if wait(pid) == -signal.SIGKILL:
                break
            shutil.rmtree(folder)
            duration *= 0.95
        done = folder / "predictions.jsonl"
        lines_at_kill.append(done.read_bytes().count(b"\n") if done.exists() else 0)
        assert wait(start([*words, f"run.dir={folder}"])) == 3, "resumed to the end; the broken image is reported"
        assert {name: (folder / name).read_bytes() for name in FILES} == expected
        ids = [json.loads(line)["id"] for line in (folder / "predictions.jsonl").read_text().splitlines()]
        assert len(ids) == len(set(ids)) == 30
    print(f"{KILLS} kills; captions written when killed: {sorted(lines_at_kill)}")
    assert any(0 < written < 30 for written in lines_at_kill), "some kills hit a run in the middle"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_says_so_and_goes_on(number, tiny_photos, tiny_language_model_folder, tiny_clip_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        "caption", "--images", str(tiny_photos), f"language_model.path={tiny_language_model_folder}", "image_text_model=clip_vit_b32",
        f"image_text_model.path={tiny_clip_folder}", "decoding.k=8", "decoding.decoding_len=12", "run.threads=1", "run.batch_size=1", "run.dir=out",
    ]  # fmt: skip
    pid = start(words)
    while not (tmp_path / "out" / "predictions.jsonl").exists():
        time.sleep(0.005)
    os.kill(pid, number)
    status = wait(pid)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (status, manifest["status"]) in [(130, "interrupted"), (0, "complete")]
    assert wait(start(words)) == 0
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 6
