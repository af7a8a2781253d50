"""The image of each caption, by the names that find references: nothing is taken for another image, nothing is left out in silence."""

import json

import pytest

from magic_cli.data.image_lookup import ImageLookup
from magic_cli.data.predictions import read_system
from magic_cli.data.references import read_references
from magic_cli.data.system import Item, System
from magic_cli.errors import SettingsError
from magic_cli.evaluation.corpora import build_corpus
from magic_cli.evaluation.found_images import images_of_captions
from magic_cli.files import sha256
from magic_cli.metrics.base import MetricUnavailable
from magic_cli.metrics.clip_score import ClipScore
from magic_cli.metrics.image_text import ImageTextFeatures


@pytest.fixture
def photos(tmp_path):
    """``photos("a.jpg", "sub/b.jpg")`` makes a folder of such files."""

    def make(*names):
        for name in names:
            file = tmp_path / "photos" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        return tmp_path / "photos"

    return make


def found(tmp_path, folder, predictions, references=None):
    """The images of predictions, below the folder."""
    file = tmp_path / "preds"
    file.write_text(predictions if isinstance(predictions, str) else json.dumps(predictions))
    if references is not None:
        (tmp_path / "refs.json").write_text(json.dumps(references))
        references = read_references(tmp_path / "refs.json")
    corpus, _ = build_corpus(
        read_system(file), references, images=ImageLookup(str(folder)), drop_unmatched=False, needs_references=False
    )
    return corpus


@pytest.mark.parametrize(
    ("prediction", "file"),
    [
        ({"cat": "a cat"}, "cat.jpg"),
        ({"cat": "a cat"}, "pets/old/cat.JPEG"),
        ([{"image_id": 42, "caption": "x"}], "COCO_val2014_000000000042.jpg"),
        ([{"image_id": 42, "caption": "x"}], "val2014/COCO_val2014_000000000042.jpg"),
        ([{"image_id": 42, "caption": "x"}], "000000000042.jpg"),
        ([{"image_id": 42.0, "caption": "x"}], "42.png"),
        ("image_id,caption\n42.0,x\n", "42.jpg"),
        ("image,caption\nC:\\data\\photos\\cat.jpg,x\n", "cat.jpg"),
        ("image,caption\nC:\\data\\pets\\cat.JPG,x\n", "pets/cat.jpg"),
        ([{"id": 0, "image": "/gone/pets/cat.png", "caption": "x"}], "pets/cat.jpg"),
        ([{"id": 0, "image": "cat", "caption": "x"}], "cat.webp"),
        ([{"id": 0, "photo": "cat.jpg", "caption": "x"}], "cat.jpg"),
        ({"Ka\u0308se.jpg": "x"}, "K\u00e4se.jpg"),
        ({"K\u00e4se": "x"}, "Ka\u0308se.jpg"),
        ({"42": "x"}, "42"),
        ([{"id": 0, "image_name": "cat.jpg", "file_path": "/gone/pets/", "caption": "x"}], "pets/cat.jpg"),
        ([{"id": 0, "image_name": "cat.jpg", "file_path": "/gone/pets/cat.jpg", "caption": "x"}], "pets/cat.jpg"),
    ],
)
def test_image_is_found_by_any_of_its_names(tmp_path, photos, prediction, file):
    folder = photos(file, "other.jpg", "cat.txt", ".hidden/cat.jpg", "._cat.jpg", "pets/._cat.jpg")
    assert found(tmp_path, folder, prediction).images == (folder / file,)


def test_fuller_names_win(tmp_path, photos):
    folder = photos("cat.jpg", "a/cat.jpg", "b/cat.jpg", "b/cat.png", "c/dog.png")
    predictions = {"cat.jpg": "1", "x/a/cat.jpg": "2", "b\\cat.JPG": "3", "b/cat.png": "4", "q/dog": "5"}
    names = [file.relative_to(folder).as_posix() for file in found(tmp_path, folder, predictions).images]
    assert names == ["cat.jpg", "a/cat.jpg", "b/cat.jpg", "b/cat.png", "c/dog.png"]


@pytest.mark.parametrize(
    ("files", "prediction", "parts"),
    [
        (["a/cat.jpg", "b/cat.jpg"], {"cat": "x"}, ("'cat' of", "a/cat.jpg and ", "b/cat.jpg;")),
        (["cat.jpg", "cat.png"], {"cat": "x"}, ("'cat' of", "cat.jpg and ", "cat.png;")),
        (["42.jpg", "COCO_val2014_000000000042.jpg"], [{"image_id": 42, "caption": "x"}], ("'42' of", "42.jpg and ")),
        (["val/1.jpg"], {"train/1.jpg": "x", "val/1.jpg": "y"}, ("'train/1.jpg' and 'val/1.jpg' of", "both find ", "val/1.jpg")),
    ],
)
def test_name_that_fits_two_files_and_file_that_has_two_names_are_refused(tmp_path, photos, files, prediction, parts):
    with pytest.raises(SettingsError) as caught:
        found(tmp_path, photos(*files), prediction)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_name_of_the_image_counts_and_not_the_number_of_the_row(tmp_path, photos):
    folder = photos("0.jpg", "cat.jpg")
    corpus = found(
        tmp_path, folder, [{"id": 0, "image": "dog.jpg", "caption": "x"}, {"id": 1, "image": "cat.jpg", "caption": "y"}]
    )
    assert corpus.images == (folder / "dog.jpg", folder / "cat.jpg")
    assert not corpus.images[0].exists()


def test_references_may_name_the_image(tmp_path, photos):
    folder = photos("0.jpg", "val/cat.jpg")
    references = {"images": [{"id": 0, "file_name": "cat.jpg"}], "annotations": [{"image_id": 0, "caption": "r"}]}
    assert found(tmp_path, folder, [{"image_id": 0, "caption": "x"}], references).images == (folder / "val" / "cat.jpg",)


def test_story_s_title_number_is_no_image(tmp_path, photos):
    assert found(tmp_path, photos("1.jpg"), [{"id": 1, "title": "A day", "story": "x"}]).images == (None,)


def test_what_is_left_over_is_named_with_a_remedy(tmp_path, photos):
    folder = photos("cat.jpg")
    corpus = found(tmp_path, folder, {"cat": "x", "dog": "y", "C:\\p\\cow.jpg": "z"})
    metric = ClipScore()
    metric.connect(ImageTextFeatures(lambda: pytest.fail("work began")))
    with pytest.raises(MetricUnavailable) as caught:
        metric.score([corpus])
    assert str(caught.value) == (
        f"clip_score needs the images: 2 of the 3 images of preds are not below {folder} (dog, C:\\p\\cow.jpg); add them, or name another folder "
        f"than --images {folder}"
    )


def test_links_to_folders_are_followed_once(tmp_path, photos):
    folder = photos("real/cat.jpg")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "dog.jpg").touch()
    for name, target in (("linked", tmp_path / "elsewhere"), ("again", folder / "real"), ("loop", folder)):
        (folder / name).symlink_to(target)
    names = [file.resolve().name for file in found(tmp_path, folder, {"cat": "x", "dog": "y"}).images]
    assert names == ["cat.jpg", "dog.jpg"]


def test_folder_that_is_none_or_cannot_be_read_is_said(tmp_path, photos, monkeypatch):
    folder = photos("cat.jpg", "sub/dog.jpg")
    for name, part in (("photos/cat.jpg", "is a file; name the folder that holds it"), ("nowhere", "no such folder")):
        with pytest.raises(SettingsError, match=part):
            ImageLookup(str(tmp_path / name))
    searched = ImageLookup(str(folder))

    def denied(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    import os

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", denied)
    assert searched.find("dog") == () and searched.unread == [f"{folder / 'sub'} (Permission denied)"]
    assert found(tmp_path, folder, {"cat": "x"}).images == (folder / "cat.jpg",)
    with pytest.raises(SettingsError, match=r"cannot read .*sub \(Permission denied\)"):
        found(tmp_path, folder, {"cat": "x", "dog": "y"})


@pytest.mark.parametrize(
    ("file", "prediction", "name"),
    [
        ("train/1.jpg", {"val/1.jpg": "x"}, "val/1.jpg"),
        ("1.png", {"1.jpg": "x"}, "1.jpg"),
        ("train/1.jpg", [{"id": 7, "image": "/old/val/1.jpg", "caption": "x"}], "/old/val/1.jpg"),
    ],
)
def test_file_with_another_folder_or_suffix_is_told(tmp_path, photos, file, prediction, name):
    folder = photos(file)
    (tmp_path / "preds").write_text(json.dumps(prediction))
    lookup = ImageLookup(str(folder))
    corpus, coverage = build_corpus(
        read_system(tmp_path / "preds"), None, images=lookup, drop_unmatched=False, needs_references=False
    )
    assert corpus.images == (folder / file,)
    assert coverage.notes == (f"1 image has another folder or suffix below {folder}: {name!r} is taken for {file!r}",)


def test_image_under_a_key_that_may_mean_anything_is_the_last_that_is_looked_for(tmp_path, photos):
    folder = photos("1.png", "4.png")
    references = [{"image_id": 1, "image": "1.png", "references": ["r"]}]
    assert found(tmp_path, folder, [{"image_id": 1, "caption": "x", "heatmap": "4.png"}], references).images == (
        folder / "1.png",
    )
    assert found(tmp_path, folder, [{"image_id": 1, "caption": "x", "heatmap": "4.png"}]).images == (folder / "1.png",)
    assert found(tmp_path, folder, [{"image_id": "seven", "caption": "x", "shown": "4.png"}]).images == (folder / "4.png",)


def test_photo_that_has_changed_since_it_was_captioned_is_not_scored(tmp_path, photos):
    folder = photos("a.jpg", "b.jpg")
    run = tmp_path / "run"
    run.mkdir()
    records = [
        {"id": name, "image": str(folder / name), "image_sha256": sha256(folder / name), "caption": "x"}
        for name in ("a.jpg", "b.jpg")
    ]
    (run / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    metric = ClipScore()
    for system, images in ((run, None), (run, ImageLookup(str(folder))), (run / "predictions.jsonl", None)):
        (folder / "b.jpg").write_bytes(b"")
        corpus = build_corpus(read_system(system), None, images=images, drop_unmatched=False, needs_references=False)[0]
        metric.require([corpus])
        (folder / "b.jpg").write_bytes(b"another photo")
        if system != run:
            metric.require([corpus])  # a file of captions says nothing of what it was made from
            continue
        with pytest.raises(MetricUnavailable) as caught:
            metric.require([corpus])
        assert f"1 of the 2 files of run has changed since ({folder / 'b.jpg'}); start the run's command again" in str(
            caught.value
        )


@pytest.mark.parametrize(("manifest", "image"), [({}, "memory://b/1.jpg"), (None, "memory://b/1.jpg"), ({}, None)])
def test_address_is_followed_only_if_a_run_folder_names_it(manifest, image, tmp_path):
    (tmp_path / "refs.json").write_text(json.dumps([{"id": "1", "image": "memory://b/1.jpg", "references": ["x"]}]))
    references = read_references(tmp_path / "refs.json")
    item = Item("1", "a cat", image=image)
    system = System("run", tmp_path, (item,), manifest=manifest)
    [file] = images_of_captions(system, {"1": item}, references, None).files
    assert str(file) == "memory://b/1.jpg" and file.exists() == (manifest is not None and image is not None)
