"""One captioner for all tests of the Python API, and the words that ask the command line for the same."""

import pytest

import magic_cli

SETTINGS = {"k": 5, "alpha": 0.3, "beta": 2.0, "decoding_len": 10}


@pytest.fixture(scope="session")
def captioner(tiny_language_model_folder, tiny_clip_folder):
    return magic_cli.load(tiny_language_model_folder, tiny_clip_folder, device="cpu", settings={"run.cache_images": False})


@pytest.fixture
def words(tiny_language_model_folder, tiny_clip_folder, tmp_path, monkeypatch):
    """Words of a command with the models of ``captioner``."""
    monkeypatch.chdir(tmp_path)
    return [
        f"language_model.path={tiny_language_model_folder}", "image_text_model=clip_vit_b32", f"image_text_model.path={tiny_clip_folder}",
        "run.device=cpu", "run.cache_images=false", "run.workers=0",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def files(tiny_photos):
    return sorted(tiny_photos.iterdir())
