"""Settings of the commands that score captions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from magic_cli.data.paths import named_paths
from magic_cli.errors import MOST_SEED, SettingsError, require
from magic_cli.metrics.settings import MetricsSettings
from magic_cli.metrics.statistics import Resampler
from magic_cli.models.settings import DefaultImageTextModel, MachineSettings


class Unmatched(Enum):
    """What to do with captions that have no references."""

    refuse = "refuse"
    drop = "drop"


class TableFormat(Enum):
    """The format of printed tables."""

    terminal = "terminal"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"
    json = "json"


@dataclass
class BootstrapSettings:
    """Confidence intervals and tests by resampling the items.

    Attributes:
        samples: Number of resampled corpora, up to 1,000,000 (papers use 1,000 to 10,000); 0: no intervals.
        confidence: Confidence of the intervals, in (0, 1).
        seed: Seed of the resampling, 0 to 2**63 - 1.
    """

    samples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        require("samples", self.samples, at_least=0, limit=1_000_000, prefix="bootstrap")
        require("confidence", self.confidence, above=0, below=1, prefix="bootstrap")
        require("seed", self.seed, at_least=0, at_most=MOST_SEED, prefix="bootstrap")

    def resampler(self, num_items: int) -> Resampler | None:
        """Draws resampled corpora of so many items; None: intervals are switched off, or there is only one item."""
        return Resampler(num_items, samples=self.samples, seed=self.seed) if self.samples and num_items > 1 else None


DEFAULT_SCORER = DefaultImageTextModel(name="openai/clip-vit-base-patch32")
"""The paper's model for CLIPScore, used if the user chose none and no run among the systems has its own."""


@dataclass
class ScoringSettings:
    """How captions are scored.

    Attributes:
        references: File of reference captions; null: those in the prediction files.
        split: Only images of this split of the references; null: all.
        unmatched: What to do with captions that have no references: ``refuse``, or ``drop`` (and count) them.
        only_common: Score only the images that all systems captioned.
        images: Folder of the images, for CLIPScore; null: the paths in the files.
        retrieved: Images for stories that were written without one: the file of ``magic retrieve-images query``.
        image_ranks: If stories were written for several images of a title: which ranks to score, each as a system of its own.
        human: Score the stories that people wrote for the titles, too.
        id_key: Key of an image's id in prediction files; null: the usual ones are tried.
        caption_key: Key of the caption in prediction files; null: the usual ones are tried.
        output: Folder of metrics.json and per_item.jsonl; null: the run folder, or below ``runs/evaluate``.
        metrics: Which metrics, and their settings.
        image_text_model: The model for CLIPScore; in ``magic evaluate``, unless the user chose one, that of the runs.
        bootstrap: Settings of confidence intervals.
        run: What models run on.
    """

    image_text_model: Any
    references: str | None = None
    split: str | None = None
    unmatched: Unmatched = Unmatched.refuse
    only_common: bool = False
    images: str | None = None
    retrieved: str | None = None
    image_ranks: list[int] = field(default_factory=lambda: [1])
    human: bool = False
    id_key: str | None = None
    caption_key: str | None = None
    output: str | None = None
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    bootstrap: BootstrapSettings = field(default_factory=BootstrapSettings)
    run: MachineSettings = field(default_factory=MachineSettings)

    def __post_init__(self) -> None:
        if not self.image_ranks or len(set(self.image_ranks)) < len(self.image_ranks) or min(self.image_ranks) < 1:
            raise SettingsError(f"image_ranks={self.image_ranks}: must name ranks from 1 for a title's best image, each once")


@dataclass
class EvaluateSettings(ScoringSettings):
    """Everything ``magic evaluate`` needs.

    Attributes:
        systems: Run folders, prediction files, patterns.
        compare: Test the other systems against the first.
        plot: File for a plot of the table with intervals; null: none.
        format: The format of printed tables.
    """

    systems: list[str] = field(default_factory=list)
    compare: bool = False
    plot: str | None = None
    format: TableFormat = TableFormat.terminal

    def claim(self) -> tuple[tuple[str, ...], str]:
        """The folders for metrics.json, and all settings; empty if the folder's name contains a hash of them."""
        runs = (str(path.resolve()) for system in self.systems for path in named_paths(system) if path.is_dir())
        return (self.output,) if self.output else tuple(runs), repr(asdict(self))


@dataclass
class TableSettings(ScoringSettings):
    """Everything ``magic table`` needs.

    Attributes:
        words: Numbers of tables (``1``, ``2``, ``3``, ``all``), or ``sweep``; then run folders, prediction files or folders of them.
        rows: ``ROW=FILE``: the row that a file belongs to.
        human_scores: File of ``magic human-eval score``: for the human columns of table 3, or for pairs in table vist.
        metric: Measure of a sweep's points, by its name in metrics.json.
        plot: File for a plot of the table or the sweep; null: none.
        format: The format of printed tables.
    """

    words: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    human_scores: str | None = None
    metric: str = "cider"
    plot: str | None = None
    format: TableFormat = TableFormat.terminal

    def claim(self) -> tuple[tuple[str, ...], str]:
        """As ``EvaluateSettings.claim``. Words may be numbers of tables, and the same runs may be in several tables."""
        return (self.output,) if self.output else (), repr(asdict(self))
