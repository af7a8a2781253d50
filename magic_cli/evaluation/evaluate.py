"""Evaluation from files to metrics.json, shared by ``magic evaluate`` and ``magic table``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from magic_cli.data.image_lookup import ImageLookup
from magic_cli.data.references import ReferenceSet, read_references
from magic_cli.data.run_files import METRICS, PER_ITEM
from magic_cli.data.system import System
from magic_cli.errors import SettingsError
from magic_cli.evaluation.corpora import Prepared, build_corpus, of_split
from magic_cli.evaluation.coverage import Coverage
from magic_cli.evaluation.models import MetricModels
from magic_cli.evaluation.result_folders import (
    check_folder,
    digest,
    image_digest,
    output_folder,
    owner,
    read_earlier,
    read_earlier_items,
    unwritable,
)
from magic_cli.evaluation.results import per_item, summarize
from magic_cli.evaluation.scoring import run_metrics
from magic_cli.evaluation.settings import ScoringSettings, Unmatched
from magic_cli.evaluation.step_wise import StepWise
from magic_cli.files import as_bytes, json_lines, replacing, write_atomically
from magic_cli.metrics.base import Corpus, Metric, Scores
from magic_cli.metrics.image_text import FeatureMetric


@dataclass(frozen=True)
class Evaluation(Prepared):
    """One system's captions with their scores."""

    scores: tuple[Scores, ...]
    document: dict[str, Any]
    """The metrics.json of this evaluation."""

    def write(self) -> bool:
        """Write metrics.json and per_item.jsonl, each atomically. Other measures of the same captions are kept.

        Returns:
            Whether scores of other captions, references or images were replaced.

        Raises:
            MagicError: They cannot be written.
        """
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            before = read_earlier(self.place)
            document, items, are_merged = self._with(before)
            with replacing(self.place / PER_ITEM) as stream:
                for item in items:
                    stream.write(as_bytes(json_lines([item])))
            write_atomically(self.place / METRICS, json.dumps(document, ensure_ascii=False, indent=1, default=str) + "\n")
            return before is not None and not are_merged
        except OSError as error:
            raise unwritable(self.place, error) from error

    def with_earlier(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The content for ``write``: metrics.json and the records of per_item.jsonl.

        Raises:
            MagicError: A file of an earlier evaluation is damaged.
        """
        document, items, _ = self._with(read_earlier(self.place))
        return document, list(items)

    def _with(self, before: dict[str, Any] | None) -> tuple[dict[str, Any], Iterable[dict[str, Any]], bool]:
        """Document and records, together with those of an earlier evaluation of the very same items; and whether there are such."""
        items = per_item(self.corpus, self.scores)
        if (earlier := self._same_items(before)) is None:
            return self.document, items, False
        return _merged(earlier, self.document), self._merged_items(items), True

    def _same_items(self, earlier: dict[str, Any] | None) -> dict[str, Any] | None:
        """An earlier metrics.json for exactly the same captions, references and images; None if there is none."""
        before, now = (earlier or {}).get("identity", {}), self.document["identity"]
        is_same = (
            earlier is not None
            and before["items"] == now["items"]
            and before.get("images", now.get("images")) == now.get("images", before.get("images"))
        )
        return earlier if is_same and (self.place / PER_ITEM).is_file() else None

    def _merged_items(self, items: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        before = {record["id"]: record for record in read_earlier_items(self.place)}
        return (before.get(record["id"], {}) | record for record in items)


def _merged(earlier: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The new document plus the measures that only the earlier one has; intervals of another bootstrap are dropped."""
    merged = dict(document)
    if earlier.get("bootstrap") != document["bootstrap"]:
        earlier = earlier | {"metrics": {key: score | {"interval": None} for key, score in earlier["metrics"].items()}}
    for key in ("metrics", "tools", "settings"):
        merged[key] = earlier[key] | document[key]
    merged["image_text_model"] = document["image_text_model"] or earlier.get("image_text_model")
    merged["identity"] = (
        {key: earlier["identity"][key] for key in ("images",) if key in earlier["identity"]}
        | document["identity"]
        | {"metrics": merged["settings"]}
    )
    measured = {name for name in merged["tools"] if name not in document["not_run"]}
    merged["not_run"] = {name: why for name, why in (earlier["not_run"] | document["not_run"]).items() if name not in measured}
    return merged


def prepare(systems: Sequence[System], settings: ScoringSettings) -> list[Prepared]:
    """Before anything is scored, match captions with references and check that the results can be written.

    Raises:
        MagicError: Files do not fit together, or an output folder cannot be written.
    """
    prepared = match_files(systems, settings)
    folders = [one.place.resolve() for one in prepared]
    for one, folder in zip(prepared, folders, strict=True):
        if folders.count(folder) > 1:
            raise SettingsError(
                f"{one.system.source}: another system's results would go to {one.place} too; evaluate them one by one"
            )
        check_folder(one.place, one.system, one.corpus)
    return prepared


def match_files(systems: Sequence[System], settings: ScoringSettings) -> list[Prepared]:
    """Match captions with references, and choose where results would be written; nothing is written.

    Raises:
        MagicError: Files do not fit together.
    """
    references = read_references(Path(settings.references), split=settings.split) if settings.references else None
    matched = match(systems, settings, references)
    return [replace(one, folder=output_folder(one.system, one.corpus, settings, len(matched))) for one in matched]


def match(systems: Sequence[System], settings: ScoringSettings, references: ReferenceSet | None) -> list[Prepared]:
    """Match captions with references (None: each system brings its own); no folder for results is chosen.

    Raises:
        MagicError: They do not fit together.
    """
    if settings.split is not None and references is None:
        systems = [of_split(system, settings.split) for system in systems]
    drop = settings.unmatched is Unmatched.drop
    needed = any(metric.needs_references for metric in settings.metrics.chosen())
    images = ImageLookup(settings.images) if settings.images else None
    built = [build_corpus(system, references, images=images, drop_unmatched=drop, needs_references=needed) for system in systems]
    if settings.only_common:
        built = _only_common(built)
    return [
        Prepared(system, corpus, coverage, references.source if references else system.source, None)
        for system, (corpus, coverage) in zip(systems, built, strict=True)
    ]


def evaluate(prepared: Sequence[Prepared], settings: ScoringSettings) -> list[Evaluation]:
    """Score systems side by side.

    Raises:
        MagicError: No metric could run, or evaluation was stopped.
    """
    metrics = settings.metrics.chosen()
    models = MetricModels(settings)
    models.connect(metrics)
    if any(one.corpus.answers for one in prepared):
        metrics = [StepWise(metric, settings.metrics.tokenize) if metric.needs_tokens else metric for metric in metrics]
    corpora, outcome = run_metrics(metrics, [one.corpus for one in prepared], settings.metrics.tokenize)
    facts = {
        "tools": {metric.name: _tool(metric, models) for metric in metrics if metric.name in outcome.scores},
        "image_text_model": models.image_text_facts or None,
        "settings": settings.metrics.described(),
        "bootstrap": asdict(settings.bootstrap),
        "seconds": outcome.seconds,
        "evaluated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    looked_at = any(isinstance(metric, FeatureMetric) and metric.name in outcome.scores for metric in metrics)
    evaluations = []
    for i, (one, corpus) in enumerate(zip(prepared, corpora, strict=True)):
        scores = tuple(score for of_corpora in outcome.scores.values() for score in of_corpora[i])
        one = replace(one, corpus=corpus)
        identity = {"items": digest(corpus), "owner": owner(one.system), "metrics": settings.metrics.described()}
        document = summarize(
            one, scores,
            intervals=_intervals(scores, settings),
            not_run=outcome.not_run,
            facts={"identity": identity | ({"images": image_digest(corpus)} if looked_at else {}), **facts},
        )  # fmt: skip
        evaluations.append(Evaluation(**vars(one), scores=scores, document=document))
    return evaluations


def _tool(metric: Metric, models: MetricModels) -> dict[str, Any]:
    """The tools of a metric. Other metrics in the same file may use another model."""
    return metric.facts() | ({"image_text_model": models.image_text_facts} if isinstance(metric, FeatureMetric) else {})


def _only_common(built: Sequence[tuple[Corpus, Coverage]]) -> list[tuple[Corpus, Coverage]]:
    """The items that every corpus has, in the order of the first corpus; the others count as dropped.

    Raises:
        SettingsError: There are none.
    """
    common = set.intersection(*(set(corpus.ids) for corpus, _ in built))
    order = [item for item in built[0][0].ids if item in common]
    if not order:
        raise SettingsError("only_common=true: the systems have no image in common; compare their ids")
    kept = []
    for corpus, coverage in built:
        places = {item: i for i, item in enumerate(corpus.ids)}
        rows = [places[item] for item in order]
        names = (
            "ids",
            "captions",
            "references",
            *(name for name in ("images", "titles", "image_digests", "answers") if getattr(corpus, name)),
        )
        columns: dict[str, Any] = {name: tuple(getattr(corpus, name)[i] for i in rows) for name in names}
        kept.append(
            (replace(corpus, **columns), replace(coverage, n=len(rows), dropped=coverage.dropped + coverage.n - len(rows)))
        )
    return kept


def _intervals(scores: Sequence[Scores], settings: ScoringSettings) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of all measures that have one."""
    resampler = settings.bootstrap.resampler(len(scores[0].per_item)) if scores else None
    if resampler is None:
        return {}
    found = zip(scores, resampler.intervals(scores, settings.bootstrap.confidence), strict=True)
    return {score.measure.key: (interval.low, interval.high) for score, interval in found if interval is not None}
