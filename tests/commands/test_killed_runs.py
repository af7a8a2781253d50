"""Run folders as a kill leaves them, at any point: they are left out and told of, or refused in one line."""

import json
from pathlib import Path

import pytest

from magic_cli.cli.main import main
from magic_cli.reports.row_files import locate

MANIFEST = {
    "identity": {"dataset": {"name": "coco"}, "decoding": {"name": "greedy"}},
    "status": "running",
    "counts": {"planned": 2, "predictions": 0, "failures": 0},
    "sessions": [],
}
TEXTS = [{"id": name, "title": title, "story": f"They went {title}."} for name, title in (("1", "home"), ("2", "out"))]
LINES = "".join(json.dumps(text) + "\n" for text in TEXTS)
EARLY = {
    "no file": {},
    "a lock": {".lock": ""},
    "no manifest yet": {".lock": "", "failures.jsonl": ""},
    "a manifest": {".lock": "", "failures.jsonl": "", "manifest.json": json.dumps(MANIFEST)},
    "settings": {".lock": "", "failures.jsonl": "", "manifest.json": json.dumps(MANIFEST), "settings.yaml": "run: {}\n"},
}
BEGUN = EARLY["settings"]
WITHOUT_TEXTS = EARLY | {
    "no line": BEGUN | {"predictions.jsonl": ""},
    "empty lines": BEGUN | {"predictions.jsonl": "\n\n"},
    "a torn line": BEGUN | {"predictions.jsonl": LINES[:40]},
}
WITH_TEXTS = {
    "a torn second line": BEGUN | {"predictions.jsonl": LINES[:-20]},
    "no line break": BEGUN | {"predictions.jsonl": json.dumps(TEXTS[0])},
    "all texts and no record of it": BEGUN | {"predictions.jsonl": LINES},
}


def folder(name, files):
    Path(name).mkdir()
    for file, content in files.items():
        Path(name, file).write_text(content)


@pytest.fixture
def killed(request, tmp_path, monkeypatch):
    """The files of a folder ``killed``; ``done`` lies beside it."""
    monkeypatch.chdir(tmp_path)
    folder("killed", request.param)
    folder("done", BEGUN | {"predictions.jsonl": LINES})
    return request.param


def said(words, capsys, status=0):
    capsys.readouterr()
    assert main(words) == status, capsys.readouterr().err
    out, err = capsys.readouterr()
    if status == 2:
        assert out == "" and err.startswith("magic: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize("killed", WITHOUT_TEXTS.values(), ids=WITHOUT_TEXTS, indirect=True)
def test_run_without_texts_is_left_out_beside_others_and_refused_alone(killed, capsys):
    scored = ["evaluate", "--metrics", "repetition"]
    for words in ([*scored, "done", "killed"], ["report", "done", "killed", "--output", "page.html"]):
        assert "systems: 1 folder has no text yet and is left out: killed\n" in said(words, capsys)
    refused = "no text yet; start its command again\n"
    for words in ([*scored, "killed"], ["report", "killed"], ["human-eval", "make", "done", "killed"]):
        assert said(words, capsys, status=2).endswith(refused)
    assert said(["table", "3", "--row", "story/greedy=killed", "--metrics", "repetition"], capsys, status=2).endswith(refused)
    assert said(["merge-runs", "done", "killed", "--output", "all"], capsys, status=2).startswith("magic: runs: done is no part")
    assert said(["merge-runs", "killed", "--output", "all"], capsys, status=2).endswith(refused)


@pytest.mark.parametrize("killed", WITHOUT_TEXTS.values(), ids=WITHOUT_TEXTS, indirect=True)
def test_table_leaves_out_a_run_without_texts_that_the_shell_has_named(killed, capsys):
    Path("story_greedy.json").write_text("[]")
    located = locate(["killed", "killed/"], ["story/greedy=story_greedy.json"])
    assert (located.empty, list(located.rows)) == ([Path("killed")], [Path("story_greedy.json")])
    assert said(["table", "3", "killed"], capsys, status=2).endswith("no text yet; start its command again\n")
    assert "name it, as in --row coco/magic=done" in said(["table", "3", "killed", "done"], capsys, status=2)


@pytest.mark.parametrize("killed", WITH_TEXTS.values(), ids=WITH_TEXTS, indirect=True)
def test_what_a_killed_run_has_written_is_read(killed, capsys):
    assert "2 systems scored" in said(["evaluate", "--metrics", "repetition", "done", "killed"], capsys)
    assert "by 2 systems" in said(["report", "done", "killed", "--output", "page.html"], capsys)
    assert said(["human-eval", "make", "done", "killed", "items=1", "--output", "study"], capsys)


@pytest.mark.parametrize("killed", [WITHOUT_TEXTS[name] for name in ("settings", "no line", "a torn line")], indirect=True)
def test_tables_leave_out_a_run_without_texts_and_sweeps_say_that_it_is_unfinished(killed, capsys):
    located = locate(["."], [])
    assert (located.empty, located.unknown, located.rows) == ([Path("killed")], [Path("done")], {})
    finished = json.loads(Path("done", "manifest.json").read_text()) | {"status": "complete"}
    Path("done", "manifest.json").write_text(json.dumps(finished))
    said(["evaluate", "--metrics", "repetition", "done"], capsys)
    assert "magic: killed is unfinished (running, 0 of 2); start its command again" in said(
        ["table", "sweep", "killed", "done", "--metric", "rep_2"], capsys, status=3
    )
