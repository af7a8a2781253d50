"""Guides as settings, as their user meets them."""

import json
import shutil
import sys

import pytest

from magic_cli.cli.main import main
from magic_cli.configuration.points import settings_from
from magic_cli.runs.settings import CaptionSettings
from tests.files import lines
from tests.tiny_models import CAPTIONS

MEMORY = [
    "decoding=magic_memory",
    "guides.memory.captions_file=captions.json",
    "guides.memory.neighbours=3",
    "guides.memory.temperature=0.1",
]


@pytest.fixture(autouse=True)
def captions(in_tmp_path, tmp_path):
    records = [{"image": "disc.jpg", "caption": text} for text in CAPTIONS[:2]] + [
        {"image": "x.jpg", "caption": text} for text in CAPTIONS[2:]
    ]
    (tmp_path / "captions.json").write_text(json.dumps(records))


@pytest.fixture
def words(models, tiny_photos):
    return ["caption", "--images", str(tiny_photos), *models, "decoding.alpha=0.3", "decoding.beta=2"]


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_memory_steers_and_says_what_it_holds(words, tmp_path, capsys):
    assert main([*words, *MEMORY, "run.dir=with"]) == main([*words, "run.dir=without"]) == 0
    err = capsys.readouterr().err
    assert f"magic: guides.memory: encoding {len(CAPTIONS)} captions, once; the index is kept in" in err
    texts = [[p["caption"] for p in lines(tmp_path / name / "predictions.jsonl")] for name in ("with", "without")]
    assert texts[0] != texts[1]
    told = manifest(tmp_path / "with")
    facts = told["models"]["guides.memory"]
    assert (facts["name"], facts["count"], facts["captions_read"], facts["captions_of_known_images"]) == (
        "captions.json",
        *[len(CAPTIONS)] * 3,
    )
    work = told["sessions"][0]["work"]
    assert (work["images_recalled"], work["images_in_memory"], work["captions_excluded"]) == (6, 1, 2), (
        "disc.jpg is in the memory"
    )
    assert told["identity"]["guides"]["memory"]["neighbours"] == 3 and "folder" not in told["identity"]["guides"]["memory"]
    assert "guides" not in manifest(tmp_path / "without")["identity"], "runs of before there were guides go on"


def test_words_of_the_memory_are_candidates_in_every_batch_and_in_the_trace(words, tmp_path):
    join = [*MEMORY, "guides.memory.words=40", "guides.memory.words_floor=0.01", "decoding.k=3"]
    assert main([*words, *join, "run.dir=all", "run.trace=true"]) == 0
    assert main([*words, *join, "run.dir=single", "run.batch_size=1", "run.lazy=false"]) == 0
    assert main([*words, *MEMORY, "decoding.k=3", "run.dir=none"]) == 0
    written = {name: (tmp_path / name / "predictions.jsonl").read_bytes() for name in ("all", "single", "none")}
    assert written["all"] == written["single"] != written["none"]
    steps = lines(tmp_path / "all" / "trace.jsonl")
    assert len({len(step["token_ids"]) for step in steps}) > 1, "more words join some steps than others"
    assert all(len(set(step["token_ids"])) == len(step["token_ids"]) for step in steps)
    told = manifest(tmp_path / "none")["identity"]["guides"]["memory"]
    assert "words" not in told and "words_floor" not in told, "runs of before there were words go on"


def test_beams_take_a_memory_and_say_what_k_they_need(models, tiny_photos, tmp_path, capsys):
    beams = ["caption", "--images", str(tiny_photos), *models, "decoding=magic_beam", "decoding.num_beams=3", "decoding.k=12"]
    memory = [*MEMORY[1:], "decoding.guides=[image,memory]", "guides.memory.weight=0.9"]
    assert main([*beams, "run.dir=without", "run.trace=true"]) == main([*beams, *memory, "run.dir=with"]) == 0
    texts = [[p["caption"] for p in lines(tmp_path / name / "predictions.jsonl")] for name in ("with", "without")]
    assert texts[0] != texts[1] and len(set(texts[1])) > 1, "captions go by the image, and by the memory"
    assert all("parent" in line for line in lines(tmp_path / "without" / "trace.jsonl"))
    capsys.readouterr()
    assert main([*beams, "decoding.k=5", "run.dir=few"]) == 2
    assert (
        "decoding.k must be at least 6 with decoding.num_beams=3, got 5; set decoding.k=6, or fewer beams"
        in capsys.readouterr().err
    )
    settings = settings_from(
        "caption", CaptionSettings, ["dataset=files", "dataset.paths=[a]", "decoding=magic_beam", "guides.memory.weight=0.2"]
    )
    assert "decoding=magic_beam takes it with decoding.guides=[image,memory]" in settings.notes()[0]


@pytest.mark.parametrize("use", ["mix", "replace", "beside"])
def test_memory_without_weight_is_the_very_same_run_as_magic(words, use, tmp_path, capsys):
    nothing = ["guides.memory.unsure=0.99", "guides.memory.sure=1"] if use == "replace" else ["guides.memory.weight=0"]
    assert main([*words, "run.dir=magic"]) == main([*words, *MEMORY, *nothing, f"guides.memory.use={use}", "run.dir=memory"]) == 0
    assert (tmp_path / "magic" / "predictions.jsonl").read_bytes() == (tmp_path / "memory" / "predictions.jsonl").read_bytes()
    if use != "replace":
        assert manifest(tmp_path / "magic")["identity"] == manifest(tmp_path / "memory")["identity"]


def test_run_goes_on_to_the_same_bytes_and_notices_other_captions(words, tmp_path, capsys):
    assert main([*words, *MEMORY, "run.dir=out", "run.batch_size=4"]) == 0
    file = tmp_path / "out" / "predictions.jsonl"
    whole = file.read_bytes()
    file.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert main([*words, *MEMORY, "run.dir=out", "run.batch_size=1", "run.lazy=false"]) == 0
    assert file.read_bytes() == whole
    file.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    (tmp_path / "captions.json").write_text('["Another caption."]')
    assert main([*words, *MEMORY, "run.dir=out"]) == 2
    assert "was begun with other model files (guides.memory.count" in capsys.readouterr().err


def test_second_model_looks_at_the_same_images_and_keeps_their_features(words, tiny_clip_folder, tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_clip_folder, "other")
    weights = load_file("other/model.safetensors")
    save_file(
        {name: value.flip(0) if "visual_projection" in name else value for name, value in weights.items()},
        "other/model.safetensors",
        metadata={"format": "pt"},
    )
    second = ["decoding.guides=[image,second_model]", "guides.second_model.path=other", "guides.second_model.weight=5"]
    for folder, extra in (("one", []), ("two", second), ("three", second)):
        assert main([*words, *extra, f"run.dir={folder}"]) == 0
    work = [manifest(tmp_path / folder)["sessions"][0]["work"] for folder in ("one", "two", "three")]
    assert [(one["images_encoded"], one["images_cached"]) for one in work] == [(6, 0), (6, 6), (0, 12)]
    texts = [[p["caption"] for p in lines(tmp_path / name / "predictions.jsonl")] for name in ("one", "two", "three")]
    assert texts[0] != texts[1] == texts[2]
    told = manifest(tmp_path / "two")
    assert told["models"]["guides.second_model"]["files"] != told["models"]["image_text_model"]["files"]
    (tmp_path / "other" / "config.json").write_text((tmp_path / "other" / "config.json").read_text() + " ")
    assert main([*words, *second, "run.dir=two"]) == 2
    assert "was begun with other model files (guides.second_model.config.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["guides.memory.captions_file=missing.json"], "guides.memory.captions_file=missing.json: no such file"),
        (
            ["guides.memory.split=test", "guides.memory.captions_file=k.json"],
            "guides.memory.split must be one of val, got 'test'",
        ),
        (
            ["decoding.guides=[image,memroy]"],
            "decoding.guides: 'memroy' is unknown; did you mean memory? (image, second_model, memory)",
        ),
        (["decoding.guides=[memory]"], "decoding.guides must name image, and each guide once, got [memory]"),
        (["decoding.guides=[image,image]"], "decoding.guides must name image, and each guide once, got [image, image]"),
        (["decoding.beta=0"], "decoding.beta=0: the memory takes its share of it"),
        (["guides.memory.use=mixed"], "guides.memory.use: did you mean mix? (mix, replace, beside), got 'mixed'"),
        (["guides.memory.neighbors=3"], "unknown setting guides.memory.neighbors; did you mean"),
        (
            ["decoding.guides=[image,second_model]", "guides.second_model.path=captions.json"],
            "guides.second_model.path=captions.json: has no config.json",
        ),
    ],
)
def test_faults_are_one_line(words, extra, message, tmp_path, capsys, monkeypatch):
    if "has no config" not in message:
        monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    (tmp_path / "k.json").write_text('{"images": [{"split": "val", "sentences": []}]}')
    memory = [] if "has no config" in message else MEMORY
    assert main([*words, *memory, *extra, "run.dir=out"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


def test_guide_that_is_set_and_not_named_is_said(words, capsys):
    assert main([*words[:3], "decoding=greedy", words[3], "decoding.decoding_len=8", "run.dir=plain"]) == 0
    assert "guides" not in capsys.readouterr().err, "what models recommend is nothing that was set"
    assert main([*words, "guides.memory.weight=0.4", "run.dir=out"]) == 0
    assert (
        "magic: guides.memory: is set and not used; decoding=magic takes it with decoding.guides=[image,memory]\n"
        in capsys.readouterr().err
    )


def test_story_takes_a_memory_too(models, tiny_photos, tmp_path, capsys):
    photo = sorted(tiny_photos.iterdir())[0]
    words = [
        "story",
        "--title",
        "A cat",
        "--image",
        str(photo),
        *models,
        "decoding.decoding_len=30",
        "decoding.alpha=0.3",
        "decoding.beta=2",
    ]
    assert main([*words, *MEMORY, "run.dir=out"]) == 0
    assert manifest(tmp_path / "out")["models"]["guides.memory"]["count"] == len(CAPTIONS)
