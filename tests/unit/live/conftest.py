"""The models that the live page's tests write with."""

import pytest

from magic_cli.live.wishes import Models
from magic_cli.models.settings import MachineSettings


@pytest.fixture
def models(tiny_language_model_folder, tiny_clip_folder):
    return Models(str(tiny_language_model_folder), str(tiny_clip_folder), MachineSettings(threads=1))
