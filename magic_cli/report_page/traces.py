"""Steps of ``trace.jsonl`` as a page holds them: numbers as the very float32 that decoding had, in base64."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.errors import MagicError

_REMEDY = "delete trace.jsonl, or run the command anew with run.trace=true"


def read_traces(file: Path, items: Mapping[str, int], *, limit: int) -> tuple[dict[int, list[dict[str, Any]]], dict[int, str]]:
    """Traces of a run's first items.

    Args:
        file: trace.jsonl.
        items: Number of each item that is in the page, by its id in the file.
        limit: Items at most.

    Returns:
        By item number one trace for each answer (one of captions and stories), and the text of each token.

    Raises:
        MagicError: A line is damaged.
    """
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for number, step in _lines(file):  # the texts of a batch grow side by side
        name = step.get("id")
        if isinstance(name, str) and (name in found or (name in items and len(found) < limit)):
            found.setdefault(name, []).append((number, step))
    tokens: dict[int, str] = {}
    traces = {items[name]: _traces(steps, tokens, file) for name, steps in found.items()}
    return traces, tokens


def _traces(steps: list[tuple[int, dict[str, Any]]], tokens: dict[int, str], file: Path) -> list[dict[str, Any]]:
    """The traces of one item's answers; what its tokens are is added to ``tokens``."""
    try:
        for _, step in steps:
            if "candidate" not in step:  # whole texts have their own
                tokens |= dict(zip(step.get("token_ids", [step["choice"]]), step["tokens"], strict=True))
        answers = groupby((step for _, step in steps), key=lambda step: step.get("answer"))
        return [{"answer": answer, **_encoded(list(of_answer))} for answer, of_answer in answers]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"is no trace of magic ({type(error).__name__}: {error})"
        raise MagicError(f"{file} line {steps[0][0]}: {reason}; {_REMEDY}") from error


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The file's records; the last line may be half-written."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield number, parse_object(line)
            except JSONFault as fault:
                if line.endswith(b"\n"):
                    raise MagicError(f"{file} line {number}: {fault.problem}; {_REMEDY}") from None


def _encoded(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """One text's trace: of a method that scores tokens, of one that keeps several texts (beams), or of one that picks among whole texts."""
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
    """A number of every candidate of all steps, NaN where it was not computed; None: it never was."""
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
    """What weighs the terms of a run's scores: ``alpha``, and for each guide ``[weight, column, name]``.

    A guide's weight is a number, or "beta"; its column is its place among the f of a trace. A trace holds no f of a guide whose
    weight is 0: there the column is None.

    Args:
        identity: Of the run's manifest.

    Returns:
        None: its method has no alpha.
    """
    decoding = identity.get("decoding")
    if not isinstance(decoding, dict) or not isinstance(decoding.get("alpha"), int | float):
        return None
    beta, guides = decoding.get("beta"), identity.get("guides") or {}
    if not isinstance(beta, int | float):
        return {"alpha": decoding["alpha"], "beta": None, "guides": []}
    found: list[tuple[Any, str]] = [("beta", "image score")]
    if guides.get("memory", {}).get("use") == "beside":  # then it shares the image's weight
        found.append(("beta", "memory's score"))
    if "second_model" in guides:
        found.append((guides["second_model"].get("weight", 1.0), "second model's score"))
    columns = iter(range(len(found)))
    of_guides = [[weight, next(columns) if (beta if weight == "beta" else weight) > 0 else None, name] for weight, name in found]
    return {"alpha": decoding["alpha"], "beta": beta, "guides": of_guides}
