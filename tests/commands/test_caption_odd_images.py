"""``magic caption`` on images as people's folders hold them: odd ones, broken ones, ones that vanish."""

import json
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from magic_cli.cli.main import main
from tests.files import lines

OUTPUTS = ("predictions.jsonl", "failures.jsonl", "coco_results.json", "released_format.json")


pytestmark = pytest.mark.usefixtures("in_tmp_path")


def hostile_folder(folder):
    """One of each kind that people's folders hold; returns the names that can be read and those that cannot."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).resize((320, 240))
    photo.save(folder / "plain.jpg")
    photo.convert("L").save(folder / "grey.jpg")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(rng.integers(0, 65535, (40, 50), dtype=np.uint16)).save(folder / "sixteen_bit.png")
    photo.convert("P").save(folder / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 8
    photo.save(folder / "rotated.jpg", exif=exif)
    Image.new("RGB", (1, 1), (200, 10, 10)).save(folder / "dot.png")
    readable = {file.name for file in folder.iterdir()}
    (folder / "truncated.jpg").write_bytes((folder / "plain.jpg").read_bytes()[:2000])
    (folder / "text.jpg").write_text("not a picture at all\n")
    head = struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    (folder / "bomb.png").write_bytes(bomb)
    return readable, {file.name for file in folder.iterdir()} - readable


def test_hostile_folder_is_captioned_as_far_as_it_can_be_read(models, tmp_path, capsys):
    readable, broken = hostile_folder(tmp_path / "photos")
    words = ["caption", "--images", "photos", *models, "run.dir=out", "run.batch_size=3"]
    assert main(words) == 3
    assert {p["id"] for p in lines(tmp_path / "out" / "predictions.jsonl")} == readable
    failures = {f["id"]: f["reason"] for f in lines(tmp_path / "out" / "failures.jsonl")}
    assert set(failures) == broken == {"truncated.jpg", "text.jpg", "bomb.png"}
    assert "truncated" in failures["truncated.jpg"] and "identify" in failures["text.jpg"] and "bomb" in failures["bomb.png"]
    err = capsys.readouterr().err
    assert "3 images could not be read" in err and all(name in err for name in broken)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"] == {
        "planned": 10,
        "predictions": 7,
        "failures": 3,
        "skipped": 0,
    }
    before = {name: (tmp_path / "out" / name).read_bytes() for name in OUTPUTS}
    assert main(words) == 3, "broken images stay a failure at the second start"
    assert before == {name: (tmp_path / "out" / name).read_bytes() for name in OUTPUTS}
    (tmp_path / "photos" / "text.jpg").write_bytes((tmp_path / "photos" / "plain.jpg").read_bytes())
    assert main(words) == 3, "a mended image is captioned at the next start"
    assert {f["id"] for f in lines(tmp_path / "out" / "failures.jsonl")} == {"truncated.jpg", "bomb.png"}


def test_skipped_greyscale_is_counted_and_is_no_failure(models, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    Image.new("L", (30, 30), 90).save(tmp_path / "photos" / "grey.png")
    Image.new("RGB", (30, 30), (90, 20, 200)).save(tmp_path / "photos" / "colour.png")
    assert main(["caption", "--images", "photos", *models, "run.dir=out", "dataset.skip_greyscale=true"]) == 0
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"] == {
        "planned": 2,
        "predictions": 1,
        "failures": 0,
        "skipped": 1,
    }
    assert "1 skipped" in capsys.readouterr().err


def test_odd_file_names_survive_everything(tiny_photos, models, tmp_path, capsys):
    photo = sorted(tiny_photos.iterdir())[0].read_bytes()
    (tmp_path / "photos").mkdir()
    names = [b"\xff\xfe.jpg", b"tab\there.jpg", b"line\nbreak.jpg", "ünï, [x] 'q'.jpg".encode()]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path / "photos"), name), "wb") as stream:
            stream.write(photo)
    words = ["caption", "--images", "photos", *models, "run.dir=out"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 4 and all(line.count("\t") == 1 for line in out.splitlines())
    assert {os.fsencode(p["id"]) for p in lines(tmp_path / "out" / "predictions.jsonl")} == set(names)
    assert main(words) == 0
    assert capsys.readouterr().out == out
    assert len(json.loads((tmp_path / "out" / "coco_results.json").read_text())) == 4


def test_files_of_other_kinds_are_mentioned(tiny_photos, models, tmp_path, capsys):
    shutil.copytree(tiny_photos, tmp_path / "photos")
    (tmp_path / "photos" / "phone.heic").write_bytes(b"x")
    (tmp_path / "photos" / ".DS_Store").write_bytes(b"x")
    assert main(["caption", "--images", "photos", *models]) == 0
    assert "1 file of another kind is left out (1 .heic)" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["prepare", "embed"])
def test_image_that_the_model_cannot_take_fails_alone(stage, tiny_photos, models, tmp_path, capsys, monkeypatch):
    from magic_cli.models.image_text.huggingface_clip import HuggingFaceClip, ProcessImage

    owner, method, is_odd = {
        "prepare": (ProcessImage, "__call__", lambda image: image.getpixel((0, 0)) == (1, 2, 3)),
        "embed": (
            HuggingFaceClip,
            "embed_images",
            lambda prepared: any(np.ptp(pixels, axis=(1, 2)).max() == 0 for pixels in prepared),
        ),
    }[stage]
    original = getattr(owner, method)

    def picky(self, given):
        if is_odd(given):
            raise ValueError("cannot take this one")
        return original(self, given)

    monkeypatch.setattr(owner, method, picky)
    shutil.copytree(tiny_photos, tmp_path / "photos")
    Image.new("RGB", (40, 40), (1, 2, 3)).save(tmp_path / "photos" / "odd.png")
    assert main(["caption", "--images", "photos", *models, "run.dir=out"]) == 3
    assert len(lines(tmp_path / "out" / "predictions.jsonl")) == 6
    assert [(f["id"], "cannot take this one" in f["reason"]) for f in lines(tmp_path / "out" / "failures.jsonl")] == [
        ("odd.png", True)
    ]


def test_image_that_vanishes_after_it_was_read_is_still_captioned(tiny_photos, models, tmp_path, capsys, monkeypatch):
    from magic_cli.models.image_text.huggingface_clip import HuggingFaceClip

    embed = HuggingFaceClip.embed_images
    shutil.copytree(tiny_photos, tmp_path / "photos")
    victim = sorted((tmp_path / "photos").iterdir())[0]

    def embed_and_delete(self, prepared):
        victim.unlink(missing_ok=True)
        return embed(self, prepared)

    monkeypatch.setattr(HuggingFaceClip, "embed_images", embed_and_delete)
    assert main(["caption", "--images", "photos", *models, "run.dir=out"]) == 0
    assert len(lines(tmp_path / "out" / "predictions.jsonl")) == 6


def test_workers_change_nothing(models, tmp_path, capsys):
    hostile_folder(tmp_path / "photos")
    words = ["caption", "--images", "photos", *models, "run.batch_size=3", "run.cache_images=false", "run.trace=true"]
    for workers in (0, 1, 3):
        assert main([*words, f"run.dir=w{workers}", f"run.workers={workers}"]) == 3
    files = ("trace.jsonl", *OUTPUTS)
    [expected, *others] = [[(tmp_path / f"w{workers}" / name).read_bytes() for name in files] for workers in (0, 1, 3)]
    assert others == [expected, expected]
