"""Gives the metrics that look at images the configured image-text model; it is loaded when the first image is scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from magic_cli.errors import MagicError
from magic_cli.evaluation.own_model import OwnImageTextModel
from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.metrics.base import Metric, MetricUnavailable
from magic_cli.metrics.image_text import FeatureMetric, ImageTextFeatures


class ConfiguredModel:
    """The image-text model of the settings.

    Attributes:
        facts: What metrics.json says of it, with the run whose own it is, if so; empty until it is loaded.
    """

    def __init__(self, settings: ScoringSettings) -> None:
        self._settings = settings
        self.facts: dict[str, Any] = {}

    def connect(self, metrics: Sequence[Metric]) -> None:
        """Let these metrics share the model and its features."""
        chosen = [metric for metric in metrics if isinstance(metric, FeatureMetric)]
        if chosen:
            features = ImageTextFeatures(self._load, batch_size=self._settings.run.batch_size, name=PurePath(self._settings.image_text_model.source).name)
            for metric in chosen:
                metric.connect(features)

    def _load(self) -> Any:
        import torch

        from magic_cli.data.images import quiet_pillow
        from magic_cli.models.loading import load_image_text_model, resolve_device
        from magic_cli.models.work_counts import Work

        quiet_pillow()
        run = self._settings.run
        if run.threads is not None:
            torch.set_num_threads(run.threads)
        where = {"device": resolve_device(run.device), "dtype": getattr(torch, run.dtype.value), "work": Work()}
        chosen = self._settings.image_text_model
        own = chosen if isinstance(chosen, OwnImageTextModel) else None
        try:
            model, facts = load_image_text_model(own.checked() if own else chosen, **where)
            if own:
                own.check_files(facts)
        except MagicError as error:  # the other metrics need no such model
            raise MetricUnavailable(str(error)) from error
        self.facts = facts | {"source": chosen.source} | ({"of_run": own.run} if own else {})
        return model
