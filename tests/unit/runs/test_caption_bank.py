"""Before captions are encoded for hours, whatever would end the run afterwards is refused."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from magic_cli.errors import MagicError
from magic_cli.models.shelf import Shelf
from magic_cli.runs.caption_bank import CaptionEncodingWriter
from magic_cli.runs.captions import CaptionTask
from tests.unit.runs.test_settings import caption


class Reached(Exception):
    """The model that encodes captions is asked for."""


class Models(Shelf):
    def image_text_model(self, settings, **where):
        raise Reached


@pytest.fixture
def load(tiny_language_model_folder, tmp_path, monkeypatch):
    """Has a worker get ready to encode captions: ``load(overrides)``; there is a folder ``empty``."""
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()

    def load(*overrides):
        path = f"language_model.path={tiny_language_model_folder}"
        settings = caption("decoding=magic_memory", "language_model=gpt2", "run.device=cpu", path, *overrides)
        CaptionEncodingWriter(settings, CaptionTask(settings), Path(), Models()).load(None, SimpleNamespace(id="a"))

    return load


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("language_model.path=empty", r"language_model\.path=empty: has no config\.json"),
        ("decoding.decoding_len=20000", r"decoding\.decoding_len must be at most the language model's \d+ positions"),
        ("decoding.k=9000", r"decoding\.k must be at most the vocabulary size"),
        ("prompt=" + "a dog " * 20, r"decoding\.decoding_len counts the prompt and must exceed its \d+ tokens"),
    ],
)
def test_language_model_is_refused_before_captions_are_encoded(load, override, message):
    with pytest.raises(MagicError, match=message):
        load(override)


def test_language_model_that_fits_is_not_in_the_way(load):
    with pytest.raises(Reached):
        load()


def test_language_model_that_takes_no_part_is_not_looked_at(load):
    with pytest.raises(Reached):
        load("decoding=clipre", "language_model.path=empty")
