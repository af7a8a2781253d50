"""Photos, annotations and titles that change between two starts of a run: all files of the run agree, and what went is said."""

import json
import shutil
from pathlib import Path

import fsspec
import pytest

from magic_cli.cli.main import main
from tests.files import lines

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def held(folder):
    """Ids in each file of a caption run; the manifest's counts."""
    exports = {name: json.loads((folder / name).read_text()) for name in ("coco_results.json", "released_format.json")}
    return {
        "predictions": [record["id"] for record in lines(folder / "predictions.jsonl")],
        "coco": [record["image_id"] for record in exports["coco_results.json"]],
        "released": [record["image_name"] for record in exports["released_format.json"]],
        "counts": json.loads((folder / "manifest.json").read_text())["counts"]["predictions"],
        **(
            {"trace": list(dict.fromkeys(step["id"] for step in lines(folder / "trace.jsonl")))}
            if (folder / "trace.jsonl").exists()
            else {}
        ),
    }


@pytest.mark.parametrize("trace", [True, False])
def test_removed_photo_leaves_the_run_and_is_back_when_it_is(trace, tiny_photos, models, tmp_path, capsys):
    shutil.copytree(tiny_photos, tmp_path / "photos")
    words = ["caption", "--images", "photos", *models, "run.dir=out", "run.workers=0", f"run.trace={trace}"]
    assert main(words) == 0
    whole, names = lines(tmp_path / "out" / "predictions.jsonl"), sorted(file.name for file in tiny_photos.iterdir())
    assert main(["evaluate", "out", "--metrics", "repetition"]) == 0
    for name in names[:2]:
        (tmp_path / "photos" / name).unlink()
    capsys.readouterr()
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert f"2 images are no longer in the dataset; their captions are moved to out/dropped.jsonl, e.g. {names[0]}" in err
    assert "metrics.json, per_item.jsonl scored other captions and are deleted; run `magic evaluate out`" in err
    assert "4 captions; nothing new; run folder: out" in err and [line.split("\t")[0] for line in out.splitlines()] == names[2:]
    found = held(tmp_path / "out")
    assert found.pop("counts") == 4 and all(ids == names[2:] for ids in found.values()) and len(found) == 3 + trace
    assert not (tmp_path / "out" / "metrics.json").exists() and not (tmp_path / "out" / "per_item.jsonl").exists()
    assert lines(tmp_path / "out" / "dropped.jsonl") == whole[:2]
    assert main(["evaluate", "out", "--metrics", "clip_score", *models[1:3]]) == 0, "no image is missing"

    shutil.copy(tiny_photos / names[0], tmp_path / "photos")
    shutil.copy(tiny_photos / names[2], tmp_path / "photos" / names[1])  # another photo under the name of one that went
    capsys.readouterr()
    assert main(words) == 0
    assert ("1 caption taken back from out/dropped.jsonl, " + names[0] in capsys.readouterr().err) == (not trace)
    again = {record["id"]: record for record in lines(tmp_path / "out" / "predictions.jsonl")}
    assert set(again) == set(names) and again[names[0]] == whole[0] and again[names[1]]["caption"] == again[names[2]]["caption"]
    assert lines(tmp_path / "out" / "dropped.jsonl") == [], "all are predictions again"
    found = held(tmp_path / "out")
    assert found.pop("counts") == 6 and all(sorted(ids) == names for ids in found.values())


def test_image_behind_an_address_is_not_asked_for_again(tiny_photos, models, capsys, monkeypatch):
    system, photos, asked = fsspec.filesystem("memory"), sorted(tiny_photos.iterdir())[:2], []
    read = type(system).cat_file
    monkeypatch.setattr(type(system), "cat_file", lambda self, path, **limits: asked.append(path) or read(self, path, **limits))
    for name, photo in zip(("1.jpg", "2.jpg"), photos, strict=True):
        system.pipe(f"/resumed/{name}", photo.read_bytes())
        asked.clear(), capsys.readouterr()
        assert main(["caption", "--images", "memory://resumed", *models, "run.dir=out", "run.workers=0", "run.batch_size=1"]) == 0
        assert set(asked) == {f"/resumed/{name}"}
    assert (
        "1 caption of an image behind an address stays: whether such images have changed is not asked" in capsys.readouterr().err
    )
    system.rm("/resumed", recursive=True)


@pytest.mark.parametrize("cache", [True, False])
def test_finished_images_behind_addresses_are_not_fetched_for_the_rest_of_their_batch(
    cache, tiny_photos, models, capsys, monkeypatch
):
    system, photos, asked = fsspec.filesystem("memory"), sorted(tiny_photos.iterdir())[:3], []
    read = type(system).cat_file
    monkeypatch.setattr(type(system), "cat_file", lambda self, path, **limits: asked.append(path) or read(self, path, **limits))
    words = ["caption", "--images", "memory://partly", *models, "run.workers=0", "run.batch_size=3", "run.trace=true"]
    words += [f"run.cache_images={str(cache).lower()}"]
    for name, photo in zip(("1.jpg", "2.jpg", "3.jpg"), photos, strict=True):
        system.pipe(f"/partly/{name}", photo.read_bytes())
    assert main([*words, "run.dir=whole"]) == 0
    system.pipe("/partly/2.jpg", b"not there yet")
    assert main([*words, "run.dir=out"]) == 3
    system.pipe("/partly/2.jpg", photos[1].read_bytes())
    asked.clear()
    assert main([*words, "run.dir=out"]) == 0
    assert set(asked) == ({"/partly/2.jpg"} if cache else {"/partly/1.jpg", "/partly/2.jpg", "/partly/3.jpg"})
    assert Path("out/predictions.jsonl").read_bytes() == Path("whole/predictions.jsonl").read_bytes()
    steps = [[step for step in lines(Path(run, "trace.jsonl")) if step["id"] == "2.jpg"] for run in ("out", "whole")]
    assert steps[0] == steps[1], "to the last digit: it was written beside the same others"
    system.rm("/partly", recursive=True)


def test_changed_image_is_captioned_again(tiny_photos, models, tmp_path, capsys):
    first, second = sorted(tiny_photos.iterdir())[:2]
    shutil.copy(first, tmp_path / "photo.jpg")
    words = ["caption", "--image", "photo.jpg", *models, "run.dir=out"]
    assert main(words) == 0
    before = lines(tmp_path / "out" / "predictions.jsonl")
    shutil.copy(second, tmp_path / "photo.jpg")
    capsys.readouterr()
    assert main(words) == 0
    [after] = lines(tmp_path / "out" / "predictions.jsonl")
    assert after["image_sha256"] != before[0]["image_sha256"]
    assert "1 image has changed since it was captioned" in capsys.readouterr().err
    (tmp_path / "photo.jpg").write_text("no picture any more")
    assert main(words) == 3
    assert lines(tmp_path / "out" / "predictions.jsonl") == []
    assert [f["id"] for f in lines(tmp_path / "out" / "failures.jsonl")] == ["photo.jpg"]


def test_one_image_is_counted_as_one(tiny_photos, models, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    first, second, *_ = sorted(tiny_photos.iterdir())
    for photo in (first, second):
        shutil.copy(photo, tmp_path / "photos")
    words = ["caption", "--images", "photos", *models, "run.dir=out", "run.workers=0"]
    assert main(words) == 0
    (tmp_path / "photos" / first.name).unlink()
    capsys.readouterr()
    assert main([*words, "run.trace=true"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"magic: 1 image is no longer in the dataset; its caption is moved to out/dropped.jsonl, {first.name}",
        "magic: 1 image was captioned without trace earlier; for its trace, set another run.dir",
        "magic: 1 caption; nothing new; run folder: out",
    ]


def test_new_references_reach_every_file_and_no_caption_is_written_again(tiny_photos, models, tmp_path, capsys):
    names = sorted(file.name for file in tiny_photos.iterdir())

    def annotate(text, count):
        document = {"images": [{"id": i, "file_name": n, "split": "test"} for i, n in enumerate(names)],
                    "annotations": [{"image_id": i, "caption": f"{text} {i}"} for i in range(count)]}  # fmt: skip
        (tmp_path / "captions.json").write_text(json.dumps(document))

    words = [
        "caption",
        "--dataset",
        "coco_captions",
        "dataset.annotations=captions.json",
        f"dataset.root={tiny_photos}",
        *models,
        "run.workers=0",
    ]
    annotate("old", 6)
    assert main([*words, "run.dir=out"]) == 0
    annotate("new", 5)
    assert main([*words, "run.dir=out"]) == main([*words, "run.dir=fresh"]) == 0
    for name in ("predictions.jsonl", "coco_results.json", "released_format.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["sessions"][1]["work"] == {}


def test_exports_of_a_finished_run_go_when_its_captions_change(tiny_photos, models, tmp_path, capsys):
    shutil.copytree(tiny_photos, tmp_path / "photos")
    words = ["caption", "--images", "photos", *models, "run.dir=out", "run.workers=0"]
    assert main(words) == 0
    first, second, *_ = sorted((tmp_path / "photos").iterdir())
    shutil.copy(first, second)
    assert main([*words, "language_model.path=null", "language_model.name=embedded"]) == 2, "another run: nothing is touched"
    assert (tmp_path / "out" / "coco_results.json").exists()
    (tmp_path / "out" / "coco_results.json").write_text("[]")
    assert main(words) == 0
    assert len(held(tmp_path / "out")["coco"]) == 6


def test_titles_and_images_that_went_leave_the_stories(tiny_photos, models, tmp_path, capsys):
    photos = sorted(tiny_photos.iterdir())

    def ask(titles, images):
        (tmp_path / "titles.txt").write_text("".join(f"{title}\n" for title in titles))
        found = [{"id": "0", "query": "A red bus", "images": [{"image": str(photo)} for photo in photos[:images]]}]
        found.append({"id": "1", "query": "The dog", "images": [{"image": str(photos[4])}]})
        (tmp_path / "retrieved.jsonl").write_text("".join(json.dumps(record) + "\n" for record in found))

    words = [
        "story",
        "--titles",
        "titles.txt",
        "--retrieved",
        "retrieved.jsonl",
        *models,
        "prompt=null",
        "decoding.decoding_len=20",
        "run.dir=out",
    ]
    ask(["A red bus", "The dog"], 3)
    assert main(words) == 0
    ask(["A red bus"], 2)
    assert main(words) == 0
    err = capsys.readouterr().err
    assert (
        "2 titles or images are no longer in the data set; their stories are moved to out/dropped.jsonl, e.g. 1#3" in err
        and "2 stories; nothing new; run folder" in err
    )
    assert [record["id"] for record in lines(tmp_path / "out" / "predictions.jsonl")] == ["1#1", "1#2"]
    released = json.loads((tmp_path / "out" / "released_format.json").read_text())["evaluation_result"]
    assert [list(entry["generated_result"]) for entry in released] == [["0", "1"]]
