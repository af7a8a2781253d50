"""Real processes killed with SIGKILL at random moments: nothing is lost, nothing is done twice."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from functools import cache
from pathlib import Path

import pytest
from tqdm import tqdm

from magic_cli.cli.main import main

FILES = ("predictions.jsonl", "failures.jsonl", "coco_results.json", "released_format.json", "trace.jsonl")
KILLS = int(os.environ.get("MAGIC_TEST_KILLS", "8"))  # 30 for the full check


@cache
def load_libraries() -> None:
    """Import here what commands import when they run, so that no forked process has to do it anew."""
    import transformers

    import magic_cli.cli.hydra_app
    import magic_cli.models.image_text.huggingface_clip
    import magic_cli.models.loading
    import magic_cli.runs.run  # noqa: F401

    for name in (
        "AutoConfig", "AutoImageProcessor", "AutoModelForCausalLM", "AutoTokenizer", "CLIPImageProcessorPil", "CLIPModel",
        "CLIPTokenizerFast", "DynamicCache", "GPT2LMHeadModel", "GPT2TokenizerFast", "GenerationConfig",
    ):  # fmt: skip
        getattr(transformers, name)


def start(words, *, apart=False, prepare=None) -> int:
    """Run ``magic`` in a forked process, so that starting costs no import, and a group of its own; returns its pid.

    ``apart``: in a fresh process, since what CUDA holds cannot be forked. ``prepare`` is called in the forked process first.
    """
    if apart:
        return subprocess.Popen([sys.executable, "-m", "magic_cli", *words], start_new_session=True).pid
    load_libraries()
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        os.setpgrp()
        output = open("output.txt", "a", buffering=1)  # noqa: SIM115 - open to the end of the process
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        sys.stdout = sys.stderr = output  # pytest's would hold it back
        tqdm.set_lock(threading.RLock())  # tqdm's own is shared with pytest: who is killed while holding it would stop us all
        if prepare is not None:
            prepare()
        status = main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)  # whatever happens, the child must not return into pytest


def halt_at(owner, name, is_here):
    """For ``start``: a call of the method ``name`` for which ``is_here(*its arguments)`` waits until the process is killed.

    However busy the machine is, the process does not come to its end before the kill.
    """

    def prepare():
        whole = getattr(owner, name)

        def halting(*args, **kwargs):
            if is_here(*args):
                time.sleep(300)
            return whole(*args, **kwargs)

        setattr(owner, name, halting)

    return prepare


def wait_for_lines(file: Path, count: int, pid: int) -> None:
    """Until a file is there and has so many lines, or the process that writes it has ended."""
    while is_running(pid) and not (file.exists() and file.read_bytes().count(b"\n") >= count):
        time.sleep(0.001)


def is_running(pid: int) -> bool:
    """Whether a child of ours has not ended yet."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def words(tiny_photos, tiny_language_model_folder, tiny_clip_folder, tmp_path, monkeypatch):
    """A run on the six photos into the folder ``out`` of an empty folder."""
    monkeypatch.chdir(tmp_path)
    return [
        "caption", "--images", str(tiny_photos), f"language_model.path={tiny_language_model_folder}", "image_text_model=clip_vit_b32",
        f"image_text_model.path={tiny_clip_folder}", "decoding.k=8", "decoding.decoding_len=12", "run.threads=1", "run.dir=out",
        "run.image_cache=cache",
    ]  # fmt: skip


def wait(pid) -> int:
    """Exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize("trace", [True, False])  # without, steps are remembered, and other ones when a run was killed
def test_killed_runs_end_byte_identical_to_an_undisturbed_one(
    tiny_photos, tiny_language_model_folder, tiny_clip_folder, tmp_path, monkeypatch, trace
):
    import torch  # noqa: F401 - imported before forking

    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        for file in sorted(tiny_photos.iterdir()):
            (photos / f"{i}-{file.name}").write_bytes(file.read_bytes())
    (photos / "1-broken.jpg").write_text("no picture")
    words = [
        "caption", "--images", "photos", f"language_model.path={tiny_language_model_folder}", "image_text_model=clip_vit_b32",
        f"image_text_model.path={tiny_clip_folder}", "decoding.k=8", "decoding.decoding_len=9", "run.threads=1", "run.batch_size=4", f"run.trace={trace}",
    ]  # fmt: skip
    assert wait(start([*words, "run.dir=undisturbed", "run.image_cache=undisturbed-cache"])) == 3
    began = time.perf_counter()
    assert (
        wait(start([*words, "run.dir=timed", "run.image_cache=timed-cache"])) == 3
    )  # the first start was slower than those to come
    duration = time.perf_counter() - began
    files = [name for name in FILES if trace or name != "trace.jsonl"]
    expected = {name: (tmp_path / "undisturbed" / name).read_bytes() for name in files}

    rng, lines_at_kill = random.Random(0), []
    for number in range(KILLS):
        folder = tmp_path / f"run{number}"
        while True:  # until the kill comes before the end
            pid = start([*words, f"run.dir={folder}", f"run.image_cache={folder}-cache"])
            if number % 2:  # among the captions, however fast the machine is just then
                wait_for_lines(folder / "predictions.jsonl", rng.randint(1, 14), pid)
            else:  # random, and spread over the whole run
                time.sleep(duration * (number + rng.random()) / KILLS)
            os.kill(pid, signal.SIGKILL)
            if wait(pid) == -signal.SIGKILL:
                break
            shutil.rmtree(folder)
            shutil.rmtree(f"{folder}-cache")
            duration *= 0.95
        done = folder / "predictions.jsonl"
        lines_at_kill.append(done.read_bytes().count(b"\n") if done.exists() else 0)
        assert wait(start([*words, f"run.dir={folder}", f"run.image_cache={folder}-cache"])) == 3, (
            "resumed to the end; the broken image is reported"
        )
        assert {name: (folder / name).read_bytes() for name in files} == expected
        ids = [json.loads(line)["id"] for line in (folder / "predictions.jsonl").read_text().splitlines()]
        assert len(ids) == len(set(ids)) == 18
    print(f"{KILLS} kills; captions written when killed: {sorted(lines_at_kill)}")
    assert any(0 < written < 18 for written in lines_at_kill), "some kills hit a run in the middle"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])  # a terminal sends Ctrl-C to the group
def test_stopped_run_says_so_and_goes_on(number, send, words, tmp_path):
    words = [*words, "run.batch_size=1", "run.workers=2"]
    pid = start(words)
    while not (tmp_path / "out" / "predictions.jsonl").exists():
        time.sleep(0.005)
    send(pid, number)
    status = wait(pid)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (status, manifest["status"]) in [(128 + number, "interrupted"), (0, "complete")]
    said = [line for line in (tmp_path / "output.txt").read_text().splitlines() if "\t" not in line]
    assert len(said) == 1 and said[0].startswith("magic: stopped;" if status else "magic: 6 captions"), said
    wait_until_gone(pid)
    assert wait(start(words)) == 0
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 6


def test_run_whose_reading_process_is_killed_says_so_and_goes_on(words, tmp_path):
    words = [*words, "run.batch_size=1", "run.workers=1"]
    pid = start(words)
    while not (readers := [child for child in children(pid) if name(child) == "pt_data_worker"]):  # torch calls them so
        time.sleep(0.001)
    os.kill(readers[0], signal.SIGKILL)
    assert wait(pid) == 2
    [said] = [line for line in (tmp_path / "output.txt").read_text().splitlines() if "\t" not in line]
    assert said.startswith("magic: run.workers=1: a process that reads images was ended from outside")
    wait_until_gone(pid)
    assert wait(start(words)) == 0
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 6


def children(pid) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def name(pid) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until_gone(group):
    """Wait until no process of the group is left; the limit is for one that never ends, not for a slow machine."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError(f"processes of group {group} are left behind")
