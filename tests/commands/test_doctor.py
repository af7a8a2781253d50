"""``magic doctor``: every problem with its remedy."""

import pytest

from magic_cli.cli import main
from magic_cli.commands import doctor


def findings(capsys):
    return {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}


def test_doctor_finds_the_embedded_models_and_names_what_is_not_cached(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert main(["doctor"]) == 0
    rows = findings(capsys)
    for topic in ("torch", "language_model=embedded", "image_text_model=embedded", "disk"):
        assert rows[topic].startswith("ok"), rows[topic]
    assert rows["language_model=gpt2"].startswith("missing") and "language_model.path=DIR" in rows["language_model=gpt2"]


def test_missing_package_is_broken_and_has_a_remedy(capsys, monkeypatch):
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "tqdm" else version(name))
    assert main(["doctor"]) == 3
    assert "pip install tqdm" in findings(capsys)["tqdm"]


@pytest.mark.parametrize("home", [None, "/nowhere"])
def test_missing_java_is_said_and_breaks_nothing(capsys, monkeypatch, home, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", home) if home else monkeypatch.delenv("JAVA_HOME", raising=False)
    assert main(["doctor"]) == 0
    assert findings(capsys)["java"].startswith("missing")
