"""Where ``magic evaluate`` writes, whose model it takes, and what it says of systems beside each other."""

import json
import shutil

import pytest

from magic_cli.cli.main import main

IDS = [str(i) for i in range(12)]
CAPTIONS = {
    "good": ["a dog runs on the grass", "two people ride bikes"] * 6,
    "fair": ["a dog is on the grass", "two people on red bikes"] * 6,
    "poor": ["a plate of food", "the sky is blue"] * 6,
}
FAST = ["--metrics", "bleu,rouge_l"]


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, captions in CAPTIONS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(dict(zip(IDS, captions, strict=True))))
    (tmp_path / "refs.json").write_text(json.dumps({i: [caption] for i, caption in zip(IDS, CAPTIONS["good"], strict=True)}))
    return tmp_path


@pytest.fixture
def run_folder(files, tiny_photos, tiny_clip_folder):
    """``run_folder(name, model)`` makes a run as `magic caption` leaves it."""

    def make(name, model=tiny_clip_folder, digests=None):
        (files / name).mkdir(parents=True)
        records = [
            {"id": photo.name, "image": str(photo), "caption": f"a {name} {photo.stem}"}
            for photo in sorted(tiny_photos.iterdir())
        ]
        (files / name / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        own = {
            "name": "openai/x",
            "path": str(model),
            "revision": "main",
            "family": "huggingface_clip",
            "pretrained": None,
            "logit_scale": 20.0,
        }
        manifest = {"status": "complete", "counts": {"planned": len(records)}, "identity": {"image_text_model": own}}
        manifest["models"] = {"image_text_model": {"files": digests}}
        (files / name / "manifest.json").write_text(json.dumps(manifest))
        return files / name

    return make


def evaluate(capsys, *words, status=0):
    assert main(["evaluate", *words]) == status, capsys.readouterr().err
    return capsys.readouterr()


def refused(capsys, *words):
    out, err = evaluate(capsys, *words, status=2)
    assert out == "" and err.count("\n") == 1
    return err


def document(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_another_system_s_scores_are_not_overwritten(files, capsys, run_folder):
    scored = ["--references", "refs.json", *FAST, "--output", "out"]
    evaluate(capsys, "good.json", *scored)
    before = (files / "out" / "metrics.json").read_bytes()
    err = refused(capsys, "poor.json", *scored)
    assert (
        "output=out: holds the scores of " in err
        and "good.json, not of poor.json; set --output to another folder, or delete out" in err
    )
    assert (files / "out" / "metrics.json").read_bytes() == before
    assert "in place of" not in evaluate(capsys, "good.json", *scored).err  # the same again
    shutil.copy("poor.json", "good.json")
    assert "in place of the scores of other captions, references or images" in evaluate(capsys, "good.json", *scored).err
    run = run_folder("mine")
    assert "output=mine: is the run folder of other captions than poor.json" in refused(
        capsys, "poor.json", "--references", "refs.json", *FAST, "--output", "mine"
    )
    assert not (run / "metrics.json").exists()


def test_scores_by_other_images_do_not_stand_beside_these(files, capsys, run_folder, tiny_photos):
    run_folder("mine")
    for name in ("one", "two"):
        shutil.copytree(tiny_photos, files / name)
    without = ["mine", "bootstrap.samples=0", "--output", "out", "--metrics"]
    evaluate(capsys, *without, "clip_score,repetition", "--images", "one")
    first = document(files / "out")
    assert "in place of" not in evaluate(capsys, *without, "repetition", "--images", "two").err  # looks at none
    assert document(files / "out")["identity"] == first["identity"]
    evaluate(capsys, *without, "clip_score", "--images", "two", "--image-text-model", "clip_vit_b32", status=3)
    assert document(files / "out")["metrics"].keys() == first["metrics"].keys()  # what did not run replaces nothing
    assert (
        "in place of the scores of other captions, references or images"
        in evaluate(capsys, *without, "clip_score", "--images", "two").err
    )
    assert document(files / "out")["metrics"].keys() == {"clip_score"}
    (files / "preds.json").write_text(json.dumps({photo.stem: "a photo" for photo in tiny_photos.iterdir()}))
    for name in ("one", "two"):
        evaluate(capsys, "mine", "preds.json", "--images", name, "--metrics", "clip_score", "bootstrap.samples=0")
    assert len(list((files / "runs" / "evaluate").iterdir())) == 2


def test_intervals_by_another_bootstrap_do_not_stand_beside_these(files, capsys):
    scored = ["good.json", "--references", "refs.json", "--output", "out", "--metrics"]
    evaluate(capsys, *scored, "bleu", "bootstrap.confidence=0.5")
    evaluate(capsys, *scored, "rouge_l")
    metrics = document(files / "out")["metrics"]
    assert (
        metrics["bleu_1"]["interval"] is None
        and metrics["bleu_1"]["value"] == pytest.approx(1)
        and metrics["rouge_l"]["interval"] is not None
    )
    evaluate(capsys, *scored, "bleu")
    assert all(document(files / "out")["metrics"][name]["interval"] for name in ("bleu_1", "rouge_l"))


@pytest.mark.parametrize(
    ("key", "value", "part"), [("name", 5, "name must be a text or null, got '5'"), ("path", [1], "path must be a text"), ("revision", {}, "revision must be a text"),
                               ("logit_scale", "x", "logit_scale must be a number or null")],
)  # fmt: skip
def test_manifest_whose_model_is_damaged_is_refused(files, capsys, run_folder, key, value, part):
    run = run_folder("mine")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["identity"]["image_text_model"][key] = value
    (run / "manifest.json").write_text(json.dumps(manifest))
    err = refused(capsys, "mine", "--metrics", "clip_score")
    assert f"mine/manifest.json: identity.image_text_model.{part}" in err and "choose one with --image-text-model" in err


def test_systems_of_the_same_name_from_two_places_do_not_share_a_folder(files, capsys):
    for place in ("a", "b"):
        (files / place).mkdir()
        shutil.copy(f"{'good' if place == 'a' else 'poor'}.json", files / place / "preds.json")
    common = ["--references", "refs.json", *FAST, "--output", "out"]
    evaluate(capsys, "a/preds.json", "fair.json", *common)
    assert "out/preds: holds the scores of " in refused(capsys, "b/preds.json", "fair.json", *common)


def test_run_that_was_moved_is_scored_where_it_lies_now(files, capsys, run_folder):
    run_folder("mine")
    evaluate(capsys, "mine", "--metrics", "repetition")
    (files / "mine").rename(files / "moved")
    (files / "moved" / "predictions.jsonl").write_text(
        (files / "moved" / "predictions.jsonl").read_text().replace("a mine", "the mine")
    )
    evaluate(capsys, "moved", "--metrics", "repetition")
    (files / "moved" / "metrics.json").write_text("[]")
    assert "moved/metrics.json: must hold a JSON object, but holds '[]'; delete it" in refused(
        capsys, "moved", "--metrics", "repetition"
    )


@pytest.mark.parametrize("systems", ["ru*/one", "run/one", "run/../run/one/"])
def test_points_of_a_sweep_do_not_share_a_run_folder(files, capsys, run_folder, systems):
    run_folder("run/one")
    assert "all points of the sweep would write into this folder" in refused(
        capsys, "-m", systems, "--metrics", "repetition", "bootstrap.seed=1,2"
    )


def test_points_of_a_sweep_over_how_a_file_is_scored_have_folders_of_their_own(files, capsys):
    evaluate(capsys, "-m", "good.json", "--metrics", "repetition", "bootstrap.seed=1,2")
    assert len(list((files / "runs" / "evaluate").iterdir())) == 2


def test_clip_score_of_a_run_is_by_its_own_model_unless_one_is_chosen(files, capsys, run_folder, tiny_clip_folder, tiny_photos):
    run_folder("mine")
    out = evaluate(capsys, "mine", "--metrics", "clip_score", "bootstrap.samples=0").out
    assert (
        f"CLIPScore uses {tiny_clip_folder}, the image-text model of mine; for another one, give --image-text-model NAME."
        in " ".join(out.split())
    )
    found = document(files / "mine")
    assert found["image_text_model"]["of_run"] == "mine" and found["tools"]["clip_score"]["image_text_model"]["source"] == str(
        tiny_clip_folder
    )
    evaluate(capsys, "mine", "--metrics", "repetition", "bootstrap.samples=0")
    assert document(files / "mine")["image_text_model"] == found["image_text_model"]  # as is CLIPScore
    (files / "preds.json").write_text(json.dumps({photo.stem: "a photo" for photo in tiny_photos.iterdir()}))
    out = evaluate(
        capsys,
        "mine",
        "preds.json",
        "--images",
        str(tiny_photos),
        "--metrics",
        "clip_score",
        "bootstrap.samples=0",
        "--format",
        "json",
    ).out
    assert {system["image_text_model"]["of_run"] for system in json.loads(out)["systems"]} == {"mine"}
    chosen = evaluate(capsys, "mine", "--metrics", "clip_score", "--image-text-model", "clip_vit_b32", status=3)
    assert "openai/clip-vit-base-patch32: not in the local cache" in " ".join(chosen.out.split())


def test_model_of_a_run_that_is_gone_or_has_changed_scores_nothing(files, capsys, run_folder):
    run_folder("gone", model=files / "nowhere")
    run_folder("changed", digests={"model.safetensors": "0" * 64})
    for name, part in (
        ("gone", "nowhere, no longer exists"),
        ("changed", "are not those that changed was made with; choose one with --image-text-model"),
    ):
        out = " ".join(evaluate(capsys, name, "--metrics", "clip_score,repetition", status=3).out.split())
        assert (
            part in out and "rep-2" in out and "CLIPScore uses" not in out and document(files / name)["image_text_model"] is None
        )
    both = evaluate(capsys, "gone", "changed", "--metrics", "clip_score,repetition", status=3)
    assert (
        "the runs were made with different image-text models (gone: " in both.err
        and "so CLIPScore uses openai/clip-vit-base-patch32" in both.err
    )


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv", "json"])
def test_reason_why_a_metric_did_not_run_is_printed_once(files, capsys, form):
    out, err = evaluate(capsys, "good.json", "--metrics", "clip_score,repetition", "--format", form, status=3)
    reason = "give their folder with"
    on_stdout = " ".join(out.split()).count(reason)
    if form in ("csv", "json"):
        assert err.count("magic: clip_score not run: clip_score needs the images: ") == err.count(reason) == 1 and on_stdout == (
            form == "json"
        )
    else:
        assert on_stdout == 1 and reason not in err and "magic: clip_score: not scored, for the reason below the table\n" in err


def test_several_systems_are_compared_with_the_first(files, capsys):
    names = ["good.json", "fair.json", "poor.json"]
    out = evaluate(capsys, *names, "--references", "refs.json", "--compare", *FAST, "--output", "out").out
    words = " ".join(out.split())
    assert out.startswith("the others minus good\n") and "\nfair minus good\n" in out and "\npoor minus good\n" in out
    assert "Holm: corrected for the 2 systems that are compared with good, not for several measures" in words
    found = json.loads((files / "out" / "poor" / "comparison.json").read_text())
    rows = {(row["second_system"], row["measure"]): row for row in found["measures"]}
    assert found["systems"] == ["good", "fair", "poor"] and {row["first_system"] for row in found["measures"]} == {"good"}
    fair, poor = rows["fair", "rouge_l"], rows["poor", "rouge_l"]
    assert poor["difference"] < fair["difference"] < 0 and poor["difference"] == pytest.approx(poor["second"] - poor["first"])
    low, high = sorted([fair, poor], key=lambda row: row["p_value"])
    assert low["p_holm"] == min(1, 2 * low["p_value"]) and high["p_holm"] == max(low["p_holm"], high["p_value"])
    pair = evaluate(capsys, "good.json", "poor.json", "--references", "refs.json", "--compare", *FAST, "--output", "pair").out
    assert pair.startswith("poor minus good\n") and "difference: poor minus good; 12 items" in pair and "Holm" not in pair
    [of_pair] = [
        row
        for row in json.loads((files / "pair" / "poor" / "comparison.json").read_text())["measures"]
        if row["measure"] == "rouge_l"
    ]
    assert of_pair["p_value"] == of_pair["p_holm"] == poor["p_value"]
    refused(capsys, "good.json", "--references", "refs.json", "--compare", *FAST)


def test_counts_of_one_are_singular(files, capsys):
    (files / "one.json").write_text('{"0": "a dog"}')
    assert (
        "one: 1 caption scored; 11 images without a caption"
        in evaluate(capsys, "one.json", "--references", "refs.json", *FAST).out
    )


def test_note_says_why_the_cider_of_a_single_image_is_0(files, capsys):
    (files / "one.json").write_text('{"0": "a dog"}')
    words, note = ("--references", "refs.json", "--metrics", "cider"), "of a single image it is always 0"
    assert note in " ".join(evaluate(capsys, "one.json", *words).out.split())
    assert note not in " ".join(evaluate(capsys, "good.json", *words).out.split())


def test_table_takes_references(files, capsys):
    assert (
        main(["table", "1", "--row", "coco/magic=good.json", "--references", "refs.json", "--metrics", "bleu", "--format", "csv"])
        == 0
    )
    assert ",magic,bleu_1,100.0," in capsys.readouterr().out
