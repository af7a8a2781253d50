"""The kind of a model, told from its files: `magic doctor`, the live page and Python agree on it."""

import pytest

from magic_cli.errors import MagicError
from magic_cli.models.kinds import image_text_option, kind_of

CLIP, SIGLIP, GPT2 = ({"config.json": f'{{"model_type": "{kind}"}}'} for kind in ("clip", "siglip", "gpt2"))
OPEN_CLIP, EMBEDDED = {"open_clip_config.json": "{}"}, {"heads.safetensors": ""}


@pytest.fixture
def folder(request, tmp_path):
    for name, content in request.param.items():
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "kind", "option"),
    [
        (CLIP, "huggingface_clip", "clip_vit_b32"),
        (SIGLIP, "siglip", "siglip"),
        (OPEN_CLIP, "open_clip", "open_clip"),
        (OPEN_CLIP | CLIP, "open_clip", "open_clip"),  # the hub's models of OpenCLIP have both
        (OPEN_CLIP | SIGLIP, "open_clip", "open_clip"),
        (OPEN_CLIP | {"config.json": "{"}, "open_clip", "open_clip"),
        (EMBEDDED, "embedded", "embedded"),
        (EMBEDDED | CLIP, "huggingface_clip", "clip_vit_b32"),
        (EMBEDDED | GPT2, "embedded", "embedded"),
        (GPT2, "language_model", "clip_vit_b32"),  # the loader says what is missing
        ({}, "language_model", "clip_vit_b32"),
    ],
    indirect=["folder"],
)
def test_doctor_and_the_option_that_loads_a_folder_agree(folder, kind, option):
    assert (kind_of(folder), image_text_option(folder)) == (kind, option)


@pytest.mark.parametrize("folder", [{"config.json": "{"}], indirect=True)
def test_config_that_is_no_json_is_one_line_for_both(folder):
    for tell in (kind_of, image_text_option):
        with pytest.raises(MagicError, match=r"config.json line 1: not valid JSON[^\n]*; download or export it again$"):
            tell(folder)
