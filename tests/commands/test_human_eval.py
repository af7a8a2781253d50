"""magic human-eval from the command line: argv in; forms, tables, exit status and one line out."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from magic_cli.cli.main import main
from magic_cli.human_eval.aspects import Kind
from magic_cli.human_eval.forms import question_name, questions
from tests.unit.human_eval.studies import checksum
from tests.unit.human_eval.test_pairs import write_run

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = ("magic", "nucleus")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, tiny_photos):
    """A folder with two systems' stories of four titles; the first names photos."""
    monkeypatch.chdir(tmp_path)
    photos = sorted(tiny_photos.glob("*.jpg"))
    for name in SYSTEMS:
        records = [
            {"id": str(i), "title": f"Title {i}", "story": f"{name[::-1].upper()} {i}."}
            | ({"image": str(photos[i])} if name == "magic" else {})
            for i in range(4)
        ]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def make(*words):
    return main(
        [
            "human-eval",
            "make",
            "magic.jsonl",
            "--system",
            "nucleus=nucleus.jsonl",
            "items=3",
            "annotators=2",
            "--output",
            "forms",
            *words,
        ]
    )


def answer(number, score):
    """Answer form ``number`` as ``score(system, aspect)`` says; writes answers-<number>.json."""
    key = json.loads(Path("forms/key.json").read_text())
    form, keyed = next((form, keyed) for form, keyed in key["forms"].items() if keyed["annotator"] == number)
    given = {
        question_name(card_number, letter, aspect): score(system, aspect)
        for card_number, card in enumerate(keyed["cards"], start=1)
        for letter, system in card["letters"].items()
        for aspect in ("relevance", "fluency", "informativeness", "story_image_relevance")
    }
    document = {
        "kind": "magic human-eval answers 1",
        "study": key["study"],
        "form": form,
        "annotator": number,
        "complete": True,
        "answers": given,
    }
    Path(f"answers-{number}.json").write_text(json.dumps(document | {"checksum": checksum(document, given)}))


def make_and_answer():
    assert make() == 0
    for number in (1, 2):
        answer(number, lambda system, aspect: 5 if system == "magic" else 2)


def test_make_writes_forms_and_key_and_prints_the_forms(capsys):
    assert make() == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["forms/form-1.html", "forms/form-2.html"]
    assert "2 forms, each of 3 titles (3 with a photo) and 2 systems: 24 questions" in err and "forms/key.json" in err
    assert sorted(path.name for path in Path("forms").iterdir()) == ["form-1.html", "form-2.html", "key.json"]
    before = {path.name: path.read_bytes() for path in Path("forms").iterdir()}
    assert make() == 0  # the same study again: the same files
    assert {path.name: path.read_bytes() for path in Path("forms").iterdir()} == before


def test_make_does_not_replace_the_key_of_another_study(capsys):
    assert make() == 0
    before = Path("forms/key.json").read_bytes()
    capsys.readouterr()
    assert make("seed=1") == 2
    assert "output=forms: holds the key of another study" in capsys.readouterr().err
    assert Path("forms/key.json").read_bytes() == before


def test_score_prints_tables_and_writes_what_table_3_reads(capsys):
    make_and_answer()
    capsys.readouterr()
    assert main(["human-eval", "score", "answers-*.json", "--key", "forms/key.json", "bootstrap.samples=200"]) == 0
    out, err = capsys.readouterr()
    for part in ("Human scores from 1 to 5", "5.00", "Krippendorff's alpha", "magic - nucleus", "3 titles, 2 annotators of 2"):
        assert part in out
    assert "forms/scores.json" in err
    document = json.loads(Path("forms/scores.json").read_text())
    for aspect in ("relevance", "fluency", "informativeness", "story_image_relevance"):
        assert document["systems"]["magic"][aspect] == {"mean": 5, "low": 5, "high": 5, "items": 3}
        assert document["agreement"][aspect]["alpha_ordinal"] == 1
    assert {pair["wins"] for pair in document["pairs"]} == {6}


@pytest.mark.parametrize(
    ("table_format", "opening"), [("markdown", "**Human scores"), ("latex", "% needs"), ("csv", "table,system"), ("json", "{")]
)
def test_every_format_holds_means_agreement_and_pairs(table_format, opening, capsys):
    make_and_answer()
    capsys.readouterr()
    assert (
        main(
            [
                "human-eval",
                "score",
                "answers-1.json",
                "answers-2.json",
                "--key",
                "forms/key.json",
                "--format",
                table_format,
                "bootstrap.samples=50",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert out.startswith(opening)
    if table_format == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [sum(row["table"] == table for row in rows) for table in ("means", "agreement", "pairs")] == [8, 4, 4]
        assert {row["mean"] for row in rows if row["system"] == "nucleus"} == {"2.0"}
    elif table_format == "json":
        assert json.loads(out)["systems"]["nucleus"]["fluency"]["mean"] == 2
    else:
        assert "nucleus" in out and "5.00" in out and "magic - nucleus" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "human-eval: say what to do: make or score"),
        (["mak"], "unknown action 'mak'; did you mean make?"),
        (["action=mak", "a.jsonl"], "action: did you mean make?"),
        (["make"], "nothing to judge"),
        (["make", "magic.jsonl"], "only magic.jsonl to judge"),
        (["make", "magic.jsonl", "nothing.jsonl"], "nothing.jsonl: no such file"),
        (["make", "magic.jsonl", "nucleus.jsonl"], "items=50: only 4 titles have a story of every system"),
        (["make", "magic.jsonl", "nucleus.jsonl", "items=0"], "items must be at least 1, got 0"),
        (["make", "magic.jsonl", "nucleus.jsonl", "annotators=0"], "annotators must be at least 1, got 0"),
        (["make", "magic.jsonl", "nucleus.jsonl", "items=2", "--images", "nowhere"], "images=nowhere: no such folder"),
        (["make", "magic.jsonl", "nucleus.jsonl", "items=2", "--human"], "--human: no file holds a person's story"),
        (
            ["make", "magic.jsonl", "nucleus.jsonl", "items=2", "--output", "magic.jsonl/x"],
            "output=magic.jsonl/x: cannot be written (Not a directory)",
        ),
        (["make", "kind=pairs", "magic.jsonl"], "kind=pairs compares two systems, got 1"),
        (["make", "kind=pairs", "magic.jsonl", "nucleus.jsonl"], "magic.jsonl: is not a run folder"),
        (["make", "kind=pairs", "a", "b", "--human"], "human=true: belongs to kind=stories"),
        (["score"], "no answers to score"),
        (["score", "a.json"], "key is not set; --key FILE"),
        (["score", "a.json", "--key", "nowhere.json"], "key=nowhere.json: no such file"),
        (["score", "a.json", "--key", "magic.jsonl"], "magic.jsonl line 2: not valid JSON"),
        (["score", "a.json", "--key", "k.json", "bootstrap.samples=0"], "bootstrap.samples must be at least 1, got 0"),
        (["score", "a.json", "--key", "k.json", "incomplete=maybe"], "incomplete: "),
    ],
)
def test_mistakes_are_one_line_and_status_2(words, message, capsys):
    assert main(["human-eval", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err
    assert not Path("forms").exists() and not Path("runs").exists()


def test_missing_answer_file_is_one_line_and_status_2(capsys):
    make_and_answer()
    capsys.readouterr()
    assert main(["human-eval", "score", "answers-1.json", "answers-3.json", "--key", "forms/key.json"]) == 2
    assert "answers-3.json: no such file" in capsys.readouterr().err


def test_pairs_are_made_answered_and_scored(capsys):
    for name in SYSTEMS:
        write_run(Path(name), 4, text=f"{name[::-1]}.")
    assert main(["human-eval", "make", *SYSTEMS]) == 2
    assert "magic: magic: is a run of magic interleave" in (err := capsys.readouterr().err) and "set kind=pairs" in err
    make_words = ["human-eval", "make", "kind=pairs", *SYSTEMS, "items=3", "annotators=2", "--output", "forms"]
    assert main(make_words) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["forms/form-1.html", "forms/form-2.html"]
    assert "2 forms, each of 3 pairs of answers by magic and nucleus" in err
    key = json.loads(Path("forms/key.json").read_text())
    for form, keyed in key["forms"].items():
        given = {name: 1 if question.system == "magic" else 3 for name, question in questions(keyed, Kind.pairs.judging).items()}
        document = {
            "kind": "magic human-eval answers 1", "study": key["study"], "form": form, "annotator": keyed["annotator"],
            "complete": True, "answers": given,
        }  # fmt: skip
        Path(f"answers-{keyed['annotator']}.json").write_text(json.dumps(document | {"checksum": checksum(document, given)}))
    assert main(["human-eval", "score", "answers-*.json", "--key", "forms/key.json", "bootstrap.samples=50"]) == 0
    out, err = capsys.readouterr()
    assert "magic %" in out and "100.00" in out and "language continuity" in out and "magic table vist --human-scores" in err
    assert json.loads(Path("forms/scores.json").read_text())["preferences"]["language"]["wins"]["share"] == 1


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs chromium and chromedriver")
def test_form_works_in_a_real_browser(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "try_human_eval_form.py"), "--screenshots", str(tmp_path / "shots")]
    answer = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert answer.returncode == 0, answer.stderr
    assert "coherence: the share of wins is that which was filled in" in answer.stderr
    assert "finds the means that were filled in" in answer.stderr and len(list((tmp_path / "shots").glob("*.png"))) == 8
