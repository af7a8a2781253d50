"""Evaluation from files to metrics.json: what ``magic evaluate`` and ``magic table`` share."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from magic_cli.data.image_folder import ImageFolder
from magic_cli.data.json_files import read_json
from magic_cli.data.predictions import System
from magic_cli.data.references import read_references
from magic_cli.errors import MagicError, SettingsError
from magic_cli.evaluation.corpora import Coverage, build_corpus, of_split
from magic_cli.evaluation.image_text import ConfiguredModel
from magic_cli.evaluation.results import per_item, summarize
from magic_cli.evaluation.scoring import run_metrics
from magic_cli.evaluation.settings import ScoringSettings, Unmatched
from magic_cli.evaluation.text_models import connect_text_models
from magic_cli.metrics.base import Corpus, Scores
from magic_cli.runs import json_lines, write_atomically

METRICS, PER_ITEM = "metrics.json", "per_item.jsonl"


@dataclass(frozen=True)
class Prepared:
    """A system's captions, matched with their references and not scored yet."""

    system: System
    corpus: Corpus
    coverage: Coverage
    references: Path
    """Where they come from."""
    folder: Path
    """Where the results will be written."""


@dataclass(frozen=True)
class Evaluation:
    """One system's scores."""

    system: System
    corpus: Corpus
    scores: tuple[Scores, ...]
    document: dict[str, Any]
    """What metrics.json holds of this evaluation."""
    folder: Path

    def write(self) -> None:
        """Write metrics.json and per_item.jsonl, each atomically; other measures of the same captions are kept.

        Raises:
            MagicError: They cannot be written.
        """
        document, items = self.document, per_item(self.corpus, self.scores)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (earlier := self._earlier()) is not None:
                document, items = _merged(earlier, document), self._merged_items(items)
            write_atomically(self.folder / PER_ITEM, json_lines(items))
            write_atomically(self.folder / METRICS, json.dumps(document, ensure_ascii=False, indent=1, default=str) + "\n")
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def _earlier(self) -> dict[str, Any] | None:
        """metrics.json of an earlier evaluation of the very same captions and references."""
        if not (self.folder / METRICS).is_file() or not (self.folder / PER_ITEM).is_file():
            return None
        earlier = read_json(self.folder / METRICS, setting="output", hint="delete it, or set another output")
        return earlier if earlier.get("identity", {}).get("items") == self.document["identity"]["items"] else None

    def _merged_items(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        lines = (self.folder / PER_ITEM).read_text(encoding="utf-8").split("\n")
        before = {record["id"]: record for record in map(json.loads, filter(None, lines))}
        return [before.get(record["id"], {}) | record for record in items]


def _merged(earlier: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The new document, with what only the earlier one has."""
    merged = dict(document)
    for key in ("metrics", "tools", "settings"):
        merged[key] = earlier[key] | document[key]
    merged["identity"] = document["identity"] | {"metrics": merged["settings"]}
    measured = {name for name in merged["tools"] if name not in document["not_run"]}
    merged["not_run"] = {name: why for name, why in (earlier["not_run"] | document["not_run"]).items() if name not in measured}
    return merged


def prepare(systems: Sequence[System], settings: ScoringSettings) -> list[Prepared]:
    """Match captions with references, and make sure that the results can be written, before anything is scored.

    Raises:
        MagicError: Files do not fit together, or an output folder cannot be written.
    """
    references = read_references(Path(settings.references), split=settings.split) if settings.references else None
    if settings.split is not None and references is None:
        systems = [of_split(system, settings.split) for system in systems]
    drop = settings.unmatched is Unmatched.drop
    needed = any(metric.needs_references for metric in settings.metrics.chosen())
    images = ImageFolder(settings.images) if settings.images else None
    built = [build_corpus(system, references, images=images, drop_unmatched=drop, needs_references=needed) for system in systems]
    if settings.only_common:
        built = _only_common(built)
    prepared = [
        Prepared(system, corpus, coverage, references.source if references else system.source, output_folder(system, corpus, settings, len(systems)))
        for system, (corpus, coverage) in zip(systems, built, strict=True)
    ]
    folders = [one.folder.resolve() for one in prepared]
    for one, folder in zip(prepared, folders, strict=True):
        if folders.count(folder) > 1:
            raise SettingsError(f"{one.system.source}: another system's results would go to {one.folder} too; evaluate them one by one")
        _probe(one.folder)
    return prepared


def evaluate(prepared: Sequence[Prepared], settings: ScoringSettings) -> list[Evaluation]:
    """Score systems side by side.

    Raises:
        MagicError: No metric could run, or evaluation was stopped.
    """
    metrics = settings.metrics.chosen()
    model = ConfiguredModel(settings)
    model.connect(metrics)
    connect_text_models(metrics, settings)
    corpora, outcome = run_metrics(metrics, [one.corpus for one in prepared], settings.metrics.tokenize)
    facts = {
        "tools": {metric.name: metric.facts() for metric in metrics if metric.name in outcome.scores},
        "image_text_model": model.facts or None,
        "settings": settings.metrics.described(),
        "bootstrap": asdict(settings.bootstrap),
        "seconds": outcome.seconds,
        "evaluated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    evaluations = []
    for i, (one, corpus) in enumerate(zip(prepared, corpora, strict=True)):
        scores = tuple(score for of_corpora in outcome.scores.values() for score in of_corpora[i])
        document = summarize(
            one.system, corpus, one.coverage, scores,
            references=one.references,
            intervals=_intervals(scores, settings),
            not_run=outcome.not_run,
            facts={"identity": {"items": _digest(corpus), "metrics": settings.metrics.described()}, **facts},
        )  # fmt: skip
        evaluations.append(Evaluation(one.system, corpus, scores, document, one.folder))
    return evaluations


def _only_common(built: Sequence[tuple[Corpus, Coverage]]) -> list[tuple[Corpus, Coverage]]:
    """The items that every corpus has, in the order of the first; the others count as dropped.

    Raises:
        SettingsError: There is none.
    """
    common = set.intersection(*(set(corpus.ids) for corpus, _ in built))
    order = [item for item in built[0][0].ids if item in common]
    if not order:
        raise SettingsError("only_common=true: the systems have no image in common; compare their ids")
    kept = []
    for corpus, coverage in built:
        places = {item: i for i, item in enumerate(corpus.ids)}
        rows = [places[item] for item in order]
        names = ("ids", "captions", "references", "images", *(["titles"] if corpus.titles else []))
        columns = {name: tuple(getattr(corpus, name)[i] for i in rows) for name in names}
        kept.append((replace(corpus, **columns), replace(coverage, n=len(rows), dropped=coverage.dropped + coverage.n - len(rows))))
    return kept


def check_comparable(first: Corpus, second: Corpus) -> None:
    """Refuse to compare systems that were not scored on the same images with the same references.

    Where captions come without references, their image files must be the same.

    Raises:
        SettingsError: Says how they differ.
    """
    if first.ids != second.ids:
        only = set(first.ids) ^ set(second.ids)
        detail = f"{len(only)} images are in one of them only, e.g. {min(only)!r}" if only else "the same images in another order"
        raise SettingsError(f"--compare: {first.name} and {second.name} are not captions of the same images ({detail}); compare what they share with --common")
    for item, mine, other in zip(first.ids, first.references, second.references, strict=True):
        if mine and other and mine != other:
            raise SettingsError(f"--compare: {first.name} and {second.name} have other references for {item!r}; give both the same with --references")
    if not first.titles:
        _check_same_images(first, second)


def _check_same_images(first: Corpus, second: Corpus) -> None:
    """Of captions without references, since photos of two folders may have the same names.

    Raises:
        SettingsError: An id means another file in each.
    """
    without = [not (mine and other) for mine, other in zip(first.references, second.references, strict=True)]
    for item, mine, other, is_checked in zip(first.ids, first.images, second.images, without, strict=True):
        if is_checked and mine and other and mine.resolve() != other.resolve():
            raise SettingsError(
                f"--compare: {first.name} and {second.name} have other images for {item!r} ({mine}, {other}); compare runs over the same "
                "folder, or give both the same with --images"
            )


def output_folder(system: System, corpus: Corpus, settings: ScoringSettings, num_systems: int) -> Path:
    """The run folder itself, or ``output``, or a folder named after the file and a hash of what is scored, and how."""
    name = system.name.replace("/", "-")
    if settings.output:
        folder = Path(settings.output).expanduser()
        return folder / name if num_systems > 1 else folder
    if system.manifest is not None:
        return system.source if system.rank in (None, 1) else system.source / f"image_{system.rank}"
    how = json.dumps([settings.metrics.described(), *([settings.image_text_model.source] if settings.metrics.needs_images() else [])], sort_keys=True)
    digest = hashlib.sha256(f"{_digest(corpus)}{how}".encode()).hexdigest()[:8]
    return Path("runs", "evaluate", f"{name}-{digest}")


def _probe(folder: Path) -> None:
    """Scores of a long evaluation must not be lost for want of a folder.

    Raises:
        MagicError: The folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(0, "no permission")
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> MagicError:
    return MagicError(f"output={folder}: cannot be written ({error.strerror}); set --output to another folder")


def _digest(corpus: Corpus) -> str:
    """SHA-256 of the ids, captions and references that are scored."""
    items = [corpus.ids, corpus.captions, corpus.references]
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()


def _intervals(scores: Sequence[Scores], settings: ScoringSettings) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of the measures that have one."""
    resampler = settings.bootstrap.resampler(len(scores[0].per_item)) if scores else None
    if resampler is None:
        return {}
    found = zip(scores, resampler.intervals(scores, settings.bootstrap.confidence), strict=True)
    return {score.measure.key: (interval.low, interval.high) for score, interval in found if interval is not None}
