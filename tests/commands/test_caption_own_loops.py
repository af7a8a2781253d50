"""``magic caption`` with methods that have a loop of their own: ZeroCap and best of N."""

import json

import pytest

from magic_cli.cli.main import main
from tests.files import lines

OUTPUTS = ("predictions.jsonl", "failures.jsonl", "coco_results.json", "released_format.json")


@pytest.fixture
def words(tiny_language_model_folder, tiny_clip_folder, tiny_photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return [
        "caption", "--images", str(tiny_photos), f"language_model.path={tiny_language_model_folder}",
        "image_text_model=clip_vit_b32", f"image_text_model.path={tiny_clip_folder}", "decoding.decoding_len=6", "run.threads=1",
    ]  # fmt: skip


ZEROCAP = ["--decoding", "zerocap", "decoding.prompt=<|endoftext|>A man", "decoding.num_texts=9", "decoding.num_iterations=2"]
RERANK = ["--decoding", "rerank", "--base", "top_k", "decoding.base.k=7", "decoding.num=5"]
each_method = pytest.mark.parametrize("method", [ZEROCAP, RERANK], ids=["zerocap", "rerank"])


@each_method
def test_captions_are_written_and_do_not_depend_on_the_batch(words, method, tmp_path, capsys):
    assert main([*words, *method, "run.dir=one", "run.batch_size=1", "run.trace=true"]) == 0
    assert main([*words, *method, "run.dir=all", "run.batch_size=6"]) == 0
    for name in OUTPUTS:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()
    predictions = lines(tmp_path / "one" / "predictions.jsonl")
    assert len(predictions) == 6 and len({p["caption"] for p in predictions}) > 1
    trace = lines(tmp_path / "one" / "trace.jsonl")
    assert {line["id"] for line in trace} == {p["id"] for p in predictions} and all(line["tokens"] for line in trace)


@each_method
def test_run_that_lost_its_last_captions_goes_on(words, method, tmp_path, capsys):
    assert main([*words, *method, "run.dir=out", "run.batch_size=2"]) == 0
    file = tmp_path / "out" / "predictions.jsonl"
    whole = file.read_bytes()
    file.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]) + b'{"id": "to')
    assert main([*words, *method, "run.dir=out", "run.batch_size=2"]) == 0
    assert file.read_bytes() == whole


def test_settings_name_the_base_and_make_the_run(words, tmp_path, capsys):
    for change in ("decoding.base.k=7", "decoding.base.k=8", "run.seed=1"):
        assert main([*words, *RERANK, change]) == 0
    folders = sorted((tmp_path / "runs" / "caption").iterdir())
    assert len(folders) == 3 and all(folder.name.startswith("photos-rerank-") for folder in folders)
    identity = json.loads((folders[0] / "manifest.json").read_text())["identity"]
    assert identity["decoding"]["base"]["method"] == "top_k" and identity["decoding"]["num"] == 5
    assert "image_text_model" in identity and "seed" in identity["run"]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--decoding", "rerank", "--base", "nuclus"], "decoding=nuclus is unknown; did you mean nucleus?"),
        (["--decoding", "rerank", "--base", "beam"], "decoding.base=BeamSearch: must be a sampled method"),
        (["--decoding", "rerank", "--base", "top_k", "decoding.base.k=0"], "decoding.base.k must be at least 1, got 0"),
        (["--decoding", "rerank", "decoding.base.p=1.5"], "decoding.base.p must be in (0, 1], got 1.5"),
        (["--decoding", "rerank", "decoding.base.temperature=inf"], "decoding.base.temperature must be a finite number, got inf"),
        (["--decoding", "rerank", "decoding.decoding_len=1"], "decoding.decoding_len must be at least 2, got 1"),
        (
            ["--decoding", "rerank", "--base", "greedy", "decoding.decoding_len=1"],
            "decoding.decoding_len must be at least 2, got 1",
        ),
        (["--decoding", "rerank", "decoding.base.decoding_len=1"], "decoding.base.decoding_len must be at least 2, got 1"),
        (["--decoding", "rerank", "decoding.num=0"], "decoding.num must be at least 1, got 0"),
        (["--decoding", "zerocap", "decoding.decoding_len=1"], "decoding.decoding_len must be at least 2, got 1"),
        (["--decoding", "zerocap", "decoding.num_texts=0"], "decoding.num_texts must be at least 1, got 0"),
        (["--decoding", "zerocap", "decoding.prompt=A man", "decoding.num_texts=9"], "decoding.prompt must open with"),
        (["--decoding", "zerocap", "decoding.num_texts=100000"], "decoding.num_texts must be in [1, "),
    ],
)
def test_setting_that_cannot_work_is_one_line(words, given, line, tmp_path, capsys):
    assert main([*words, *given, "run.dir=out"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[-1].startswith(f"magic: {line}")
