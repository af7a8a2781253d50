"""Metrics side by side: what cannot run says why, what fails stops all, nothing waits for Ctrl-C."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from magic_cli.data.system import Item, System
from magic_cli.errors import MagicError, SettingsError
from magic_cli.evaluation import evaluate as evaluate_module
from magic_cli.evaluation.corpora import Prepared
from magic_cli.evaluation.coverage import Coverage
from magic_cli.evaluation.results import empty_captions, per_item, summarize
from magic_cli.evaluation.scoring import run_metrics
from magic_cli.metrics.base import Corpus, Measure, Metric, MetricUnavailable, Scores, Tokenized
from magic_cli.metrics.java.runtime import kill_all

CORPUS = Corpus("mine", ("1", "2"), ("a cat", "..."), (("a",), ("b",)))


@dataclass
class Length(Metric):
    """Letters of a caption."""

    name: ClassVar[str] = "length"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("length", "L", 0, 99, scale=1),)

    def score(self, corpora):
        return [[Scores(self.measures[0], 4.0, np.array([len(c) for c in corpus.captions], float))] for corpus in corpora]

    def facts(self):
        return {}


@dataclass
class Tokens(Length):
    name: ClassVar[str] = "tokens"
    needs_tokens: ClassVar[bool] = True
    runs_outside: ClassVar[bool] = True

    def score(self, corpora):
        return [
            [Scores(self.measures[0], 1.0, np.array([len(c.split()) for c in corpus.tokenized.captions], float))]
            for corpus in corpora
        ]


@dataclass
class Absent(Length):
    name: ClassVar[str] = "absent"

    def score(self, corpora):
        raise MetricUnavailable("no such tool; install it")


@dataclass
class Broken(Length):
    name: ClassVar[str] = "broken"
    runs_outside: ClassVar[bool] = True

    def score(self, corpora):
        raise MagicError("the tool was killed")


def tokenized(corpora):
    from dataclasses import replace

    return [replace(corpus, tokenized=Tokenized(("a cat", ""), corpus.references)) for corpus in corpora]


def test_metrics_come_in_the_order_asked_for_and_tokens_are_made_once():
    calls = []

    def tokenize(corpora):
        calls.append(len(corpora))
        return tokenized(corpora)

    corpora, outcome = run_metrics([Tokens(), Length()], [CORPUS, CORPUS], tokenize)
    assert list(outcome.scores) == ["tokens", "length"] and calls == [2]
    assert [scores[0].per_item.tolist() for scores in outcome.scores["tokens"]] == [[2, 0], [2, 0]]
    assert outcome.seconds.keys() == {"ptb_tokenizer", "tokens", "length"}
    assert empty_captions(corpora[0]) == ["2"]


def test_tokenizer_is_left_alone_when_no_metric_needs_it():
    corpora, outcome = run_metrics([Length()], [CORPUS], lambda corpora: pytest.fail("not needed"))
    assert corpora == [CORPUS] and empty_captions(corpora[0]) == ["2"]


def test_metric_that_cannot_run_says_why_and_the_rest_runs():
    def no_java(corpora):
        raise MetricUnavailable("no Java found")

    _, outcome = run_metrics([Absent(), Tokens(), Length()], [CORPUS], no_java)
    assert list(outcome.scores) == ["length"]
    assert outcome.not_run == {"absent": "no such tool; install it", "tokens": "no Java found"}


def test_failure_of_one_metric_leaves_the_others():
    _, outcome = run_metrics([Broken(), Length()], [CORPUS], tokenized)
    assert list(outcome.scores) == ["length"] and outcome.not_run == {"broken": "the tool was killed"}


def test_metrics_in_python_stop_when_everything_is_stopped():
    started = []

    @dataclass
    class Stops(Length):
        name: ClassVar[str] = "stops"

        def score(self, corpora):
            started.append(self.name)
            kill_all()
            return super().score(corpora)

    class Never(Stops):
        name = "never"

    run_metrics([Stops(), Never()], [CORPUS], tokenized)
    assert started == ["stops"]


def test_document_holds_counts_values_and_what_did_not_run():
    corpora, outcome = run_metrics([Length(), Absent()], [CORPUS], tokenized)
    scores = outcome.scores["length"][0]
    system = System("mine", Path("preds.json"), (Item("1", "a cat"), Item("2", "...")))
    prepared = Prepared(system, corpora[0], Coverage(2, 3), references=Path("refs.json"), folder=Path("scores"))
    document = summarize(prepared, scores, intervals={"length": (3.5, 4.5)}, not_run=outcome.not_run, facts={})
    assert (document["n"], document["missing"], document["empty"]) == (2, 3, 1)
    assert document["metrics"]["length"]["value"] == 4.0 and document["metrics"]["length"]["interval"] == [3.5, 4.5]
    assert document["not_run"] == {"absent": "no such tool; install it"}
    assert list(per_item(corpora[0], scores)) == [
        {"id": "1", "caption": "a cat", "length": 5.0},
        {"id": "2", "caption": "...", "length": 3.0},
    ]


def test_only_common_items_are_kept_in_one_order():
    other = Corpus("other", ("3", "2"), ("x", "y"), (("c",), ("b",)), (None, None))
    mine = Corpus("mine", ("1", "2"), ("a", "b"), (("a",), ("b",)), (None, None))
    kept = evaluate_module._only_common([(mine, Coverage(2, 0)), (other, Coverage(2, 0))])
    assert [(corpus.ids, corpus.captions, coverage.n, coverage.dropped) for corpus, coverage in kept] == [
        (("2",), ("b",), 1, 1),
        (("2",), ("y",), 1, 1),
    ]
    with pytest.raises(SettingsError, match="no image in common"):
        evaluate_module._only_common([(mine, Coverage(2, 0)), (Corpus("z", ("9",), ("x",), (("c",),)), Coverage(1, 0))])
