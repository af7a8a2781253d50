import pytest
import torch

from magic_cli.interleaved.loading import load_interleaved_model, read_parts
from magic_cli.models.work_counts import Work
from tests.interleaved_models import interleaved_settings


@pytest.fixture(scope="session")
def interleaved_model(interleaved_folder):
    """Read-only for tests."""
    model, _ = load_interleaved_model(interleaved_settings(interleaved_folder), device=torch.device("cpu"), dtype=torch.float32, work=Work())
    model.language_model.prepare(decoding_len=128, num_candidates=4)
    return model


@pytest.fixture
def parts(interleaved_folder):
    return read_parts(interleaved_settings(interleaved_folder), dtype=torch.float32)
