"""Download many small files from many hosts without being a burden to any of them.

One thread decides what is asked for and when; worker threads each make one request. So limits hold for redirects and
second attempts, too, and a host that is slow or asks for patience keeps no worker from the others.
"""

from __future__ import annotations

import heapq
import itertools
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from http_requests import Failed, Limits, Moved, fetch
from magic_cli.errors import MagicError

_MOST_REDIRECTS = 5
_SILENT_HOSTS = 50
"""So many different hosts in a row without an answer: it is our network."""
_SILENT_TIMES = 20
"""So many requests in a row without an answer: the host is dead, its other files are not asked for."""


class NetworkDown(MagicError):
    """No host answers any more."""


@dataclass
class _Job:
    key: Any
    url: str
    attempts: int = 0
    redirects: int = 0


@dataclass
class _Host:
    queue: list[tuple[float, int, _Job]] = field(default_factory=list)
    """Heap: not before, running number, job."""
    active: int = 0
    next: float = 0.0
    """No request before."""
    silent: int = 0
    """Requests in a row without an answer."""
    refused: str = ""
    """Why its other files are not asked for; empty: they are."""


class Downloader:
    """Downloads files and hands each one to a function; nothing but the limits decides the order."""

    def __init__(self, limits: Limits, handle: Callable[[Any, bytes], Failed | None]) -> None:
        """Nothing is asked for yet.

        Args:
            limits: How much is asked for at a time.
            handle: Called in a worker thread with a key and its file; what it returns is the outcome.
        """
        self._limits, self._handle = limits, handle
        self._hosts: dict[str, _Host] = {}
        self._due: list[tuple[float, int, str]] = []  # heap: when a host should be looked at
        self._running: dict[Future, _Job] = {}
        self._ended: list[tuple[_Job, Failed | None]] = []
        self._numbers = itertools.count()
        self._open = 0
        self._silent_hosts: set[str] = set()

    def run(self, files: Iterable[tuple[Any, str]]) -> Iterator[tuple[Any, Failed | None]]:
        """Download everything; each key comes back once, with None if all went well.

        Args:
            files: Addresses of files, each under a key; taken as they are needed.

        Raises:
            NetworkDown: So many hosts in a row do not answer that it must be our network.
        """
        files = iter(files)
        with ThreadPoolExecutor(self._limits.workers) as pool:
            try:
                while True:
                    for key, url in itertools.islice(files, self._limits.window - self._open):
                        self._open += 1
                        self._queue(_Job(key, url))
                    if not self._open:
                        return  # asked only after new files were taken: all that were open may have ended at once
                    self._start(pool)
                    yield from self._collect()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _queue(self, job: _Job, wait: float = 0.0) -> None:
        try:
            name = urllib.parse.urlsplit(job.url).netloc.lower()
        except ValueError as error:
            self._ended.append((job, Failed(f"not an address ({error})")))
            return
        host = self._hosts.setdefault(name, _Host())
        ready = time.monotonic() + wait
        heapq.heappush(host.queue, (ready, next(self._numbers), job))
        self._look_again(name, ready)

    def _look_again(self, name: str, when: float) -> None:
        host = self._hosts[name]
        heapq.heappush(self._due, (0.0 if host.refused else max(when, host.next), next(self._numbers), name))

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Start what may be started now."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now and len(self._running) < self._limits.workers:
            _, _, name = heapq.heappop(self._due)
            host = self._hosts.get(name)
            if host is None or not host.queue or host.active >= self._limits.per_host:
                continue  # looked at again when one of its requests ends
            if max(host.next, host.queue[0][0]) > now and not host.refused:
                self._look_again(name, host.queue[0][0])
                continue
            _, _, job = heapq.heappop(host.queue)
            if host.refused:
                self._ended.append((job, Failed(host.refused, temporary=True)))
            else:
                host.active += 1
                host.next = now + self._limits.delay
                self._running[pool.submit(self._work, job)] = job
            if host.queue:
                self._look_again(name, host.queue[0][0])

    def _collect(self) -> Iterator[tuple[Any, Failed | None]]:
        """What has ended; waits until something has, or something may be started."""
        if not self._ended:
            is_full = len(self._running) >= self._limits.workers
            pause = None if is_full or not self._due else max(0.0, self._due[0][0] - time.monotonic())
            if self._running:
                for future in wait(self._running, timeout=pause, return_when=FIRST_COMPLETED).done:
                    self._finish(self._running.pop(future), future.result())
            elif pause:
                time.sleep(pause)
        for job, failure in self._ended:
            self._open -= 1
            yield job.key, failure
        self._ended.clear()

    def _work(self, job: _Job) -> Failed | Moved | None:
        answer = fetch(job.url, self._limits)
        return self._handle(job.key, answer) if isinstance(answer, bytes) else answer

    def _finish(self, job: _Job, outcome: Failed | Moved | None) -> None:
        name = urllib.parse.urlsplit(job.url).netloc.lower()
        host = self._hosts[name]
        host.active -= 1
        self._note_silence(name, isinstance(outcome, Failed) and not outcome.answered)
        if isinstance(outcome, Failed) and outcome.wait is not None:
            if outcome.wait > self._limits.longest_wait:
                host.refused = f"the host asks to wait {outcome.wait:.0f} s"
            host.next = max(host.next, time.monotonic() + min(outcome.wait, self._limits.longest_wait))
        if host.queue:
            self._look_again(name, host.queue[0][0])
        elif not (host.active or host.silent or host.refused or host.next > time.monotonic()):
            del self._hosts[name]
        if isinstance(outcome, Moved):
            self._follow(job, outcome)
        elif isinstance(outcome, Failed) and self._may_succeed(job, outcome):
            job.attempts += 1
            self._queue(job, max(outcome.wait or 0.0, self._limits.backoff * 2 ** (job.attempts - 1)))
        else:
            self._ended.append((job, outcome))

    def _follow(self, job: _Job, moved: Moved) -> None:
        job.redirects += 1
        job.url = moved.url
        if job.redirects > _MOST_REDIRECTS:
            self._ended.append((job, Failed(f"more than {_MOST_REDIRECTS} redirects")))
        else:
            self._queue(job)

    def _may_succeed(self, job: _Job, failure: Failed) -> bool:
        patient = failure.wait is None or failure.wait <= self._limits.longest_wait
        return failure.temporary and patient and job.attempts + 1 < self._limits.attempts

    def _note_silence(self, name: str, is_silent: bool) -> None:
        host = self._hosts[name]
        host.silent = host.silent + 1 if is_silent else 0
        if host.silent >= _SILENT_TIMES:
            host.refused = f"the host did not answer {host.silent} times in a row"
        if not is_silent:
            self._silent_hosts.clear()
            return
        self._silent_hosts.add(name)
        if len(self._silent_hosts) >= _SILENT_HOSTS:
            raise NetworkDown(
                f"{_SILENT_HOSTS} hosts in a row did not answer, the last one {name}; mend the network and start again to go on"
            )
