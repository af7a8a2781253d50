"""Gives metrics their models. A model is loaded when the first image or text is scored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import PurePath
from typing import Any

from magic_cli.data.paths import expanded
from magic_cli.errors import MagicError
from magic_cli.evaluation.own_model import OwnImageTextModel
from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.metrics.base import Metric, MetricUnavailable
from magic_cli.metrics.coherence import MiniLmCoherence
from magic_cli.metrics.encoders import EncoderMetric
from magic_cli.metrics.image_networks import ImageNetworkMetric, NetworkFeatures, WeightsFile
from magic_cli.metrics.image_text import FeatureMetric, ImageTextFeatures
from magic_cli.metrics.mauve import Mauve
from magic_cli.metrics.sentence_bert import SentenceBert


class MetricModels:
    """The models that the settings name.

    Attributes:
        image_text_facts: The image-text model in metrics.json, with the run that it belongs to; empty until it is loaded.
    """

    def __init__(self, settings: ScoringSettings) -> None:
        self._settings = settings
        self.image_text_facts: dict[str, Any] = {}

    def connect(self, metrics: Sequence[Metric]) -> None:
        """Tell each metric how to get its model; metrics that use the same model share it, and its features."""
        batch_size = self._settings.run.batch_size
        chosen = self._settings.image_text_model
        name = PurePath(chosen.source).name if chosen is not None else ""
        features = ImageTextFeatures(self._load_image_text_model, batch_size=batch_size, name=name)
        networks: dict[tuple[WeightsFile, str], NetworkFeatures] = {}
        for metric in metrics:
            if isinstance(metric, FeatureMetric):
                metric.connect(features)
            elif isinstance(metric, EncoderMetric):
                metric.connect(partial(self._load_encoder, metric))
            elif isinstance(metric, ImageNetworkMetric) and metric.weights:
                key = (metric.kind, metric.weights)
                metric.connect(
                    networks.setdefault(key, NetworkFeatures(partial(self._load_network, *key), batch_size=batch_size))
                )

    def _load_image_text_model(self) -> Any:
        import torch

        from magic_cli.data.images import quiet_pillow
        from magic_cli.models.loading import load_image_text_model
        from magic_cli.models.work_counter import WorkCounter

        quiet_pillow()
        device, dtype = self._device(), getattr(torch, self._settings.run.dtype.value)
        chosen = self._settings.image_text_model
        own = chosen if isinstance(chosen, OwnImageTextModel) else None
        try:
            model, facts = load_image_text_model(own.checked() if own else chosen, device=device, dtype=dtype, work=WorkCounter())
            if own:
                own.check_files(facts)
        except MagicError as error:  # the other metrics need no model
            raise MetricUnavailable(str(error)) from error
        self.image_text_facts = facts | {"source": chosen.source} | ({"of_run": own.run} if own else {})
        return model

    def _load_encoder(self, metric: EncoderMetric) -> tuple[Any, dict[str, Any]]:
        import torch

        from magic_cli.models.text_encoders import load_last_token_encoder, load_pooled_encoder

        device = self._device()
        if isinstance(metric, MiniLmCoherence | SentenceBert):
            from magic_cli.models.embedded.sentences import MiniLmEncoder

            encoder = MiniLmEncoder(device, torch.float32)
            return encoder, encoder.facts()
        load = load_last_token_encoder if isinstance(metric, Mauve) else load_pooled_encoder
        return load(metric.model, device=device)  # type: ignore[attr-defined]  # all other encoder metrics name their model

    def _load_network(self, kind: WeightsFile, weights: str) -> tuple[Any, dict[str, Any]]:
        from magic_cli.models.inception import InceptionNetwork

        network = InceptionNetwork(expanded(weights, "metrics"), self._device(), of_2015=kind is WeightsFile.inception_2015)
        return network, network.facts()

    def _device(self) -> Any:
        """The device of the models; also sets the number of threads."""

        from magic_cli.models.loading import resolve_device
        from magic_cli.models.threads import use_threads

        use_threads(self._settings.run.threads)
        return resolve_device(self._settings.run.device)
