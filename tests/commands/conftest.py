"""What tests of commands share."""

import shutil

import pytest


@pytest.fixture(scope="session")
def tiny_clip_folder(common_clip_folder):
    """The model that loads fast: a command loads its models whenever it runs."""
    return common_clip_folder


@pytest.fixture(scope="session")
def loaded_clip(tiny_clip_folder):
    """The same model behind its adapter."""
    from tests import tiny_models

    return tiny_models.load_clip(tiny_clip_folder)


@pytest.fixture(scope="session")
def image_features(loaded_clip, images):
    """(6, E) features of the photos by it."""
    return loaded_clip.encode_images(images)


@pytest.fixture
def models(tiny_language_model_folder, tiny_clip_folder):
    return [
        f"language_model.path={tiny_language_model_folder}", "image_text_model=clip_vit_b32", f"image_text_model.path={tiny_clip_folder}",
        "decoding.k=5", "decoding.decoding_len=10", "run.threads=1",
    ]  # fmt: skip


@pytest.fixture
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model(tiny_clip_folder):
    """Words of ``magic retrieve-images``: the model of an index, and where it lies."""
    return ["image_text_model=clip_vit_b32", f"image_text_model.path={tiny_clip_folder}", "run.threads=1", "--index", "bank"]


@pytest.fixture
def photos(tiny_photos, tmp_path):
    """A folder of photos that a test may change."""
    return shutil.copytree(tiny_photos, tmp_path / "photos")
