"""Model files: hub models through the cache, what the manifest says of them, and one line when they cannot be read."""

import hashlib
import shutil

import pytest
import torch
from huggingface_hub import constants

from magic_cli.errors import MagicError
from magic_cli.models.loading import load_image_text_model, load_language_model, resolve_device
from magic_cli.models.settings import Family, ImageTextModelSettings, LanguageModelSettings
from magic_cli.models.sources import describe_source, fetch, weights_digest
from magic_cli.models.work_counter import WorkCounter

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OPTIONS = {"device": torch.device("cpu"), "dtype": torch.float32}


@pytest.fixture
def hub_cache(monkeypatch, tmp_path):
    """An empty Hugging Face cache."""
    cache = tmp_path / "hub"
    cache.mkdir()
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(constants, name, str(cache), raising=False)
    return cache


def put_into_cache(cache, name, folder):
    """Lay a model folder into the cache as a download would; returns the snapshot."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return shutil.copytree(folder, repository / "snapshots" / COMMIT)


@pytest.fixture(params=["offline_switch", "no_network"])
def unreachable(request, monkeypatch):
    """The hub cannot be reached: because the user said so, or because there is no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", request.param == "offline_switch")


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def one_line(refused):
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_snapshot_is_found_when_hub_is_unreachable_and_model_is_cached(hub_cache, unreachable, tiny_language_model_folder):
    snapshot = put_into_cache(hub_cache, "somebody/tiny", tiny_language_model_folder)
    assert fetch("somebody/tiny", revision="main", setting="language_model") == snapshot
    assert fetch("somebody/tiny", revision=COMMIT, setting="language_model") == snapshot


def test_error_names_model_and_ways_out_when_nothing_is_cached(hub_cache, unreachable):
    with pytest.raises(MagicError) as refused:
        fetch("somebody/tiny", revision="main", setting="language_model")
    message = one_line(refused)
    assert message.startswith("language_model.name=somebody/tiny: not in the local cache")
    for part in (str(hub_cache), "revision main", "cannot be reached", "language_model.path=DIR", "language_model=embedded"):
        assert part in message


def test_error_names_revision_when_only_another_one_is_cached(hub_cache, unreachable, tiny_language_model_folder):
    put_into_cache(hub_cache, "somebody/tiny", tiny_language_model_folder)
    with pytest.raises(MagicError) as refused:
        fetch("somebody/tiny", revision="v2", setting="language_model")
    assert "revision v2" in one_line(refused)


def test_language_model_is_loaded_from_cache_when_named(hub_cache, unreachable, tiny_language_model_folder):
    snapshot = put_into_cache(hub_cache, "somebody/tiny", tiny_language_model_folder)
    model, description = load_language_model(LanguageModelSettings(name="somebody/tiny"), work=WorkCounter(), **OPTIONS)
    assert model.prepare(decoding_len=16, num_candidates=5) == "tree"
    assert (description["name"], description["revision"], description["commit"]) == ("somebody/tiny", "main", COMMIT)
    assert description["files"]["model.safetensors"] == sha256(snapshot / "model.safetensors")
    assert set(description["files"]) == {file.name for file in tiny_language_model_folder.iterdir()}


def test_image_text_model_is_loaded_from_cache_when_named(hub_cache, unreachable, tiny_clip_folder, images):
    put_into_cache(hub_cache, "somebody/clip", tiny_clip_folder)
    settings = ImageTextModelSettings(name="somebody/clip", logit_scale=50.0)
    model, description = load_image_text_model(settings, work=WorkCounter(), **OPTIONS)
    assert description["commit"] == COMMIT
    assert (description["family"], description["logit_scale"], model.logit_scale) == ("huggingface_clip", 50.0, 50.0)
    assert model.encode_images(images).shape == (6, 24)


def test_description_has_checksums_and_no_name_when_model_is_local(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "sub" / "weights.bin").write_bytes(b"abc")
    (tmp_path / "README.md").write_text("not part of the model")
    (tmp_path / ".cache").write_text("not part of the model")
    assert describe_source(LanguageModelSettings(path=str(tmp_path)), tmp_path) == {
        "name": None,
        "revision": None,
        "files": {
            "config.json": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",  # printf '{}' | sha256sum
            "sub/weights.bin": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",  # printf abc | sha256sum
        },
    }
    one_file = describe_source(LanguageModelSettings(name="ViT-B/32"), tmp_path / "config.json")
    assert (one_file["name"], list(one_file["files"])) == ("ViT-B/32", ["config.json"])


def test_digest_of_weights_changes_when_one_weight_does():
    first, second = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    assert weights_digest(first) == weights_digest(second)
    with torch.no_grad():
        second.bias[1] += 1
    assert weights_digest(first) != weights_digest(second)
    assert len(weights_digest(first.to(torch.bfloat16))) == 64


@pytest.mark.parametrize("damage", ["truncated", "garbage", "missing_weights", "missing_config", "broken_json"])
def test_one_line_names_the_setting_when_model_files_are_damaged(tiny_language_model_folder, tiny_clip_folder, tmp_path, damage):
    def language_model(folder):
        load_language_model(LanguageModelSettings(path=str(folder)), work=WorkCounter(), **OPTIONS)

    def image_text_model(folder):
        load_image_text_model(ImageTextModelSettings(path=str(folder)), work=WorkCounter(), **OPTIONS)

    for source, load, setting in (
        (tiny_language_model_folder, language_model, "language_model"),
        (tiny_clip_folder, image_text_model, "image_text_model"),
    ):
        folder = shutil.copytree(source, tmp_path / setting)
        weights, config = folder / "model.safetensors", folder / "config.json"
        if damage == "truncated":
            weights.write_bytes(weights.read_bytes()[:5000])
        elif damage == "garbage":
            weights.write_bytes(b"\0" * 100)
        elif damage == "missing_weights":
            weights.unlink()
        elif damage == "missing_config":
            config.unlink()
        else:
            config.write_text("{not json")
        with pytest.raises(MagicError) as refused:
            load(folder)
        message = one_line(refused)
        assert message.startswith(f"{setting}.path={folder}: ")
        assert "; name a " in message  # what to do next
        if damage in ("missing_config", "broken_json"):
            assert "config.json" in message


def test_family_names_its_own_file_kinds_when_openai_weights_are_damaged(tmp_path):
    (tmp_path / "tiny.safetensors").write_bytes(b"\0" * 100)
    settings = ImageTextModelSettings(path=str(tmp_path / "tiny.safetensors"), family=Family.openai_clip)
    with pytest.raises(MagicError) as refused:
        load_image_text_model(settings, work=WorkCounter(), **OPTIONS)
    assert one_line(refused).startswith(f"image_text_model.path={tmp_path / 'tiny.safetensors'}: cannot be loaded")


def test_device_is_refused_when_machine_has_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(MagicError, match="^run.device=cuda: torch sees 0 CUDA devices here; set run.device=cpu or auto$"):
        resolve_device("cuda")
    assert resolve_device("auto") == torch.device("cpu")


def test_what_a_training_run_notes_in_its_model_s_folder_is_no_part_of_the_model(tiny_language_model_folder, tmp_path):
    folder = shutil.copytree(tiny_language_model_folder, tmp_path / "model")
    settings = LanguageModelSettings(path=str(folder))
    before = describe_source(settings, folder)
    (folder / "checkpoints" / "best").mkdir(parents=True)
    for name in (
        "checkpoints/best/model.safetensors",
        "settings.yaml",
        "manifest.json",
        "metrics.jsonl",
        "report.json",
        "curve.png",
        "curve.svg",
        "README.md",
    ):
        (folder / name).write_bytes(b"x")
    assert describe_source(settings, folder) == before
    (folder / "modeling_own.py").write_bytes(b"x")
    assert describe_source(settings, folder) != before
