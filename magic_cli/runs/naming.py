"""The run folders that a command's settings stand for: one, or with ``run.repeats`` one for each sampled run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from magic_cli.data.paths import expanded
from magic_cli.errors import SettingsError
from magic_cli.runs.choices import DECODING_METHODS, method_name
from magic_cli.runs.identity import settings_hash
from magic_cli.runs.settings import RunSettings


def run_folder(settings: Any) -> Path:
    """``run.dir``, or a folder named after what is run, with a hash of all settings that matter."""
    run = settings.run
    if run.folder:
        return expanded(run.folder, "run.dir")
    part = f"-{run.part.folder}" if run.part else ""
    return Path(
        "runs", settings.task, f"{settings.dataset.name}-{method_name(settings.decoding)}-{settings_hash(settings)}{part}"
    )


def each_repeat(settings: Any) -> list[Any]:
    """The settings of every run: ``run.repeat`` counts up from its value, and ``run.dir`` gets a subfolder ``repeat-N`` for each.

    Every run equals the one that ``run.repeat=N`` alone gives, so each is resumed on its own. Commands that write no texts
    have a single run.

    Raises:
        SettingsError: Several runs of a method that does not sample; they would all be the same.
    """
    run = getattr(settings, "run", None)
    if not isinstance(run, RunSettings) or run.repeats == 1:
        return [settings]
    count, first = run.repeats, run.repeat
    if not settings.is_sampled:
        raise SettingsError(
            f"run.repeats={count}: decoding={method_name(settings.decoding)} is not sampled, so all runs would be the same; leave "
            f"run.repeats out, or choose a sampled method ({', '.join(sampled_methods())})"
        )
    runs = (replace(run, repeats=1, repeat=n, dir=_folder(run.dir, n)) for n in range(first, first + count))
    return [replace(settings, run=one) for one in runs]


def refuse_shared_repeats(points: Sequence[Any]) -> None:
    """Make sure that each sampled run belongs to one point of a sweep only; a second point would repeat the same work.

    Args:
        points: The settings of every point.

    Raises:
        SettingsError: Two points with different ``run.repeat`` or ``run.repeats`` contain the same run.
    """
    owners: dict[tuple[str, int], tuple[int, int]] = {}
    for settings in points:
        run = getattr(settings, "run", None)
        if not isinstance(run, RunSettings):
            continue
        span = (run.repeat, run.repeats)
        for one in each_repeat(settings):
            other = owners.setdefault((settings_hash(one), one.run.repeat), span)
            if other != span and max(other[1], run.repeats) > 1:
                raise SettingsError(
                    f"run.repeats: points of the sweep share the run of run.repeat={one.run.repeat} ({_span(*other)}; {_span(*span)}); set "
                    "run.repeats to how many runs there are to be, and sweep over other settings"
                )


def _span(first: int, count: int) -> str:
    return f"run.repeats={count} from run.repeat={first}"


def sampled_methods() -> list[str]:
    """Names of the methods that sample tokens whatever their settings are."""
    from magic_cli.decoding.sampling import Sampling

    return [name for name, method in DECODING_METHODS.items() if issubclass(method, Sampling)]


def _folder(directory: str | None, number: int) -> str | None:
    return str(Path(directory) / f"repeat-{number}") if directory else None
