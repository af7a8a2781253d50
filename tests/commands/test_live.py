"""``magic live``: what its server answers, and what it refuses before it starts; its page is used in tests/scripts/test_try_live_page.py."""

import http.client
import socket
import sys
import threading
import time

import pytest

from magic_cli.cli.main import main
from magic_cli.configuration.live_settings import LiveSettings
from magic_cli.live.server import make_server
from magic_cli.live.sessions import Workplace


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Address of a page that takes photos up to 1 MB."""
    pytest.importorskip("gradio", reason="needs the extra `live`")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    workplace = Workplace()
    server = make_server(
        LiveSettings(port=0, max_megabytes=1, language_models=["embedded"], image_text_models=["embedded"]), workplace
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield listening.getsockname()
        server.should_exit = True
        thread.join(20)
    workplace.close()
    assert list(tmp_path.iterdir()) == []


def ask(address, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(*address, timeout=30)
    connection.sock = socket.socket()  # tests look up no name, not even this one
    connection.sock.connect(address)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read().decode(errors="replace")


def test_page_may_ask_no_other_server_and_large_files_are_refused(server):
    status, headers, page = ask(server, "GET", "/")
    policy = headers["content-security-policy"]
    assert status == 200 and "magic live" in page and "googleapis" not in page
    assert policy.startswith("default-src 'self' data: blob: ") and "http" not in policy and "*" not in policy
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + b"x" * 1_500_000 + b"\r\n--x--\r\n"
    status, _, said = ask(server, "POST", "/gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"})
    assert status == 413, said
    assert ask(server, "GET", "/gradio_api/file=/etc/passwd")[0] in (403, 404)
    assert ask(server, "GET", "/steps/nothing")[0] == 404


def test_port_that_is_taken_is_said_in_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["live", "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"magic: host=127.0.0.1 port={port}: cannot be had (Address already in use); set port=0 for a free one, or another host\n"
    )


def test_missing_gradio_is_said_in_one_line_and_nothing_is_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["live", "--port", "0"]) == 2
    assert "magic live needs Gradio (" in (err := capsys.readouterr().err) and err.endswith(
        "in the clone of magic: pip install '.[live]'\n"
    )
    assert list(tmp_path.iterdir()) == []
