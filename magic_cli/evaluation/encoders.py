"""Gives the metrics that need an encoder the configured one; it is loaded when the first text is scored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.metrics.base import Metric
from magic_cli.metrics.coherence import MiniLmCoherence
from magic_cli.metrics.mauve import Mauve
from magic_cli.metrics.encoders import EncoderMetric


def connect_encoders(metrics: Sequence[Metric], settings: ScoringSettings) -> None:
    """Tell each metric that needs an encoder how to get it."""
    for metric in metrics:
        if isinstance(metric, EncoderMetric):
            metric.connect(partial(_load, metric, settings))


def _load(metric: EncoderMetric, settings: ScoringSettings) -> tuple[Any, dict[str, Any]]:
    import torch

    from magic_cli.models.loading import resolve_device
    from magic_cli.models.text_encoders import load_last_token_encoder, load_pooled_encoder

    if settings.run.threads is not None:
        torch.set_num_threads(settings.run.threads)
    device = resolve_device(settings.run.device)
    if isinstance(metric, MiniLmCoherence):
        return _load_minilm(device)
    load = load_last_token_encoder if isinstance(metric, Mauve) else load_pooled_encoder
    return load(metric.model, device=device)


def _load_minilm(device: Any) -> tuple[Any, dict[str, Any]]:
    import torch

    from magic_cli.models.embedded.sentences import MiniLmEncoder

    encoder = MiniLmEncoder(device, torch.float32)
    return encoder, encoder.facts()
