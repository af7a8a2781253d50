"""``magic caption`` as its user meets it: words in, captions, files and exit status out."""

import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import magic_cli
from magic_cli.cli.main import main
from tests.files import lines
from tests.model_folders import copy_with, with_prefix

OUTPUTS = ("predictions.jsonl", "failures.jsonl", "coco_results.json", "released_format.json")


pytestmark = pytest.mark.usefixtures("in_tmp_path")



def test_captions_go_to_stdout_and_the_run_folder(tiny_photos, models, tmp_path, capsys):
    assert main(["caption", "--images", str(tiny_photos), *models, "run.dir=out"]) == 0
    out, err = capsys.readouterr()
    predictions = lines(tmp_path / "out" / "predictions.jsonl")
    names = sorted(file.name for file in tiny_photos.iterdir())
    assert [p["id"] for p in predictions] == names
    assert [line.split("\t") for line in out.splitlines()] == [[p["id"], p["caption"]] for p in predictions]
    assert len({p["caption"] for p in predictions}) > 1, "captions depend on the image"
    assert "run folder: out" in err and f"{len(names)} captions" in err
    results = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert results == [{"image_id": p["id"], "caption": p["caption"]} for p in predictions]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["models"]["language_model"]["files"]["model.safetensors"]
    session = manifest["sessions"][0]
    assert session["look_ahead"] == "tree" and session["incremental_text"] is True and session["work"]["texts_encoded"] > 0
    assert "clip_text: generated" in (tmp_path / "out" / "settings.yaml").read_text()


def test_model_of_a_compiled_network_writes_the_same_and_the_manifest_says_so(tiny_photos, models, tiny_language_model_folder, tmp_path, capsys):
    folder = copy_with(tiny_language_model_folder, tmp_path / "compiled", with_prefix("_orig_mod."))
    words = ["caption", "--image", str(next(tiny_photos.iterdir())), *models]
    assert main([*words, "run.dir=plain"]) == 0
    wanted = capsys.readouterr().out
    assert main([*words, f"language_model.path={folder}", "run.dir=out"]) == 0
    assert capsys.readouterr().out == wanted
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["models"]["language_model"]["stripped_prefix"] == "_orig_mod."


def test_run_folder_is_named_after_dataset_method_and_settings(tiny_photos, models, tmp_path, capsys):
    for alpha in ("0.1", "0.3", "0.1"):
        assert main(["caption", "--images", str(tiny_photos), *models, f"decoding.alpha={alpha}"]) == 0
    names = sorted(p.name for p in (tmp_path / "runs" / "caption").iterdir())
    assert len(names) == 2 and all(name.startswith("photos-magic-") for name in names)
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"caption"}, "Hydra leaves nothing behind"


def test_second_start_repeats_nothing_and_says_the_same(tiny_photos, models, tmp_path, capsys):
    words = ["caption", "--images", str(tiny_photos), *models, "run.dir=out"]
    assert main(words) == 0
    first, before = capsys.readouterr().out, (tmp_path / "out" / "predictions.jsonl").read_bytes()
    shutil.move(str(tmp_path / "out" / "coco_results.json"), "gone.json")
    assert main(words) == 0
    assert capsys.readouterr().out == first
    assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == before
    assert (tmp_path / "out" / "coco_results.json").read_bytes() == (tmp_path / "gone.json").read_bytes()
    assert "look_ahead" not in json.loads((tmp_path / "out" / "manifest.json").read_text())["sessions"][1], "no model was loaded"


def test_batch_size_changes_no_caption(tiny_photos, models, tmp_path, capsys):
    for size in (1, 2, 8):
        assert main(["caption", "--images", str(tiny_photos), *models, f"run.dir=b{size}", f"run.batch_size={size}"]) == 0
    files = [(tmp_path / f"b{size}" / "predictions.jsonl").read_bytes() for size in (1, 2, 8)]
    assert files[0] == files[1] == files[2]


def test_other_settings_on_the_same_folder_are_refused(tiny_photos, models, capsys):
    assert main(["caption", "--images", str(tiny_photos), *models, "run.dir=out"]) == 0
    assert main(["caption", "--images", str(tiny_photos), *models, "run.dir=out", "decoding.alpha=0.5"]) == 2
    assert "decoding.alpha 0.02 -> 0.5" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["contrastive", "greedy", "beam", "top_k", "nucleus", "typical"])
def test_every_baseline_writes_captions(method, tiny_photos, models, tmp_path, capsys):
    words = [word for word in models if not word.startswith("decoding.k")]
    assert main(["caption", "--images", str(tiny_photos), f"decoding={method}", *words, "run.dir=out"]) == 0
    captions = {p["caption"] for p in lines(tmp_path / "out" / "predictions.jsonl")}
    assert len(captions) > 1 if method in ("top_k", "nucleus", "typical") else len(captions) == 1


def test_sampled_captions_depend_on_seed_and_repeat_alone(tiny_photos, models, tmp_path, capsys):
    words = ["caption", "--images", str(tiny_photos), "decoding=nucleus", *[w for w in models if not w.startswith("decoding.k")]]
    for name, extra in {"a": [], "b": ["run.batch_size=1"], "c": ["run.seed=1"], "d": ["run.repeat=2"]}.items():
        assert main([*words, *extra, f"run.dir={name}"]) == 0
    a, b, c, d = ((tmp_path / name / "predictions.jsonl").read_bytes() for name in "abcd")
    assert a == b and a != c and a != d and c != d


def test_steps_are_remembered_in_float32_without_trace_unless_switched_off(tiny_photos, models, tmp_path, capsys):
    words = ["caption", "--images", str(tiny_photos), *models, "run.batch_size=1"]
    remembered = {}
    for name, extra in {"on": [], "off": ["run.step_memory=0"], "trace": ["run.trace=true"], "coarse": ["run.dtype=bfloat16"]}.items():
        assert main([*words, *extra, f"run.dir={name}"]) == 0
        work = json.loads((tmp_path / name / "manifest.json").read_text())["sessions"][0]["work"]
        remembered[name] = work.get("steps_remembered", 0), work["texts_encoded"]
    assert remembered["on"][0] > 0 and [remembered[name][0] for name in ("off", "trace", "coarse")] == [0, 0, 0]
    assert remembered["on"][1] < remembered["off"][1] == remembered["trace"][1]
    assert len({(tmp_path / name / "predictions.jsonl").read_bytes() for name in ("on", "off", "trace")}) == 1


@pytest.mark.slow
def test_captions_stay_the_same_when_models_are_compiled(tiny_photos, models, tmp_path, capsys):
    words = ["caption", "--images", str(tiny_photos), *models]
    assert main([*words, "run.dir=plain"]) == main([*words, "run.dir=compiled", "run.compile=true"]) == 0
    assert (tmp_path / "plain" / "predictions.jsonl").read_bytes() == (tmp_path / "compiled" / "predictions.jsonl").read_bytes()


def test_missing_compiler_is_one_line(tiny_photos, models, tmp_path):
    missing = {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    environment = {**os.environ, **missing, "PYTHONPATH": str(Path(magic_cli.__file__).parents[1])}
    command = [sys.executable, "-m", "magic_cli", "caption", "--images", str(tiny_photos), *models, "run.compile=true"]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert answer.returncode == 2
    assert "run.compile=true" in answer.stderr and "run.compile=false" in answer.stderr
    assert answer.stdout == "" and "Traceback" not in answer.stderr


def test_sweep_makes_one_run_a_point(tiny_photos, models, tmp_path, capsys):
    words = ["caption", "-m", "decoding.alpha=0.1,0.3", "--images", str(tiny_photos), *models, "decoding.beta=1,2"]
    assert main(words) == 0
    assert len(list((tmp_path / "runs" / "caption").iterdir())) == 4


def test_prompt_opens_every_caption(tiny_photos, models, tmp_path, capsys):
    assert main(["caption", "--images", str(tiny_photos), *models, "--prompt", "A man", "run.dir=out"]) == 0
    assert all(p["caption"].startswith("A man") for p in lines(tmp_path / "out" / "predictions.jsonl"))


def test_references_and_coco_ids_reach_the_exports(tiny_photos, models, tmp_path, capsys):
    names = sorted(file.name for file in tiny_photos.iterdir())
    document = {"images": [{"id": i, "file_name": n, "split": "test"} for i, n in enumerate(names)],
                "annotations": [{"image_id": i, "caption": f"reference {i}"} for i in range(len(names))]}  # fmt: skip
    (tmp_path / "captions.json").write_text(json.dumps(document))
    words = ["--dataset", "coco_captions", "dataset.annotations=captions.json", f"dataset.root={tiny_photos}", "dataset.limit=2"]
    assert main(["caption", *words, *models, "run.dir=out"]) == 0
    released = json.loads((tmp_path / "out" / "released_format.json").read_text())
    assert [(r["split"], r["image_name"], r["captions"]) for r in released] == [
        ("test", names[0], ["reference 0"]), ("test", names[1], ["reference 1"])]  # fmt: skip
    assert [r["image_id"] for r in json.loads((tmp_path / "out" / "coco_results.json").read_text())] == [0, 1]


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
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
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
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"] == {"planned": 10, "predictions": 7, "failures": 3, "skipped": 0}
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
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"] == {"planned": 2, "predictions": 1, "failures": 0, "skipped": 1}
    assert "1 skipped" in capsys.readouterr().err


def test_missing_hub_model_is_one_line(tiny_photos, capsys):
    assert main(["caption", "--images", str(tiny_photos), "language_model=gpt2"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for part in ("language_model.name=gpt2", "not in the local cache", "language_model.path=DIR", "language_model=embedded"):
        assert part in err


def test_folder_without_model_is_one_line(tiny_photos, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["caption", "--images", str(tiny_photos), "language_model.path=empty"]) == 2
    assert "language_model.path=empty: has no config.json" in capsys.readouterr().err


def test_installed_command_pipes_captions_only(tiny_photos, models, tmp_path):
    command = [sys.executable, "-m", "magic_cli", "caption", "--images", str(tiny_photos), *models, "run.dir=out"]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": root})
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) == len(list(tiny_photos.iterdir()))
    assert all(line.count("\t") == 1 for line in answer.stdout.splitlines())
    assert "Loading" not in answer.stderr and "Warning" not in answer.stderr


def test_changed_model_files_are_refused_also_when_the_run_is_complete(tiny_photos, models, tiny_language_model_folder, tmp_path, capsys):
    folder = shutil.copytree(tiny_language_model_folder, tmp_path / "lm")
    words = ["caption", "--images", str(tiny_photos), *models, f"language_model.path={folder}", "run.dir=out"]
    words.remove(f"language_model.path={tiny_language_model_folder}")
    assert main(words) == 0
    with (folder / "generation_config.json").open("a") as stream:
        stream.write(" ")
    assert main(words) == 2
    assert "was begun with other model files (language_model.generation_config.json" in capsys.readouterr().err


def test_odd_file_names_survive_everything(tiny_photos, models, tmp_path, capsys):
    photo = sorted(tiny_photos.iterdir())[0].read_bytes()
    (tmp_path / "photos").mkdir()
    names = [b"\xff\xfe.jpg", "tab\there.jpg".encode(), "line\nbreak.jpg".encode(), "ünï, [x] 'q'.jpg".encode()]
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
        "embed": (HuggingFaceClip, "embed_images", lambda prepared: any(np.ptp(pixels, axis=(1, 2)).max() == 0 for pixels in prepared)),
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
    assert [(f["id"], "cannot take this one" in f["reason"]) for f in lines(tmp_path / "out" / "failures.jsonl")] == [("odd.png", True)]


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


def test_error_on_the_way_out_of_an_interruption_is_the_interruption(tiny_photos, tmp_path, monkeypatch, capsys):
    def stop(settings, task):
        try:
            raise KeyboardInterrupt
        finally:
            threading.RLock().release()  # as tqdm does when Ctrl-C strikes before it has the lock

    monkeypatch.setattr("magic_cli.commands.caption.write_texts", stop)
    monkeypatch.chdir(tmp_path)
    assert main(["caption", "--images", str(tiny_photos)]) == 130
    assert capsys.readouterr().err == "magic: stopped; the same command goes on where it stopped\n"
