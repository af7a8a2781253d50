"""``magic caption`` as its user meets it: words in, captions, files and exit status out."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

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


def test_model_of_a_compiled_network_writes_the_same_and_the_manifest_says_so(
    tiny_photos, models, tiny_language_model_folder, tmp_path, capsys
):
    folder = copy_with(tiny_language_model_folder, tmp_path / "compiled", with_prefix("_orig_mod."))
    words = ["caption", "--image", str(next(tiny_photos.iterdir())), *models]
    assert main([*words, "run.dir=plain"]) == 0
    wanted = capsys.readouterr().out
    assert main([*words, f"language_model.path={folder}", "run.dir=out"]) == 0
    assert capsys.readouterr().out == wanted
    assert (
        json.loads((tmp_path / "out" / "manifest.json").read_text())["models"]["language_model"]["stripped_prefix"]
        == "_orig_mod."
    )


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
    for name, extra in {
        "on": [],
        "off": ["run.step_memory=0"],
        "trace": ["run.trace=true"],
        "coarse": ["run.dtype=bfloat16"],
    }.items():
        assert main([*words, *extra, f"run.dir={name}"]) == 0
        work = json.loads((tmp_path / name / "manifest.json").read_text())["sessions"][0]["work"]
        remembered[name] = work.get("steps_remembered", 0), work["texts_encoded"]
    assert remembered["on"][0] > 0 and [remembered[name][0] for name in ("off", "trace", "coarse")] == [0, 0, 0]
    assert remembered["on"][1] < remembered["off"][1] == remembered["trace"][1]
    assert len({(tmp_path / name / "predictions.jsonl").read_bytes() for name in ("on", "off", "trace")}) == 1


@pytest.mark.slow
@pytest.mark.long
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


def test_changed_model_files_are_refused_also_when_the_run_is_complete(
    tiny_photos, models, tiny_language_model_folder, tmp_path, capsys
):
    folder = shutil.copytree(tiny_language_model_folder, tmp_path / "lm")
    words = ["caption", "--images", str(tiny_photos), *models, f"language_model.path={folder}", "run.dir=out"]
    words.remove(f"language_model.path={tiny_language_model_folder}")
    assert main(words) == 0
    with (folder / "generation_config.json").open("a") as stream:
        stream.write(" ")
    assert main(words) == 2
    assert "was begun with other model files (language_model.generation_config.json" in capsys.readouterr().err


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
