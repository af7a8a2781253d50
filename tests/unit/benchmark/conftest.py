"""A workload on the tiny models."""

import pytest

from magic_cli.benchmark.workloads import Workload, prepared
from magic_cli.decoding.magic import MagicSearch
from magic_cli.decoding.text import CaptionFormat
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from magic_cli.models.work_counter import WorkCounter


@pytest.fixture
def workload(network_and_tokenizer, clip, image_features, monkeypatch) -> Workload:
    """Four captions of up to 11 new tokens by the tiny models."""
    work = WorkCounter()
    monkeypatch.setattr(clip, "work", work)
    model = HuggingFaceLanguageModel(*network_and_tokenizer, work=work)
    method = MagicSearch(decoding_len=12, k=6, alpha=0.1, beta=2.0)
    return prepared(Workload(model, clip, image_features[:4], [[model.start_id]] * 4, method, CaptionFormat(model), work))
