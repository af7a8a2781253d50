"""magic table from the command line: argv in; stdout, stderr and exit status out."""

import csv
import io
import json

import pytest

from magic_cli.cli.main import main
from magic_cli.data.bundled_coco import load_bundled_coco_captions

EXPECTED_OF_MAGIC = "expected  4982   56.8   12.9    17.4     39.9   49.3   11.3  nearly 27x"


@pytest.fixture(scope="module")
def document():
    """Twenty real images of COCO, each with one person's caption as prediction, in the released format."""
    images = list(load_bundled_coco_captions().items())[:20]
    return [
        {"split": "test", "image_name": f"{image}.jpg", "captions": texts[1:], "prediction": texts[0]} for image, texts in images
    ]


@pytest.fixture
def released(tmp_path, document):
    """That file under a released name."""
    file = tmp_path / "released" / "coco" / "magic_result.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(document))
    return file


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_table_without_files_is_the_expected_numbers(capsys):
    assert main(["table", "1"]) == 0
    out, err = capsys.readouterr()
    assert EXPECTED_OF_MAGIC in out and "Table 2" not in out and err == ""


@pytest.mark.parametrize(
    ("table_format", "opening"), [("markdown", "**Table 1"), ("latex", "% needs"), ("csv", "table,dataset"), ("json", "[")]
)
def test_every_format_prints_all_tables(table_format, opening, capsys):
    assert main(["table", "all", "--format", table_format]) == 0
    out = capsys.readouterr().out
    assert out.startswith(opening)
    if table_format == "csv":
        assert {row["table"] for row in csv.DictReader(io.StringIO(out))} == {"1", "2", "3"}


@pytest.mark.slow
def test_measured_file_stands_beside_the_expected_numbers(released, capsys):
    assert main(["table", "1", "released", "--metrics", "bleu,cider", "--format", "csv"]) == 0
    rows = {(r["row"], r["measure"]): r for r in csv.DictReader(io.StringIO(capsys.readouterr().out)) if r["dataset"] == "coco"}
    found = rows["magic", "bleu_1"]
    assert 40 < float(found["measured"]) < 100 and found["n"] == "20"
    assert float(found["difference"]) == pytest.approx(float(found["measured"]) - 56.8)
    assert rows["magic", "spice"]["measured"] == "" and rows["zerocap", "bleu_1"]["measured"] == ""
    assert main(["table", "1", "--row", f"flickr30k/zerocap={released}", "--metrics", "bleu,cider", "--format", "csv"]) == 0
    again = {(r["dataset"], r["row"], r["measure"]): r for r in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert float(again["flickr30k", "zerocap", "bleu_1"]["measured"]) == pytest.approx(float(found["measured"]), abs=0.051)
    assert again["coco", "magic", "bleu_1"]["measured"] == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which table? name 1, 2, 3 or all"),
        (["4"], "unknown table '4'"),
        (["one"], "which table?"),
        (["1", "nowhere"], "nowhere: no such file or folder"),
        (["1", "--row", "coco/magik=x.json"], "unknown row 'coco/magik'; did you mean coco/magic"),
        (["2", "released"], "holds no row of table 2"),
    ],
)
def test_mistakes_are_one_line_and_status_2(words, message, released, capsys):
    assert main(["table", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and "Traceback" not in err
