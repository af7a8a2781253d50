"""Pages of ``magic retrieve-images query``: queries, each with the images found for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_growing_lines
from magic_cli.data.named_images import ImageRoot
from magic_cli.data.run_files import read_manifest
from magic_cli.data.system import System
from magic_cli.errors import MagicError, SettingsError
from magic_cli.evaluation.corpora import distinct_names
from magic_cli.report_page.contents import Page
from magic_cli.report_page.pictures import PictureList
from magic_cli.report_page.runs import run_facts

RETRIEVED = "retrieved.jsonl"
_REMEDY = "run `magic retrieve-images query` again"


def holds_retrieved(path: Path) -> bool:
    """Whether the path is a folder of retrieved images."""
    return (path / RETRIEVED).is_file()


def retrieved_contents(folders: Sequence[Path], pictures: PictureList) -> Page:
    """Everything except the thumbnails.

    Raises:
        MagicError: A file is damaged.
    """
    systems = [_system(folder) for folder in folders]
    systems = [replace(system, name=name) for system, name in zip(systems, distinct_names(systems), strict=True)]
    items: dict[str, dict[str, Any]] = {}
    for place, folder in enumerate(folders):
        for number, record in enumerate(read_growing_lines(folder / RETRIEVED, setting="systems", hint=_REMEDY)[0], start=1):
            try:
                query, found = str(record["query"]), [_found(image, folder, pictures) for image in record["images"]]
            except (KeyError, TypeError) as error:
                raise MagicError(f"{folder / RETRIEVED} record {number}: not as expected ({error!r}); {_REMEDY}") from error
            item = items.setdefault(query, {"id": query, "title": query})
            item.setdefault("found", {})[place] = found
            item.setdefault("texts", {})[place] = ", ".join(image["id"] for image in found[:1])
            item.setdefault("scores", {})[place] = [found[0]["score"] if found else None]
    cosine = {"key": "cosine", "label": "cosine of the best image", "scale": 1, "digits": 3, "higher_is_better": True}
    listed = list(items.values())
    return {
        "noun": ["query", "queries"],
        "measures": [cosine],
        "comparison": {"reason": "Retrieved images are not tested."},
        "systems": [_described(system, place, listed) for place, system in enumerate(systems)],
        "items": listed,
        "traces": [{} for _ in systems],
        "tokens": [{} for _ in systems],
    }  # fmt: skip


def _found(image: dict[str, Any], folder: Path, pictures: PictureList) -> dict[str, Any]:
    score = image["score"]
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise TypeError(f"score {score!r}")
    return {
        "image": pictures.number(ImageRoot(folder, follows=True).image(image["image"])),
        "id": str(image["id"]),
        "score": score,
    }


def _system(folder: Path) -> System:
    manifest = read_manifest(folder / "manifest.json", remedy=_REMEDY) if (folder / "manifest.json").is_file() else None
    return System(folder.resolve().name, folder, (), manifest=manifest)


def _described(system: System, place: int, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    own = [item for item in items if place in item["found"]]
    best = [item["scores"][place][0] for item in own if item["scores"][place][0] is not None]
    return {
        "name": system.name, "source": str(system.source), "overall": [[sum(best) / len(best) if best else None, None, None]],
        "n": len(own), "missing": len(items) - len(own), "dropped": 0, "empty": len(own) - len(best), "notes": [], "not_run": {},
        "weights": None, **run_facts(system),
    }  # fmt: skip


def refuse_mixed(paths: Sequence[Path]) -> bool:
    """Whether all paths are folders of retrieved images.

    Raises:
        SettingsError: Some are, and others are not.
    """
    are = [holds_retrieved(path) for path in paths]
    if any(are) and not all(are):
        other = paths[are.index(False)]
        raise SettingsError(f"systems={other}: holds no retrieved images, and {paths[are.index(True)]} does; report them apart")
    return all(are)
