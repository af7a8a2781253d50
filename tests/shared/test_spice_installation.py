"""Bringing SPICE's CoreNLP: in pieces, checked by entry, by Maven.

Skipped only where the ``shared`` folder does not lie beside the checkout.
"""

import os
import shutil
import subprocess
import sys
import textwrap
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from magic_cli.metrics.java.spice.jar_files import CORENLP_JARS

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
LIB = SHARED / "spice"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder is not beside this checkout")


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
