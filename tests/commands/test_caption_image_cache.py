"""magic caption: image features are computed once, and kept only where the same would come out."""

import json
import os
import shutil

import pytest
from PIL import Image

from magic_cli.cli.main import main
from tests.files import lines

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def session(folder):
    return json.loads((folder / "manifest.json").read_text())["sessions"][-1]


def counts(folder):
    return tuple(session(folder)["work"][name] for name in ("images_encoded", "images_cached"))


def test_second_run_encodes_no_image_and_says_the_same(tiny_photos, models, tmp_path, capsys):
    words = ["caption", "--images", str(tiny_photos), *models, "run.trace=true", "run.batch_size=4"]
    for name in ("first", "second"):
        assert main([*words, f"run.dir={name}"]) == 0
    assert (counts(tmp_path / "first"), counts(tmp_path / "second")) == ((6, 0), (0, 6))
    for file in ("predictions.jsonl", "trace.jsonl"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    assert [file.parent for file in tmp_path.rglob("*.sqlite")] == [tmp_path / "cache" / "magic" / "images"]


def test_only_changed_images_are_encoded_again(tiny_photos, models, tmp_path, capsys):
    photos = shutil.copytree(tiny_photos, tmp_path / "photos")
    words = ["caption", "--images", "photos", *models, "run.image_cache=kept"]
    assert main([*words, "run.dir=first"]) == 0
    first, second = sorted(photos.iterdir())[:2]
    Image.open(first).rotate(180).save(first)
    second.rename(photos / "renamed.jpg")
    assert main([*words, "run.dir=second"]) == 0
    assert counts(tmp_path / "second") == (1, 5)
    assert main([*words, "run.dir=plain", "run.cache_images=false"]) == 0
    assert (tmp_path / "plain" / "predictions.jsonl").read_bytes() == (tmp_path / "second" / "predictions.jsonl").read_bytes()
    assert (
        counts(tmp_path / "plain") == (6, 0)
        and len(list((tmp_path / "kept").iterdir())) == 1
        and not (tmp_path / "cache").exists()
    )


def test_features_are_not_shared_when_something_else_would_come_out(tiny_photos, models, tiny_clip_folder, tmp_path, capsys):
    other = shutil.copytree(tiny_clip_folder, tmp_path / "clip")
    settings = json.loads((other / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": [0.1, 0.2, 0.3]}))
    words = ["caption", "--images", str(tiny_photos), *models]
    changes = {
        "first": [],
        "exif": ["dataset.apply_exif_orientation=false"],
        "dtype": ["run.dtype=bfloat16"],
        "model": [f"image_text_model.path={other}"],
    }
    for name, changed in changes.items():
        kept = [word for word in words if not changed or word.partition("=")[0] != changed[0].partition("=")[0]]
        assert main([*kept, *changed, f"run.dir={name}"]) == 0
        assert counts(tmp_path / name) == (6, 0), name


def test_greyscale_image_is_skipped_also_when_its_feature_is_kept(models, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    Image.new("L", (30, 30), 90).save(tmp_path / "photos" / "grey.png")
    Image.new("RGB", (30, 30), (90, 20, 200)).save(tmp_path / "photos" / "colour.png")
    assert main(["caption", "--images", "photos", *models, "run.dir=all"]) == 0
    assert main(["caption", "--images", "photos", *models, "run.dir=some", "dataset.skip_greyscale=true"]) == 0
    assert [p["id"] for p in lines(tmp_path / "some" / "predictions.jsonl")] == ["colour.png"]


def test_damaged_image_cache_is_one_line_and_no_loss(tiny_photos, models, tmp_path, capfd):
    words = ["caption", "--images", str(tiny_photos), *models]
    for name in ("first", "second", "third"):
        assert main([*words, f"run.dir={name}", "run.batch_size=3"]) == 0
        err = capfd.readouterr().err
        assert err.count("is damaged") == (name == "second")
        [file] = tmp_path.rglob("*.sqlite")
        if name == "first":
            file.write_bytes(os.urandom(20_000))
    assert [counts(tmp_path / name) for name in ("first", "second", "third")] == [(6, 0), (6, 0), (0, 6)]
    assert (tmp_path / "first" / "predictions.jsonl").read_bytes() == (tmp_path / "second" / "predictions.jsonl").read_bytes()


def test_no_model_is_loaded_when_no_image_can_be_read(models, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for i in range(5):
        (tmp_path / "photos" / f"{i}.jpg").write_text("no picture")
    assert main(["caption", "--images", "photos", *models, "run.dir=out", "run.batch_size=2"]) == 3
    assert [f["id"] for f in lines(tmp_path / "out" / "failures.jsonl")] == [f"{i}.jpg" for i in range(5)]
    assert "look_ahead" not in session(tmp_path / "out") and not (tmp_path / "cache").exists()
