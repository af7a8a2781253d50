"""magic table vist, mmdialog, cc3m: runs of texts and images beside what is known of MiniGPT-5's tables."""

import csv
import io

import pytest

from magic_cli.cli.main import main
from magic_cli.reports.paper import MINIGPT5, load_paper
from tests.commands.test_answers_evaluation import write_run

PAPER = load_paper(MINIGPT5)


def test_everything_that_is_named_exists():
    from magic_cli.metrics.settings import MEASURES

    assert (
        {section for table in PAPER.tables.values() for section in table.sections}
        == set(PAPER.sections)
        == {row.section for row in PAPER.rows.values()}
    )
    for key, measure in PAPER.measures.items():
        assert key.startswith("human_") or MEASURES[key][0] == measure.metric
    assert {cell.source.name for row in PAPER.rows.values() for cell in row.cells.values()} == {"v1", "v4"}
    assert all(set(note.rows) <= set(PAPER.rows) for note in PAPER.notes)


def test_known_numbers_stand_alone_where_nothing_is_measured(capsys):
    assert main(["table", "vist", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    known = {(row["row"], row["measure"]): row["expected"] for row in rows if row["expected"]}
    assert known == {
        ("minigpt5_v1", "human_language"): "57.18", ("minigpt5_v1", "human_image_quality"): "52.06", ("minigpt5_v1", "human_coherence"): "57.62",
        ("minigpt5_v4", "human_language"): "about 55 to 35", ("minigpt5_v4", "human_image_quality"): "about 52 to 38", ("minigpt5_v4", "human_coherence"): "about 57 to 29",
    }  # fmt: skip
    assert {row["row"] for row in rows if row["dataset"] == "vist_both"} >= {"sd2_finetuned", "two_stage", "minigpt5_prefix"}
    assert main(["table", "mmdialog", "cc3m"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("Divter", "GILL", "Stable Diffusion 2", "BLEU counts words here"))


def test_runs_are_scored_for_their_rows(tmp_path, tiny_clip_folder, capsys):
    runs = {
        "vist_both/minigpt5_lora": write_run(tmp_path / "both", 5, texts=False),
        "vist_none/minigpt5_lora": write_run(tmp_path / "none", 90, texts=False),
    }
    words = [word for row, run in runs.items() for word in ("--row", f"{row}={run}")]
    clip = ["image_text_model=clip_vit_b32", f"image_text_model.path={tiny_clip_folder}", "bootstrap.samples=0"]
    assert main(["table", "vist", *words, "--format", "csv", *clip]) == 0
    found = {
        (row["dataset"], row["measure"]): row["measured"]
        for row in csv.DictReader(io.StringIO(capsys.readouterr().out))
        if row["measured"]
    }
    assert found.keys() == {(f"vist_{context}", measure) for context in ("both", "none") for measure in ("clip_i", "clip_t")}
    assert float(found["vist_both", "clip_i"]) > float(found["vist_none", "clip_i"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["vist", "run"], "run: name the row of a run, as in --row vist_both/minigpt5_lora=run"),
        (["vist", "--row", "vist_both/mine=."], "unknown row 'vist_both/mine'"),
        (["cc3m", "--row", "vist_both/two_stage=."], "belongs to another table than cc3m"),
        (["vist", "--row", "vist_both/two_stage=none"], "no such file or folder"),
    ],
)
def test_slips_are_one_line(capsys, words, told):
    assert main(["table", *words]) == 2
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1
