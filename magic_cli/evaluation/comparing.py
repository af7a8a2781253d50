"""Paired tests of each system against the first one, on the same items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from magic_cli.errors import SettingsError
from magic_cli.evaluation.settings import BootstrapSettings
from magic_cli.metrics.base import Corpus
from magic_cli.metrics.statistics import holm

if TYPE_CHECKING:
    from magic_cli.evaluation.evaluate import Evaluation


def compare(evaluations: Sequence[Evaluation], bootstrap: BootstrapSettings) -> dict[str, Any]:
    """The content of comparison.json: each system minus the first one, measure by measure.

    ``p_holm`` is corrected for the number of systems that one measure compares with the first one (Holm 1979), not for the
    number of measures.

    Raises:
        SettingsError: There is only one item, which is not enough for a test.
    """
    first, *others = evaluations
    resampler = bootstrap.resampler(len(first.corpus))
    if resampler is None:
        raise SettingsError("--compare needs two images or more, got 1")
    rows = [
        {
            "first_system": first.system.name, "second_system": other.system.name,
            "measure": a.measure.key, "label": a.measure.label, "scale": a.measure.scale, "digits": a.measure.digits,
            "first": a.overall, "second": b.overall, **asdict(found),
        }
        for other in others
        for a, b, found in zip(first.scores, other.scores, resampler.comparisons(other.scores, first.scores, bootstrap.confidence), strict=True)
        if found is not None
    ]  # fmt: skip
    for key in dict.fromkeys(row["measure"] for row in rows):
        of_measure = [row for row in rows if row["measure"] == key]
        for row, corrected in zip(of_measure, holm([row["p_value"] for row in of_measure]), strict=True):
            row["p_holm"] = corrected
    return {"systems": [one.system.name for one in evaluations], "n": len(first.corpus), **asdict(bootstrap), "measures": rows}


def check_comparable(corpora: Sequence[Corpus]) -> None:
    """Refuse to compare systems unless they were scored on the same images with the same references.

    If captions have no references, their image files must be the same.

    Raises:
        SettingsError: A system differs from the first one; says which and how.
    """
    for other in corpora[1:]:
        _check_pair(corpora[0], other)


def _check_pair(first: Corpus, second: Corpus) -> None:
    if first.ids != second.ids:
        only = set(first.ids) ^ set(second.ids)
        detail = f"{len(only)} images are in one of them only, e.g. {min(only)!r}" if only else "the same images in another order"
        raise SettingsError(
            f"--compare: {first.name} and {second.name} are not captions of the same images ({detail}); compare what they share with --common"
        )
    for item, mine, other in zip(first.ids, first.references, second.references, strict=True):
        if mine and other and mine != other:
            raise SettingsError(
                f"--compare: {first.name} and {second.name} have other references for {item!r}; give both the same with --references"
            )
    for item, *answers in zip(first.ids, first.answers, second.answers, strict=False):
        one, another = ([answer.true_image and answer.true_image.resolve() for answer in each] for each in answers)
        if one != another:
            raise SettingsError(
                f"--compare: {first.name} and {second.name} have other true images for {item!r}; compare runs on the same items"
            )
    if not first.titles and not first.answers:
        _check_same_images(first, second)


def _check_same_images(first: Corpus, second: Corpus) -> None:
    """Compare the image files of captions without references, because photos in two folders may have the same names.

    Raises:
        SettingsError: An id means different files in the two systems.
    """
    without = [not (mine and other) for mine, other in zip(first.references, second.references, strict=True)]
    for item, mine, other, is_checked in zip(first.ids, first.images, second.images, without, strict=True):
        if is_checked and mine and other and mine.resolve() != other.resolve():
            raise SettingsError(
                f"--compare: {first.name} and {second.name} have other images for {item!r} ({mine}, {other}); compare runs over the same "
                "folder, or give both the same with --images"
            )
