"""magic evaluate on runs of texts and images in turn: their own metrics, intervals over items, comparison, and what is refused."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from magic_cli.cli.main import main
from tests.files import lines

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def write_run(folder, noise, *, texts=True, images=True, drop_image=None):
    """A run folder as `magic interleave` writes it: six stories of two steps, the truth in shared/, drawn images ``noise`` away from it."""
    rng = np.random.default_rng(3)
    (folder / "images").mkdir(parents=True)
    truth = folder.parent / "truth"
    truth.mkdir(exist_ok=True)
    records = []
    for story in range(6):
        steps = []
        for step in range(2):
            colour = rng.integers(30, 220, (4, 4, 3))
            true, drawn = truth / f"{story}-{step}.png", f"images/{story}-{step}.png"
            Image.fromarray(colour.astype(np.uint8)).resize((32, 32)).save(true)
            pixels = (colour + np.random.default_rng(story).normal(0, noise, colour.shape)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).resize((32, 32)).save(folder / drawn)
            answer = f"scene {step} of story {story} is red and blue"
            target = [
                *([{"text": answer}] if texts else []),
                *([{"image": str(true), "caption": answer, "sha256": "0"}] if images else []),
            ]
            text = (answer if noise < 50 else f"something else {story}") if texts else ""
            has_image = images and (story, step) != drop_image
            steps.append({
                "parts": [{"text": "What next?", "once": True}], "target": target, "text": text,
                "image": drawn if has_image else None, "image_sha256": hashlib.sha256((folder / drawn).read_bytes()).hexdigest() if has_image else None,
                "token_ids": [1, 2],
            })  # fmt: skip
        records.append({"id": f"s{story}", "text": " ".join(step["text"] for step in steps), "steps": steps})
    (folder / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    manifest = {
        "identity": {"task": "interleave"},
        "status": "complete",
        "counts": {"planned": 7, "failed": 1},
        "sessions": [],
        "models": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def clip(tiny_clip_folder):
    return ["image_text_model=clip_vit_b32", f"image_text_model.path={tiny_clip_folder}"]


def test_runs_of_answers_are_scored_and_compared(tmp_path, clip, capsys):
    near, far = write_run(tmp_path / "near", 5), write_run(tmp_path / "far", 90, drop_image=(2, 1))
    names = "clip_i,clip_t,fid_image_text,bleu_words,bleu_characters,rouge_f,meteor,mm_relevance_minigpt5,mm_relevance_mmdialog"
    assert main(["evaluate", str(near), str(far), "--compare", "--metrics", names, "bootstrap.samples=200", *clip]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "CLIP-I" in out and "6 items scored; 1 item without an answer (not scored); 12 steps" in out
    assert "1 of 12 steps with a true image drew none, and is left out of image scores" in out
    scores = json.loads((near / "metrics.json").read_text())
    measures = scores["metrics"]
    fid = next(key for key in measures if key.startswith("fid_"))
    assert (
        fid != "fid_image_text"
        and measures[fid]["interval"]
        and not measures[fid]["higher_is_better"]
        and scores["texts"] == "answers"
    )
    assert measures["meteor"]["value"] == pytest.approx(1) and measures["bleu_words_2"]["value"] == pytest.approx(1)
    assert all(
        low <= measures[key]["value"] + 1e-9 and measures[key]["value"] <= high + 1e-9
        for key in measures
        if key != fid
        for low, high in [measures[key]["interval"]]
    )
    compared = {row["measure"]: row for row in json.loads((near / "comparison.json").read_text())["measures"]}
    assert compared.keys() == measures.keys() and compared["meteor"]["difference"] < 0 < compared[fid]["difference"]
    assert compared["mm_relevance_minigpt5"]["second"] < compared["mm_relevance_minigpt5"]["first"]
    records = lines(far / "per_item.jsonl")
    assert [record["id"] for record in records] == [f"s{i}" for i in range(6)] and all(
        record["meteor"] < 0.5 for record in records
    )


def test_metrics_are_chosen_by_what_the_truth_has(tmp_path, clip, capsys):
    run = write_run(tmp_path / "pictures", 5, texts=False)
    assert main(["evaluate", str(run), "bootstrap.samples=0", *clip]) == 0
    assert "scored by clip_i, clip_t, fid_image_text; choose others" in capsys.readouterr().err
    assert set(json.loads((run / "metrics.json").read_text())["tools"]) == {"clip_i", "clip_t", "fid_image_text"}
    assert main(["evaluate", str(run), "--metrics", "bleu_words,fid,meteor", *clip]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "bleu_words not run: bleu_words compares texts with true ones, and no step of pictures has them" in out
    assert "fid not run: fid needs the weights of the Inception network of 2015" in out and "metrics.fid.weights=FILE" in out
    assert "meteor not run: meteor compares texts with true ones, and pictures has none" in out


def test_changed_images_are_other_items_and_other_truth_is_no_comparison(tmp_path, clip, capsys):
    run = write_run(tmp_path / "run", 5)
    command = ["evaluate", str(run), "--metrics", "clip_i", "bootstrap.samples=0", *clip]
    assert main(command) == 0 and main(command) == 0
    assert "in place of" not in capsys.readouterr().err
    records = lines(run / "predictions.jsonl")
    records[0]["steps"][0]["image_sha256"] = "another"
    (run / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(command) == 0 and "in place of the scores of other captions, references or images" in capsys.readouterr().err
    records[1]["steps"][1]["target"][1]["image"] = records[0]["steps"][0]["target"][1]["image"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(["evaluate", str(run), str(other), "--compare", "--metrics", "clip_i", *clip]) == 2
    assert "run and other have other true images for 's1'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([], "steps must be a list of answers, got '[]'"),
        ([{"image": "a.png"}], "step 1: must be an answer with a text"),
        ([{"text": "a", "image": 3}], "step 1: image must be a text, got '3'"),
        ([{"text": "a", "target": [{"sound": "b"}]}], "step 1: target must be a list of texts and images"),
    ],
)
def test_damaged_answers_are_one_line(tmp_path, capsys, steps, told):
    (tmp_path / "predictions.jsonl").write_text(json.dumps({"id": "s", "text": "a", "steps": steps}) + "\n")
    assert main(["evaluate", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert told in err and "(id 's')" in err and err.count("\n") == 1
