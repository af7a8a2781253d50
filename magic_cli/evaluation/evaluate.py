"""Evaluation from files to metrics.json: what ``magic evaluate`` and ``magic table`` share."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from magic_cli.data.predictions import System
from magic_cli.data.references import read_references
from magic_cli.errors import SettingsError
from magic_cli.evaluation.corpora import Coverage, build_corpus
from magic_cli.evaluation.image_text import ConfiguredModel
from magic_cli.evaluation.results import per_item, summarize
from magic_cli.evaluation.scoring import run_metrics
from magic_cli.metrics.base import Corpus, Scores
from magic_cli.runs import write_atomically

METRICS, PER_ITEM = "metrics.json", "per_item.jsonl"


@dataclass(frozen=True)
class Evaluation:
    """One system's scores."""

    system: System
    corpus: Corpus
    coverage: Coverage
    scores: tuple[Scores, ...]
    document: dict[str, Any]
    """What metrics.json holds."""
    folder: Path

    def write(self) -> None:
        """Write metrics.json and per_item.jsonl, each atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in per_item(self.corpus, self.scores))
        write_atomically(self.folder / PER_ITEM, "".join(lines))
        write_atomically(self.folder / METRICS, json.dumps(self.document, ensure_ascii=False, indent=1, default=str) + "\n")


def evaluate(systems: Sequence[System], settings: Any) -> list[Evaluation]:
    """Score systems side by side.

    Args:
        systems: What captioners wrote.
        settings: ``settings.ScoringSettings``.

    Raises:
        MagicError: Files do not fit together, or a metric that can run here failed.
    """
    references = read_references(Path(settings.references), split=settings.split) if settings.references else None
    built = [
        build_corpus(system, references, images=settings.images, drop_unmatched=settings.unmatched.value == "drop") for system in systems
    ]
    if settings.only_common:
        built = _only_common(built)
    metrics = settings.metrics.chosen()
    model = ConfiguredModel(settings)
    model.connect(metrics)
    corpora, outcome = run_metrics(metrics, [corpus for corpus, _ in built], settings.metrics.tokenize)
    facts = {
        "tools": {metric.name: metric.facts() for metric in metrics if metric.name in outcome.scores},
        "image_text_model": model.facts or None,
        "settings": settings.metrics.described(),
        "bootstrap": asdict(settings.bootstrap),
        "seconds": outcome.seconds,
        "evaluated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    evaluations = []
    for i, (system, corpus, (_, coverage)) in enumerate(zip(systems, corpora, built, strict=True)):
        scores = tuple(score for of_corpora in outcome.scores.values() for score in of_corpora[i])
        identity = identity_of(system, settings)
        document = summarize(
            system, corpus, coverage, scores,
            references=references.source if references else None,
            intervals=_intervals(scores, settings),
            not_run=outcome.not_run,
            facts={"identity": identity, **facts},
        )  # fmt: skip
        evaluations.append(Evaluation(system, corpus, coverage, scores, document, output_folder(system, settings, identity, len(systems) > 1)))
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
        columns = {name: tuple(getattr(corpus, name)[i] for i in rows) for name in ("ids", "captions", "references", "images")}
        kept.append((replace(corpus, **columns), replace(coverage, n=len(rows), dropped=coverage.dropped + coverage.n - len(rows))))
    return kept


def identity_of(system: System, settings: Any) -> dict[str, Any]:
    """What the numbers depend on: the files' content and the settings that can change a score."""
    files = {"captions": _digest(system.captions, system.references)}
    if settings.references:
        files["references"] = hashlib.sha256(Path(settings.references).expanduser().read_bytes()).hexdigest()
    return files | {"split": settings.split, "unmatched": settings.unmatched.value, "only_common": settings.only_common, "metrics": settings.metrics.described()}


def output_folder(system: System, settings: Any, identity: dict[str, Any], is_one_of_several: bool) -> Path:
    """The run folder itself, or ``output``, or a folder named after the file and a hash of what was scored."""
    if settings.output:
        folder = Path(settings.output).expanduser()
        return folder / system.name.replace("/", "-") if is_one_of_several else folder
    if system.manifest is not None:
        return system.source
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    return Path("runs", "evaluate", f"{system.name.replace('/', '-')}-{digest}")


def _digest(*documents: Any) -> str:
    return hashlib.sha256(json.dumps(documents, sort_keys=True).encode()).hexdigest()


def _intervals(scores: Sequence[Scores], settings: Any) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of the measures that have one."""
    resampler = settings.bootstrap.resampler(len(scores[0].per_item)) if scores else None
    if resampler is None:
        return {}
    found = zip(scores, resampler.intervals(scores, settings.bootstrap.confidence), strict=True)
    return {score.measure.key: (interval.low, interval.high) for score, interval in found if interval is not None}
