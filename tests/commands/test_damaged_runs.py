"""Run folders that a disk or an editor has damaged: one line with the file and what to do, in every command that reads them."""

import json
import shutil
from pathlib import Path

import pytest

from magic_cli.cli.main import main
from magic_cli.data.predictions import read_system
from magic_cli.errors import MagicError
from magic_cli.reports.row_files import row_of
from magic_cli.reports.sweep import read_sweep

NO_JSON = [b"", b"{", b"\xff\xfe{", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"]
NO_OBJECT = [b"[]", b'"x"', b"5", b"null"]
MANIFEST = {"sessions": 5, "models": 5, "counts": "x", "identity": "x", "status": 5}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_photos, tiny_language_model_folder):
    """Words and folders of a caption run and a story run with trace, evaluated."""
    root = tmp_path_factory.mktemp("finished")
    models = [
        f"language_model.path={tiny_language_model_folder}",
        "decoding=greedy",
        "run.threads=1",
        "run.workers=0",
        "run.trace=true",
    ]
    (root / "titles.txt").write_text("A red bus\tIt drove.\nThe dog\tIt ran.\n")
    caption = ["caption", "--images", str(tiny_photos), *models, "decoding.decoding_len=6"]
    story = ["story", "--titles", str(root / "titles.txt"), *models, "decoding.decoding_len=14", "prompt=null"]
    for words in (caption, story):
        folder = root / words[0]
        assert main([*words, f"run.dir={folder}"]) == 0
        assert main(["evaluate", str(folder), "--metrics", "repetition"]) == 0
    return root, {"caption": caption, "story": story}


@pytest.fixture
def damaged(finished, tmp_path, monkeypatch):
    """``damaged(kind, name, content)``: the command line that goes on with a copy of a run in which one file is damaged."""
    monkeypatch.chdir(tmp_path)
    root, words = finished
    folder = tmp_path / "run"

    def damage(kind, name, content):
        shutil.copytree(root / kind, folder)
        (folder / name).write_bytes(content(folder / name) if callable(content) else content)
        return [*words[kind], f"run.dir={folder}"]

    return damage


def open_run(folder):
    """As the command itself does, with the settings that the folder was begun with."""
    from magic_cli.runs.folder import RunFolder

    with RunFolder(folder, settings={}, identity={"dataset": "photos"}, planned=6) as run:
        return run


def refused(words, name, capsys) -> str:
    capsys.readouterr()
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("magic: ") and err.count("\n") == 1 and f"run/{name}" in err and len(err) < 600
    assert any(f"; {remedy}" in err for remedy in ("set another", "delete", "evaluate", "remove", "start"))
    return err


def with_value(key, value):
    return lambda file: json.dumps(json.loads(file.read_text()) | {key: value}).encode()


def with_line(number, **values):
    """One line of a JSON lines file with other values; None takes a key away."""

    def change(file):
        lines = file.read_text().splitlines()
        record = json.loads(lines[number]) | values
        lines[number] = json.dumps({key: value for key, value in record.items() if value is not None})
        return "".join(f"{line}\n" for line in lines).encode()

    return change


def second_line(line):
    return lambda file: b"".join([*file.read_bytes().splitlines(keepends=True)[:1], line, b"\n", file.read_bytes()])


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        *(
            ("caption", content)
            for content in (*NO_JSON, *NO_OBJECT, *(with_value(key, value) for key, value in MANIFEST.items()))
        ),
        ("story", b"null"),
        ("story", with_value("stories_by_rank", 5)),
        ("story", with_value("sessions", [{"device": "cpu"}])),
    ],
)
def test_damaged_manifest(kind, content, damaged, capsys):
    words = damaged(kind, "manifest.json", content)
    for read in (open_run, read_system, row_of, lambda folder: read_sweep([str(folder)], "rep_2")):
        with pytest.raises(
            MagicError, match=r"^(run.dir=)?run(/manifest.json)?( line 1)?: [^\n]*; (evaluate|delete|set another) "
        ):
            read(Path("run"))
    if content == b"null":
        refused(words, "manifest.json", capsys)


@pytest.mark.parametrize("content", [b"\xff", b"null", b'{"identity": {}, "sessions": 5}'])
def test_damaged_manifest_of_a_training_run(content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/manifest.json").write_bytes(content)
    Path("texts.txt").write_text("A dog.\nA cat.\n")
    refused(["finetune-lm", "--texts", "texts.txt", "--output", "run", "language_model=embedded"], "manifest.json", capsys)


@pytest.mark.parametrize(
    ("kind", "content", "problem"),
    [
        *(("caption", second_line(line), "line 2: ") for line in (b"\xff", b"5", b'{"id": null}', b"[" * 100_000)),
        ("caption", with_line(1, caption=5), "line 2: the caption must be a text, got '5'"),
        ("story", with_line(1, story=["a"]), "line 2: the story must be a text"),
    ],
)
def test_damaged_predictions(kind, content, problem, damaged, capsys):
    assert problem in refused(damaged(kind, "predictions.jsonl", content), "predictions.jsonl", capsys)
    if kind == "story":
        assert main(["human-eval", "make", "run", "--human"]) == 2
        assert "record 2: story must be" in capsys.readouterr().err
    elif b"[[" not in Path("run/predictions.jsonl").read_bytes():
        with pytest.raises(MagicError, match="run/predictions.jsonl"):
            read_system(Path("run"))


def test_prediction_without_digest_or_title_is_done_again(damaged, capsys):
    assert main(damaged("caption", "predictions.jsonl", with_line(1, image_sha256=None))) == 0
    assert "1 image has changed since it was captioned and is captioned again" in capsys.readouterr().err
    shutil.rmtree("run")
    assert main(damaged("story", "predictions.jsonl", with_line(1, title=None))) == 0
    assert "1 title or image has changed since its story was written" in capsys.readouterr().err


@pytest.mark.parametrize("content", [second_line(b"{"), second_line(b'{"step": 1}')])
def test_damaged_trace(content, damaged, capsys):
    said = refused(damaged("caption", "trace.jsonl", content), "trace.jsonl", capsys)
    assert "line 2: " in said and "; delete trace.jsonl, the texts stay, or set another run.dir" in said


@pytest.mark.parametrize("content", [b"", b"run: 5\n", b"!!python/object:os.system {}"])
def test_damaged_settings(content, damaged, capsys):
    words = damaged("caption", "settings.yaml", content)
    refused(words, "settings.yaml", capsys)
    if content == b"":
        Path("run/settings.yaml").unlink()
        assert main(words) == 0 and "trace: true" in Path("run/settings.yaml").read_text()


@pytest.mark.parametrize("content", [b"{\n", b"5\n", b"\xff\n"])
def test_damaged_failures(content, damaged, capsys):
    words = damaged("caption", "failures.jsonl", content)
    with pytest.raises(MagicError, match=r"run/failures.jsonl.*; remove the damaged line"):
        read_system(Path("run"))
    assert main(words) == 0, "each start writes it anew"


@pytest.mark.parametrize("content", [b"\xff", b"null", with_value("metrics", 5), with_value("metrics", {"rep_2": 5})])
def test_damaged_scores(content, damaged, capsys):
    damaged("caption", "metrics.json", content)
    refused(["evaluate", "run", "--metrics", "repetition"], "metrics.json", capsys)
    with pytest.raises(MagicError, match=r"^run/metrics.json( line 1)?: [^\n]*; delete it, and run `magic evaluate run` again$"):
        read_sweep(["run"], "rep_2")


@pytest.mark.parametrize("content", [b"{\n", b"{}\n", b"\xff\n"])
def test_damaged_scores_of_items(content, damaged, capsys):
    damaged("caption", "per_item.jsonl", content)
    refused(["evaluate", "run", "--metrics", "repetition"], "per_item.jsonl", capsys)
