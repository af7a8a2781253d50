"""Texts that language models are adapted to: captions, stories or plain lines, from files of several kinds.

A source gives groups of texts that belong together (the captions of one image), so that held-out texts never have a
sibling among the training texts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.data.json_files import read_json, read_records, read_text, whole_characters
from magic_cli.data.text_tables import CAPTION_KEYS, REFERENCE_KEYS
from magic_cli.errors import MOST_ITEMS, MOST_SEED, MagicError, SettingsError, require

Groups = list[list[str]]
"""Texts that belong together, group by group."""

_HINT = "name a file of texts (formats: data/README.md)"


class SourceKind(Enum):
    """What a source of texts is read from."""

    bundled_coco = "bundled_coco"
    karpathy = "karpathy"
    coco_captions = "coco_captions"
    stories = "stories"
    text = "text"


class TextForm(Enum):
    """How a text becomes a sample: ``caption`` between start and end token, ``story`` as title, end token, story."""

    caption = "caption"
    story = "story"


@dataclass
class TextSource:
    """One source of texts.

    Attributes:
        kind: What it is read from.
        path: Its file; null: ``dataset.path``; ``bundled_coco`` has none.
        split: Only images of this split; null: all.
        weight: Times that each text is repeated, 1 to 1000.
        held_out: Share (below 1) or number (from 1) of its images, or lines, that are kept for validation; null:
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
        name: What runs call it.
        form: How a text becomes a sample.
        path: File of the sources that name none.
        train: Sources of the training texts.
        validation: Sources of the validation texts, beside those held out of the training texts.
        test: Sources of the test texts; read only with ``validate.select_on=test``.
        held_out: Share (below 1) or number (from 1) of each training source's images, or lines, that are kept for validation.
        held_out_seed: Chooses which.
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
            raise SettingsError("dataset.train must name at least one source of texts, e.g. dataset.train=[{kind: text, path: my.txt}]")
        shares = [self.held_out if source.held_out is None else source.held_out for source in self.train]
        if not self.validation and not any(shares):
            raise SettingsError("dataset.held_out must be greater than 0 where dataset.validation is empty: validation texts are needed")
        for source in (*self.train, *self.validation, *self.test):
            if source.kind is not SourceKind.bundled_coco and not (source.path or self.path):
                raise SettingsError("dataset.path is not set; " + _HINT)
        self._refuse_trained("validation", self.validation, "set dataset.validation=[] and dataset.held_out")

    def training_and_validation(self) -> tuple[list[str], list[str]]:
        """The texts that are trained on, repeats included, and those that are not.

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
            kind = "validation" if training else "training"
            raise MagicError(f"dataset={self.name}: no {kind} texts; check dataset.train, dataset.validation and dataset.held_out")
        return training[: self.limit], validation

    def test_texts(self) -> list[str]:
        """The texts of ``test``.

        Raises:
            MagicError: There are none, or they are trained on.
        """
        self._refuse_trained("test", self.test, "set validate.select_on=validation")
        texts = self.read(self.test)
        if not texts:
            raise MagicError(f"dataset={self.name}: no test texts; set dataset.test, or validate.select_on=validation")
        return texts

    def _refuse_trained(self, name: str, sources: Sequence[TextSource], instead: str) -> None:
        """Texts that measure a model must not be among those that it is trained on.

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
        """Where a source is read; None: the captions that come along."""
        return None if source.kind is SourceKind.bundled_coco else Path(source.path or self.path or "").resolve()

    def read(self, sources: Sequence[TextSource]) -> list[str]:
        """All texts of some sources, repeats included."""
        return [text for source in sources for text in flatten(self._read(source)) * source.weight]

    def _read(self, source: TextSource) -> Groups:
        """The groups of one source: white space collapsed, but for a story's tab; empty texts left out."""
        groups = READERS[source.kind](Path(source.path or self.path or ""), source.split)
        if source.kind is SourceKind.stories:
            return groups
        tidy = ([_tidy(whole_characters(text), self.form) for text in group] for group in groups)
        return [group for group in ([text for text in group if text] for group in tidy) if group]


def _tidy(text: str, form: TextForm) -> str:
    """White space collapsed, but for the tab between title and story."""
    if form is TextForm.caption or not text.strip():
        return " ".join(text.split())
    parts = [" ".join(part.split()) for part in text.partition("\t")[::2]]
    if not all(parts):
        raise MagicError(f"dataset.form=story: a text is not title, tab, story ({text[:60]!r}); mend it, or set dataset.form=caption")
    return "\t".join(parts)


def hold_out(groups: Groups, share: float, seed: int) -> tuple[Groups, Groups]:
    """Part groups into those kept and those held out, both shuffled by the seed; all kept, in order, if the share is 0.

    >>> hold_out([["a"], ["b"], ["c"], ["d"]], 1, seed=0)
    ([['a'], ['b'], ['d']], [['c']])
    """
    count = round(share * len(groups)) if share < 1 else int(share)
    if share == 0:
        return groups, []
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    return [groups[i] for i in order[max(1, count) :]], [groups[i] for i in order[: max(1, count)]]


def flatten(groups: Groups) -> list[str]:
    """The texts of all groups."""
    return [text for group in groups for text in group]


def _check_held_out(share: float, setting: str) -> None:
    if not (0 <= share < 1 or (share >= 1 and share % 1 == 0)):
        raise SettingsError(f"{setting} must be a share in [0, 1) or a whole number of images or lines, got {share}")


def _bundled(path: Path, split: str | None) -> Groups:
    by_image = load_bundled_coco_captions()
    return [by_image[image] for image in sorted(by_image)]


def _karpathy(path: Path, split: str | None) -> Groups:
    document = read_json(path, setting="dataset.path", hint="name Karpathy's JSON file, from his caption_datasets.zip; scripts/prepare_coco.py brings it")
    with _Expecting(path):
        images = [(image["split"], [sentence["raw"] for sentence in image["sentences"]]) for image in document["images"]]
    return _of_split(images, split, path)


def _coco_captions(path: Path, split: str | None) -> Groups:
    document = read_json(path, setting="dataset.path", hint=_HINT)
    with _Expecting(path):
        captions: dict[Any, list[str]] = {}
        for annotation in document["annotations"]:
            captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
        images = [(image.get("split"), captions.get(image["id"], [])) for image in document["images"]]
    return _of_split(images, split, path)


def _of_split(images: Sequence[tuple[str | None, list[str]]], split: str | None, path: Path) -> Groups:
    chosen = [captions for of, captions in images if split is None or of == split]
    if not chosen:
        known = ", ".join(sorted({str(of) for of, _ in images}))
        raise SettingsError(f"dataset.path={path}: no images of split {split!r}; it has {known or 'no images'}")
    return chosen


def _stories(path: Path, split: str | None) -> Groups:
    """Lines ``title<TAB>story``, as they stand."""
    groups = []
    for number, line in _lines(path):
        title, tab, story = line.partition("\t")
        if not (tab and title.strip() and story.strip()):
            raise MagicError(f"dataset.path={path} line {number}: must be title, tab, story, got {line[:60]!r}; mend the line")
        groups.append([f"{title.strip()}\t{story.strip()}"])
    return groups


def _plain(path: Path, split: str | None) -> Groups:
    """A text a line; in ``.jsonl`` and ``.json`` files an object a text, or an object with a list of captions."""
    if path.name.removesuffix(".gz").endswith((".jsonl", ".json")):
        document = read_records(path, setting="dataset.path", hint=_HINT)
        if isinstance(document, dict) and "images" in document:
            raise MagicError(
                f"dataset.path={path}: holds images and their captions; choose --dataset coco_captions (COCO's format), or coco or flickr30k (Karpathy's)"
            )
        records = document if isinstance(document, list) else [document]
        return [_texts_of(record, path, number) for number, record in enumerate(records, start=1)]
    return [[line] for _, line in _lines(path)]


def _texts_of(record: Any, path: Path, number: int) -> list[str]:
    if isinstance(record, str):
        return [record]
    if isinstance(record, dict):
        for key in (*REFERENCE_KEYS, *CAPTION_KEYS):
            texts = [record[key]] if isinstance(record.get(key), str) else record.get(key)
            if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
                return texts
    known = ", ".join((*CAPTION_KEYS, *REFERENCE_KEYS))
    raise MagicError(f"dataset.path={path} record {number}: has no text under {known}; see data/README.md")


def _lines(path: Path) -> list[tuple[int, str]]:
    lines = read_text(path, setting="dataset.path", hint=_HINT).split("\n")  # splitlines() also cuts at U+2028 within a text
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


READERS: dict[SourceKind, Callable[[Path, str | None], Groups]] = {
    SourceKind.bundled_coco: _bundled,
    SourceKind.karpathy: _karpathy,
    SourceKind.coco_captions: _coco_captions,
    SourceKind.stories: _stories,
    SourceKind.text: _plain,
}


class _Expecting:
    """Turns what a document of another shape raises into one line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, KeyError | TypeError | AttributeError):
            problem = f"no key {error}" if isinstance(error, KeyError) else str(error)
            raise MagicError(f"dataset.path={self.path}: not as expected ({problem}); see data/README.md for the format") from error
