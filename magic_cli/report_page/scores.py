"""The scores of a page: those of ``magic evaluate``, computed now or read from files, item by item, and the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from magic_cli.data.system import System
from magic_cli.errors import SettingsError
from magic_cli.evaluation.answers import answers_corpus
from magic_cli.evaluation.comparing import check_comparable, compare
from magic_cli.evaluation.corpora import Prepared
from magic_cli.evaluation.evaluate import Evaluation, evaluate
from magic_cli.evaluation.results import per_item
from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.evaluation.stories import nobody_has_chosen
from magic_cli.metrics.answers import clean_text

S = TypeVar("S", bound=ScoringSettings)
_OF_CAPTIONS, _OF_ANSWERS, _OF_ANY = ("bleu", "rouge_l", "cider"), ("bleu_words", "rouge_f"), ("repetition",)


def with_quick_metrics(settings: S, systems: Sequence[System]) -> S:
    """The settings with fast metrics, unless the user has chosen some; a page also shows scores from earlier evaluations."""
    if not nobody_has_chosen(settings):
        return settings
    items = [item for system in systems for item in system.items]
    if any(system.writes_answers for system in systems):
        has_truth = all(any(clean_text(answer.true_text) for item in s.items for answer in item.answers) for s in systems)
        names: tuple[str, ...] = _OF_ANSWERS if has_truth else _OF_ANY
    elif any(system.writes_stories for system in systems):
        names = _OF_ANY
    else:
        names = _OF_CAPTIONS if settings.references or all(item.references for item in items) else _OF_ANY
    return replace(settings, metrics=replace(settings.metrics, names=list(names)))


def score(prepared: Sequence[Prepared], settings: ScoringSettings) -> dict[str, Any]:
    """The measures, and the values of every system and of its items.

    Returns:
        ``measures``; ``systems``: for each its metrics.json (``document``), the values of its items by id (``items``) and, for
        items of several steps, those of the steps (``steps``, by ``id#number``); ``comparison`` with the first system.
    """
    evaluations = evaluate(prepared, settings)
    found = [evaluation.with_earlier() for evaluation in evaluations]
    known = {key: metric for document, _ in found for key, metric in document["metrics"].items()}
    keys = list(known)
    steps = _steps(prepared, settings)
    return {
        "measures": [_measure(key, known[key]) for key in keys],
        "systems": [
            {
                "document": document,
                "overall": [_overall(document["metrics"].get(key)) for key in keys],
                "items": {record["id"]: [record.get(key) for key in keys] for record in records},
                "steps": {name: [record.get(key) for key in keys] for name, record in of_steps.items()},
            }
            for (document, records), of_steps in zip(found, steps, strict=True)
        ],
        "comparison": _comparison(evaluations, keys, settings),
    }  # fmt: skip


def _measure(key: str, metric: Mapping[str, Any]) -> dict[str, Any]:
    """What a page says of a measure; ``higher_is_better`` is None where neither is."""
    return {"key": key, **{name: metric.get(name) for name in ("label", "scale", "digits", "higher_is_better")}}


def _overall(metric: Mapping[str, Any] | None) -> list[float | None]:
    """The value and its interval."""
    return [None] * 3 if metric is None else [metric["value"], *(metric["interval"] or (None, None))]


def _comparison(evaluations: Sequence[Evaluation], keys: Sequence[str], settings: ScoringSettings) -> dict[str, Any]:
    """The tests of ``magic evaluate --compare``, or the reason why there are none."""
    if len(evaluations) < 2:
        return {"reason": "There is one system only."}
    if not settings.bootstrap.samples:
        return {"reason": "bootstrap.samples=0: nothing is tested."}
    try:
        check_comparable([evaluation.corpus for evaluation in evaluations])
        found = compare(evaluations, settings.bootstrap)
    except SettingsError as reason:
        return {"reason": str(reason).removeprefix("--compare: ")}
    names = found["systems"]
    rows = [
        {
            "system": names.index(row["second_system"]),
            "measure": keys.index(row["measure"]),
            **{name: row[name] for name in ("difference", "low", "high", "p_value", "p_holm")},
        }
        for row in found["measures"]
    ]
    return {"n": found["n"], "samples": found["samples"], "confidence": found["confidence"], "rows": rows}


def _steps(prepared: Sequence[Prepared], settings: ScoringSettings) -> list[dict[str, dict[str, Any]]]:
    """Scores of single steps, for systems whose items have several: the same metrics, with each step as an item."""
    if not any(len(answers) > 1 for one in prepared for answers in one.corpus.answers):
        return [{} for _ in prepared]
    parted = []
    for one in prepared:
        items = tuple(
            replace(item, id=f"{item.id}#{number}", text=answer.text, answers=(answer,))
            for item in one.system.items
            for number, answer in enumerate(item.answers, start=1)
        )
        system = replace(one.system, items=items, planned=None, failed=0)
        corpus, coverage = answers_corpus(system, None)
        parted.append(replace(one, system=system, corpus=corpus, coverage=coverage))
    found = evaluate(parted, replace(settings, bootstrap=replace(settings.bootstrap, samples=0)))
    return [{record["id"]: record for record in per_item(one.corpus, one.scores)} for one in found]
