"""From the arguments of ``load`` to settings."""

import json

import pytest

from magic_cli.api.settings import loading_overrides
from magic_cli.errors import MagicError


@pytest.mark.parametrize(
    ("files", "option"),
    [
        ({"config.json": json.dumps({"model_type": "clip"})}, "clip_vit_b32"),
        ({"config.json": json.dumps({"model_type": "siglip"})}, "siglip"),
        ({"config.json": json.dumps({"model_type": "bert"})}, "clip_vit_b32"),
        ({"open_clip_config.json": "{}"}, "open_clip"),
        ({"config.json": json.dumps({"model_type": "clip"}), "open_clip_config.json": "{}"}, "open_clip"),  # as LAION's are
        ({"config.json": json.dumps({"model_type": ["clip"]})}, "clip_vit_b32"),
        ({"config.json": "{}", "heads.safetensors": ""}, "embedded"),
        ({}, "clip_vit_b32"),
    ],
)
def test_local_image_text_model_is_told_from_its_files(tmp_path, files, option):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert f"image_text_model={option}" in loading_overrides("embedded", str(tmp_path), {})


@pytest.mark.parametrize("name", ["ViT-B-32.pt", "weights"])
def test_local_file_is_a_model_of_openai(tmp_path, name):
    (tmp_path / name).touch()
    (tmp_path / "config.json").touch()  # of whatever else lies there
    assert "image_text_model=openai_clip" in loading_overrides("embedded", tmp_path / name, {})


def test_damaged_config_is_named_with_its_setting(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MagicError, match=r"^image_text_model\.path=.*config\.json line 1: not valid JSON"):
        loading_overrides("embedded", tmp_path, {})
