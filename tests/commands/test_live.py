"""``magic live``: what its server answers, and what it refuses before it starts; its page is used in tests/scripts/test_try_live_page.py."""

import http.client
import shutil
import socket
import sys
import threading
import time
import tomllib
from pathlib import Path

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


def test_extra_brings_the_packages_of_the_models_that_are_chosen_at_first():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert "magic[embedded]" in project["optional-dependencies"]["live"]
    assert [LiveSettings().offered(group)[0] for group in ("language_model", "image_text_model")] == ["embedded", "embedded"]


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


def _without_tokenizer(folder, model):
    shutil.copytree(model, folder)
    (folder / "tokenizer.json").unlink()


def _without_weights(folder, model):
    shutil.copytree(model, folder)
    (folder / "model.safetensors").write_bytes(b"")


@pytest.mark.parametrize("place", [0, 1], ids=["chosen at first", "another"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (None, "language_model.path=mine: no such file or folder"),
        (lambda folder, _: folder.mkdir(), "language_model.path=mine: has no config.json"),
        (lambda folder, _: folder.touch(), "language_model.path=mine: has no config.json"),
        (_without_tokenizer, "language_model.path=mine: no tokenizer in mine"),
        (_without_weights, "language_model.path=mine: cannot be loaded"),
    ],
)
def test_language_model_that_cannot_be_used_is_refused_before_the_page(
    spoil, said, place, tiny_language_model_folder, tiny_clip_folder, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("gradio", reason="needs the extra `live`")
    monkeypatch.chdir(tmp_path)
    if spoil is not None:
        spoil(tmp_path / "mine", tiny_language_model_folder)
    if spoil is _without_weights and place == 1:
        return  # of a model that may never be chosen, no weights are read
    models = [str(tiny_language_model_folder), "mine"] if place else ["mine"]
    words = [word for model in models for word in ("--language-model", model)]
    assert main(["live", "--port", "0", *words, "--image-text-model", str(tiny_clip_folder)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"magic: {said}") and err.count("\n") == 1


@pytest.mark.parametrize("place", [0, 1], ids=["chosen at first", "another"])
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "image_text_model.path=mine: has no config.json"),
        ({"config.json": '{"model_type": "gpt2"}'}, "image_text_model.path=mine: its config.json says model_type 'gpt2'"),
        ({"config.json": '{"model_type": "siglip"}'}, "image_text_model.path=mine: cannot be loaded"),
        ({"open_clip_config.json": "{}"}, "image_text_model.path=mine: cannot be loaded"),
        ({"config.json": "{"}, "image_text_model.path=mine/config.json line 1: not valid JSON"),
    ],
)
def test_image_text_model_that_cannot_be_used_is_refused_before_the_page(
    files, said, place, tiny_language_model_folder, tiny_clip_folder, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("gradio", reason="needs the extra `live`")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name, text in files.items():
        (tmp_path / "mine" / name).write_text(text)
    words = ["--image-text-model", str(tiny_clip_folder)] * place
    words += ["--image-text-model", "mine", "--language-model", str(tiny_language_model_folder)]
    assert main(["live", "--port", "0", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"magic: {said}") and err.count("\n") == 1


def test_device_that_is_not_there_is_refused_before_the_page(tiny_language_model_folder, tiny_clip_folder, monkeypatch, capsys):
    pytest.importorskip("gradio", reason="needs the extra `live`")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    words = ["--language-model", str(tiny_language_model_folder), "--image-text-model", str(tiny_clip_folder)]
    assert main(["live", "--port", "0", *words, "run.device=cuda"]) == 2
    assert "magic: run.device=cuda: torch sees 0 CUDA devices here" in capsys.readouterr().err


def test_models_that_are_loaded_before_the_page_write_its_captions(tiny_language_model_folder, tiny_clip_folder, monkeypatch):
    from magic_cli.live import readiness, wishes, writing
    from magic_cli.models import loading

    settings = LiveSettings(language_models=[str(tiny_language_model_folder)], image_text_models=[str(tiny_clip_folder)])
    loaded = writing.Loaded()
    readiness.make_ready(settings, loaded)
    for name in ("load_language_model", "load_image_text_model"):
        monkeypatch.setattr(loading, name, None)  # a second call would fail
    chosen = wishes.Models(settings.language_models[0], settings.image_text_models[0], settings.run)
    loaded.shelf.load_both(wishes.usual_settings(chosen, "greedy"), loaded.work)


@pytest.mark.parametrize("place", [0, 1], ids=["chosen at first", "another"])
def test_folder_of_the_embedded_kind_is_taken_and_its_command_line_names_the_kind(
    place, tiny_language_model_folder, tiny_clip_folder, tmp_path
):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `embedded`")
    from magic_cli.live import readiness, wishes, writing
    from magic_cli.models.sources import EMBEDDED_FOLDER

    shutil.copytree(EMBEDDED_FOLDER / "matcher", tmp_path / "mine")
    lookers = [str(tiny_clip_folder)] * place + [str(tmp_path / "mine")]
    settings = LiveSettings(language_models=[str(tiny_language_model_folder)], image_text_models=lookers)
    readiness.make_ready(settings, writing.Loaded())
    command = wishes.Wish(wishes.Models(settings.language_models[0], lookers[-1]), "magic", ()).command("a.jpg")
    assert f"image_text_model=embedded image_text_model.path={tmp_path / 'mine'}" in command
