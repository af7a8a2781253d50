"""One run of SPICE: every distinct caption is parsed once, then every pair of caption and references is scored.

SPICE itself parses a caption again for every time it stands in a document, unless its cache held it before the document
was begun, and fills the cache only every 10,000 captions. So the captions come first, each once, in small documents that
fill the cache; then come the pairs, whose captions are all in it by then. ``magic.Launcher`` runs SPICE on one document
after the other in one JVM, in which CoreNLP keeps its models; the documents that are done are what the progress bar shows.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

import numpy as np

from magic_cli.metrics.java.runtime import Java, JavaFailed, JavaProgram, no_room, run_java
from magic_cli.metrics.java.spice.cache import Pair, SpiceCache
from magic_cli.metrics.java.spice.counts import read_counts
from magic_cli.metrics.java.spice.failures import explain
from magic_cli.metrics.java.spice.jar_files import class_path
from magic_cli.terminal.progress import progress

T = TypeVar("T")

_OPENED = ("lang", "math", "util", "util.concurrent", "net", "text", "io", "lang.reflect")
"""Packages of java.base into which the serialiser of SPICE's cache looks, which Java 17 and newer forbid."""
_CAPTIONS_AT_ONCE, _PAIRS_AT_ONCE = (250, 1000), (500, 2000)
"""Least and most in one document; each document costs a fifth of a second."""
_NUM_STEPS = 20
"""Documents that would be best for the progress bar."""
_REPORT_LENGTH = 2000
"""Characters of a crash report that name the cause."""


@dataclass(frozen=True)
class SpiceTool:
    """SPICE as it is started.

    Attributes:
        java: What runs it.
        corenlp: Folder with the CoreNLP jars.
        memory: Largest heap of the JVM, such as ``8G``.
        threads: That parse; None: as many as Java sees cores.
    """

    java: Java
    corenlp: Path
    memory: str
    threads: int | None

    def program(self, runs: Sequence[Sequence[str]], crash_report: Path) -> JavaProgram:
        """SPICE, started once with each of several lists of arguments, one after the other in one JVM."""
        arguments = [argument for run in runs for argument in ("--then", *run)][1:]
        # On two cores the serial collector takes the least time; more threads would have to wait for it.
        collector = "-XX:+UseSerialGC" if (self.threads or os.cpu_count() or 1) <= 2 else "-XX:+UseParallelGC"
        opened = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in _OPENED]
        options = (f"-Xmx{self.memory}", collector, f"-XX:ErrorFile={crash_report}", *opened)
        return JavaProgram("SPICE", "edu.anu.spice.SpiceScorer", class_path(self.corenlp), tuple(arguments), options)


def run_spice(
    tool: SpiceTool, pairs: Sequence[Pair], cache: SpiceCache | None, *, work: Path, deadline: float
) -> dict[Pair, np.ndarray]:
    """Count the propositions of distinct pairs of a caption and its references.

    Args:
        cache: What SPICE parses and finds is kept there, also if it fails half-way; None: everything is parsed as often
            as it stands there.
        work: A folder for temporary files.
        deadline: ``time.monotonic()`` at which to give up.

    Returns:
        For each pair its counts, int64 of ``COUNTS_SHAPE``.

    Raises:
        CacheUnusable: SPICE cannot work with that cache.
        JavaFailed: SPICE failed, was killed or stopped, took too long, or gave a wrong output.
    """
    captions = list(dict.fromkeys(text for caption, references in pairs for text in (*references, caption)))
    portions: list[Sequence[str | Pair]] = [*_portions(pairs, *_PAIRS_AT_ONCE)]
    if cache:
        portions = [*_portions(cache.unparsed(captions), *_CAPTIONS_AT_ONCE), *portions]
    try:
        folder = Path(tempfile.mkdtemp(dir=work))
        documents = [_Document.write(items, folder / f"{number}") for number, items in enumerate(portions)]
    except OSError as error:
        raise no_room("SPICE", error) from error
    options = ["-silent", "-subset", *(["-threads", str(tool.threads)] if tool.threads else [])]
    options += ["-cache", str(cache.folder)] if cache else []
    crash_report = folder / "crash.log"
    runs = [[str(document.input), "-out", str(document.output), *options] for document in documents]
    program = tool.program(runs, crash_report)
    try:
        with _progress(documents) as show:
            run_java(tool.java, program, timeout=round(max(1.0, deadline - time.monotonic()), 1), on_wait=show)
    except BaseException as error:  # Ctrl-C too: half an hour of parsing must not be lost
        if cache:
            _keep(cache, list(takewhile(_Document.is_complete, documents)))
        if isinstance(error, JavaFailed):
            if crash_report.exists():
                error.said += crash_report.read_text(errors="replace")[:_REPORT_LENGTH]
            longest = max(len(caption.split()) for caption in captions)
            raise explain(error, memory=tool.memory, corenlp=tool.corenlp, longest=longest, cache=cache) from error
        raise
    for document in documents:
        document.read()
    if cache:
        _keep(cache, documents)
    return _counts(documents)


@dataclass
class _Document:
    """One input file of SPICE, and its output."""

    items: Sequence[str | Pair]
    """Captions to parse, or pairs to score."""
    input: Path
    output: Path
    counts: np.ndarray = field(init=False)
    """(N, *COUNTS_SHAPE), once the output is read."""

    @classmethod
    def write(cls, items: Sequence[str | Pair], stem: Path) -> _Document:
        """Write the input of SPICE."""
        pairs = [(item, ()) if isinstance(item, str) else item for item in items]
        lines = [{"image_id": i, "test": caption, "refs": references} for i, (caption, references) in enumerate(pairs)]
        document = cls(items, stem.with_suffix(".in.json"), stem.with_suffix(".out.json"))
        document.input.write_text(json.dumps(lines), encoding="ascii")
        return document

    def read(self) -> None:
        """Read the output of SPICE. Raises JavaFailed where it is incomplete or wrong."""
        self.counts = read_counts(self.output, len(self.items))

    def is_complete(self) -> bool:
        """Whether the output is there, to its end; then it is read."""
        try:
            self.read()
        except JavaFailed:
            return False
        return True


def _portions(items: Sequence[T], least: int, most: int) -> list[Sequence[T]]:
    size = min(most, max(least, len(items) // _NUM_STEPS))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _counts(documents: Sequence[_Document]) -> dict[Pair, np.ndarray]:
    return {
        item: counts
        for document in documents
        for item, counts in zip(document.items, document.counts, strict=True)
        if not isinstance(item, str)
    }


def _keep(cache: SpiceCache, documents: Sequence[_Document]) -> None:
    cache.keep(_counts(documents), [item for document in documents for item in document.items if isinstance(item, str)])


@contextmanager
def _progress(documents: Sequence[_Document]) -> Iterator[Callable[[], None]]:
    """Progress; the callable brings it up to date."""
    waiting = list(reversed(documents))
    total = sum(len(document.items) for document in documents)
    with progress(total, "SPICE", "caption", leave=False) as bar:

        def show() -> None:
            count = 0
            while waiting and waiting[-1].output.exists():
                count += len(waiting.pop().items)
            bar.note("parsing" if waiting and isinstance(waiting[-1].items[0], str) else "scoring")
            bar.update(count)

        yield show
