"""What made a result: versions, revision, platform; and the differences between two such descriptions."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from magic_cli import __version__
from magic_cli.data import run_files
from magic_cli.errors import MagicError

_RECORDED_PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "open_clip_torch",
    "clip-anytorch",
    "pillow",
    "numpy",
    "hydra-core",
)


def read_manifest(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """The manifest of an existing run folder.

    Raises:
        MagicError: It is damaged, or belongs to a run with other settings or of another command.
    """
    manifest = run_files.read_manifest(path / "manifest.json", remedy="set another run.dir, or delete this folder")
    before = manifest.get("identity")
    if before != json.loads(json.dumps(identity, default=str)):
        if (other := _of_another_command(before, identity)) is not None:
            raise MagicError(f"run.dir={path}: holds {other}, not a run of this command; set another run.dir")
        changed = "; ".join(differences(before, identity)) or "other settings"
        raise MagicError(
            f"run.dir={path}: holds a run with other settings ({changed}); set another run.dir, or delete this folder"
        )
    return manifest


def _of_another_command(before: Any, identity: dict[str, Any]) -> str | None:
    """What a folder holds that another command made; None: this command made it."""
    if not isinstance(before, dict):
        return "something else"
    if isinstance(task := before.get("task"), str) and task != identity.get("task"):
        return f"a run of magic {task}"
    return "something else" if 2 * len(before.keys() & identity.keys()) < len(before) else None


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield ``name old -> new`` for every value that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield f"{path} {_short(before)} -> {_short(after)}"


def _short(value: Any) -> str:
    """A value in an error message; long ones, such as hashes, are cut."""
    text = str(value)
    return f"{text[:12]}..." if len(text) > 60 else text


def provenance() -> dict[str, Any]:
    """What made a result: versions of magic and of important packages, revision of the checkout, platform."""
    return {
        "magic": __version__,
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "packages": {name: installed_version(name) for name in _RECORDED_PACKAGES},
        "platform": platform.platform(),
    }


def installed_version(package: str) -> str | None:
    """The installed version of a package; None: it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The commit of the checkout, with ``-dirty`` if it has changes; None outside a checkout."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None  # git is not installed: the revision is unknown
