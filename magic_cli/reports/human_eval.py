"""Tables of a human evaluation: mean scores, agreement of the annotators, and pairs of systems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magic_cli.reports.tables import Cell, Column, Row, Table
from magic_cli.terminal.wording import counted

_UNKNOWN: dict[str, Any] = {"mean": None, "low": None, "high": None}


def human_eval_tables(document: Mapping[str, Any], labels: Mapping[str, str]) -> list[Table]:
    """The printed tables of a scores.json.

    Args:
        document: Its content.
        labels: The name of each aspect, by its key.
    """
    agreement = _agreement(document, labels, "stories")
    return [_means(document, labels), agreement, *([_pairs(document, labels)] if document["pairs"] else [])]


def pair_tables(document: Mapping[str, Any], labels: Mapping[str, str]) -> list[Table]:
    """The printed tables of a study of pairs; arguments as in ``human_eval_tables``."""
    return [_preferences(document, labels), _agreement(document, labels, "pairs")]


def _preferences(document: Mapping[str, Any], labels: Mapping[str, str]) -> Table:
    first, second = document["systems"]
    outcomes = ("wins", "ties", "losses")
    percent = f"{100 * document['bootstrap']['confidence']:g} %"
    rows, records = [], []
    for key, found in document["preferences"].items():
        shares = [found[name] for name in outcomes]
        test = (_number(found["p_value"], digits=4), _number(found["p_holm"], digits=4))
        rows.append(
            Row(
                tuple(map(Cell, (labels[key].lower(), *(_number(100 * one["share"]) for one in shares), *test))), opens_group=True
            )
        )
        rows.append(Row(tuple(map(Cell, (f"  {percent} interval", *map(_percent_interval, shares), "", "")))))
        records += [{"table": "preferences", "aspect": key, "outcome": name, **found[name]} for name in outcomes]
    columns = ("question", f"{first} %", "tie %", f"{second} %", "p", "p (Holm)")
    notes = [
        f"{counted(document['items'], 'item')}, {counted(len(document['annotators']), 'annotator')} of {document['forms']}; shares over annotators, then over items; "
        f"intervals: bootstrap over items, {document['bootstrap']['samples']} resampled sets. p: two-sided approximate randomisation over items, that both "
        "are preferred alike; Holm: corrected for the number of questions.",
        *_left_open(document),
    ]
    table_columns = tuple(Column(title, is_label=not number) for number, title in enumerate(columns))
    return Table("Which answer is better", table_columns, tuple(rows), notes=tuple(notes), records=tuple(records))


def _percent_interval(found: Mapping[str, Any]) -> str:
    return _interval({name: None if found[name] is None else 100 * found[name] for name in ("low", "high")})


def _left_open(document: Mapping[str, Any]) -> list[str]:
    count = document["open_questions"]
    open_questions = counted(count, "question was not answered and is", "questions were not answered and are")
    return [f"{open_questions} left out (incomplete=accept)."] if count else []


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
        f"intervals: bootstrap over titles, {sampled}.",
        *_left_open(document),
    ]
    records = [
        {"table": "means", "system": name, "aspect": key, **found}
        for name, scores in document["systems"].items()
        for key, found in scores.items()
    ]
    columns = (Column("system", is_label=True), *(Column(labels[key].lower()) for key in aspects))
    return Table("Human scores from 1 to 5", columns, tuple(rows), notes=tuple(notes), records=tuple(records))


def _agreement(document: Mapping[str, Any], labels: Mapping[str, str], units: str) -> Table:
    kinds = ("alpha_ordinal", "alpha_interval")
    rows = [
        Row((Cell(labels[key].lower()), *(Cell(_number(found[kind], digits=3)) for kind in kinds), Cell(str(found[units]))))
        for key, found in document["agreement"].items()
    ]
    columns = (Column("aspect", is_label=True), Column("alpha, ordinal"), Column("alpha, interval"), Column(units))
    note = f"Krippendorff's alpha: 1 complete agreement, 0 as by chance; {units} that two annotators or more judged; empty: not defined."
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
