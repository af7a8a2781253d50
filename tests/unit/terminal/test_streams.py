"""Text from outside on both streams, and streams that fail."""

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
from tqdm import tqdm

from magic_cli.cli.main import main
from magic_cli.terminal import streams as terminal

UNSAFE = [*map(chr, (*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F, 0x80, 0x85, 0x9B, 0x9F)), *"\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2060\u2066\u2069\ufeff\u3164\u1160\U000e0041",
          "\udce9"]  # fmt: skip
FORGED = "a\x1b[31mb\r\nmagic: done\t\u202egpj.jpg"
SHOWN = "a\\x1b[31mb\\x0d\\x0amagic: done\\x09\\u202egpj.jpg"
MAGIC = [sys.executable, "-m", "magic_cli"]
ROOT = Path(__file__).parents[3]


@contextmanager
def guarded():
    """Guarded stdout and stderr over files in memory; yields a function that tells what was written to one of them."""
    before = sys.stdout, sys.stderr
    behind = {name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for name in ("stdout", "stderr")}
    sys.stdout, sys.stderr = behind.values()
    terminal.guard_streams()

    def written(name):
        behind[name].flush()
        return behind[name].buffer.getvalue().decode()

    try:
        yield written
    finally:
        sys.stdout, sys.stderr = before


@pytest.mark.parametrize("letter", UNSAFE)
def test_no_unsafe_letter_reaches_a_stream(letter):
    with guarded() as streams:
        print(f"a{letter}b\tc\nd")
        print(f"a{letter}b", file=sys.stderr)
        escape = f"\\x{ord(letter):02x}" if letter < " " else "\\udb40\\udc41" if letter > "\uffff" else f"\\u{ord(letter):04x}"
        assert streams("stdout") == f"a{escape}b\tc\nd\n" and streams("stderr") == f"a{escape}b\n"


@pytest.mark.parametrize("text", ["é 日本 עברית", "می\u200cخواهم", "👨\u200d👩\u200d👧", "soft\u00adly 20\u00a0%", "back\\slash"])
def test_what_people_write_stays_as_it_is(text):
    with guarded() as streams:
        terminal.print_line(text)
        print(text, file=sys.stderr)
        assert streams("stdout") == streams("stderr") == f"{text}\n"


def test_line_on_stdout_keeps_its_columns():
    with guarded() as streams:
        terminal.print_line(FORGED, "two")
        assert streams("stdout") == f"{SHOWN}\ttwo\n"


def test_note_of_ours_is_one_line():
    with guarded() as streams:
        print(f"magic: {FORGED}", file=sys.stderr)
        sys.stderr.writelines([f"magic: {FORGED}\n"])
        assert streams("stderr") == f"magic: {SHOWN}\n" * 2


def test_warnings_logs_and_tracebacks_forge_no_line():
    with guarded() as streams:
        log = logging.Logger("library")
        log.addHandler(logging.StreamHandler())
        log.warning("cannot read %s", FORGED)
        sys.stderr.write(
            warnings.formatwarning(FORGED, UserWarning, "a.py", 1, line="code")
        )  # as warnings.showwarning does; pytest has its own
        try:
            raise ValueError(FORGED)
        except ValueError as error:
            sys.__excepthook__(ValueError, error, None)
        written = streams("stderr")
        assert written.count("magic: done") == 3 and written.count("\\u202e") == 3 and "\x1b" not in written
        assert not [line for line in written.splitlines() if line.startswith("magic: ")]


def test_progress_bar_is_drawn_as_it_was():
    with guarded() as streams:
        plain = io.StringIO()
        for file in (plain, sys.stderr):
            with (
                tqdm(total=2, file=file, desc="a", ncols=40, bar_format="{desc} {n}/{total}") as bar,
                tqdm(total=1, file=file, desc="b", bar_format="{desc} {n}") as inner,
            ):
                bar.update(2)
                inner.update(1)
        assert streams("stderr") == plain.getvalue() and "\x1b[A" in plain.getvalue()


def test_progress_bar_escapes_what_it_names():
    with guarded() as streams:
        with tqdm(total=1, file=sys.stderr, desc="a\x1b]0;t\x07\rmagic: done", bar_format="{desc}"):
            pass
        assert "\r\na\\x1b]0;t\\x07\\x0dmagic: done" in f"\r\n{streams('stderr').removeprefix(chr(13))}"


def test_json_on_stdout_stays_json_with_the_same_text():
    with guarded() as streams:
        texts = [f"a{letter}b" for letter in UNSAFE]
        print(json.dumps(texts, ensure_ascii=False))
        assert json.loads(streams("stdout")) == texts


def test_guards_stand_once_and_are_taken_away(capsys):
    before = sys.stdout, sys.stderr
    assert main(["caption", "--image", FORGED]) == 2
    assert (sys.stdout, sys.stderr) == before
    terminal.guard_streams()
    guards = sys.stdout, sys.stderr
    terminal.guard_streams()
    assert (sys.stdout, sys.stderr) == guards
    sys.stdout, sys.stderr = before
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and SHOWN in err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["caption", "--help"], ["doctor"]])
def test_full_device_is_one_line(words, tmp_path):
    with open("/dev/full", "w") as full:
        answer = subprocess.run([*MAGIC, *words], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1 and answer.stderr.startswith(
        "magic: standard output cannot be written (No space left on device)"
    )


def test_notes_that_cannot_be_written_change_no_status():
    with open("/dev/full", "w") as full:
        assert subprocess.run([*MAGIC, "captoin"], stdout=subprocess.PIPE, stderr=full, cwd=ROOT).returncode == 2


@pytest.mark.parametrize(
    ("closed", "words", "status"),
    [("2>&-", "captoin", 2), (">&-", "--help", 0), ("<&- >&- 2>&-", "table 9", 2), ("2>&-", "--version", 0)],
)
def test_closed_streams_are_as_good_as_the_null_device(closed, words, status):
    answer = subprocess.run(
        f"exec {sys.executable} -m magic_cli {words} {closed}", shell=True, capture_output=True, text=True, cwd=ROOT
    )
    assert answer.returncode == status and not answer.stderr
    assert answer.stdout.startswith("magic ") if words == "--version" else not answer.stdout


@pytest.mark.parametrize("words", ["--help", "caption --image /a.jpg", "doctor"])
def test_working_folder_that_is_gone_is_one_line(words, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"rmdir {gone}; exec {sys.executable} -m magic_cli {words}"
    answer = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=gone, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    if words == "--help":
        assert answer.returncode == 0 and answer.stdout.startswith("magic ") and not answer.stderr
    else:
        assert (
            answer.returncode == 2 and answer.stderr.count("\n") == 1 and "the working folder no longer exists" in answer.stderr
        )


def test_closed_stdin_is_empty(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # the guards go when the test ends
    terminal.guard_streams()
    assert sys.stdin.buffer.readline() == b""
    sys.stdin.close()
