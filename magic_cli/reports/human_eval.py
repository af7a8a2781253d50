"""Tables of a human evaluation: mean scores, agreement of the annotators, and pairs of systems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magic_cli.reports.tables import Cell, Column, Row, Table
from magic_cli.terminal.wording import counted

_UNKNOWN: dict[str, Any] = {"mean": None, "low": None, "high": None}


def human_eval_tables(document: Mapping[str, Any], labels: Mapping[str, str]) -> list[Table]:
    """What is printed of a scores.json.

    Args:
        document: Its content.
        labels: What an aspect is called, by its key.
    """
    return [_means(document, labels), _agreement(document, labels), *([_pairs(document, labels)] if document["pairs"] else [])]


def _means(document: Mapping[str, Any], labels: Mapping[str, str]) -> Table:
    aspects = list(document["agreement"])
    percent = f"{100 * document['bootstrap']['confidence']:g} %"
    rows = []
    for name, scores in document["systems"].items():
        found = [scores.get(key, _UNKNOWN) for key in aspects]
        rows.append(Row((Cell(name), *(Cell(_number(one["mean"])) for one in found)), opens_group=True))
        rows.append(Row((Cell(f"  {percent} interval"), *(Cell(_interval(one)) for one in found))))
    sampled = f"{document['bootstrap']['samples']} resampled sets of titles"
    notes = [
        f"{counted(document['items'], 'title')}, {counted(len(document['annotators']), 'annotator')} of {document['forms']}; means over annotators, then over titles; "
        f"intervals: bootstrap over titles, {sampled}."
    ]
    if document["open_questions"]:
        notes.append(
            f"{counted(document['open_questions'], 'question was not answered and is', 'questions were not answered and are')} left out (incomplete=accept)."
        )
    records = [
        {"table": "means", "system": name, "aspect": key, **found}
        for name, scores in document["systems"].items()
        for key, found in scores.items()
    ]
    columns = (Column("system", is_label=True), *(Column(labels[key].lower()) for key in aspects))
    return Table("Human scores from 1 to 5", columns, tuple(rows), notes=tuple(notes), records=tuple(records))


def _agreement(document: Mapping[str, Any], labels: Mapping[str, str]) -> Table:
    kinds = ("alpha_ordinal", "alpha_interval")
    rows = [
        Row((Cell(labels[key].lower()), *(Cell(_number(found[kind], digits=3)) for kind in kinds), Cell(str(found["stories"]))))
        for key, found in document["agreement"].items()
    ]
    columns = (Column("aspect", is_label=True), Column("alpha, ordinal"), Column("alpha, interval"), Column("stories"))
    note = "Krippendorff's alpha: 1 complete agreement, 0 as by chance; stories that two annotators or more judged; empty: not defined."
    records = [{"table": "agreement", "aspect": key, **found} for key, found in document["agreement"].items()]
    return Table("Agreement of the annotators", columns, tuple(rows), notes=(note,), records=tuple(records))


def _pairs(document: Mapping[str, Any], labels: Mapping[str, str]) -> Table:
    rows = [
        Row(
            (
                Cell(f"{pair['first']} - {pair['second']}"),
                *(Cell(_percent(pair[key], pair["judged"])) for key in ("wins", "ties", "losses")),
                Cell(_number(pair["difference"], sign=True)),
                Cell(_interval(pair, sign=True)),
                Cell(_number(pair["p_value"], digits=4)),
                Cell(_number(pair["p_holm"], digits=4)),
            ),
            section=labels[pair["aspect"]],
        )
        for pair in document["pairs"]
    ]
    titles = ("wins %", "ties %", "losses %", "difference", "interval", "p", "p (Holm)")
    note = (
        "Wins of the first over the second system, title by title and annotator by annotator. Difference: of the means, with its paired "
        f"bootstrap interval; p: two-sided approximate randomisation over titles, {document['bootstrap']['samples']} random swaps; "
        "Holm: corrected for the pairs of one aspect."
    )
    records = [{"table": "pairs", **pair} for pair in document["pairs"]]
    columns = (Column("systems", is_label=True), *map(Column, titles))
    return Table("Systems against each other", columns, tuple(rows), notes=(note,), records=tuple(records))


def _number(value: float | None, *, digits: int = 2, sign: bool = False) -> str:
    return "" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def _interval(found: Mapping[str, Any], *, sign: bool = False) -> str:
    if found["low"] is None:
        return ""
    return f"{_number(found['low'], sign=sign)}..{_number(found['high'], sign=sign)}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}" if whole else ""
