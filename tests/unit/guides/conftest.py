"""A run's image-text models, as guides meet them."""

import pytest
import torch

from magic_cli.image_features.viewers import Circumstances, Viewer, Viewers
from magic_cli.models.work_counter import WorkCounter

FACTS = {"family": "huggingface_clip", "files": {"model.safetensors": "ab"}}


@pytest.fixture
def viewers(clip):
    """The tiny CLIP is the first model."""
    viewers = Viewers(None, Circumstances(torch.device("cpu"), torch.float32, 1, None, WorkCounter()))
    viewers.list.append(Viewer(clip, FACTS, 0))
    return viewers
