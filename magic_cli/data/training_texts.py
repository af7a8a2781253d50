"""The texts that a language model is adapted to: captions, stories or plain lines, from files of several forms.

A source yields groups of texts that belong together (the captions of one image). Whole groups are held out, so that a
held-out text never has a sibling among the training texts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from magic_cli.data.json_files import whole_characters
from magic_cli.data.training_files import HINT, Groups, SourceKind, TextForm, flatten, read_groups
from magic_cli.errors import MOST_ITEMS, MOST_SEED, MagicError, SettingsError, require
from magic_cli.terminal.wording import counted


@dataclass
class TextSource:
    """One source of texts.

    Attributes:
        kind: The form of its file.
        path: Its file; null: ``dataset.path``. ``bundled_coco`` needs none.
        split: Only images of this split; null: all.
        weight: How often each text is repeated, 1 to 1000.
        held_out: Share (below 1) or number (from 1) of its images, or lines, to hold out for validation; null:
            ``dataset.held_out``.
    """

    kind: SourceKind = SourceKind.text
    path: str | None = None
    split: str | None = None
    weight: int = 1
    held_out: float | None = None

    def __post_init__(self) -> None:
        require("the weight of a source", self.weight, at_least=1, limit=1000)
        if self.held_out is not None:
            _check_held_out(self.held_out, "a source's held_out")
        if self.split is not None and self.kind not in (SourceKind.karpathy, SourceKind.coco_captions):
            raise SettingsError(f"dataset: a source of kind {self.kind.value} has no splits, got split={self.split}")


@dataclass
class TextDataset:
    """Training, validation and test texts.

    Attributes:
        name: The name in runs.
        form: How a text becomes a sample.
        path: The file of all sources without a path.
        train: Sources of the training texts.
        validation: Sources of the validation texts; the texts held out of the training sources are added.
        test: Sources of the test texts; read only with ``validate.select_on=test``.
        held_out: Share (below 1) or number (from 1) of each training source's images, or lines, to hold out for validation.
        held_out_seed: Seed that chooses them.
        limit: Only the first so many training texts, at least 1; null: all.
    """

    name: str = "text"
    form: TextForm = TextForm.caption
    path: str | None = None
    train: list[TextSource] = field(default_factory=list)
    validation: list[TextSource] = field(default_factory=list)
    test: list[TextSource] = field(default_factory=list)
    held_out: float = 0.0
    held_out_seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        _check_held_out(self.held_out, "dataset.held_out")
        require("held_out_seed", self.held_out_seed, at_least=0, at_most=MOST_SEED, prefix="dataset")
        if self.limit is not None:
            require("limit", self.limit, at_least=1, limit=MOST_ITEMS, prefix="dataset")
        if not self.train:
            raise SettingsError(
                "dataset.train must name at least one source of texts, e.g. dataset.train=[{kind: text, path: my.txt}]"
            )
        shares = [self.held_out if source.held_out is None else source.held_out for source in self.train]
        if not self.validation and not any(shares):
            raise SettingsError(
                "dataset.held_out must be greater than 0 where dataset.validation is empty: validation texts are needed"
            )
        for source in (*self.train, *self.validation, *self.test):
            if source.kind is not SourceKind.bundled_coco and not (source.path or self.path):
                raise SettingsError("dataset.path is not set; " + HINT)
        self._refuse_trained("validation", self.validation, "set dataset.validation=[] and dataset.held_out")

    def training_and_validation(self) -> tuple[list[str], list[str]]:
        """The training texts, with repeats, and the validation texts.

        Raises:
            MagicError: A file is missing or malformed, or there is no text.
        """
        training: list[str] = []
        held_out: Groups = []
        for source in self.train:
            share = self.held_out if source.held_out is None else source.held_out
            kept, taken = hold_out(self._read(source), share, self.held_out_seed)
            training += flatten(kept) * source.weight
            held_out += taken
        validation = flatten(held_out) + self.read(self.validation)
        if not training or not validation:
            kind, apart = "validation" if training else "training", len(flatten(held_out))
            place = f"{self.path}: " if self.path else ""
            raise MagicError(
                f"dataset={self.name}: no {kind} texts ({place}{counted(len(training) + apart, 'text')}, {apart} of them held out to "
                "measure on); give more texts, or check dataset.train, dataset.validation and dataset.held_out"
            )
        return training[: self.limit], validation

    def test_texts(self) -> list[str]:
        """The texts of ``test``.

        Raises:
            MagicError: There are none, or the model is trained on them.
        """
        self._refuse_trained("test", self.test, "set validate.select_on=validation")
        texts = self.read(self.test)
        if not texts:
            raise MagicError(f"dataset={self.name}: no test texts; set dataset.test, or validate.select_on=validation")
        return texts

    def _refuse_trained(self, name: str, sources: Sequence[TextSource], instead: str) -> None:
        """Refuse texts that would measure a model and also train it.

        Raises:
            SettingsError: A source is a training source, or a split of one.
        """
        for source in sources:
            same = [other for other in self.train if self._file(other) == self._file(source)]
            if any(None in (source.split, other.split) or source.split == other.split for other in same):
                what = f"path={source.path}" if source.path else f"a source names no path, and dataset.path={self.path}"
                what = "kind=bundled_coco" if source.kind is SourceKind.bundled_coco else what
                raise SettingsError(f"dataset.{name}: {what} is trained on, too; name a path or split that is not, or {instead}")

    def _file(self, source: TextSource) -> Path | None:
        """The file of a source; None: the captions that come with magic."""
        return None if source.kind is SourceKind.bundled_coco else Path(source.path or self.path or "").resolve()

    def read(self, sources: Sequence[TextSource]) -> list[str]:
        """All texts of several sources, with repeats."""
        return [text for source in sources for text in flatten(self._read(source)) * source.weight]

    def _read(self, source: TextSource) -> Groups:
        """The groups of one source. White space is collapsed, except a story's tab; empty texts are left out."""
        groups = read_groups(source.kind, Path(source.path or self.path or ""), source.split, self.form)
        if source.kind is SourceKind.stories:
            return groups
        tidy = ([_tidy(whole_characters(text), self.form) for text in group] for group in groups)
        return [group for group in ([text for text in group if text] for group in tidy) if group]


def _tidy(text: str, form: TextForm) -> str:
    """White space collapsed, except the tab between title and story."""
    if form is TextForm.caption or not text.strip():
        return " ".join(text.split())
    parts = [" ".join(part.split()) for part in text.partition("\t")[::2]]
    if not all(parts):
        raise MagicError(
            f"dataset.form=story: a text is not title, tab, story ({text[:60]!r}); mend it, or set dataset.form=caption"
        )
    return "\t".join(parts)


def hold_out(groups: Groups, share: float, seed: int) -> tuple[Groups, Groups]:
    """Split groups into those kept and those held out, both shuffled by the seed. A share of 0 keeps all, in order.

    >>> hold_out([["a"], ["b"], ["c"], ["d"]], 1, seed=0)
    ([['a'], ['b'], ['d']], [['c']])
    """
    count = round(share * len(groups)) if share < 1 else int(share)
    if share == 0:
        return groups, []
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    return [groups[i] for i in order[max(1, count) :]], [groups[i] for i in order[: max(1, count)]]


def _check_held_out(share: float, setting: str) -> None:
    if not (0 <= share < 1 or (share >= 1 and share % 1 == 0)):
        raise SettingsError(f"{setting} must be a share in [0, 1) or a whole number of images or lines, got {share}")
