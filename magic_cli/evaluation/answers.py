"""Prepares texts and images in turn for scoring, and chooses their metrics if the user has not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from magic_cli.data.references import ReferenceSet
from magic_cli.data.system import System
from magic_cli.errors import SettingsError
from magic_cli.evaluation.coverage import Coverage, run_notes, wanted
from magic_cli.metrics.answers import clean_text
from magic_cli.metrics.base import Corpus
from magic_cli.metrics.text import collapsed
from magic_cli.terminal.wording import counted

OF_IMAGES, OF_TEXTS, OF_BOTH = (
    ("clip_i", "clip_t", "fid_image_text"),
    ("bleu_words", "rouge_f", "meteor", "sentence_bert"),
    ("mm_relevance_minigpt5",),
)


def answers_corpus(system: System, references: ReferenceSet | None) -> tuple[Corpus, Coverage]:
    """A run of ``magic interleave`` in the form for metrics: one item per story or dialogue, with the answers to its steps.

    Raises:
        SettingsError: References are given, although the run contains the true answers.
    """
    if references is not None:
        raise SettingsError(
            f"references={references.source}: {system.source} holds the true texts and images of its items; leave out --references"
        )
    answers = tuple(item.answers for item in system.items)
    truths = (" ".join(answer.true_text for answer in steps if answer.true_text) for steps in answers)
    corpus = Corpus(
        name=system.name,
        ids=tuple(item.id for item in system.items),
        captions=tuple(collapsed(item.text) for item in system.items),
        references=tuple((collapsed(truth),) if truth else () for truth in truths),
        answers=answers,
    )
    missing = max(len(corpus) + system.failed, wanted(system)) - len(corpus)
    return corpus, Coverage(len(corpus), missing, notes=(*_notes(corpus), *run_notes(system)))


def _notes(corpus: Corpus) -> list[str]:
    steps = [answer for answers in corpus.answers for answer in answers]
    notes = [counted(len(steps), "step")]
    with_image = [answer for answer in steps if answer.true_image]
    if undrawn := sum(answer.image is None for answer in with_image):
        notes.append(
            f"{undrawn} of {counted(len(with_image), 'step')} with a true image drew none, and {'is' if undrawn == 1 else 'are'} left out of image scores"
        )
    if made_up := sum(answer.image is not None and answer.true_image is None for answer in steps):
        notes.append(f"{counted(made_up, 'step')} drew an image where the truth has none")
    with_text = [answer for answer in steps if clean_text(answer.true_text)]
    if silent := sum(not clean_text(answer.text) for answer in with_text):
        notes.append(f"{silent} of {counted(len(with_text), 'step')} with a true text wrote none, which scores 0")
    return notes


def with_answer_metrics(settings: Any, systems: Sequence[System]) -> Any:
    """The settings with the metrics that fit the true answers: for images, for texts, or for items with both."""
    steps = [answer for system in systems for item in system.items for answer in item.answers]
    images, texts = any(answer.true_image for answer in steps), any(clean_text(answer.true_text) for answer in steps)
    names = [*(OF_IMAGES if images else ()), *(OF_TEXTS if texts else ()), *(OF_BOTH if images and texts else ())]
    return replace(settings, metrics=replace(settings.metrics, names=names)) if names else settings
