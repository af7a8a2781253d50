"""Steps of ``trace.jsonl`` in the form of a page: numbers are the float32 values of decoding, in base64."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.errors import MagicError

_REMEDY = "delete trace.jsonl, or run the command again with run.trace=true"


def read_traces(file: Path, items: Mapping[str, int], *, limit: int) -> tuple[dict[int, list[dict[str, Any]]], dict[int, str]]:
    """The traces of a run's first items.

    Args:
        file: trace.jsonl.
        items: Number of each item in the page, by its id in the file.
        limit: The most items.

    Returns:
        By item number, a trace for each answer (captions and stories have one), and the text of each token.

    Raises:
        MagicError: A line is damaged.
    """
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for number, step in _lines(file):  # the steps of a batch's texts are interleaved
        name = step.get("id")
        if isinstance(name, str) and (name in found or (name in items and len(found) < limit)):
            found.setdefault(name, []).append((number, step))
    tokens: dict[int, str] = {}
    traces = {items[name]: _traces(steps, tokens, file) for name, steps in found.items()}
    return traces, tokens


def _traces(steps: list[tuple[int, dict[str, Any]]], tokens: dict[int, str], file: Path) -> list[dict[str, Any]]:
    """The traces of one item's answers; the texts of its tokens are added to ``tokens``."""
    try:
        for _, step in steps:
            if "candidate" not in step:  # whole texts have another form
                tokens |= dict(zip(step.get("token_ids", [step["choice"]]), step["tokens"], strict=True))
        answers = groupby((step for _, step in steps), key=lambda step: step.get("answer"))
        return [{"answer": answer, **_encoded(list(of_answer))} for answer, of_answer in answers]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"is not a trace of magic ({type(error).__name__}: {error})"
        raise MagicError(f"{file} line {steps[0][0]}: {reason}; {_REMEDY}") from error


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of the file; the last line may be incomplete."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield number, parse_object(line)
            except JSONFault as fault:
                if line.endswith(b"\n"):
                    raise MagicError(f"{file} line {number}: {fault.problem}; {_REMEDY}") from None


def _encoded(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """The trace of one text: of a method that scores tokens, keeps several texts (beams), or chooses among whole texts."""
    if "candidate" in steps[0]:
        texts = [[str(step["text"]), float(step["cosine"])] for step in steps]
        return {"kind": "texts", "texts": texts, "choice": int(steps[0]["choice"])}
    if "row" in steps[0]:
        by_step = groupby(steps, key=lambda step: step["step"])
        return {
            "kind": "beams",
            "steps": [[[int(s["row"]), int(s["parent"]), int(s["choice"])] for s in rows] for _, rows in by_step],
        }
    guides = ["f", *sorted({key for step in steps for key in step if key.startswith("f_")})]
    columns = {name: _column(steps, name) for name in ("p", "penalty", *guides)}
    return {
        "kind": "steps",
        "choice": [int(step["choice"]) for step in steps],
        "counts": [len(step.get("token_ids", ())) for step in steps],
        "ids": _base64([i for step in steps for i in step.get("token_ids", ())], "<u4"),
        "p": columns["p"],
        "penalty": columns["penalty"],
        "f": [columns[name] for name in guides if columns[name] is not None],
    }  # fmt: skip


def _column(steps: list[dict[str, Any]], name: str) -> str | None:
    """One number of every candidate in all steps, NaN where it was not computed; None: it was never computed."""
    values: list[float | None] = []
    for step in steps:
        count, own = len(step.get("token_ids", ())), step.get(name)
        if own is not None and len(own) != count:
            raise ValueError(f"{len(own)} numbers in {name} for {count} candidates")
        values += [None] * count if own is None else own
    return None if all(value is None for value in values) else _base64(values, "<f4")


def _base64(values: list[Any], kind: str) -> str:
    return base64.b64encode(np.array(values, dtype=kind).tobytes()).decode()


def weights(identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The weights of the terms in a run's scores: ``alpha``, and for each guide ``[weight, column, name]``.

    A guide's weight is a number, or "beta". Its column is its position among the guides' scores f in a trace. A guide with
    weight 0 has no scores in the trace: its column is None.

    Args:
        identity: ``identity`` in the run's manifest.

    Returns:
        None: the method has no alpha.
    """
    decoding = identity.get("decoding")
    if not isinstance(decoding, dict) or not isinstance(decoding.get("alpha"), int | float):
        return None
    beta, guides = decoding.get("beta"), identity.get("guides") or {}
    if not isinstance(beta, int | float):
        return {"alpha": decoding["alpha"], "beta": None, "guides": []}
    found: list[tuple[Any, str]] = [("beta", "image score")]
    if guides.get("memory", {}).get("use") == "beside":  # it then shares the image's weight
        found.append(("beta", "memory's score"))
    if "second_model" in guides:
        found.append((guides["second_model"].get("weight", 1.0), "second model's score"))
    columns = iter(range(len(found)))
    of_guides = [[weight, next(columns) if (beta if weight == "beta" else weight) > 0 else None, name] for weight, name in found]
    return {"alpha": decoding["alpha"], "beta": beta, "guides": of_guides}
