"""Child processes that can neither hang their caller nor outlive it.

One thread does everything: while it waits for output it also feeds the child's input and drains its error stream, so
no pipe ever fills up unread, and a time limit holds for every wait. Whatever ends the wait (an answer, an error,
Ctrl-C, ``kill_all`` from another thread), leaving the ``with`` block kills the child's whole process group and reaps it.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from magic_cli.errors import MagicError

_TICK_SECONDS = 0.2
_REAP_SECONDS = 5.0
_PIECE_BYTES = 64 * 1024
_ERRORS_KEPT_BYTES = 64 * 1024

_lock = threading.Lock()
"""Held whenever a child is started, killed or reaped, so that no signal can reach a process id that is used anew."""
_num_kills = 0
_live: weakref.WeakSet[ChildProcess] = weakref.WeakSet()  # weak: a child that is lost loses its pipes, and so ends


class JavaFailed(MagicError):
    """A Java program ended with an error, was killed, gave a wrong answer, or gave none in time."""

    said: str = ""
    """The end of what the program wrote to its error stream."""
    stopped: bool = False
    """Whether ``kill_all`` ended it: then nothing else may be started in its place."""


def kill_all() -> None:
    """Kill every child of this process; whoever waits for one gets ``JavaFailed`` at once. Safe from any thread."""
    global _num_kills
    with _lock:
        _num_kills += 1
        for child in _live:
            child.stopped = True
            child.kill_group()


def num_kills() -> int:
    """How often ``kill_all`` was called; who waits for something other than a child looks whether it has grown."""
    return _num_kills


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    """Input, output and errors of a child that was started with a pipe for each."""
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise TypeError("the child was started without pipes")
    return process.stdin, process.stdout, process.stderr


class ChildProcess:
    """A child process with pipes to its input, output and error stream; use as a context manager, from one thread.

    Args:
        command: Program and arguments.
        what: What messages call it.
        env: Its whole environment.
        cwd: Its working folder; None: ours.

    Raises:
        JavaFailed: It cannot be started.
    """

    def __init__(self, command: Sequence[str], *, what: str, env: Mapping[str, str], cwd: Path | None = None) -> None:
        self.what = what
        self.waited = 0.0
        """Seconds spent waiting for the child's output so far; time that this process was stopped does not count."""
        self.stopped = False
        """Whether ``kill_all`` ended it."""
        self._command, self._env, self._cwd = command, env, cwd
        self._unsent = memoryview(b"")
        self._errors = bytearray()

    def __enter__(self) -> ChildProcess:
        with _lock:
            try:
                self._process = subprocess.Popen(
                    self._command,
                    env=self._env,
                    cwd=self._cwd,
                    bufsize=0,
                    start_new_session=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            except OSError as error:
                raise JavaFailed(f"{self.what}: {self._command[0]} cannot be started ({error.strerror})") from error
            _live.add(self)
        self._input, self._output, self._complaints = self._streams = _pipes(self._process)
        self._selector = selectors.DefaultSelector()
        for stream in self._streams:
            os.set_blocking(stream.fileno(), False)
        for stream in (self._output, self._complaints):
            self._selector.register(stream, selectors.EVENT_READ)
        return self

    def __exit__(self, *_: Any) -> None:
        with _lock:
            self.kill_group()
        self._reap(_REAP_SECONDS)
        self._selector.close()
        for stream in self._streams:
            stream.close()

    def send(self, data: bytes) -> None:
        """Take data for the child's input; it is written while ``read`` waits."""
        if data and not self._unsent:
            self._selector.register(self._input, selectors.EVENT_WRITE)
        self._unsent = memoryview(bytes(self._unsent) + data)

    def end_input(self) -> None:
        """Close the child's input. What is not sent yet is dropped."""
        if self._unsent:
            self._selector.unregister(self._input)
            self._unsent = memoryview(b"")
        self._input.close()

    def read(self, timeout: float) -> bytes:
        """The next piece of output, empty at its end; waits for it at most ``timeout`` seconds.

        Raises:
            JavaFailed: Nothing came in time.
        """
        limit = self.waited + timeout
        while self.waited < limit:
            if (data := self._wait_a_tick()) is not None:
                return data
        raise self.failure(f"no answer within {timeout:g} seconds")

    def read_to_end(self, timeout: float, on_wait: Callable[[], None] | None = None) -> bytes:
        """All output until the child closes it, for which it has ``timeout`` seconds; ``on_wait`` is called meanwhile.

        Raises:
            JavaFailed: It took longer.
        """
        output, limit = bytearray(), self.waited + timeout
        while self.waited < limit:
            data = self._wait_a_tick()
            if data == b"":
                return bytes(output)
            output += data or b""
            if on_wait is not None:
                on_wait()
        raise self.failure(f"took longer than {timeout:g} seconds")

    def finish(self, timeout: float) -> None:
        """Wait for the child to end by itself.

        Raises:
            JavaFailed: It did not, was killed, or ended with a status other than 0.
        """
        status = self._reap(timeout)
        if status is None:
            raise self.failure(f"did not end within {timeout:g} seconds")
        if status:
            raise self.failure(_describe_status(status))

    def died(self) -> JavaFailed:
        """The error for output that ended too early."""
        status = self._reap(_REAP_SECONDS)
        return self.failure("stopped answering" if status is None else _describe_status(status))

    def failure(self, problem: str) -> JavaFailed:
        """An error that says what happened, with the line of the error stream that tells most."""
        said = self.errors()
        line = most_telling_line(said)
        told = "stopped" if self.stopped else problem + (f"; it said: {line}" if line else "")
        error = JavaFailed(f"{self.what}: {told}")
        error.said, error.stopped = said, self.stopped
        return error

    def errors(self) -> str:
        """The end of what the child wrote to its error stream so far."""
        for _ in range(2 * _ERRORS_KEPT_BYTES // _PIECE_BYTES):  # a child that never stops writing must not keep us
            self._drain_errors()
        return self._errors.decode(errors="replace")

    def kill_group(self) -> None:
        """Kill the child and all that it started; the caller holds the lock."""
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return  # it has just ended

    def _wait_a_tick(self) -> bytes | None:
        """A piece of output, empty at its end, None if there is none for a tick."""
        began = time.monotonic()
        ready = {key.fileobj for key, _ in self._selector.select(_TICK_SECONDS)}
        self.waited += min(time.monotonic() - began, 2 * _TICK_SECONDS)
        if self._input in ready:
            self._write()
        if self._complaints in ready:
            self._drain_errors()
        return self._output.read(_PIECE_BYTES) if self._output in ready else None

    def _write(self) -> None:
        try:
            sent = self._input.write(self._unsent) or 0
        except BrokenPipeError:
            sent = len(self._unsent)  # it has ended or closed its input; the end of its output tells the reader
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._selector.unregister(self._input)

    def _drain_errors(self) -> None:
        stream = self._complaints
        data = None if stream.closed else stream.read(_PIECE_BYTES)
        if data:
            self._errors += data
            del self._errors[:-_ERRORS_KEPT_BYTES]
        elif data == b"" and stream in {key.fileobj for key in self._selector.get_map().values()}:
            self._selector.unregister(stream)  # at its end it would be ready for ever

    def _reap(self, timeout: float) -> int | None:
        """Wait for the child's end; its exit status, or None if it lives on. Its error stream is drained meanwhile."""
        deadline, pause = time.monotonic() + timeout, 0.001
        while True:
            with _lock:
                status = self._process.poll()
                if status is not None:
                    _live.discard(self)
            if status is not None or time.monotonic() > deadline:
                return status
            self._drain_errors()
            time.sleep(pause)
            pause = min(2 * pause, 0.05)


def most_telling_line(errors: str) -> str:
    """Of a program's error stream the first line that names an error, else the last line; empty if there is none."""
    joined = errors.replace("initialization of VM\n", "initialization of VM: ")
    lines = [line.strip() for line in joined.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "Exception" in line]
    return (named or lines[-1:] or [""])[0]


def _describe_status(status: int) -> str:
    if status == -signal.SIGKILL:
        return "Java was killed (SIGKILL), perhaps because the machine ran out of memory"
    return f"Java was ended by {signal.Signals(-status).name}" if status < 0 else f"Java ended with status {status}"
