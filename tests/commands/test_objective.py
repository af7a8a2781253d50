"""``run.objective``: what would keep a measure from being taken is said before a model loads, in one line."""

import importlib.util
import json
from pathlib import Path

import pytest

from magic_cli.cli.main import main

pytestmark = pytest.mark.usefixtures("in_tmp_path")


@pytest.fixture(autouse=True)
def inputs(tiny_photos, tmp_path):
    """``some.json``: references for all photos but the last; titles without stories and with one."""
    names = sorted(file.name for file in tiny_photos.iterdir())
    images = [{"id": i, "file_name": name} for i, name in enumerate([*names, "gone.jpg"])]
    for name, count in (("some.json", 5), ("all.json", 6)):
        annotations = [{"image_id": i, "caption": "a dog in the park"} for i in range(count)]
        (tmp_path / name).write_text(json.dumps({"images": images, "annotations": annotations}))
    (tmp_path / "titles.txt").write_text("A red bus\nThe dog\n")
    (tmp_path / "stories.txt").write_text("A red bus\tIt drove.\nThe dog\tIt ran.\n")
    (tmp_path / "photos").symlink_to(tiny_photos)


PHOTOS = ["caption", "--images", "photos"]
STORIES = ["story", "--titles", "stories.txt", "--decoding", "contrastive"]
ANNOTATED = ["caption", "--dataset", "coco_captions", "dataset.root=photos"]


@pytest.mark.parametrize(
    ("words", "key", "message"),
    [
        (
            PHOTOS,
            "cider",
            "dataset=photos has no references; choose a dataset that has them, or a measure that needs none (clip_score, ",
        ),
        ([*PHOTOS, "-m", "decoding.alpha=0.1,0.2,0.3"], "bleu_4", "dataset=photos has no references"),
        ([*PHOTOS, "run.repeats=2", "--decoding", "nucleus"], "ref_clip_score", "dataset=photos has no references"),
        (
            [*ANNOTATED, "dataset.annotations=some.json"],
            "rouge_l",
            "dataset=coco_captions has no references for 1 of 6 items, e.g. 5",
        ),
        (PHOTOS, "coherence", "coherence compares stories with their titles, and dataset=photos has none"),
        ([*STORIES[:1], "--titles", "titles.txt", *STORIES[3:]], "meteor", "dataset=titles has no references"),
        (STORIES, "clip_score", "clip_score needs the images: dataset=titles names none for 2 of 2 captions"),
        (STORIES, "coherence", "metrics.coherence.model.name=princeton-nlp/sup-simcse-bert-base-uncased: not in the local cache"),
        (
            [*PHOTOS, "--decoding", "greedy", "image_text_model=clip_vit_b32"],
            "clip_score",
            "image_text_model.name=openai/clip-vit-base-patch32: not in the local cache",
        ),
        ([*ANNOTATED, "dataset.annotations=all.json"], "spice", "MAGIC_SPICE_LIB=nowhere: no stanford-corenlp-3.6.0.jar"),
        ([*ANNOTATED, "dataset.annotations=none.json"], "cider", "dataset.annotations=none.json: no such file"),
    ],
)
def test_measure_that_could_not_be_taken_is_one_line_before_anything_loads(words, key, message, monkeypatch, capsys):
    monkeypatch.setenv("MAGIC_SPICE_LIB", "nowhere")
    assert main([*words, f"run.objective={key}"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1 and not Path("runs").exists()
    assert err.startswith(f"magic: run.objective={key}: ") or "none.json" in message


@pytest.mark.parametrize("key", ["cider", "meteor"])
def test_missing_java_is_noticed_before_anything_loads(key, monkeypatch, capsys):
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    assert main([*ANNOTATED, "dataset.annotations=all.json", f"run.objective={key}"]) == 2
    err = capsys.readouterr().err
    assert (
        err.startswith(f"magic: run.objective={key}: JAVA_HOME=/nowhere: ") and err.count("\n") == 1 and not Path("runs").exists()
    )


def test_missing_package_is_noticed_before_anything_loads(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "mauve" else find(name, *rest))
    assert main([*STORIES, "run.objective=mauve"]) == 2
    assert capsys.readouterr().err.startswith("magic: run.objective=mauve: mauve needs the package mauve-text")


def test_run_whose_missing_photo_gets_no_caption_is_measured(models, capsys):
    assert main([*ANNOTATED, "dataset.annotations=all.json", *models, "run.workers=0", "run.objective=rep_2", "run.dir=out"]) == 3
    assert (
        main([*ANNOTATED, "dataset.annotations=all.json", *models, "run.workers=0", "run.objective=clip_score", "run.dir=out"])
        == 3
    )
    assert (
        main(
            [
                *ANNOTATED,
                "dataset.annotations=all.json",
                *models,
                "run.workers=0",
                "run.objective=clip_score",
                "run.dir=auto",
                "run.batch_size=auto",
            ]
        )
        == 3
    )
    scores = [json.loads(Path(folder, "metrics.json").read_text())["metrics"]["clip_score"] for folder in ("out", "auto")]
    assert scores[0] == scores[1]
    assert {"rep_2", "clip_score"} < json.loads(Path("out/metrics.json").read_text())["metrics"].keys()
