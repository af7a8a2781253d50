"""Tables of evaluated systems, and of their comparison with the first system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magic_cli.reports.tables import Cell, Column, Row, Table
from magic_cli.terminal.wording import counted


def evaluation_table(documents: Sequence[Mapping[str, Any]], *, confidence: float) -> Table:
    """One row per system and one column per measure, with intervals below. Missing and empty captions are counted.

    Args:
        documents: Contents of metrics.json.
        confidence: Confidence of the intervals, in (0, 1).
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
        noun, told = _KINDS.get(str(document.get("texts")), _KINDS["captions"])
        counts = [f"{counted(document['n'], noun)} scored"]
        counts += [f"{counted(document[key], noun)} {words}" for key, (noun, words) in told.items() if document[key]]
        notes.append(f"{document['system']}: {'; '.join([*counts, *document['notes']])}")
    notes += dict.fromkeys(
        _model_note(document) for document in documents if (_JUDGED | _JUDGED_ANSWERS) & document["metrics"].keys()
    )
    for name, reason in dict.fromkeys((name, why) for document in documents for name, why in document["not_run"].items()):
        notes.append(f"{name} not run: {reason}")
    if counts := [document["n"] for document in documents if "cider" in document["metrics"]]:
        of_one = "; of a single image it is always 0" if 1 in counts else ""  # all n-grams are then in every image
        notes.append(f"CIDEr weighs n-grams by the images scored here: compare it only at equal n{of_one}.")
    return notes


def _model_note(document: Mapping[str, Any]) -> str:
    model = document["image_text_model"] or {}
    of_run = (
        f", the image-text model of {model['of_run']}; for another one, give --image-text-model NAME" if "of_run" in model else ""
    )
    what = "CLIPScore uses" if _JUDGED & document["metrics"].keys() else "CLIP-I, CLIP-T and MM-Relevance use"
    return f"{what} {model.get('source') or model.get('name')}{of_run}."


_JUDGED = {"clip_score", "ref_clip_score"}
_JUDGED_ANSWERS = {"clip_i", "clip_t", "mm_relevance_minigpt5", "mm_relevance_mmdialog"}
_COUNTS = {
    "missing": ("image", "without a caption (not scored)"),
    "dropped": ("caption", "left out (unmatched=drop or only_common=true)"),
    "empty": ("caption", "empty or punctuation only (score 0)"),
}
_STORY_COUNTS = {
    "missing": ("title", "without a story (not scored)"),
    "dropped": ("story", "left out (unmatched=drop or only_common=true)"),
    "empty": ("story", "empty or punctuation only (score 0)"),
}
_ANSWER_COUNTS = {
    "missing": ("item", "without an answer (not scored)"),
    "dropped": ("item", "left out (only_common=true)"),
    "empty": ("item", "without a text"),
}
_KINDS = {"captions": ("caption", _COUNTS), "stories": ("story", _STORY_COUNTS), "answers": ("item", _ANSWER_COUNTS)}
"""What is scored: the word for one item, and the words for items that are not scored or empty."""


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
    """The differences between the other systems and the first, with the notes of their own table.

    Args:
        comparison: Content of comparison.json; a difference is the other system's value minus the first's.
        documents: The metrics.json of all systems.
    """
    first, *others = comparison["systems"]
    several = len(others) > 1
    columns = [
        "measure",
        first,
        "the other" if several else others[0],
        "difference",
        f"{100 * comparison['confidence']:g} % interval",
        "p",
    ]
    columns += ["p (Holm)"] if several else []
    body = tuple(
        Row((
            Cell(row["label"]),
            *(Cell(_number(row[key], row)) for key in ("first", "second")),
            Cell(_number(row["difference"], row, sign=True)),
            Cell(f"{_number(row['low'], row, sign=True)} .. {_number(row['high'], row, sign=True)}"),
            *(Cell(f"{row[key]:.4f}") for key in ("p_value", *(["p_holm"] if several else []))),
        ), section=f"{row['second_system']} minus {first}" if several else "")
        for row in comparison["measures"]
    )  # fmt: skip
    correction = f"Holm: corrected for the {len(others)} systems that are compared with {first}, not for several measures"
    test = (
        f"difference: {'the other system' if several else others[0]} minus {first}; {counted(comparison['n'], 'item')}; p: two-sided approximate "
        f"randomisation, {counted(comparison['samples'], 'random swap')}; interval: paired bootstrap with as many resamples; "
        f"{correction if several else 'no correction for several measures'}"
    )
    return Table(
        f"the others minus {first}" if several else f"{others[0]} minus {first}",
        tuple(Column(title, is_label=i == 0) for i, title in enumerate(columns)),
        body,
        notes=(test, *_notes(documents)),
        records=tuple(comparison["measures"]),
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
