"""SPICE's metric on a Java that poses as SPICE: what it is asked, and what happens when it fails. The real one: tests/shared."""

import json
import os
import pty
import random
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from magic_cli.errors import SettingsError
from magic_cli.metrics.base import MetricUnavailable
from magic_cli.metrics.java.runtime import JavaFailed, kill_all
from magic_cli.metrics.java.spice.counts import SUBSETS, f_scores, subset_scores
from magic_cli.metrics.spice import Spice, spice_status
from tests.reference.spice import corpus_of
from tests.unit.metrics.java_fakes import children_of, wait_until
from tests.unit.metrics.spice_fakes import CORPUS, VALUES, FakeSpice

LMDB = "Error: Could not score batched file input:\norg.fusesource.lmdbjni.LMDBException: {}\n\tat edu.anu.spice.LmdbTupleDB.get"
NO_NATIVE = "java.lang.UnsatisfiedLinkError: Could not load library\n\tat org.fusesource.lmdbjni.JNI.<clinit>(JNI.java:41)"


@pytest.fixture
def fake(tmp_path):
    yield FakeSpice(tmp_path)
    assert children_of(os.getpid()) == set()


def values(fake, corpora=(CORPUS,), **settings):
    return [scores[0].per_item.tolist() for scores in fake.metric(**settings).score(corpora)]


def test_every_caption_is_parsed_once_and_a_second_call_needs_no_java(fake):
    other = corpus_of(["two dogs", "the dog"], [["a dog is running", "the dog"], ["two cats sit", "cats"]])
    first = fake.metric().score([CORPUS, other, CORPUS])
    assert [scores[0].per_item.tolist() for scores in first] == [VALUES, [0.0, 0.0], VALUES]
    assert [scores[0].overall for scores in first] == [np.mean(VALUES), 0.0, np.mean(VALUES)]
    assert first[0][0].details[1] == {**dict.fromkeys(SUBSETS), "object": 0.8}
    assert sorted(fake.parsed()) == sorted(set(fake.parsed())) and fake.num_starts() == 1
    assert values(fake, [other, CORPUS]) == [[0.0, 0.0], VALUES]
    assert fake.num_starts() == 1
    new = corpus_of(["two cats"], [["a dog is running", "the dog"]])  # a new pair of known captions
    parsed = fake.parsed()
    assert values(fake, [new]) == [[0.0]] and fake.num_starts() == 2 and fake.parsed() == parsed


def test_cache_of_one_call_is_forgotten_when_not_kept(fake):
    for starts in (1, 2):
        assert values(fake, keep_cache=False) == [VALUES] and fake.num_starts() == starts
    assert not fake.cache.exists() and len(fake.parsed()) == 2 * len(set(fake.parsed()))


@pytest.mark.parametrize("wrong", ["cut", "short", "order", "score", "kind", "none"])
def test_wrong_output_is_refused_and_not_kept(fake, wrong):
    fake.trouble(wrong_output=wrong)
    with pytest.raises(JavaFailed, match=r"^SPICE: (its output cannot|gave)"):
        fake.metric().score([CORPUS])
    fake.trouble()
    assert values(fake) == [VALUES]


def run_out_of_time(fake, said, **settings):
    """Score while SPICE parses and then hangs; a machine on which it does not come so far in time gets more of it."""
    fake.trouble(hangs_before_run=1)
    for timeout in (2.0, 10.0, 50.0):
        began = time.monotonic()
        with pytest.raises(JavaFailed, match=said):
            fake.metric(timeout=timeout, **settings).score([CORPUS])
        assert time.monotonic() - began < timeout + 20 and children_of(os.getpid()) == set()
        if fake.parsed():
            return


def test_what_is_parsed_is_kept_when_time_runs_out(fake, caplog):
    run_out_of_time(fake, r"took longer than .* seconds; .*kept; raise metrics.spice.timeout")
    parsed = fake.parsed()
    assert len(parsed) > 3
    fake.trouble()
    assert values(fake) == [VALUES] and fake.parsed() == parsed and not caplog.records


@pytest.mark.parametrize(
    ("said", "place"),
    [
        (LMDB.format("No space left on device"), "temporary"),
        (LMDB.format("MDB_CORRUPTED: Located page was wrong type"), "temporary"),
        ("abort", "temporary"),
        (NO_NATIVE, "None"),
    ],
)
def test_scores_are_right_with_one_warning_when_spice_cannot_use_its_cache(fake, caplog, said, place):
    fake.trouble(said=said, only_in="" if place == "None" else str(fake.cache))
    assert values(fake) == [VALUES]
    (warning,) = caplog.messages
    assert str(fake.cache) in warning and "\n" not in warning
    used = [call["cache"] for call in fake.calls() if "cache" in call][1:]
    assert len(used) == 1 and (used[0] == "None") == (place == "None")


def test_scores_are_right_with_one_warning_when_cache_folder_cannot_be_made(fake, caplog):
    fake.cache.write_text("a file")
    assert values(fake) == [VALUES]
    assert len(caplog.messages) == 1 and "cannot be used" in caplog.messages[0]


@pytest.mark.parametrize("damage", ["cut", "garbage", "one byte", "gone"])
def test_parses_are_made_anew_when_their_file_is_damaged(fake, caplog, damage):
    assert values(fake) == [VALUES]
    (file,) = fake.cache.rglob("data.mdb")
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-5], "garbage": os.urandom(5000), "one byte": b"X" + content[1:]}[damage])
    other = corpus_of(["two cats"], [["a dog is running", "the dog"]])
    assert values(fake, [other, CORPUS]) == [[0.0], VALUES]
    assert len(caplog.messages) == (damage != "gone")
    assert sorted(fake.parsed()[-3:]) == ["a dog is running", "the dog", "two cats"]
    fake.trouble(said="must not run", only_with_cache=False)
    assert values(fake, [other, CORPUS]) == [[0.0], VALUES]


@pytest.mark.parametrize("damage", ["cut", "garbage", "one number", "old format"])
def test_counts_are_made_anew_when_their_file_is_damaged(fake, caplog, damage):
    assert values(fake) == [VALUES]
    (file,) = fake.cache.rglob("index.sqlite")
    if damage == "cut":
        os.truncate(file, 5000)
    elif damage == "garbage":
        file.write_bytes(os.urandom(20000))
    else:
        with sqlite3.connect(file) as database:
            database.execute("PRAGMA user_version = 99" if damage == "old format" else "UPDATE scores SET counts = zeroblob(84)")
        database.close()
    assert values(fake) == [VALUES] and fake.num_starts() == 2
    assert len(caplog.messages) == 1 and "damaged" in caplog.messages[0]
    assert values(fake) == [VALUES] and fake.num_starts() == 2


def test_out_of_memory_names_the_setting(fake):
    fake.trouble(said="Terminating due to java.lang.OutOfMemoryError: Java heap space", only_with_cache=False)
    told = r"^SPICE: 3G of memory are not enough \(the longest caption has 4 words\); raise metrics.spice.memory"
    with pytest.raises(JavaFailed, match=told):
        fake.metric(memory="3G").score([CORPUS])


def test_spice_own_trace_is_told_not_that_a_long_caption_was_not_cached(fake):
    said = "Error: Could not cache item to x\nError: Could not score batched file input:\nIllegalStateException: so it is"
    fake.trouble(said=said, only_with_cache=False)
    with pytest.raises(JavaFailed, match=r"^SPICE: Java ended with status 1; it said: IllegalStateException: so it is$"):
        fake.metric().score([CORPUS])


def hold(fake):
    """A process that uses the cache until it is killed."""
    folder = str(fake.metric().cache_folder())
    code = f"import time; from pathlib import Path; from magic_cli.metrics.java.spice.cache import open_cache\n" \
           f"with open_cache(Path({folder!r}), deadline=1e12): print('open', flush=True); time.sleep(60)"  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "open\n"
    return process


def once_it_waits(caplog, act):
    """A thread that calls ``act`` when SPICE has said that it waits for another process."""
    thread = threading.Thread(target=lambda: wait_until(lambda: "waiting for process" in caplog.text) and act())
    thread.start()
    return thread


def test_second_process_waits_for_the_first_then_scores(fake, caplog):
    with hold(fake) as other:
        once_it_waits(caplog, other.kill)
        assert values(fake) == [VALUES]
    assert caplog.messages == [f"SPICE: waiting for process {other.pid}, which uses its cache {fake.metric().cache_folder()}"]


def test_waiting_for_another_process_ends_when_time_runs_out_or_all_is_stopped(fake, caplog):
    with hold(fake) as other:
        with pytest.raises(JavaFailed, match=r"in use by another process for 1 seconds; wait for it, or"):
            fake.metric(timeout=1.0).score([CORPUS])
        caplog.clear()
        once_it_waits(caplog, kill_all)
        with pytest.raises(JavaFailed, match="stopped"):
            fake.metric(timeout=600.0).score([CORPUS])
        other.kill()


def test_nothing_is_started_again_when_all_is_stopped(fake):
    fake.trouble(hangs_before_run=0)
    stopper = threading.Thread(target=lambda: wait_until(lambda: fake.num_starts() == 1) and kill_all())
    stopper.start()
    with pytest.raises(JavaFailed, match="^SPICE: stopped$"):
        fake.metric().score([CORPUS])
    stopper.join()
    assert fake.num_starts() == 1


def test_progress_is_shown_on_a_terminal_and_nothing_else_where_there_is_none(fake, monkeypatch, capfd):
    assert values(fake) == [VALUES] and capfd.readouterr().err == ""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))  # else tqdm takes it for no columns wide
    os.set_blocking(ours, False)
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        run_out_of_time(fake, "took longer", keep_cache=False)
        terminal.flush()
        shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "SPICE:" in shown and "7/10" in shown and "scoring" in shown, shown  # seven captions parsed, three pairs to score


def test_missing_jars_are_named_with_the_way_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MAGIC_SPICE_LIB", raising=False)
    named = Spice(lib=str(tmp_path))
    told = r"metrics.spice.lib=.*: no stanford-corenlp-3.6.0.jar and no .*models.jar there; run `magic doctor"
    with pytest.raises(MetricUnavailable, match=told):
        named.score([CORPUS])
    assert spice_status(named).startswith("not run: metrics.spice.lib=")
    fetched = tmp_path / "magic" / "spice" / "corenlp-3.6.0"
    fetched.mkdir(parents=True)
    for jar in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        (fetched / jar).touch()
    assert spice_status().startswith(f"ok: CoreNLP 3.6.0 in {fetched}")
    monkeypatch.setenv("MAGIC_SPICE_LIB", "/nowhere")
    assert spice_status().startswith("not run: MAGIC_SPICE_LIB=/nowhere: no stanford")


@pytest.mark.parametrize(("field", "value"), [("memory", "8 GB"), ("threads", 0), ("timeout", 0.0)])
def test_setting_out_of_range_is_named(field, value):
    with pytest.raises(SettingsError, match=f"^metrics.spice.{field} must be"):
        Spice(**{field: value})


def test_f_scores_equal_spice_formula_when_drawn():
    rng = random.Random(0)
    counts = [(rng.randrange(4), rng.randrange(4), rng.randrange(-1, 4)) for _ in range(500)]
    expected = []
    for tp, fp, fn in counts:
        recall = tp / (tp + fn) if tp + fn > 0 else 0.0
        precision = tp / (tp + fp) if tp + fn > 0 and tp + fp > 0 else 0.0
        expected.append((1.0 + 1.0) * (precision * recall) / (1.0 * precision + recall) if precision > 0 and recall > 0 else 0.0)
    assert f_scores(np.array(counts)).tolist() == expected
    item = np.array([[1, 2, 3], [2, 0, -1], [0, 2, 0], [0, 1, 2], [0, 0, 0], [1, 0, 0], [3, 1, 2]])
    assert [score is None for score in subset_scores(item[None])[0].values()] == [False, True, False, True, False, False]


def test_settings_are_plain_values():
    assert json.dumps(Spice().__dict__) and Path(Spice(cache="~/x").cache_folder()).is_absolute()
