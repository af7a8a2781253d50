"""``magic evaluate`` as its user runs it, on real captions, with real Java."""

import json

import pytest

from magic_cli.cli.main import main
from magic_cli.data.bundled_coco import load_bundled_coco_captions

FAST = ["--metrics", "bleu,rouge_l,cider"]


@pytest.fixture(scope="module")
def coco():
    """40 images of COCO: the first caption plays the prediction, the others are the references."""
    captions = load_bundled_coco_captions()
    ids = sorted(captions)[:40]
    return {str(i): captions[i][0] for i in ids}, {str(i): captions[i][1:] for i in ids}


@pytest.fixture
def files(coco, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    predictions, references = coco
    shuffled = dict(zip(predictions, [*list(predictions.values())[1:], "..."], strict=True))
    (tmp_path / "good.json").write_text(json.dumps([{"image_id": int(i), "caption": c} for i, c in predictions.items()]))
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps({"id": i, "caption": c}) + "\n" for i, c in shuffled.items()))
    (tmp_path / "refs.json").write_text(json.dumps({
        "images": [{"id": int(i), "file_name": f"COCO_train2014_{int(i):012d}.jpg"} for i in references],
        "annotations": [{"image_id": int(i), "caption": c} for i, texts in references.items() for c in texts],
    }))  # fmt: skip
    return tmp_path


def evaluated(capsys, *words, status=0):
    assert main(["evaluate", *words]) == status, capsys.readouterr().err
    return capsys.readouterr()


def test_new_user_scores_a_results_file_against_annotations(files, capsys):
    out = evaluated(capsys, "good.json", "--references", "refs.json", "--metrics", "bleu,meteor,rouge_l,cider")
    header = out.out.splitlines()
    assert any("B@4" in line and "METEOR" in line for line in header)
    assert "good: 40 captions scored" in out.out
    [folder] = (files / "runs" / "evaluate").iterdir()
    document = json.loads((folder / "metrics.json").read_text())
    assert (document["n"], document["missing"], document["empty"]) == (40, 0, 0)
    assert (
        0
        < document["metrics"]["meteor"]["interval"][0]
        < document["metrics"]["meteor"]["value"]
        < document["metrics"]["meteor"]["interval"][1]
    )
    lines = [json.loads(line) for line in (folder / "per_item.jsonl").read_text().splitlines()]
    assert len(lines) == 40 and all(0 <= line["cider"] <= 10 for line in lines)


def test_scores_equal_pycocoevalcap_when_it_runs_on_the_same_captions(files, coco, capsys):
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    predictions, references = coco
    gold = PTBTokenizer().tokenize({i: [{"caption": c} for c in texts] for i, texts in references.items()})
    mine = PTBTokenizer().tokenize({i: [{"caption": c}] for i, c in predictions.items()})
    evaluated(capsys, "good.json", "--references", "refs.json", *FAST, "--output", "out")
    document = json.loads((files / "out" / "metrics.json").read_text())
    assert document["metrics"]["cider"]["value"] == pytest.approx(Cider().compute_score(gold, mine)[0], abs=1e-12)


def test_compare_tells_a_good_system_from_a_shuffled_one(files, capsys):
    evaluated(capsys, "bad.jsonl", "good.json", "--references", "refs.json", "--compare", *FAST, "--output", "out")
    rows = {row["measure"]: row for row in json.loads((files / "out" / "good" / "comparison.json").read_text())["measures"]}
    assert rows["cider"]["difference"] == pytest.approx(rows["cider"]["second"] - rows["cider"]["first"])
    assert rows["cider"]["low"] > 0 and rows["cider"]["p_value"] < 0.01
    assert json.loads((files / "out" / "bad" / "metrics.json").read_text())["empty"] == 1


@pytest.mark.parametrize("form", ["json", "markdown", "latex", "csv"])
def test_every_format_holds_the_scores(files, capsys, form):
    out = evaluated(capsys, "good.json", "bad.jsonl", "--references", "refs.json", *FAST, "--format", form).out
    assert "good" in out and "bad" in out
    if form == "json":
        assert [system["n"] for system in json.loads(out)["systems"]] == [40, 40]
    if form == "csv":
        assert out.splitlines()[0].startswith("system,measure,value,low,high,n")


def test_run_folder_is_scored_where_it_lies(files, coco, capsys):
    predictions, references = coco
    run = files / "runs" / "caption" / "mine"
    run.mkdir(parents=True)
    records = [{"id": i, "image": f"{i}.jpg", "caption": c, "references": references[i]} for i, c in predictions.items()]
    (run / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (run / "failures.jsonl").write_text('{"id": "x", "image": "x.jpg", "reason": "truncated"}\n')
    (run / "manifest.json").write_text(json.dumps({"status": "complete", "identity": {"decoding": {"method": "magic"}}}))
    out = evaluated(capsys, str(run), *FAST).out
    assert "1 image without a caption" in out
    document = json.loads((run / "metrics.json").read_text())
    assert document["run"]["identity"] == {"decoding": {"method": "magic"}} and document["missing"] == 1
    evaluated(capsys, str(run), "--metrics", "repetition")  # adds to what is there
    document = json.loads((run / "metrics.json").read_text())
    assert {"cider", "bleu_4", "rep_2"} <= set(document["metrics"]) and {"cider", "repetition"} <= set(document["tools"])
    line = json.loads((run / "per_item.jsonl").read_text().splitlines()[0])
    assert {"cider", "rep_2"} <= set(line)


def test_unfinished_run_counts_what_is_missing(files, coco, capsys):
    predictions, references = coco
    run = files / "run"
    run.mkdir()
    records = [
        {"id": i, "image": f"{i}.jpg", "caption": c, "references": references[i]} for i, c in list(predictions.items())[:3]
    ]
    (run / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + '{"id": "half')
    (run / "manifest.json").write_text(json.dumps({"status": "running", "counts": {"planned": 40, "skipped": 2}}))
    out = " ".join(evaluated(capsys, "run", *FAST).out.split())
    assert "3 captions scored; 35 images without a caption" in out and "the run is running, not complete" in out


def test_compare_refuses_other_references_and_other_images_before_scoring(files, coco, capsys):
    predictions, references = coco
    own = [{"id": i, "caption": c, "references": references[i]} for i, c in predictions.items()]
    other = [record | {"references": ["something else"]} for record in own]
    for name, records in (("own", own), ("other", other), ("fewer", own[:30])):
        (files / f"{name}.json").write_text(json.dumps(records))
    assert main(["evaluate", "own.json", "other.json", "--compare", *FAST]) == 2
    assert "other references for" in capsys.readouterr().err
    assert main(["evaluate", "own.json", "fewer.json", "--compare", *FAST]) == 2
    assert "10 images are in one of them only" in capsys.readouterr().err
    evaluated(capsys, "own.json", "fewer.json", "--compare", "--common", *FAST, "--output", "out")
    assert json.loads((files / "out" / "own" / "metrics.json").read_text())["dropped"] == 10


def test_systems_of_one_name_keep_their_own_results(files, capsys):
    for name in ("p.json", "p.jsonl"):
        (files / name).write_text((files / ("good.json" if name == "p.json" else "bad.jsonl")).read_text())
    evaluated(capsys, "p.json", "p.jsonl", "--references", "refs.json", *FAST, "--output", "out")
    assert {folder.name for folder in (files / "out").iterdir()} == {"p.json", "p.jsonl"}


def test_sweep_into_one_folder_is_refused(files, capsys):
    words = ["evaluate", "-m", "good.json", "--references", "refs.json", "--metrics", "cider", "metrics.cider.sigma=3,6"]
    assert main([*words, "--output", "out"]) == 2
    assert "points of the sweep would write into this folder" in capsys.readouterr().err
    assert main(words) == 0
    assert len(list((files / "runs" / "evaluate").iterdir())) == 2


def test_output_that_cannot_be_written_is_found_before_scoring(files, capsys):
    (files / "taken").write_text("")
    assert main(["evaluate", "good.json", "--references", "refs.json", *FAST, "--output", "taken"]) == 2
    err = capsys.readouterr().err
    assert "output=taken: cannot be written" in err and err.count("\n") == 1


def test_split_applies_to_files_that_bring_their_references(files, coco, capsys):
    predictions, references = coco
    own = [
        {"image_name": i, "split": "val" if n < 5 else "test", "prediction": c, "captions": references[i]}
        for n, (i, c) in enumerate(predictions.items())
    ]
    (files / "own.json").write_text(json.dumps(own))
    evaluated(capsys, "own.json", "--split", "val", *FAST, "--output", "out")
    assert json.loads((files / "out" / "metrics.json").read_text())["n"] == 5
    assert main(["evaluate", "own.json", "--split", "nosuch", *FAST]) == 2
    assert "has the splits test, val" in capsys.readouterr().err


def test_spice_without_its_jars_says_how_to_get_them_and_the_rest_is_scored(files, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(files / "cache"))
    monkeypatch.delenv("MAGIC_SPICE_LIB", raising=False)
    out = evaluated(capsys, "good.json", "--references", "refs.json", "--metrics", "cider,spice", status=3).out
    words = " ".join(out.split())  # notes are wrapped
    assert "spice not run" in words and "magic doctor --fetch spice" in words
    assert "CIDEr" in words


def test_clip_score_runs_on_a_configured_model(files, coco, capsys, tiny_clip_folder):
    from PIL import Image

    predictions, _ = coco
    for n, i in enumerate(predictions):
        Image.new("RGB", (40, 40), (n * 6, 255 - n * 6, 99)).save(files / f"COCO_train2014_{int(i):012d}.jpg")
    words = [
        "good.json",
        "--references",
        "refs.json",
        "--metrics",
        "clip_score,ref_clip_score",
        "--images",
        ".",
        f"image_text_model.path={tiny_clip_folder}",
    ]
    evaluated(capsys, *words, "--output", "out")
    document = json.loads((files / "out" / "metrics.json").read_text())
    assert set(document["metrics"]) == {"clip_score", "ref_clip_score"} and document["image_text_model"]["files"]


def test_runs_over_own_photos_are_scored_and_compared_by_what_needs_no_references(
    tmp_path, monkeypatch, capsys, tiny_photos, tiny_clip_folder
):
    import shutil

    monkeypatch.chdir(tmp_path)
    names = sorted(photo.name for photo in tiny_photos.iterdir())

    def run(name, folder, words):
        """A run folder as `magic caption --images FOLDER` leaves it."""
        (tmp_path / name).mkdir()
        records = [
            {"id": photo, "image": f"{folder}/{photo}", "caption": f"a {word} of {i}"}
            for i, (photo, word) in enumerate(zip(names, words, strict=True))
        ]
        (tmp_path / name / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        (tmp_path / name / "manifest.json").write_text(json.dumps({"status": "complete", "counts": {"planned": len(names)}}))

    run("one", tiny_photos, ["dog"] * 6)
    run("two", tiny_photos, ["cat"] * 6)
    run("other", shutil.copytree(tiny_photos, tmp_path / "copy"), ["cow"] * 6)
    clip = ["--metrics", "clip_score,repetition", f"image_text_model.path={tiny_clip_folder}"]
    evaluated(capsys, "one", *clip)
    scored = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert scored["n"] == 6 and scored["missing"] == 0 and scored["metrics"]["clip_score"]["value"] > 0
    evaluated(capsys, "one", "two", "--compare", *clip)
    rows = json.loads((tmp_path / "two" / "comparison.json").read_text())["measures"]
    assert rows[0]["measure"] == "clip_score" and rows[0]["first"] == pytest.approx(scored["metrics"]["clip_score"]["value"])
    assert main(["evaluate", "one", "other", "--compare", *clip]) == 2
    err = capsys.readouterr().err
    assert f"have other images for {names[0]!r}" in err and err.count("\n") == 1
    evaluated(capsys, "one", "other", "--compare", "--images", "copy", *clip)
    for needed in ("clip_score,cider", "ref_clip_score"):
        assert main(["evaluate", "one", "--metrics", needed]) == 2
        err = capsys.readouterr().err
        assert err.startswith("magic: one: has no references; give them with --references FILE, or ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "systems is empty"),
        (["nothing.json"], "no such file"),
        (["good.json"], "has no references; give them with --references"),
        (["good.json", "--references", "none.json"], "references=none.json: no such file"),
        (["good.json", "--references", "refs.json", "--metrics", "bleu,cidr"], "unknown metric 'cidr'; did you mean cider?"),
        (["good.json", "--references", "refs.json", "--compare"], "--compare needs two systems or more"),
        (["good.json", "--references", "refs.json", "--format", "tex"], "format"),
        (["good.json", "--references", "refs.json", "bootstrap.confidence=1"], "bootstrap.confidence must be in (0, 1)"),
        (["good.json", "--references", "refs.json", "--split", "test"], "has no splits"),
        (["good.json", "--reference", "refs.json"], "did you mean --references?"),
    ],
)
def test_fault_is_one_line_and_exit_2(files, capsys, words, part):
    assert main(["evaluate", *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and part in err
