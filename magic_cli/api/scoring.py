"""Scores and comparisons from Python: the numbers of ``magic evaluate`` and its ``--compare``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

from magic_cli.api.results import Text, record_of
from magic_cli.api.settings import scoring_overrides, settings_for
from magic_cli.data.predictions import system_of
from magic_cli.data.references import ReferenceSet, read_references, references_of
from magic_cli.data.system import System
from magic_cli.errors import SettingsError
from magic_cli.evaluation.comparing import check_comparable
from magic_cli.evaluation.comparing import compare as compare_evaluations
from magic_cli.evaluation.corpora import find_systems
from magic_cli.evaluation.evaluate import Evaluation, match
from magic_cli.evaluation.judging import Judged, judge
from magic_cli.evaluation.results import per_item
from magic_cli.evaluation.settings import BootstrapSettings
from magic_cli.reports.evaluation import comparison_table, evaluation_table
from magic_cli.reports.tables import render

Predictions: TypeAlias = "str | os.PathLike[str] | Mapping[str, str] | Iterable[Text | str | Mapping[str, Any]]"
"""A run folder or prediction file, ``{id: text}``, results of ``Captioner``, texts, or records as in such a file."""
References: TypeAlias = "str | os.PathLike[str] | Mapping[str, Sequence[str]] | Sequence[Sequence[str]]"
"""A file of references, ``{id: [texts]}``, or lists of texts in the order of the predictions."""


@dataclass(frozen=True)
class Scores:
    """The scores of one system.

    Attributes:
        name: Name of the system.
        n: Number of scored texts.
        values: Each measure (``bleu_4``, ``cider``) in its own range, mostly [0, 1]; tables print it times 100.
        intervals: Bootstrap confidence intervals, for measures that have one.
        per_item: By id, the text and its values; None: the measure has no value for single items.
        not_run: Metrics that could not run, with the reason.
        notes: Things to know about the values, such as texts that were left out.
        document: The content of metrics.json.
    """

    name: str
    n: int
    values: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]
    per_item: dict[str, dict[str, Any]] = field(repr=False)
    not_run: dict[str, str]
    notes: tuple[str, ...]
    document: dict[str, Any] = field(repr=False)
    _evaluation: Evaluation = field(repr=False, compare=False)

    def __getitem__(self, measure: str) -> float | None:
        return self.values[measure]

    def __str__(self) -> str:
        confidence = self.document["bootstrap"]["confidence"]
        return render([evaluation_table([self.document], confidence=confidence)], "terminal")


@dataclass(frozen=True)
class Difference:
    """The difference of a system from the first one in one measure, in the measure's own range.

    Attributes:
        measure: Name of the measure, as in ``Scores.values``.
        system: Name of the system that is compared with the first.
        first, second: The values of both.
        difference: ``second`` minus ``first``.
        low, high: Bounds of its confidence interval, by the paired bootstrap.
        p_value: Two-sided, in (0, 1], by approximate randomisation.
        p_holm: The p-value corrected for the number of systems.
    """

    measure: str
    system: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """The differences of systems from the first one.

    Attributes:
        systems: Their names.
        n: Number of texts of each.
        differences: One for each measure and system.
        document: The content of comparison.json.
        scores: The scores of each system.
    """

    systems: tuple[str, ...]
    n: int
    differences: tuple[Difference, ...]
    document: dict[str, Any] = field(repr=False)
    scores: tuple[Scores, ...] = field(repr=False)

    def __str__(self) -> str:
        return render([comparison_table(self.document, [one.document for one in self.scores])], "terminal")


def score(
    predictions: Predictions,
    references: References | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Scores:
    """Score captions or stories, as ``magic evaluate`` does, but without writing files.

    Args:
        predictions: The texts to score.
        references: Texts by people; None: the predictions contain them, or no metric needs them.
        metrics: Names such as ``bleu`` or ``clip_score``; None: the defaults of ``magic evaluate``.
        settings: Other settings by full name, such as ``{"bootstrap.samples": 0}``.

    Raises:
        MagicError: Texts and references do not fit together, a setting is wrong, or no metric could run.
    """
    judged = _judged([predictions], references, scoring_overrides(metrics, settings or {}))
    if len(judged.evaluations) > 1:
        names = ", ".join(one.system.name for one in judged.evaluations)
        raise SettingsError(f"predictions: there are several systems ({names}); score them one by one, or use compare(...)")
    return _scores(judged.evaluations[0])


def compare(
    first: Predictions | Scores,
    *others: Predictions | Scores,
    references: References | None = None,
    metrics: str | Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Comparison:
    """Test systems against the first one on the same items, as ``magic evaluate --compare`` does.

    Args:
        first: The texts of the first system, or its ``Scores``, which are then not computed again.
        others: One or more systems, in the same form.
        references, metrics, settings: As in ``score``; with ``Scores`` only ``bootstrap.`` settings.

    Raises:
        MagicError: The systems have different items, or as in ``score``.
    """
    systems = [first, *others]
    if len(systems) < 2:
        raise SettingsError("compare: give two systems or more")
    scored = [one for one in systems if isinstance(one, Scores)]
    if not scored:
        judged = _judged(systems, references, [*scoring_overrides(metrics, settings or {}), "compare=true"])
        return _comparison(judged.evaluations, cast("dict[str, Any]", judged.comparison))
    if len(scored) < len(systems) or references is not None or metrics is not None:
        raise SettingsError("compare: give Scores alone, without references and metrics, or predictions alone")
    evaluations = _named_apart([one._evaluation for one in scored])
    bootstrap = (
        settings_for("evaluate", scoring_overrides(None, settings)).bootstrap
        if settings
        else BootstrapSettings(**scored[0].document["bootstrap"])
    )
    if not bootstrap.samples:
        raise SettingsError("compare: bootstrap.samples must be at least 1, got 0; set settings={'bootstrap.samples': 1000}")
    kinds = [[score.measure.key for score in one.scores] for one in evaluations]
    if other := next((kind for kind in kinds if kind != kinds[0]), None):
        raise SettingsError(
            f"compare: the systems have other measures ({', '.join(kinds[0])}; {', '.join(other)}); score both by the same metrics"
        )
    check_comparable([one.corpus for one in evaluations])
    return _comparison(evaluations, compare_evaluations(evaluations, bootstrap))


def _judged(systems: Sequence[Any], references: Any, overrides: Sequence[str]) -> Judged:
    settings = settings_for("evaluate", overrides)
    found = [
        _system(one, f"predictions {number}" if len(systems) > 1 else "predictions", settings)
        for number, one in enumerate(systems, start=1)
    ]
    known = None if references is None else _references(references, found[0], settings)
    return judge(found, settings, match=partial(match, references=known), tell=lambda note: warnings.warn(note, stacklevel=4))


def _system(given: Any, name: str, settings: Any) -> System:
    """The predictions in the form in which files are read."""
    if isinstance(given, str | os.PathLike):
        systems = find_systems([os.fspath(given)], id_key=settings.id_key, caption_key=settings.caption_key)
        if len(systems) > 1:
            raise SettingsError(f"predictions: {given} names several systems; give one")
        return systems[0]
    if isinstance(given, Mapping):
        records: list[Any] = [{"id": item, "caption": text} for item, text in given.items()]
    else:
        try:
            records = [
                _record(one, number) for number, one in enumerate(given) if not (isinstance(one, Text) and one.text is None)
            ]
        except TypeError as error:
            raise SettingsError(f"{name}: give a file, a dict of texts, or a list of them, got {type(given).__name__}") from error
    return system_of(records, Path(name), settings.id_key, settings.caption_key)


def _record(given: Any, number: int) -> Mapping[str, Any]:
    if isinstance(given, Text):
        return record_of(given)
    if isinstance(given, str):
        return {"id": str(number), "caption": given}
    if isinstance(given, Mapping):
        return given
    raise SettingsError(f"predictions: must be texts, records or captions, got {type(given).__name__}")


def _references(given: Any, system: System, settings: Any) -> ReferenceSet:
    if isinstance(given, str | os.PathLike):
        return read_references(Path(given), split=settings.split)
    if not isinstance(given, Mapping):
        if not isinstance(given, Iterable):
            raise SettingsError(f"references: give a file, a dict of texts, or lists of them, got {type(given).__name__}")
        texts = list(given)
        if len(texts) != len(system.items):
            raise SettingsError(
                f"references: there must be some for each of the {len(system.items)} predictions, got {len(texts)}; or give a dict by id"
            )
        given = {item.id: one for item, one in zip(system.items, texts, strict=True)}
    records = [{"id": item, "references": _listed(texts, item)} for item, texts in given.items()]
    return references_of(records, Path("references"), split=settings.split)


def _listed(texts: Any, item: Any) -> list[Any]:
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, Iterable):
        raise SettingsError(f"references: those of {item!r} must be a text or a list of texts, got {type(texts).__name__}")
    return list(texts)


def _named_apart(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    names = [one.system.name for one in evaluations]
    if len(set(names)) == len(names):
        return list(evaluations)
    return [
        replace(one, system=replace(one.system, name=f"{name} {number}"))
        for number, (one, name) in enumerate(zip(evaluations, names, strict=True), start=1)
    ]


def _scores(evaluation: Evaluation) -> Scores:
    document = evaluation.document
    for name, why in document["not_run"].items():
        warnings.warn(f"{name} not run: {why}", stacklevel=3)
    metrics = document["metrics"]
    return Scores(
        name=evaluation.system.name,
        n=document["n"],
        values={key: one["value"] for key, one in metrics.items()},
        intervals={key: tuple(one["interval"]) for key, one in metrics.items() if one["interval"]},
        per_item={
            record["id"]: {key: value for key, value in record.items() if key != "id"}
            for record in per_item(evaluation.corpus, evaluation.scores)
        },
        not_run=dict(document["not_run"]),
        notes=tuple(document["notes"]),
        document=document,
        _evaluation=evaluation,
    )


def _comparison(evaluations: Sequence[Evaluation], document: dict[str, Any]) -> Comparison:
    differences = tuple(
        Difference(
            row["measure"],
            row["second_system"],
            row["first"],
            row["second"],
            row["difference"],
            row["low"],
            row["high"],
            row["p_value"],
            row["p_holm"],
        )
        for row in document["measures"]
    )
    return Comparison(tuple(document["systems"]), document["n"], differences, document, tuple(map(_scores, evaluations)))
