"""Progress in a log, where there is no terminal, and on one."""

import io
import os
import pty
import select
import sys
import termios

import pytest

from magic_cli.terminal import progress as module
from magic_cli.terminal.progress import Progress, progress


@pytest.fixture
def clock(monkeypatch):
    """``clock(seconds)`` lets so much time pass."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_short_work_says_nothing_in_a_log(clock, capsys):
    with progress(10, "captions", "image") as bar:
        for _ in range(10):
            clock(1.4)
            bar.update()
    assert capsys.readouterr() == ("", "")


def test_long_work_says_where_it_is_now_and_then_in_a_log(clock, capsys):
    with progress(6000, "captions", "image", done=1000) as bar:
        for _ in range(500):
            clock(2)
            bar.update(10)
    err = capsys.readouterr().err
    lines = err.splitlines()
    assert lines[0] == "magic: captions: 1,080 of 6,000 images, 5.0 images/s, 16 min 24 s left"
    assert lines[-1] == "magic: captions: 6,000 of 6,000 images in 16 min 40 s"
    assert 20 < len(lines) < 50 and "\r" not in err, "the longer the log, the rarer its lines"


def test_line_tells_what_is_slow_and_how_it_goes(clock, capsys):
    with progress(4, "training", "step") as bar:
        bar.note("loss 3.214")
        clock(40)
        bar.update()
    with progress(None, "corenlp", "B") as bar:
        clock(20)
        bar.update(50_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "magic: training: 1 of 4 steps, 40.0 s per step, 2 min 0 s left, loss 3.214",
        "magic: training: 1 of 4 steps in 40 s",
        "magic: corenlp: 50.0 MB, 2.5 MB/s",
        "magic: corenlp: 50.0 MB in 20 s",
    ]


def test_line_can_be_asked_for_and_none_follows_an_error(clock, capsys):
    with pytest.raises(ValueError), progress(3, "captions/natural", "step") as bar:
        bar.say()
        clock(2)
        bar.update()
        bar.note("repeat 1 of 3")
        bar.say()
        raise ValueError
    assert capsys.readouterr().err.splitlines() == [
        "magic: captions/natural: 0 of 3 steps",
        "magic: captions/natural: 1 of 3 steps, 2.0 s per step, 4 s left, repeat 1 of 3",
    ]


def test_terminal_has_a_bar_and_no_lines(monkeypatch):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))  # else tqdm takes it for no columns wide
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress(2, "captions", "image") as bar:
            bar.say()
            bar.note("loss 3")
            with bar.paused():
                pass
            bar.update(2)
        terminal.flush()
        shown = ""
        while "2/2" not in shown and select.select([ours], [], [], 5)[0]:  # a terminal hands on what it has, piece by piece
            shown += os.read(ours, 100_000).decode()
    os.close(ours)
    assert "captions:" in shown and "2/2" in shown and "loss 3" in shown and "magic:" not in shown


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_no_error_stream_and_a_file_are_no_terminals(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(2, "captions", "image") as bar:
        bar.say()
        bar.update()
    assert stream is None or stream.getvalue().startswith("magic: captions: 0 of 2 images\n")


def test_nothing_is_shown_by_other_processes(capsys):
    with Progress() as bar, bar.paused():
        bar.update()
        bar.note("x")
        bar.say()
    assert capsys.readouterr() == ("", "")
