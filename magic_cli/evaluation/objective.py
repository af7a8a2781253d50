"""The number that a search over settings optimises: a measure of finished runs, which is also written to their metrics.json."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from magic_cli.data.answers import Answer, answers_of
from magic_cli.data.images import is_there
from magic_cli.data.system import Item, System
from magic_cli.errors import MagicError, SettingsError, nearest
from magic_cli.evaluation.answers import answers_corpus
from magic_cli.evaluation.corpora import find_systems
from magic_cli.evaluation.evaluate import evaluate, prepare
from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.metrics.answers import AnswerTextMetric, clean_text
from magic_cli.metrics.base import Corpus, Measure, Metric
from magic_cli.metrics.encoders import EncoderMetric
from magic_cli.metrics.image_text import FeatureMetric
from magic_cli.metrics.settings import MEASURES, METRICS, MetricsSettings
from magic_cli.models.settings import MachineSettings
from magic_cli.models.sources import locate


def find_measure(key: str) -> tuple[str, Measure]:
    """The metric with a measure of this name, and the measure.

    Raises:
        SettingsError: There is none.
    """
    if key not in MEASURES:
        raise SettingsError(f"run.objective={key}: no such measure; {nearest(key, list(MEASURES))}")
    return MEASURES[key]


def require_measurable(settings: Any) -> None:
    """Before a run, check that its measure can be computed at the end.

    Args:
        settings: Settings of a run with ``run.objective``.

    Raises:
        MagicError: The data set has no references, the metric cannot run here, or its model cannot be loaded.
    """
    key = settings.run.objective
    scoring = _scoring(settings)
    [metric] = scoring.metrics.chosen()
    corpus = _corpus(settings)
    if corpus.answers:
        _require_truth(key, metric, corpus)
    elif metric.needs_references:
        _require_references(key, corpus)
    try:
        scoring.metrics.require([corpus])
        if scoring.metrics.needs_images() and not settings.decoding.needs_image:  # else the run itself loads the model first
            locate(settings.image_text_model)
        if isinstance(metric, EncoderMetric) and (model := getattr(metric, "model", None)) is not None:
            locate(model)
    except MagicError as reason:
        raise MagicError(f"run.objective={key}: {reason}") from reason


def _corpus(settings: Any) -> Corpus:
    """The predictions that the run will write, with empty texts; items without an image are left out."""
    dataset, is_story = settings.dataset, settings.task == "story"
    if settings.task == "interleave":
        unanswered = tuple(Item(item.id, "", answers=_unanswered(item)) for item in dataset.load())
        return answers_corpus(System(f"dataset={dataset.name}", Path(), unanswered), None)[0]
    items = dataset.load(needs_image=settings.decoding.needs_image) if is_story else dataset.load()
    items = [item for item in items if item.path is None or is_there(item.path)]
    return Corpus(
        name=f"dataset={dataset.name}",
        ids=tuple(item.id for item in items),
        captions=("",) * len(items),
        references=tuple((item.reference,) if item.reference else () for item in items)
        if is_story
        else tuple(item.references for item in items),
        images=tuple(item.path for item in items),
        titles=tuple(item.title for item in items) if is_story else (),
    )


def _unanswered(item: Any) -> tuple[Answer, ...]:
    """The steps of an item of texts and images, with true answers only."""
    targets = [{} if step.target is None else {"target": [part.as_record() for part in step.target]} for step in item.steps]
    return answers_of({"steps": [{"text": "", **target} for target in targets]}, Path(), item.id)


def _require_truth(key: str, metric: Metric, corpus: Corpus) -> None:
    """For texts and images in turn, require a step with the true part that the metric compares."""
    steps = [answer for answers in corpus.answers for answer in answers]
    truth = {"text": any(clean_text(one.true_text) for one in steps), "image": any(one.true_image for one in steps)}
    of_texts = isinstance(metric, AnswerTextMetric) or metric.needs_references
    wanted = ["text"] if of_texts else ["image"] if isinstance(metric, FeatureMetric) else list(truth)
    if not any(truth[kind] for kind in wanted):
        raise MagicError(
            f"run.objective={key}: no step of {corpus.name} has a true {' or '.join(wanted)}; give the items their targets, or choose another measure"
        )


def _require_references(key: str, corpus: Corpus) -> None:
    without = [item for item, references in zip(corpus.ids, corpus.references, strict=True) if not references]
    if not without:
        return
    free = ", ".join(
        measure
        for measure, (name, _) in MEASURES.items()
        if not METRICS[name].needs_references and name in ("clip_score", "repetition")
    )
    which = (
        "has no references"
        if len(without) == len(corpus)
        else f"has no references for {len(without)} of {len(corpus)} items, e.g. {without[0]}"
    )
    raise MagicError(
        f"run.objective={key}: {corpus.name} {which}; choose a dataset that has them, or a measure that needs none ({free})"
    )


def _scoring(settings: Any) -> ScoringSettings:
    (metric, _), run = find_measure(settings.run.objective), settings.run
    if not isinstance(run.batch_size, int):  # `auto` is found by writing texts, and says nothing of the models that score
        run = replace(run, batch_size=MachineSettings.batch_size)
    return ScoringSettings(image_text_model=settings.image_text_model, metrics=MetricsSettings(names=[metric]), run=run)


def objective(folders: Sequence[Path], settings: Any) -> float:
    """Evaluate the runs of one point of a search by ``run.objective``.

    Args:
        folders: One run folder, or those of all repeats.
        settings: Settings of the run; CLIPScore uses its image-text model.

    Returns:
        The mean over the runs, in the measure's own range.

    Raises:
        MagicError: The runs have no references, or the metric could not run.
    """
    key, scoring = settings.run.objective, _scoring(settings)
    [metric] = scoring.metrics.chosen()
    place = [measure.key for measure in metric.measures].index(key)
    evaluations = evaluate(
        prepare(find_systems([str(folder) for folder in folders], id_key=None, caption_key=None), scoring), scoring
    )
    values = []
    for evaluation in evaluations:
        evaluation.write()
        for name, why in evaluation.document["not_run"].items():
            raise MagicError(f"run.objective={key}: {name} not run: {why}")
        # a measure may be named after the image-text model, but its position among the metric's measures is fixed
        value = evaluation.document["metrics"][evaluation.scores[place].measure.key]["value"]
        if value is None:
            raise MagicError(f"run.objective={key}: has no value for {evaluation.folder}; choose another measure")
        values.append(value)
    return statistics.mean(values)
