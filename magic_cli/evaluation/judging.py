"""From systems to scores and their comparison: the steps that ``magic evaluate`` and ``magic_cli.score`` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from magic_cli.data.system import System
from magic_cli.errors import SettingsError
from magic_cli.evaluation.answers import with_answer_metrics
from magic_cli.evaluation.comparing import check_comparable, compare
from magic_cli.evaluation.corpora import Prepared
from magic_cli.evaluation.evaluate import Evaluation, evaluate
from magic_cli.evaluation.own_model import with_own_model
from magic_cli.evaluation.settings import EvaluateSettings, ScoringSettings
from magic_cli.evaluation.stories import nobody_has_chosen, story_systems, with_story_metrics
from magic_cli.reports.evaluation import comparison_table, evaluation_table
from magic_cli.reports.tables import Table

Match = Callable[[Sequence[System], ScoringSettings], list[Prepared]]
"""A function like ``evaluate.prepare``."""


@dataclass(frozen=True)
class Judged:
    """Systems with their scores.

    Attributes:
        evaluations: One for each system.
        comparison: Content of comparison.json; None: no comparison was asked for.
        settings: The settings that were used, with metrics that were chosen automatically.
    """

    evaluations: list[Evaluation]
    comparison: dict[str, Any] | None
    settings: EvaluateSettings

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The metrics.json of each system."""
        return [evaluation.document for evaluation in self.evaluations]

    @property
    def table(self) -> Table:
        """The table of scores, or of differences between systems."""
        if self.comparison is None:
            return evaluation_table(self.documents, confidence=self.settings.bootstrap.confidence)
        return comparison_table(self.comparison, self.documents)


def judge(systems: Sequence[System], settings: EvaluateSettings, *, match: Match, tell: Callable[[str], None]) -> Judged:
    """Score systems, and compare them if ``compare`` is set.

    Args:
        systems: The systems.
        settings: How to score them.
        match: Matches texts with references.
        tell: Called with each line that the user should read before the scoring begins.

    Raises:
        MagicError: Files do not fit together, systems cannot be compared, or no metric could run.
    """
    systems = story_systems(systems, settings)
    if nobody_has_chosen(settings) and all(system.writes_stories for system in systems):
        settings = with_story_metrics(settings)
        tell(f"these are stories, scored by {', '.join(settings.metrics.names)}; choose others with --metrics")
    if nobody_has_chosen(settings) and all(system.writes_answers for system in systems):
        settings = with_answer_metrics(settings, systems)
        tell(f"these are texts and images in turn, scored by {', '.join(settings.metrics.names)}; choose others with --metrics")
    if settings.compare and (len(systems) < 2 or not settings.bootstrap.samples):
        names = ", ".join(system.name for system in systems)
        raise SettingsError(
            f"--compare needs two systems or more and bootstrap.samples of at least 1, got {len(systems)} ({names}) and {settings.bootstrap.samples}"
        )
    settings, warning = with_own_model(settings, systems)
    if warning:
        tell(warning)
    prepared = match(systems, settings)
    if settings.compare:
        check_comparable([one.corpus for one in prepared])
    evaluations = evaluate(prepared, settings)
    return Judged(evaluations, compare(evaluations, settings.bootstrap) if settings.compare else None, settings)
