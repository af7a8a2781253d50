"""Stories made ready for scoring: parted by the rank of their image, images found for methods that saw none, people's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from magic_cli.data.stories import read_retrieved
from magic_cli.data.system import System
from magic_cli.errors import SettingsError
from magic_cli.evaluation.settings import ScoringSettings

HUMAN = "human"
TOP_RANK = 1


def story_systems(systems: Sequence[System], settings: ScoringSettings) -> list[System]:
    """The systems, each one's stories parted by the ranks that are asked for, and, with ``human``, what people wrote; captions stay.

    Raises:
        MagicError: A rank that a system has no stories for, or ``retrieved`` cannot be read.
    """
    found = [part for system in systems for part in (_parts(system, settings.image_ranks) if system.writes_stories else [system])]
    if settings.human:
        found += human_systems(found)
    return with_retrieved(found, settings)


def _parts(system: System, ranks: Sequence[int]) -> list[System]:
    if not system.ranks:
        return [system]
    known = sorted(set(system.ranks.values()) | set(system.failed_ranks))
    for rank in ranks:
        if rank not in known:
            raise SettingsError(f"image_ranks={rank}: {system.source} has stories for the images {', '.join(map(str, known))} of a title")
    return [of_rank(system, rank) for rank in ranks]


def of_rank(system: System, rank: int) -> System:
    """The stories for the images of one rank, under the ids of their titles."""
    chosen = {item: system.title_ids[item] for item, other in system.ranks.items() if other == rank}

    def of(values: dict) -> dict:
        return {title: values[item] for item, title in chosen.items() if item in values}

    by_rank = (system.manifest or {}).get("stories_by_rank", {})
    return replace(
        system,
        name=system.name if rank == TOP_RANK else f"{system.name}-image-{rank}",
        captions=of(system.captions),
        references=of(system.references),
        images=of(system.images),
        titles=of(system.titles),
        splits=of(system.splits),
        ranks={},
        title_ids={},
        failed=system.failed_ranks.count(rank),
        failed_ranks=(),
        planned=by_rank[str(rank)] - system.skipped_ranks.count(rank) if str(rank) in by_rank else None,
        rank=rank,
    )


def human_systems(systems: Sequence[System]) -> list[System]:
    """What people wrote for the titles of each system, as a system of its own; systems of the same references share one.

    Raises:
        SettingsError: No system of stories brings references.
    """
    found: dict[tuple[str, ...], System] = {}
    for system in systems:
        if not system.writes_stories or not system.references:
            continue
        texts = {item: references[0] for item, references in system.references.items()}
        human = System(
            HUMAN if not found else f"{HUMAN}-{system.name}", system.source, texts,
            images={item: system.images[item] for item in texts if item in system.images},
            titles={item: system.titles[item] for item in texts},
        )  # fmt: skip
        found.setdefault(tuple(texts.values()), human)
    if not found:
        raise SettingsError("human=true: no system brings stories that people wrote; leave human out, or name a run on titles with stories")
    return list(found.values())


def with_retrieved(systems: Sequence[System], settings: ScoringSettings) -> list[System]:
    """Stories that were written without an image get the best one of their title, from the file ``retrieved``."""
    if not settings.retrieved:
        return list(systems)
    retrieved = read_retrieved(Path(settings.retrieved).expanduser(), setting="retrieved")
    best = {title: images[0].absolute() for title, images in retrieved.items() if images}
    return [
        replace(system, retrieved={item: best[title] for item, title in system.titles.items() if title in best and item not in system.images})
        for system in systems
    ]
