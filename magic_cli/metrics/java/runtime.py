"""How Java programs run, so that no call hangs or leaves a process behind.

Every program gets the same surroundings whatever the machine: English number formats, UTF-8, an own temporary folder
that is removed, and none of the options that environment variables would add.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.metrics.base import MetricUnavailable
from magic_cli.metrics.java.process import ChildProcess, JavaFailed, kill_all
from magic_cli.metrics.java.search import Java, find_java, java_environment

__all__ = [
    "Java", "JavaFailed", "JavaProcess", "JavaProgram",
    "find_java", "kill_all", "no_room", "run_java", "temporary_folder", "tool_file",
]  # fmt: skip

LAUNCHER = Path(__file__).with_name("jars") / "magic-java.jar"
"""Holds ``magic.Launcher``, which ends the JVM as soon as its standard input ends, that is, when this process is gone."""

_OPTIONS = (
    *(f"-Duser.{name}" for name in ("language=en", "country=US", "language.format=en", "country.format=US")),
    *(f"-D{name}encoding=UTF-8" for name in ("file.", "stdout.", "stderr.", "sun.stdout.", "sun.stderr.")),
    "-Djava.awt.headless=true",
    "-XX:+IgnoreUnrecognizedVMOptions",  # Java 8 does not know all of these
    "-XX:+ExitOnOutOfMemoryError",  # else the program's other threads would wait for the one that died
    "-XX:+DisplayVMOutputToStderr",  # standard output is the program's alone
    "-XX:-UsePerfData",  # writes below /tmp whatever java.io.tmpdir says
    "-XX:-CreateCoredumpOnCrash",
)
_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True)
class JavaProgram:
    """What to run."""

    name: str
    """What messages call it."""
    main: str
    """Class whose main is called."""
    class_path: tuple[Path, ...]
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """Of the JVM, such as ``-Xmx2G``."""
    reads_input: bool = False
    """Whether it reads its standard input and ends with it; all others run under ``magic.Launcher``."""


def tool_file(path: str) -> Path:
    """A file of the pycocoevalcap wheel.

    Args:
        path: Inside the package, such as ``meteor/meteor-1.5.jar``.

    Raises:
        MetricUnavailable: The package or the file is not there, it cannot be read, or is a damaged jar.
    """
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise MetricUnavailable("the package pycocoevalcap is not installed; pip install pycocoevalcap==1.2")
    file = Path(spec.submodule_search_locations[0]) / path
    try:
        with file.open("rb") as stream:
            problem = "is no jar" if file.suffix == ".jar" and not zipfile.is_zipfile(stream) else None
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    if problem:
        raise MetricUnavailable(f"{file}: {problem}; pip install --force-reinstall pycocoevalcap==1.2")
    return file


@contextmanager
def temporary_folder(what: str) -> Iterator[Path]:
    """An own temporary folder, removed afterwards.

    Raises:
        JavaFailed: It cannot be made; says that ``what`` needs it.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="magic-", ignore_cleanup_errors=True))
        except OSError as error:
            raise no_room(what, error) from error
        yield Path(folder)


def no_room(what: str, error: OSError) -> JavaFailed:
    """The error for temporary files that cannot be written."""
    remedy = "free some space there, or set TMPDIR to another folder"
    place = error.filename or tempfile.tempdir or "the temporary folder"
    return JavaFailed(f"{what}: {place} cannot be written ({error.strerror}); {remedy}")


@contextmanager
def _start(java: Java, program: JavaProgram, cwd: Path | None) -> Iterator[ChildProcess]:
    with temporary_folder(program.name) as folder:
        own = [f"-Djava.io.tmpdir={folder}", f"-XX:ErrorFile={folder / 'crash.log'}"]
        class_path = os.pathsep.join(map(str, program.class_path if program.reads_input else (LAUNCHER, *program.class_path)))
        main = [program.main] if program.reads_input else ["magic.Launcher", program.main]
        command = [str(java.path), *_OPTIONS, *own, *program.options, "-cp", class_path, *main, *program.arguments]
        with ChildProcess(command, what=program.name, env=java_environment(), cwd=cwd or folder) as child:
            yield child


def run_java(
    java: Java, program: JavaProgram, *, timeout: float, cwd: Path | None = None, on_wait: Callable[[], None] | None = None
) -> bytes:
    """Run a program that does not read its standard input, to its end.

    Args:
        timeout: Seconds it may take in all.
        cwd: Its working folder; None: an empty temporary one.
        on_wait: Called about every fifth of a second meanwhile, from this thread.

    Returns:
        Its standard output.

    Raises:
        JavaFailed: It could not be started, took too long, ended with an error, or ``kill_all`` was called.
    """
    with _start(java, program, cwd) as child:
        output = child.read_to_end(timeout, on_wait)
        child.finish(timeout)
    return output


class JavaProcess:
    """A program that answers each line of its standard input with lines of its output; use as a context manager.

    Args:
        java: What runs it.
        program: Must have ``reads_input``.
        timeout: Longest time without any output while an answer is due, in seconds.
    """

    def __init__(self, java: Java, program: JavaProgram, *, timeout: float) -> None:
        self._java, self._program, self._timeout = java, program, timeout
        self._received = bytearray()

    def __enter__(self) -> JavaProcess:
        with ExitStack() as stack:
            self._child = stack.enter_context(_start(self._java, self._program, None))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def ask(self, line: str) -> str:
        """The one line that answers ``line``. Raises as ``ask_all`` does."""
        return self.ask_all([line])[0]

    def ask_all(self, lines: Sequence[str], on_answers: Callable[[int], None] | None = None) -> list[str]:
        """The answers to several lines, without line ends, which are sent while answers come in: the program never waits.

        ``on_answers`` is told of how many more have come.

        Raises:
            JavaFailed: The program died, fell silent, said more than it was asked, or ``kill_all`` was called.
        """
        if any("\n" in line or "\r" in line for line in lines):
            raise ValueError(f"{self._program.name}: a question of two lines would get two answers")
        self._child.send("".join(f"{line}\n" for line in lines).encode())
        due = len(lines)
        while due > 0:
            data = self._child.read(self._timeout)
            if not data:
                raise self._child.died()
            self._received += data
            due -= data.count(b"\n")
            if on_answers is not None:
                on_answers(data.count(b"\n"))
            if len(self._received) > _ANSWER_BYTES * (len(lines) - due + 1):
                raise self._child.failure(f"an answer without end: {bytes(self._received[-100:])!r}")
        return self._take(len(lines))

    def finish(self) -> str:
        """End the program's input and wait for its end.

        Returns:
            The end of what it wrote to its error stream.

        Raises:
            JavaFailed: It said more than it was asked, or did not end well.
        """
        self._child.end_input()
        self._received += self._child.read_to_end(self._timeout)
        self._take(0)
        self._child.finish(self._timeout)
        return self._child.errors()

    def _take(self, num_answers: int) -> list[str]:
        *answers, rest = bytes(self._received).decode(errors="replace").split("\n")
        if rest or len(answers) != num_answers:
            raise self._child.failure(f"said more than it was asked: {[*answers, rest][num_answers][:200]!r}")
        self._received.clear()
        return [answer.rstrip("\r") for answer in answers]
