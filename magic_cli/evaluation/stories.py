"""Prepares stories for scoring: splits them by image, adds images to stories without one, and chooses metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from magic_cli.data.images import StoredImage
from magic_cli.data.paths import expanded
from magic_cli.data.stories import read_retrieved
from magic_cli.data.system import Item, System
from magic_cli.errors import SettingsError
from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.metrics.settings import MetricsSettings

HUMAN = "human"
TOP_RANK = 1
STORY_METRICS = ("repetition", "coherence", "mauve", "clip_score")
"""The paper's metrics."""
_OF_STORIES_ONLY = ("coherence", "coherence_minilm", "mauve")


def story_systems(systems: Sequence[System], settings: ScoringSettings) -> list[System]:
    """The systems with their stories split by the chosen ranks and, with ``human``, the stories by people; captions stay.

    Raises:
        MagicError: A system has no stories for a rank, or ``retrieved`` cannot be read.
    """
    found = [part for system in systems for part in (_parts(system, settings.image_ranks) if system.writes_stories else [system])]
    if settings.human:
        found += human_systems(found)
    return with_retrieved(found, settings)


def _parts(system: System, ranks: Sequence[int]) -> list[System]:
    written = ranks_of(system)
    if not written:
        return [system]
    known = sorted({*written, *system.failed_ranks})
    for rank in ranks:
        if rank not in known:
            raise SettingsError(
                f"image_ranks={rank}: {system.source} has stories for the images {', '.join(map(str, known))} of a title"
            )
    return [of_rank(system, rank) for rank in ranks]


def ranks_of(system: System) -> list[int]:
    """The ranks of the images that a system's stories were written for, the best first; empty: written without images."""
    return sorted({item.rank for item in system.items if item.rank is not None})


def of_rank(system: System, rank: int) -> System:
    """The stories for the images of one rank, with the ids of their titles."""
    chosen = {item.title_id: item for item in system.items if item.rank == rank}
    by_rank = (system.manifest or {}).get("stories_by_rank", {})
    return replace(
        system,
        name=system.name if rank == TOP_RANK else f"{system.name}-image-{rank}",
        items=tuple(replace(item, id=title or item.id, rank=None, title_id=None) for title, item in chosen.items()),
        failed=system.failed_ranks.count(rank),
        failed_ranks=(),
        planned=by_rank[str(rank)] - system.skipped_ranks.count(rank) if str(rank) in by_rank else None,
        rank=rank,
    )


def human_systems(systems: Sequence[System]) -> list[System]:
    """The stories by people for the titles of each system, as systems of their own; equal ones appear once.

    Raises:
        SettingsError: No system of stories has references.
    """
    found: dict[tuple[str, ...], System] = {}
    for system in systems:
        told = tuple(
            Item(i.id, i.references[0], image=i.image, guessed_image=i.guessed_image, title=i.title)
            for i in system.items
            if i.title is not None and i.references
        )
        if told:
            name = HUMAN if not found else f"{HUMAN}-{system.name}"
            found.setdefault(tuple(item.text for item in told), System(name, system.source, told))
    if not found:
        raise SettingsError(
            "human=true: no system holds stories that people wrote; leave out human, or name a run on titles with stories"
        )
    return list(found.values())


def with_retrieved(systems: Sequence[System], settings: ScoringSettings) -> list[System]:
    """Give stories that were written without an image the best image of their title, from the file ``retrieved``."""
    if not settings.retrieved:
        return list(systems)
    retrieved = read_retrieved(expanded(settings.retrieved, "retrieved"), setting="retrieved")
    best = {title: images[0].absolute() for title, images in retrieved.items() if images}
    return [replace(system, items=tuple(_with_image(item, best) for item in system.items)) for system in systems]


def _with_image(item: Item, best: Mapping[str, Path | StoredImage]) -> Item:
    return (
        replace(item, retrieved=best.get(item.title))
        if item.title is not None and not (item.image or item.guessed_image)
        else item
    )


def for_stories(settings: ScoringSettings) -> ScoringSettings:
    """The settings with metrics for stories: the paper's if the user chose none, else those of the chosen ones that apply."""
    if nobody_has_chosen(settings):
        return with_story_metrics(settings)
    return _with_metrics(
        settings, [name for name in settings.metrics.names if name in (*STORY_METRICS, *_OF_STORIES_ONLY)] or ["repetition"]
    )


def nobody_has_chosen(settings: ScoringSettings) -> bool:
    """Whether the metrics are the default ones, which are for captions."""
    return settings.metrics.names == MetricsSettings().names


def with_story_metrics(settings: Any) -> Any:
    """The settings with the paper's metrics for stories."""
    return _with_metrics(settings, STORY_METRICS)


def without_story_metrics(settings: Any) -> Any:
    """The settings for captions, without metrics that are only for stories."""
    kept = [name for name in settings.metrics.names if name not in _OF_STORIES_ONLY]
    return _with_metrics(settings, kept) if kept else settings


def _with_metrics(settings: Any, names: Sequence[str]) -> Any:
    return replace(settings, metrics=replace(settings.metrics, names=list(names)))
