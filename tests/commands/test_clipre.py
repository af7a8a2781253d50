"""``magic caption --decoding clipre`` as its user meets it."""

import json
import os
import shutil
import signal
import sys
import time

import numpy as np
import pytest
import torch

from magic_cli.cli.main import main
from tests.commands.test_crash import start, wait, wait_for_lines
from tests.commands.test_engines import NEEDS_RAY
from tests.files import lines
from tests.tiny_models import CAPTIONS


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "captions.txt").write_text("\n".join([CAPTIONS[3], "  A   cat.", *CAPTIONS, "", CAPTIONS[0]]) + "\n")


@pytest.fixture
def words(tiny_photos, tiny_clip_folder):
    return [
        "caption", "--images", str(tiny_photos), "--decoding", "clipre", "image_text_model=clip_vit_b32",
        f"image_text_model.path={tiny_clip_folder}", "decoding.captions=mine", "decoding.captions_file=captions.txt", "run.threads=1",
        "run.dir=out",
    ]  # fmt: skip


def index_folder(tmp_path):
    [folder] = (tmp_path / "cache" / "magic" / "captions").iterdir()
    return folder


def test_best_caption_is_taken_word_for_word_and_no_language_model_is_loaded(
    words, loaded_clip, image_features, tmp_path, capsys
):
    assert main([*words, "language_model=gpt2"]) == 0, "a language model that is not there is not missed"
    texts = list(dict.fromkeys([CAPTIONS[3], "A cat.", *CAPTIONS]))
    a, b = (torch.nn.functional.normalize(f, dim=1) for f in (image_features, loaded_clip.encode_texts(texts)))
    cosines = (a @ b.T).numpy()
    predictions = lines(tmp_path / "out" / "predictions.jsonl")
    for prediction, row in zip(predictions, cosines, strict=True):
        best = np.argsort(-row)[:5]
        assert prediction["caption"] == prediction["retrieved"][0]["caption"]
        # features are stored in float16
        assert [entry["score"] for entry in prediction["retrieved"]] == pytest.approx(row[best], abs=1e-3)
        assert row[texts.index(prediction["caption"])] > row[best[0]] - 1e-3
        assert "token_ids" not in prediction
    assert [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()] == [p["caption"] for p in predictions]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["models"].keys() == {"image_text_model", "captions"}
    assert manifest["models"]["captions"]["count"] == len(texts) and "language_model" not in manifest["identity"]
    assert manifest["sessions"][0]["work"]["texts_encoded"] - len(texts) < 50, "every text once, and the probe of the tower"
    assert len(lines(index_folder(tmp_path) / "items.jsonl")) == len(texts)
    results = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert [r["caption"] for r in results] == [p["caption"] for p in predictions]


def test_index_is_built_once_and_only_for_these_captions(words, tmp_path, capsys):
    for folder in ("out", "two"):
        assert main([*words[:-1], f"run.dir={folder}"]) == 0
    index = index_folder(tmp_path)
    sessions = [json.loads((tmp_path / folder / "manifest.json").read_text())["sessions"][0]["work"] for folder in ("out", "two")]
    assert sessions[0].get("texts_encoded", 0) > sessions[1].get("texts_encoded", 0)
    assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == (tmp_path / "two" / "predictions.jsonl").read_bytes()
    (tmp_path / "captions.txt").write_text("Another caption.\n")
    assert main([*words[:-1], "run.dir=three"]) == 0
    assert len(list(index.parent.iterdir())) == 2
    assert {p["caption"] for p in lines(tmp_path / "three" / "predictions.jsonl")} == {"Another caption."}


def test_first_run_says_what_is_built_and_where_and_the_next_one_says_nothing(words, tmp_path, capsys):
    assert main(words) == 0
    note = f"magic: decoding=clipre: encoding {len({*CAPTIONS, 'A cat.'})} captions, once; the index is kept in {index_folder(tmp_path)}\n"
    assert note in capsys.readouterr().err
    assert main([*words[:-1], "run.dir=two"]) == 0
    assert "encoding" not in capsys.readouterr().err


def test_prompt_is_refused_and_one_that_a_model_recommends_is_not_missed(words, tmp_path, capsys):
    assert main([*words, "--prompt", "A photo of"]) == 2
    assert capsys.readouterr().err == (
        "magic: prompt='A photo of': decoding=clipre finds whole captions and opens none with a prompt; leave prompt out\n"
    )
    assert main([*words, "language_model=gpt2"]) == 0, "which recommends a prompt"


def test_changed_captions_are_noticed_when_a_run_goes_on(words, tmp_path, capsys):
    assert main(words) == 0
    file = tmp_path / "out" / "predictions.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    (tmp_path / "captions.txt").write_text("Another caption.\n")
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "was begun with other model files (captions.count" in err and "captions.sha256" in err


def test_changed_model_is_noticed_in_a_folder_of_ones_own(words, tiny_clip_folder, tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    assert main([*words, "decoding.folder=index"]) == 0
    shutil.copytree(tiny_clip_folder, "other")
    weights = load_file("other/model.safetensors")
    weights["text_projection.weight"] = weights["text_projection.weight"] * 2
    save_file(weights, "other/model.safetensors", metadata={"format": "pt"})
    words = [word if not word.startswith("image_text_model.path") else "image_text_model.path=other" for word in words[:-1]]
    assert main([*words, "decoding.folder=index", "run.dir=two"]) == 2
    err = capsys.readouterr().err
    assert "decoding.folder=index: was built from something else (model.files.model.safetensors" in err


def test_released_index_knows_the_first_128_captions_only(words, tmp_path, capsys):
    many = [f"{caption} {number}" for number in range(6) for caption in CAPTIONS]
    (tmp_path / "captions.txt").write_text("\n".join(many))
    assert main([*words, "decoding.index=released-128", "decoding.top_m=200"]) == 0
    for prediction in lines(tmp_path / "out" / "predictions.jsonl"):
        assert sorted(entry["caption"] for entry in prediction["retrieved"]) == sorted(many[:128])


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_index_that_looks_everywhere_gives_the_exact_captions(kind, words, tmp_path, capsys):
    everywhere = {"ivf": ["decoding.nlist=4", "decoding.nprobe=4"], "hnsw": ["decoding.ef=64"]}[kind]
    assert main(words) == main([*words[:-1], "run.dir=two", f"decoding.kind={kind}", *everywhere]) == 0
    assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == (tmp_path / "two" / "predictions.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("karpathy.json", {"images": [{"split": s, "sentences": [{"raw": "A cat."}, {"raw": f"A {s}."}]} for s in ("train", "val")]}, 2),
        ("coco.json", {"images": [], "annotations": [{"image_id": 1, "caption": "A cat."}, {"image_id": 2, "caption": "A dog."}]}, 2),
        ("splits.json", {
            "images": [{"id": 1, "split": "train"}, {"id": 2, "split": "test"}],
            "annotations": [{"image_id": 1, "caption": "A cat."}, {"image_id": 2, "caption": "A dog."}],
        }, 1),
        ("list.json", ["A cat.", "A dog.", "A cow."], 3),
        ("records.json", [{"captions": ["A cat.", "A dog."]}, {"captions": ["A dog."]}], 2),
        ("lines.jsonl", '{"caption": "A cat."}\n{"text": "A cow."}\n', 2),
        ("lines.txt", "A cat.\r\n\r\nA cow, twice.\n", 2),
    ],
)  # fmt: skip
def test_captions_of_every_format_are_read(name, text, count, words, tmp_path, capsys):
    (tmp_path / name).write_text(text if isinstance(text, str) else json.dumps(text))
    assert main([*[w for w in words if "captions_file" not in w], f"decoding.captions_file={name}"]) == 0
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["models"]["captions"]["count"] == count


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("missing.txt", None, "decoding.captions_file=missing.txt: no such file"),
        ("empty.txt", "\n \n", "decoding.captions_file=empty.txt: holds no captions"),
        ("odd.json", '{"a": 1}', "decoding.captions_file=odd.json: neither Karpathy's nor COCO's format"),
        ("odd.jsonl", '{"caption": "A cat."}\n{"a": 1}\n', "decoding.captions_file=odd.jsonl record 2: has no text under caption, prediction"),
        ("c.json", '{"images": [{"id": 1, "split": "test"}], "annotations": []}', "decoding.split must be one of test, got 'train'"),
        ("c.json", '{"images": [{"split": "test"}], "annotations": []}', "decoding.captions_file=c.json image 1: needs an id"),
        ("k.json", '{"images": [{"split": "val", "sentences": []}]}', "decoding.split must be one of val, got 'train'"),
    ],
)  # fmt: skip
def test_bad_captions_are_one_line_before_torch_loads(name, text, message, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    if text is not None:
        (tmp_path / name).write_text(text)
    assert main([*[w for w in words if "captions_file" not in w], f"decoding.captions_file={name}"]) == 2
    assert message in capsys.readouterr().err


def test_trace_is_refused_since_there_are_no_steps(words, tmp_path, capsys):
    assert main([*words, "run.trace=true"]) == 2
    assert "run.trace=true: decoding=clipre takes no steps" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_base_without_rerank_is_refused_with_the_remedy(words, capsys):
    assert main([*words, "--base", "top_k"]) == 2
    assert (
        capsys.readouterr().err
        == "magic: --base (decoding@decoding.base) belongs to decoding=rerank; add --decoding rerank, or leave it out\n"
    )


def test_unknown_captions_without_a_file_are_refused(words, capsys):
    assert main([w for w in words if "captions_file" not in w]) == 2
    assert "decoding.captions=mine: set decoding.captions_file" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_run_goes_on_and_ends_byte_identical(words, tmp_path):
    import magic_cli.cli.hydra_app
    import magic_cli.retrieval.caption_index  # noqa: F401

    (tmp_path / "captions.txt").write_text("\n".join(f"{caption} {number}" for number in range(100) for caption in CAPTIONS))
    words = [*words[:-1], "run.batch_size=2"]
    began = time.perf_counter()
    assert wait(start([*words, "run.dir=undisturbed", "decoding.folder=index0"])) == 0
    duration, killed = time.perf_counter() - began, 0
    for number in range(1, 5):
        while True:
            pid = start([*words, f"run.dir=run{number}", f"decoding.folder=index{number}"])
            if number == 1:
                wait_for_lines(tmp_path / "index1" / "progress.jsonl", 0, pid)
            else:
                time.sleep(duration * number / 5)
            os.kill(pid, signal.SIGKILL)
            if wait(pid) == -signal.SIGKILL:
                break
            shutil.rmtree(f"run{number}")
            shutil.rmtree(f"index{number}")
            duration *= 0.9
        killed += (tmp_path / f"index{number}" / "progress.jsonl").exists()
        assert wait(start([*words, f"run.dir=run{number}", f"decoding.folder=index{number}"])) == 0
        for name in ("predictions.jsonl", "coco_results.json"):
            assert (tmp_path / f"run{number}" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
        for file in (tmp_path / "index0").glob("[a-z]*"):
            assert (tmp_path / f"index{number}" / file.name).read_bytes() == file.read_bytes()
    assert killed, "some kills hit the index in the making"


def index_files(folder):
    return {file.name: file.read_bytes() for file in folder.glob("[a-z]*")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine", [["run.devices=2"], pytest.param(["run.engine=ray", "run.actors=2"], marks=[NEEDS_RAY, pytest.mark.long])]
)
def test_index_of_several_workers_has_the_bytes_of_one_whoever_is_killed(engine, words, tmp_path):
    (tmp_path / "captions.txt").write_text("\n".join(f"{caption} {number}" for number in range(300) for caption in CAPTIONS))
    words = [*words[:-1], "run.batch_size=2"]
    assert wait(start([*words, "run.dir=one", "decoding.folder=index-one"])) == 0
    several = [*words, "run.dir=several", "decoding.folder=index-several", *engine]
    pid = start(several)
    wait_for_lines(tmp_path / "index-several" / "progress.jsonl", 1, pid)
    os.killpg(pid, signal.SIGKILL)
    wait(pid)
    assert not (tmp_path / "several" / "predictions.jsonl").exists()
    assert wait(start(several)) == 0, (tmp_path / "output.txt").read_text()
    assert index_files(tmp_path / "index-several") == index_files(tmp_path / "index-one")
    for name in ("predictions.jsonl", "coco_results.json"):
        assert (tmp_path / "several" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    session = json.loads((tmp_path / "several" / "manifest.json").read_text())["sessions"][-1]
    assert session["work"]["texts_encoded"] >= 300 * len(CAPTIONS) - 2 * 2048, "all but what an earlier start encoded"
