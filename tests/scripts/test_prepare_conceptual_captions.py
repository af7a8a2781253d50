"""The script against a local server of all manners: what is kept, what is listed, how politely, and what a crash costs."""

import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import pytest
import webdataset
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--delay", "0", "--timeout", "20", "--max-bytes", "200000", "--workers", "8", "--per-host", "8"]


@contextlib.contextmanager
def serving(log: Path, pause: float = 0.0, at_once: float = math.inf):
    """The server's port; requests after the first ``at_once`` wait for ``go(log)``."""
    words = [str(ROOT / "tests" / "image_server.py"), str(log), str(pause), str(at_once)]
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()


def go(log: Path) -> None:
    Path(f"{log}.go").touch()


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log.jsonl"


def logged(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def command(tsv, output, *words):
    return [sys.executable, str(ROOT / "scripts" / "prepare_conceptual_captions.py"), str(tsv), "--output", str(output), *words]


def environment():
    return {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")} | {"PYTHONPATH": str(ROOT)}


def bring(tsv, output, *words):
    return subprocess.run(command(tsv, output, *words), capture_output=True, text=True, env=environment(), timeout=100)


def write(tsv, urls):
    tsv.write_text("".join(f"caption {number} .\t{url}\n" for number, url in enumerate(urls)))
    return tsv


def members(tar):
    with tarfile.open(tar) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def failures(folder):
    lines = [line for file in sorted(folder.glob("*.failures.jsonl")) for line in file.read_text().splitlines()]
    return {failure["row"]: failure for failure in map(json.loads, lines)}


def shards(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}


KINDS = {
    "image": None, "dead": "HTTP 404", "slow": "not complete within 3 s", "silent": "no answer within 3 s", "large": "larger than 200000 bytes",
    "endless": "larger than 200000 bytes", "text": "no image that can be read (UnidentifiedImageError", "bomb": "no image that can be read (4000 x 4 pixels",
    "moved": None, "loop": "more than 5 redirects", "local": "not an http or https address",
    "astray": "no sound address or answer", "flaky": None, "busy": None, "later": "HTTP 503",
    "cut": "the connection broke at 100 of 5000 bytes", "noai": "the site does not want it used",
}  # fmt: skip


def test_every_manner_of_answer_is_kept_or_listed_with_its_reason(tmp_path, log):
    with serving(log) as port:
        urls = [
            f"http://{'127.1' if kind == 'later' else '127.0.0.1'}:{port}/{kind}/{number}" for number, kind in enumerate(KINDS)
        ]
        tsv = write(
            tmp_path / "t.tsv",
            [*urls, "http://127.0.0.1:1/refused", "no address", "http://[broken/", f"http://127.0.0.1:{port}/image/ä b/3"],
        )
        with tsv.open("a") as stream:
            stream.write("a caption without address\n")
        patience = ["--timeout", "3"]  # a busy machine may let a sound answer wait for more than a second
        answer = bring(
            tsv, tmp_path / "out", *QUICK, *patience, "--attempts", "2", "--contact", "me@example.org", "--side", "100"
        )
    assert answer.returncode == 0, answer.stderr
    found, listed = members(tmp_path / "out" / "00000.tar"), failures(tmp_path / "out")
    for number, (kind, reason) in enumerate(KINDS.items()):
        assert (f"{number:09d}.jpg" in found) == (reason is None), kind
        assert reason is None or listed[number]["reason"].startswith(reason), (kind, listed[number])
    n = len(KINDS)
    assert listed[n]["reason"].startswith("no connection") and listed[n]["temporary"]
    assert listed[n + 1]["reason"] == "not an http or https address" and listed[n + 2]["reason"].startswith("not an address")
    assert f"{n + 3:09d}.jpg" in found and listed[n + 4]["reason"] == "the row is not caption<TAB>address"
    assert len(found) == 3 * 5 and len(listed) + 5 == n + 5
    assert found["000000000.txt"] == b"caption 0 ." and Image.open(io.BytesIO(found["000000000.jpg"])).size == (160, 100)
    facts = json.loads(found["000000000.json"])
    assert (facts["url"], facts["caption"], facts["original_width"]) == (urls[0], "caption 0 .", 320)
    assert {line.split("\t")[1]: int(line.split("\t")[0]) for line in answer.stdout.splitlines()}["images"] == 5
    requests = logged(log)
    assert all(
        request["agent"].startswith("magic-prepare-conceptual-captions/") and "(+me@example.org)" in request["agent"]
        for request in requests
    )
    asked = Counter(request["path"].split("/")[1] for request in requests)
    assert asked["dead"] == asked["text"] == asked["large"] == asked["later"] == 1  # lasting, or more patience than we have
    assert asked["flaky"] == asked["busy"] == asked["slow"] == asked["cut"] == 2 and asked["loop"] == 6
    first, second = (request["time"] for request in requests if request["path"].startswith("/busy"))
    assert second - first >= 1


def test_host_that_asks_for_too_much_patience_is_asked_no_more(tmp_path, log):
    with serving(log) as port:
        tsv = write(
            tmp_path / "t.tsv", [*(f"http://127.0.0.1:{port}/later/{i}" for i in range(5)), f"http://localhost:{port}/image/5"]
        )
        assert bring(tsv, tmp_path / "out", *QUICK, "--per-host", "1").returncode == 0
    assert [request["path"].split("/")[1] for request in logged(log)].count("later") == 1
    listed = failures(tmp_path / "out")
    assert Counter(failure["reason"] for failure in listed.values()) == {"HTTP 503": 1, "the host asks to wait 3600 s": 4}
    assert all(failure["temporary"] for failure in listed.values()) and "000000005.jpg" in members(tmp_path / "out" / "00000.tar")


def test_hosts_are_asked_one_at_a_time_with_a_pause(tmp_path, log):
    with serving(log, pause=0.05) as port:
        tsv = write(tmp_path / "t.tsv", [f"http://{('127.0.0.1', 'localhost')[i % 2]}:{port}/image/{i}" for i in range(12)])
        assert bring(tsv, tmp_path / "out", "--delay", "0.2", "--per-host", "1").returncode == 0
    for host in ("127.0.0.1", "localhost"):
        requests = [request for request in logged(log) if request["host"] == host]
        times = [request["time"] for request in requests]
        assert len(times) == 6 and all(request["at_once"] == 1 for request in requests)
        assert times[-1] - times[0] > 0.7  # 5 pauses of 0.2 s, with room for a busy machine; 0.3 s without them


def test_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, log):
    with serving(log, pause=0.03, at_once=60 + 57) as port:  # a killed run cannot come to its end before the kill
        urls = [f"http://127.0.0.1:{port}/{'dead' if i % 7 == 3 else 'image'}/{i}" for i in range(60)]
        tsv = write(tmp_path / "t.tsv", urls)
        words = [*QUICK, "--rows-per-shard", "25", "--per-host", "2"]
        assert bring(tsv, tmp_path / "whole", *words).returncode == 0
        log.unlink()
        for done in (10, 40):
            process = subprocess.Popen(command(tsv, tmp_path / "killed", *words), env=environment(), stderr=subprocess.DEVNULL)
            while (len(logged(log)) if log.exists() else 0) < done and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        before = len(logged(log))
        assert 40 <= before < 60
        go(log)
        assert bring(tsv, tmp_path / "killed", *words).returncode == 0
    assert shards(tmp_path / "killed") == shards(tmp_path / "whole")
    asked = Counter(request["path"] for request in logged(log))
    assert len(asked) == 60 and sum(asked.values()) <= 60 + 2 * 2  # only what was under way is asked for again
    assert not list((tmp_path / "killed" / ".unfinished").iterdir())


def test_higher_limit_adds_to_what_is_there(tmp_path, log):
    with serving(log) as port:
        tsv = write(tmp_path / "t.tsv", [f"http://127.0.0.1:{port}/image/{i}" for i in range(12)])
        words = [*QUICK, "--rows-per-shard", "5"]
        for limit in ("3", "8"):
            assert bring(tsv, tmp_path / "grown", *words, "--limit", limit).returncode == 0
        assert len(logged(log)) == 8
        assert bring(tsv, tmp_path / "grown", *words).returncode == 0
        assert len(logged(log)) == 12
        assert bring(tsv, tmp_path / "grown", *words).returncode == 0
        assert len(logged(log)) == 12
        assert bring(tsv, tmp_path / "whole", *words).returncode == 0
    assert shards(tmp_path / "grown") == shards(tmp_path / "whole")
    assert [len(members(tmp_path / "grown" / f"0000{i}.tar")) for i in range(3)] == [15, 15, 6]
    samples = list(webdataset.WebDataset([str(tmp_path / "grown" / f"0000{i}.tar") for i in range(3)], shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"{row:09d}" for row in range(12)]
    assert [sample["txt"] for sample in samples] == [f"caption {row} .".encode() for row in range(12)]


def test_temporary_failures_are_tried_again_when_asked(tmp_path, log):
    with serving(log) as port:
        tsv = write(tmp_path / "t.tsv", [f"http://127.0.0.1:{port}/{kind}/1" for kind in ("flaky", "dead", "image")])
        assert bring(tsv, tmp_path / "out", *QUICK, "--attempts", "1").returncode == 0
        assert {row: failure["temporary"] for row, failure in failures(tmp_path / "out").items()} == {0: True, 1: False}
        assert bring(tsv, tmp_path / "out", *QUICK, "--again").returncode == 0
        assert set(failures(tmp_path / "out")) == {1} and len(members(tmp_path / "out" / "00000.tar")) == 6
        assert Counter(request["path"] for request in logged(log)) == {"/flaky/1": 2, "/dead/1": 1, "/image/1": 1}


def test_folder_is_only_continued_with_the_same_file_and_by_one_process(tmp_path, log):
    with serving(log, at_once=0) as port:
        tsv = write(tmp_path / "t.tsv", [f"http://127.0.0.1:{port}/image/1"])
        process = subprocess.Popen(command(tsv, tmp_path / "out", "--delay", "0"), env=environment())
        while not log.exists():
            time.sleep(0.02)
        second = bring(tsv, tmp_path / "out", *QUICK)
        go(log)
        assert process.wait() == 0
    assert second.returncode == 2 and "another process is working" in second.stderr
    answer = bring(tsv, tmp_path / "out", "--side", "64")
    assert answer.returncode == 2 and "side 256 -> 64" in answer.stderr and answer.stderr.count("\n") == 1
    answer = bring(tmp_path / "nothing.tsv", tmp_path / "out")
    assert answer.returncode == 2 and "no such file" in answer.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--contact", "名@example.org"], "--contact must be printable ASCII"),  # else every request fails, for good
        (["--contact", "a\nb"], "--contact must be printable ASCII"),
        (["--output", "t.tsv"], "t.tsv: cannot be used (File exists); mend that"),
        (["--output", "t.tsv/out"], "cannot be used (Not a directory); mend that"),
    ],
)
def test_mistakes_are_told_before_a_request(words, message, tmp_path):
    write(tmp_path / "t.tsv", ["http://127.0.0.1:9/image/1"])
    answer = subprocess.run(
        command("t.tsv", "out", *words), capture_output=True, text=True, env=environment(), timeout=100, cwd=tmp_path
    )
    assert answer.returncode == 2 and message in answer.stderr and "Traceback" not in answer.stderr
