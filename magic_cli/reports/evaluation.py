"""Tables of evaluated systems, and of the comparison of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magic_cli.reports.tables import Cell, Column, Row, Table
from magic_cli.wording import counted



def evaluation_table(documents: Sequence[Mapping[str, Any]], *, confidence: float) -> Table:
    """One row a system, one column a measure, intervals below; n, missing and empty captions are always said.

    Args:
        documents: Contents of metrics.json.
        confidence: Of the intervals, in (0, 1).
    """
    measures = list(dict.fromkeys(key for document in documents for key in document["metrics"]))
    labels = {key: metric["label"] for document in documents for key, metric in document["metrics"].items()}
    rows = []
    for document in documents:
        metrics = document["metrics"]
        cells = [Cell(_value(metrics.get(key))) for key in measures]
        rows.append(Row((Cell(document["system"]), Cell(str(document["n"])), *cells), opens_group=True))
        if any(metric["interval"] for metric in metrics.values()):
            intervals = [Cell(_interval(metrics.get(key))) for key in measures]
            rows.append(Row((Cell(f"  {100 * confidence:g} % interval"), Cell(), *intervals)))
    columns = (Column("system", is_label=True), Column("n", is_label=True), *(Column(labels[key]) for key in measures))
    return Table("", columns, tuple(rows), notes=tuple(_notes(documents)), records=tuple(_records(documents, measures)))


def _notes(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    for document in documents:
        are_stories = document.get("texts") == "stories"
        counts = [f"{counted(document['n'], *(('story', 'stories') if are_stories else ('caption',)))} scored"]
        counts += [counted(document[key], *words) for key, words in (_STORY_COUNTS if are_stories else _COUNTS).items() if document[key]]
        notes.append(f"{document['system']}: {'; '.join([*counts, *document['notes']])}")
    for name, reason in dict.fromkeys((name, why) for document in documents for name, why in document["not_run"].items()):
        notes.append(f"{name} not run: {reason}")
    if any("cider" in document["metrics"] for document in documents):
        notes.append("CIDEr weighs n-grams by the images scored here: compare it only at equal n.")
    return notes


_COUNTS = {
    "missing": ("image without a caption (not scored)", "images without a caption (not scored)"),
    "dropped": ("caption left out (unmatched=drop, only_common=true)", "captions left out (unmatched=drop, only_common=true)"),
    "empty": ("empty or punctuation only (score 0)", "empty or punctuation only (score 0)"),
}
_STORY_COUNTS = _COUNTS | {
    "missing": ("title without a story (not scored)", "titles without a story (not scored)"),
    "dropped": ("story left out (unmatched=drop, only_common=true)", "stories left out (unmatched=drop, only_common=true)"),
}


def _records(documents: Sequence[Mapping[str, Any]], measures: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "system": document["system"],
            "measure": key,
            "value": document["metrics"][key]["value"],
            "low": (document["metrics"][key]["interval"] or [None, None])[0],
            "high": (document["metrics"][key]["interval"] or [None, None])[1],
            **{count: document[count] for count in ("n", "missing", "dropped", "empty")},
        }
        for document in documents
        for key in measures
        if key in document["metrics"]
    ]


def comparison_table(comparison: Mapping[str, Any], documents: Sequence[Mapping[str, Any]]) -> Table:
    """Two systems side by side, with the same notes as their own table.

    Args:
        comparison: Content of comparison.json; a difference is the second system's value less the first's.
        documents: Contents of both systems' metrics.json.
    """
    names = comparison["systems"]
    columns = ("measure", *names, "difference", f"{100 * comparison['confidence']:g} % interval", "p")
    body = tuple(
        Row((
            Cell(row["label"]),
            *(Cell(_number(row[key], row)) for key in ("first", "second")),
            Cell(_number(row["difference"], row, sign=True)),
            Cell(f"{_number(row['low'], row, sign=True)} .. {_number(row['high'], row, sign=True)}"),
            Cell(f"{row['p_value']:.4f}"),
        ))
        for row in comparison["measures"]
    )  # fmt: skip
    test = (
        f"{counted(comparison['n'], 'item')}; p: two-sided approximate randomisation, {comparison['samples']} random swaps; interval: paired "
        "bootstrap with as many resamples; no correction for several measures"
    )
    return Table(
        f"{names[1]} against {names[0]}",
        tuple(Column(title, is_label=i == 0) for i, title in enumerate(columns)),
        body,
        notes=(test, *_notes(documents)),
        records=tuple({"first_system": names[0], "second_system": names[1], **row} for row in comparison["measures"]),
    )


def _value(metric: Mapping[str, Any] | None) -> str:
    return "" if metric is None else _number(metric["value"], metric)


def _interval(metric: Mapping[str, Any] | None) -> str:
    if metric is None or metric["interval"] is None:
        return ""
    return "..".join(_number(value, metric) for value in metric["interval"])


def _number(value: float | None, metric: Mapping[str, Any], *, sign: bool = False) -> str:
    if value is None:
        return ""
    return f"{value * metric['scale']:{'+' if sign else ''}.{metric['digits']}f}"
