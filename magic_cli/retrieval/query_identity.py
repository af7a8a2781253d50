"""What identifies a query, so that its results are never written over those of another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magic_cli.data.json_text import parse_json
from magic_cli.errors import MagicError
from magic_cli.provenance import differences
from magic_cli.retrieval.image_settings import RetrieveImagesSettings

RESULTS, MANIFEST = "retrieved.jsonl", "manifest.json"


def query_identity(settings: RetrieveImagesSettings, queries: Sequence[Mapping[str, str]], index_digest: str) -> dict[str, Any]:
    """Everything that decides the result, as the manifest keeps it. The image-text model is that of the index."""
    return {
        "queries": hashlib.sha256(json.dumps(queries).encode()).hexdigest(),
        "titles": settings.titles,
        "top_k": settings.top_k,
        "index": index_digest,
        "search": {"kind": settings.search.kind, **settings.search.found_with},
    }


def refuse_other_results(folder: Path, identity: Mapping[str, Any]) -> None:
    """Make sure that a folder holds no results, or those of the same query, which are then replaced.

    Raises:
        MagicError: It holds results of another query, or files of another command.
    """
    results, manifest = folder / RESULTS, folder / MANIFEST
    try:
        before = parse_json(manifest.read_text(encoding="utf-8"))["question"]
    except (FileNotFoundError, NotADirectoryError):
        before = None
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise MagicError(
            f"{manifest}: does not describe a query, so it belongs to something else and would be overwritten; set --output to another folder"
        ) from error
    if not results.exists() or before == identity:
        return
    if before is None:
        raise MagicError(
            f"{results}: exists, but no {MANIFEST} says which query it answers; set --output to another folder, or move it away"
        )
    changed = "; ".join(differences(before, identity))
    raise MagicError(f"{results}: answers another question ({changed}); set --output to another folder, or delete this file")
