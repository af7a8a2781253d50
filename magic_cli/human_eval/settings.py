"""Settings of ``magic human-eval``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum

from magic_cli.errors import MOST_ITEMS, MOST_SEED, SettingsError, require
from magic_cli.evaluation.settings import BootstrapSettings, TableFormat
from magic_cli.human_eval.aspects import Kind


class HumanEvalAction(Enum):
    """What the command does."""

    make = "make"
    score = "score"


class Incomplete(Enum):
    """What to do with answer files that have open questions."""

    refuse = "refuse"
    accept = "accept"


class MissingPhotos(Enum):
    """What to do if a photo named in a story file does not exist."""

    refuse = "refuse"
    without = "without"


@dataclass
class HumanEvalSettings:
    """Everything ``magic human-eval`` needs.

    Attributes:
        action: ``make`` the forms, or ``score`` the answers.
        kind: make: ``stories``, each judged by itself, or ``pairs`` of two systems' texts and images.
        files: make: run folders and story files; score: the returned answer files.
        systems: make: more of them as ``NAME=FILE``, with a name for the scores.
        human: make: also show the stories by people, if the files hold them, as a system ``human``.
        items: make: how many titles, or items, are drawn at random, 1 to 1,000,000,000; null: all that every system has.
        annotators: make: how many forms, one for each annotator, 1 to 1000.
        seed: make: seed of the draw and of all orders, 0 to 2**63 - 1.
        images: make: folder of the photos; null: the paths in the files.
        missing_photos: make: ``refuse`` missing photos, or show the title ``without`` its photo.
        image_side: make: photos are scaled to so many pixels on the long side, 64 to 10,000.
        key: score: the key.json that ``make`` wrote.
        incomplete: score: ``refuse`` answer files with open questions, or ``accept`` them.
        output: make: folder of the forms and key.json; score: folder of scores.json; null: below runs/human-eval, or the key's.
        format: How score prints its tables.
        bootstrap: Settings of confidence intervals and tests.
    """

    action: HumanEvalAction
    kind: Kind = Kind.stories
    files: list[str] = field(default_factory=list)
    systems: list[str] = field(default_factory=list)
    human: bool = False
    items: int | None = 50
    annotators: int = 5
    seed: int = 0
    images: str | None = None
    missing_photos: MissingPhotos = MissingPhotos.refuse
    image_side: int = 640
    key: str | None = None
    incomplete: Incomplete = Incomplete.refuse
    output: str | None = None
    format: TableFormat = TableFormat.terminal
    bootstrap: BootstrapSettings = field(default_factory=BootstrapSettings)

    def __post_init__(self) -> None:
        require("annotators", self.annotators, at_least=1, limit=1000)
        require("seed", self.seed, at_least=0, limit=MOST_SEED)
        require("image_side", self.image_side, at_least=64, limit=10_000)
        if self.items is not None:
            if self.items < 1:
                raise SettingsError(f"items must be at least 1, got {self.items}; items=null takes all")
            require("items", self.items, limit=MOST_ITEMS)
        if self.action is HumanEvalAction.make and not (self.files or self.systems):
            raise SettingsError(
                "nothing to judge: name run folders or story files, or --system NAME=FILE (see magic human-eval --help)"
            )
        if self.kind is Kind.pairs and (self.human or self.images):
            raise SettingsError(
                f"{'human=true' if self.human else f'images={self.images}'}: belongs to kind=stories; pairs show what two runs hold"
            )
        if self.action is HumanEvalAction.score:
            if not self.files:
                raise SettingsError("no answers to score: name the files that the annotators returned")
            if not self.key:
                raise SettingsError("key is not set; --key FILE names the key.json that `magic human-eval make` wrote")
            require("samples", self.bootstrap.samples, at_least=1, prefix="bootstrap")

    def claim(self) -> tuple[str, str] | None:
        """The folder to write, and all settings."""
        return (self.output, repr(asdict(self))) if self.output else None
