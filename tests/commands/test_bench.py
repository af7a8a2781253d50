"""magic bench from the command line: argv in; stdout, stderr, files and exit status out."""

import gc
import json
import sys

import pytest
from PIL import Image

from magic_cli.cli.main import main

SMALL = ["captions.k=4", "captions.decoding_len=4", "texts=2", "batch_sizes=[1,2]", "run.batch_size=2", "repeats=1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def num_models():
    return sum(type(thing).__name__ == "HuggingFaceLanguageModel" for thing in gc.get_objects())


def document(folder):
    return json.loads((folder / "bench.json").read_text())


def test_embedded_models_are_measured_on_the_photos_that_are_named(tiny_photos, tmp_path, capsys):
    models = num_models()
    assert main(["bench", "--parts", "embedded", "--photos", str(tiny_photos), *SMALL, "--output", "out"]) == 0
    assert num_models() == models, "a part's models do not stay in memory"
    out, err = capsys.readouterr()
    assert out == (tmp_path / "out" / "report.md").read_text()
    assert "| batch | captions a second |" in out and "out/bench.json" in err
    assert "magic: embedded: 0 of 4 steps\nmagic: embedded: 4 of 4 steps, " in err, "a log has a line a part and repeat"
    assert ", repeat 1 of 1\nmagic: embedded: 4 of 4 steps in " in err
    found = document(tmp_path / "out")
    assert found["settings"]["parts"] == ["embedded"] and found["packages"]["torch"]
    section = found["sections"]["embedded"]
    assert [core["batch_size"] for core in section["core"]] == [1, 2] and section["photos"] == 2
    for core in section["core"]:
        assert core["seconds_per_text"] > 0 and core["work_per_text"]["texts_encoded"] > 0
    assert all(text.strip() for text in section["examples"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--parts", "storys"], "magic: parts: did you mean stories?"),
        (["captions.k=0"], "magic: captions.k must be at least 1, got 0"),
        (["repeat=3"], "magic: unknown setting repeat; did you mean repeats?"),
        (["--parts", "embedded", "--photos", "empty"], "magic: photos=empty: no photos in "),
    ],
)
def test_fault_is_one_line_and_status_2(words, line, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["bench", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[-1].startswith(line)


def test_folder_that_cannot_be_made_is_refused_before_anything_is_measured(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["bench", "output=file/out"]) == 2
    assert "output=file/out: cannot be written" in capsys.readouterr().err


def test_growth_without_matplotlib_is_refused_before_anything_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what an import finds where it is not installed
    assert main(["bench", "--parts", "growth"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("magic: parts=growth draws a plot and needs matplotlib")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.long
def test_all_other_parts_are_measured_at_the_paper_s_shapes(tmp_path, capsys):
    stories = ["stories.k=2", "stories.decoding_len=14"]
    growth = ["growth.k=[2,3]", "growth.tokens=[1,2]", "growth.batch=[1]"]
    parts = ["--parts", "captions,stories,variants,growth,memory", "variants=[bfloat16]"]
    assert main(["bench", *parts, *SMALL, *stories, *growth, "--output", "out"]) == 0
    found = document(tmp_path / "out")["sections"]
    captions, stories = found["captions"]["natural"], found["stories"]
    assert (captions["identical"], stories["identical"]) == (1, 1)
    assert captions["released"]["work_per_text"]["lm_positions"] == 1 + 4 * 3
    assert 12 * 768**2 * 12 * 2 * 13 / 1e9 < captions["released"]["gflop_per_text"] < 30  # weights of the language model alone
    assert [row["variant"] for row in found["variants"]["rows"]] == ["float32", "bfloat16"]
    assert [point["k"] for point in found["growth"]["axes"]["k"]] == [2, 3]
    assert [point["work_per_text"]["head_rows"] for point in found["growth"]["axes"]["tokens"]] == [
        0,
        1,
    ]  # the start is remembered
    with Image.open(tmp_path / "out" / "growth.png") as plot:
        assert plot.width > 500
    for row in found["memory"]["rows"]:
        assert 10**9 < row["before_bytes"] < row["peak_bytes"] < 8 * 10**9
    out = capsys.readouterr().out
    for title in ("**Captions: k 4", "**Stories: k 2", "**Variants**", "**Seconds a caption against k", "**Resident memory"):
        assert title in out
