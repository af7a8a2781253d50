import os
import signal
import subprocess
import sys
import time

import pytest
from omegaconf.errors import OmegaConfBaseException

from magic_cli.cli.main import main
from magic_cli.cli.stopping import stop_behind
from magic_cli.configuration.hydra_errors import explain
from magic_cli.errors import MagicError

_INTERRUPTED_AT = """
import os, runpy, sys; from signal import SIGINT
place = sys.argv[1]
class Finder:
    def find_spec(self, name, path, target=None):
        if name == place:
            os.kill(os.getpid(), SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["magic", "caption", "--image", "no-such.jpg"]
runpy.run_module("magic_cli", run_name="__main__")
"""


@pytest.mark.parametrize("module", ["magic_cli.cli.main", "magic_cli.cli.table.looking", "hydra"])
def test_process_that_is_stopped_while_it_loads_a_module_says_so_in_one_line(module, tmp_path):
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path}\n{_INTERRUPTED_AT}", module]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("magic: stopped")


_AS_MAGIC = """
import atexit, os, runpy, sys, types
from signal import SIG_IGN, SIGINT, SIGTERM, signal
def main():
    kill = lambda number: os.kill(os.getpid(), number)
    from magic_cli.cli.stopping import obey_sigterm
    obey_sigterm()
    {}
    return 0
sys.modules["magic_cli.cli.main"] = types.SimpleNamespace(main=main)
runpy.run_module("magic_cli", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("does", "status", "said"),
    [
        ("exec('kill(SIGINT)')", 130, "magic: stopped\n"),  # as namedtuple and dataclasses run text
        ("atexit.register(kill, SIGINT)", -signal.SIGINT, ""),
        ("atexit.register(kill, SIGTERM)", -signal.SIGTERM, ""),
        ("signal(SIGINT, SIG_IGN); atexit.register(kill, SIGINT)", 0, ""),
    ],
)
def test_process_that_is_stopped_at_its_end_says_nothing_more(does, status, said, tmp_path):
    (tmp_path / "as_magic.py").write_text(_AS_MAGIC.format(does))
    places = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-S", "-m", "as_magic"]  # with -m, because only there Python looks back at a Ctrl-C
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": places}, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


def _interrupted(number, error, *rest):
    """Raise what a library makes of a stop."""
    try:
        os.kill(os.getpid(), number)
        time.sleep(5)
    except KeyboardInterrupt:
        raise error from None


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("error", [OmegaConfBaseException("no"), RuntimeError("locked"), MagicError("cannot be read")])
@pytest.mark.parametrize("place", ["magic_cli.configuration.composing.to_settings", "magic_cli.commands.evaluate.run"])
def test_error_that_a_library_makes_of_a_stop_is_the_stop(number, status, error, place, capsys, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(place, lambda *_: _interrupted(number, error))
    assert main(["evaluate", "a.json"]) == status
    assert capsys.readouterr().err == "magic: stopped; the same command starts from the beginning\n"
    signal.signal(signal.SIGTERM, before)


def _in_a_circle(*errors):
    for error, cause in zip(errors, (*errors[1:], errors[0]), strict=True):
        error.__cause__ = cause
    return errors[0]


def test_errors_in_a_circle_are_read_once():
    stop = KeyboardInterrupt()
    assert stop_behind(_in_a_circle(RuntimeError("a"), OmegaConfBaseException("b"))) is None
    assert stop_behind(_in_a_circle(RuntimeError("a"), stop)) is stop
    assert "first" in str(explain(_in_a_circle(OmegaConfBaseException("first"), OmegaConfBaseException("second")), [], "caption"))


def test_sweep_that_is_stopped_runs_no_other_point(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    points = []

    def run(settings):
        points.append(settings)
        _interrupted(signal.SIGINT, MagicError("cannot be read"))

    monkeypatch.setattr("magic_cli.commands.caption.run", run)
    assert main(["caption", "-m", "--image", "a.jpg", "decoding.k=3,4"]) == 130
    assert len(points) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "magic: stopped; the same command goes on where it stopped"
