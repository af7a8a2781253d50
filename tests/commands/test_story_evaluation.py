"""Stories through ``magic evaluate`` and ``magic table``: runs and released files alike."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from magic_cli.cli.main import main
from magic_cli.data.images import open_image
from tests.reference.stories import cosine

STORIES = [
    ["A dog ran. It was fun.", "A red bus came. A dog ran.", "", "The man ate a pizza."],
    ["A cat sat.", "Two dogs ran over the grass. A dog ran.", "A plate of food.", "!"],
]
"""By image; one of each says nothing."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clip_words(tiny_clip_folder):
    return [f"image_text_model.path={tiny_clip_folder}", "run.threads=1"]


@pytest.fixture
def released(tmp_path, tiny_photos):
    """A file of MAGIC's, two images a title, named as the authors'."""
    photos = sorted(photo.name for photo in tiny_photos.iterdir())
    records = [
        {
            "prefix_text": f"Title {i} <|endoftext|>",
            "reference_continuation_text": f"Human story number {i}. A dog ran.",
            "generated_result": {
                str(rank): {"image_name": photos[(i + rank) % 6], "generated_continuation_text": STORIES[rank][i]}
                for rank in range(2)
            },
        }
        for i in range(4)
    ]
    file = tmp_path / "magic_k_5_alpha_0.6_beta_0.15_result.json"
    file.write_text(json.dumps({"evaluation_result": records}))
    return file


def test_clip_score_of_stories_clips_each_pair_and_knows_their_images(released, tiny_photos, clip_words, loaded_clip, capsys):
    words = [
        "evaluate",
        str(released),
        "--images",
        str(tiny_photos),
        "--metrics",
        "clip_score",
        "--format",
        "json",
        *clip_words,
        "bootstrap.samples=0",
    ]
    assert main([*words, "image_ranks=[1,2]"]) == 0
    systems = json.loads(capsys.readouterr().out)["systems"]
    assert [(s["n"], s["empty"], s["image_rank"]) for s in systems] == [(4, 1, 1), (4, 1, 2)]
    photos = sorted(tiny_photos.iterdir())
    for rank, system in enumerate(systems):
        with torch.inference_mode():
            wanted = []
            for i in range(4):
                story = STORIES[rank][i]
                image = loaded_clip.encode_images([open_image(photos[(i + rank) % 6])])[0]
                text = loaded_clip.encode_texts([f"A photo depicts {story}"])[0]
                wanted.append(2.5 * max(cosine(image, text), 0) if story.strip("!") else 0.0)
        assert system["metrics"]["clip_score"]["value"] == pytest.approx(np.mean(wanted), abs=1e-5)


def test_stories_of_a_run_are_scored_with_retrieved_images_and_beside_people_s(
    tmp_path, tiny_photos, tiny_language_model_folder, clip_words, capsys
):
    (tmp_path / "titles.txt").write_text("".join(f"The dog {i}\tA person told story {i}. It was fun.\n" for i in range(3)))
    retrieved = [
        {"id": str(i), "query": f"The dog {i}", "images": [{"image": str(p)}]}
        for i, p in enumerate(sorted(tiny_photos.iterdir())[:3])
    ]
    (tmp_path / "retrieved.jsonl").write_text("".join(json.dumps(line) + "\n" for line in retrieved))
    words = [
        "story",
        "--titles",
        "titles.txt",
        "--decoding",
        "nucleus",
        f"language_model.path={tiny_language_model_folder}",
        "prompt=null",
    ]
    assert main([*words, "decoding.decoding_len=30", "run.threads=1", "run.dir=run"]) == 0
    evaluate = [
        "evaluate",
        "run",
        "--metrics",
        "repetition,clip_score,coherence_minilm",
        "--human",
        "--format",
        "json",
        *clip_words,
    ]
    assert main(evaluate) == 3
    assert "clip_score needs the images: run names none for 3 of 3" in (captured := capsys.readouterr()).err, captured.err
    assert main([*evaluate, "--retrieved", "retrieved.jsonl"]) == 0
    run, human = json.loads(capsys.readouterr().out)["systems"]
    assert (run["system"], human["system"]) == ("run", "human") and run["n"] == human["n"] == 3
    assert run["metrics"]["clip_score"]["value"] != human["metrics"]["clip_score"]["value"]
    assert human["metrics"]["mean_length"]["value"] == 8
    assert (
        run["run"]["identity"]["task"] == "story" and "coherence_minilm" in run["metrics"] and "coherence" not in run["metrics"]
    )
    assert Path("run/metrics.json").is_file() and Path("run/per_item.jsonl").is_file()


def test_common_stories_keep_their_own_titles(tmp_path, capsys):
    records = [{"id": str(i), "title": f"Title {i}", "story": f"A dog ran {i} times."} for i in range(4)]
    for name, chosen in (("all", records), ("some", records[2:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in chosen))
    assert main(["evaluate", "all.jsonl", "some.jsonl", "--common", "--metrics", "repetition", "--output", "out"]) == 0
    for name in ("all", "some"):
        scored = [json.loads(line) for line in (tmp_path / "out" / name / "per_item.jsonl").read_text().splitlines()]
        assert [(line["id"], line["title"]) for line in scored] == [("2", "Title 2"), ("3", "Title 3")]


def test_mauve_of_a_small_file_is_stored_with_settings_seeds_and_model(released, tiny_language_model_folder, capsys):
    document = json.loads(released.read_text())
    document["evaluation_result"] = [*document["evaluation_result"]] * 4
    released.write_text(json.dumps(document))
    words = [
        "evaluate",
        str(released),
        "--metrics",
        "mauve",
        "--human",
        f"metrics.mauve.model.path={tiny_language_model_folder}",
        "--format",
        "json",
    ]
    pytest.importorskip("mauve")
    assert main(words) == 0
    magic, human = json.loads(capsys.readouterr().out)["systems"]
    assert 0 < magic["metrics"]["mauve"]["value"] <= 1 and magic["metrics"]["mauve_deviation"]["value"] >= 0
    assert human["metrics"]["mauve"]["value"] is None, "people are not compared with themselves"
    assert magic["settings"]["mauve"]["seeds"] == [25, 26, 27, 28, 29] and magic["settings"]["mauve"]["max_text_length"] == 256
    assert magic["tools"]["mauve"]["model"]["files"]["model.safetensors"]


def test_table_3_averages_images_and_runs_and_takes_human_scores(released, tmp_path, tiny_photos, clip_words, capsys):
    (tmp_path / "scored.json").write_text(json.dumps({"systems": {"magic": {"fluency": {"mean": 4.5}}}}))
    words = [
        "table",
        "3",
        str(released),
        "--metrics",
        "repetition,clip_score",
        "--images",
        str(tiny_photos),
        "--human-scores",
        "scored.json",
    ]
    assert main([*words, "--format", "csv", *clip_words]) == 0
    rows = {}
    for line in capsys.readouterr().out.splitlines()[1:]:
        _, _, row, measure, value = line.split(",")[:5]
        rows[row, measure] = value
    assert rows["magic", "human_fluency"] == "4.50" and rows["human", "mauve"] == "" and rows["magic", "mauve"] == ""
    assert rows["magic", "clip_score"] and rows["human", "clip_score"] and rows["magic_mean", "clip_score"]
    assert rows["magic", "clip_score"] != rows["magic_mean", "clip_score"]


def test_human_scores_belong_to_table_3(tmp_path, capsys):
    (tmp_path / "scored.json").write_text("{}")
    assert main(["table", "1", "--human-scores", "scored.json"]) == 2
    assert "human_scores=scored.json: belongs to table 3" in capsys.readouterr().err
