"""``magic interleave`` run again: the same bytes, other orders and seeds, files that have changed."""

import json
import re
import shutil
from pathlib import Path

import numpy as np

from tests.commands.interleaving import files, pixels, predictions, run, stories, texts, words, write_items  # noqa: F401  fixtures


def test_stories_are_the_same_bytes_when_run_again(words, stories, capsys):
    for folder in ("a", "b"):
        run(words, "--items", stories, f"run.dir={folder}", status=3)
    assert files("a") == files("b") and len(files("a")) == 3 + 8
    assert "magic: no text for lost: " in (err := capsys.readouterr().err) and "photos/lost.jpg: no such file" in err
    assert re.search(r"magic: 4 texts with images, 1 item could not be written; 4 new in .+ s.*; run folder: b\n$", err)
    assert [len(one["steps"]) for one in predictions("a").values()] == [3, 2, 1, 2]
    before = files("a")
    run(words, "--items", stories, "run.dir=a", status=3)  # nothing is left to do
    assert files("a") == before and "language_model" not in json.loads(Path("a/manifest.json").read_text())["sessions"][1]


def test_neither_order_nor_batch_changes_an_item(words, stories, tmp_path):
    run(words, "--items", stories, "history=self", "run.dir=a", status=3)
    records = [json.loads(line) for line in stories.read_text().splitlines()]
    backwards = write_items(tmp_path / "backwards.jsonl", records[::-1])
    run(words, "--items", backwards, "history=self", "run.dir=b", "run.batch_size=2", status=3)
    one, other = predictions("a"), predictions("b")
    assert one.keys() == other.keys() and list(one) == list(other)[::-1]
    for item in one:
        assert texts(one[item]) == texts(other[item])
        for drawn, again in zip(pixels("a", one[item]), pixels("b", other[item]), strict=True):
            assert np.abs(drawn - again).max() <= 1  # of 256 levels: float32 rounds otherwise beside other rows


def test_another_seed_draws_anew_and_its_runs_have_their_own_folders(words, capsys):
    run(words, "--part", "A dog", "run.repeats=2", "run.dir=out", "decoding=greedy")
    one, two = (predictions(f"out/repeat-{n}")["parts"] for n in (1, 2))
    assert texts(one) == texts(two) and one["steps"][0]["image_sha256"] != two["steps"][0]["image_sha256"]


def test_changed_files_are_written_again_and_nothing_else_is(words, stories, tiny_photos, tmp_path, capsys):
    run(words, "--items", stories, "run.dir=out", status=3)
    before, old = files("out"), predictions("out")
    shutil.copy(tiny_photos / "noise.jpg", tmp_path / "photos" / "disc.jpg")  # the past of walk's second step
    (tmp_path / "out" / old["tree"]["steps"][0]["image"]).unlink()
    (tmp_path / "out" / "images" / "left-over-1.png").write_bytes(b"from a killed start")
    capsys.readouterr()
    run(words, "--items", stories, "run.dir=out", status=3)
    assert "magic: 2 items have changed since they were written and are written again, e.g. walk" in capsys.readouterr().err
    new = predictions("out")
    assert {item for item in old if old[item] != new[item]} == {"walk"} and texts(new["walk"])[1] != texts(old["walk"])[1]
    assert files("out").keys() == before.keys() and texts(new["walk"])[0] == texts(old["walk"])[0]


def test_true_answers_that_nobody_looked_at_are_brought_up_to_date(words, stories):
    run(words, "--items", stories, "run.dir=out", "history=self", status=3)
    old = predictions("out")
    records = [json.loads(line) for line in stories.read_text().splitlines()]
    records[1]["steps"][0]["target"][0]["text"] = "They sleep."
    run(words, "--items", write_items(stories, records), "run.dir=out", "history=self", status=3)
    new = predictions("out")
    assert new["walk"]["steps"][0]["target"][0] == {"text": "They sleep."} and texts(new["walk"]) == texts(old["walk"])
    assert json.loads(Path("out/manifest.json").read_text())["sessions"][1].get("work", {}) == {}


def test_item_that_is_gone_is_kept_aside_with_its_images(words, stories):
    run(words, "--items", stories, "run.dir=out", status=3)
    before, lines = files("out"), stories.read_text().splitlines(keepends=True)
    stories.write_text("".join(lines[:1] + lines[2:]))
    run(words, "--items", stories, "run.dir=out", status=3)
    assert "walk" not in predictions("out") and (Path("out") / "images" / "walk-2.png").is_file()
    stories.write_text("".join(lines))
    run(words, "--items", stories, "run.dir=out", status=3)
    assert files("out").keys() - {"dropped.jsonl"} == before.keys() and predictions("out").keys() == predictions("out").keys()
    assert (
        texts(predictions("out")["walk"])
        and json.loads(Path("out/manifest.json").read_text())["sessions"][2].get("work", {}) == {}
    )
