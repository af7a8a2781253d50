"""Gives the metrics that need a text model, or a classifier of images, the configured one; it is loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.metrics.base import Metric
from magic_cli.metrics.coherence import MiniLmCoherence
from magic_cli.metrics.image_networks import ImageNetworkMetric, NetworkFeatures, WeightsFile
from magic_cli.metrics.mauve import Mauve
from magic_cli.metrics.encoders import TextModelMetric
from magic_cli.metrics.sentence_bert import SentenceBert


def connect_text_models(metrics: Sequence[Metric], settings: ScoringSettings) -> None:
    """Tell each metric that needs a text model how to get it."""
    for metric in metrics:
        if isinstance(metric, TextModelMetric):
            metric.connect(partial(_load, metric, settings))


def _load(metric: TextModelMetric, settings: ScoringSettings) -> tuple[Any, dict[str, Any]]:
    import torch

    from magic_cli.models.loading import resolve_device
    from magic_cli.models.text_encoders import load_last_token_encoder, load_pooled_encoder

    if settings.run.threads is not None:
        torch.set_num_threads(settings.run.threads)
    device = resolve_device(settings.run.device)
    if isinstance(metric, MiniLmCoherence | SentenceBert):
        return _load_minilm(device)
    load = load_last_token_encoder if isinstance(metric, Mauve) else load_pooled_encoder
    return load(metric.model, device=device)


def _load_minilm(device: Any) -> tuple[Any, dict[str, Any]]:
    import torch

    from magic_cli.models.embedded.sentences import MiniLmEncoder

    encoder = MiniLmEncoder(device, torch.float32)
    return encoder, encoder.facts()


def connect_image_networks(metrics: Sequence[Metric], settings: ScoringSettings) -> None:
    """Tell each metric that needs a classifier of images how to get it; those with the same weights share one."""
    networks: dict[tuple[WeightsFile, str], NetworkFeatures] = {}
    for metric in metrics:
        if isinstance(metric, ImageNetworkMetric) and metric.weights:
            key = (metric.kind, metric.weights)
            metric.connect(networks.setdefault(key, NetworkFeatures(partial(_load_network, *key, settings), batch_size=settings.run.batch_size)))


def _load_network(kind: WeightsFile, weights: str, settings: ScoringSettings) -> tuple[Any, dict[str, Any]]:
    from magic_cli.models.inception import InceptionNetwork
    from magic_cli.models.loading import resolve_device

    network = InceptionNetwork(Path(weights).expanduser(), resolve_device(settings.run.device), of_2015=kind is WeightsFile.inception_2015)
    return network, network.facts()
