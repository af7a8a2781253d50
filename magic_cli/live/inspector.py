"""Each step of the captions as a page of its own: candidates and scores, from the traces of the runs."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magic_cli.runs.folder import TRACE

_TERMS = {"p": "confidence", "penalty": "penalty", "f": "image", "score": "total"}
_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.4 system-ui,sans-serif;margin:1rem}table{border-collapse:collapse}"
    "th,td{padding:.1rem .7rem;text-align:right}th:first-child,td:first-child{text-align:left}.chosen{font-weight:bold}"
    "summary{cursor:pointer}"
)


def inspect(runs: Sequence[Path]) -> str:
    """A page without scripts: for each run its steps, for each step its candidates, best first.

    Args:
        runs: Run folders; one of a method that takes no steps has no trace.
    """
    parts = "".join(f"<h2>{html.escape(run.name)}</h2>{''.join(_steps(run)) or '<p>takes no steps</p>'}" for run in runs)
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Steps</title><style>{_STYLE}</style><body>{parts}</body></html>'


def _steps(run: Path) -> list[str]:
    file = run / TRACE
    lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
    return [_step(json.loads(line)) for line in lines if line]


def _step(step: Mapping[str, Any]) -> str:
    ids = step.get("token_ids") or [step["choice"]]
    terms = {name: step[name] for name in _TERMS if step.get(name)}
    ranked = terms.get("score") or terms.get("p") or [0.0] * len(ids)
    order = sorted(range(len(ids)), key=lambda i: -ranked[i] if ranked[i] is not None else float("inf"))
    chosen = html.escape(step["tokens"][ids.index(step["choice"])]) if step["choice"] in ids else ""
    rows = "".join(
        f"<tr{' class=chosen' if ids[i] == step['choice'] else ''}><td>{html.escape(step['tokens'][i])}</td>"
        + "".join(f"<td>{'not computed' if values[i] is None else format(values[i], '.4f')}</td>" for values in terms.values())
        + "</tr>"
        for i in order
    )
    head = "".join(f"<th>{_TERMS[name]}</th>" for name in terms)
    return f"<details><summary>{step['step']}: {chosen}</summary><table><tr><th>candidate</th>{head}</tr>{rows}</table></details>"
