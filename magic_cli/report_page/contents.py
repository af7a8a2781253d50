"""The items of a page: the texts of every system for each, with references, images and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magic_cli.data.json_files import read_growing_lines
from magic_cli.data.named_images import image_at
from magic_cli.data.run_files import PREDICTIONS, TRACE
from magic_cli.evaluation.corpora import Prepared
from magic_cli.report_page.pictures import PictureList
from magic_cli.report_page.runs import run_facts
from magic_cli.report_page.traces import read_traces, weights
from magic_cli.terminal.wording import counted

Page = dict[str, Any]
"""The data of a page's script: ``items``, ``systems``, ``measures``, ``comparison``, ``noun``, ``traces`` and ``tokens``."""


def build_contents(prepared: Sequence[Prepared], scored: Mapping[str, Any], pictures: PictureList, *, traced_items: int) -> Page:
    """Everything except the thumbnails.

    Args:
        prepared: The systems.
        scored: Their scores, from ``report_page.scores.score``.
        pictures: Collects the images.
        traced_items: Traces of at most so many items per system.

    Raises:
        MagicError: A file of a run is damaged.
    """
    ids = list(dict.fromkeys(item for one in prepared for item in one.corpus.ids))
    numbers = {item: number for number, item in enumerate(ids)}
    items: list[dict[str, Any]] = [{"id": item} for item in ids]
    for place, (one, scores) in enumerate(zip(prepared, scored["systems"], strict=True)):
        _add_texts(items, numbers, place, one, pictures)
        for item, values in scores["items"].items():
            if item in numbers:
                items[numbers[item]].setdefault("scores", {})[place] = values
        if one.corpus.answers:
            _add_steps(items, numbers, place, one, pictures, scores["steps"])
    traces = [_traces(one, numbers, traced_items) for one in prepared]
    return {
        "noun": _noun(prepared[0]),
        "measures": scored["measures"],
        "comparison": scored["comparison"],
        "systems": [
            _system(one, scores, trace[2]) for one, scores, trace in zip(prepared, scored["systems"], traces, strict=True)
        ],
        "items": items,
        "traces": [of_items for of_items, _, _ in traces],
        "tokens": [texts for _, texts, _ in traces],
    }


def _noun(prepared: Prepared) -> list[str]:
    """The word for one item, and for several."""
    if prepared.corpus.titles:
        return ["title", "titles"]
    return ["item", "items"] if prepared.corpus.answers else ["image", "images"]


def _add_texts(items: list[dict[str, Any]], numbers: Mapping[str, int], place: int, one: Prepared, pictures: PictureList) -> None:
    corpus = one.corpus
    for row, name in enumerate(corpus.ids):
        item = items[numbers[name]]
        item.setdefault("texts", {})[place] = corpus.captions[row]
        if corpus.titles:
            item.setdefault("title", corpus.titles[row])
        if corpus.references[row]:
            item.setdefault("references", list(corpus.references[row]))
        image = pictures.number(corpus.images[row]) if corpus.images else None
        if image is not None and item.setdefault("image", image) != image:
            item.setdefault("images", {})[place] = image  # if it differs from the first system's


def _add_steps(
    items: list[dict[str, Any]],
    numbers: Mapping[str, int],
    place: int,
    one: Prepared,
    pictures: PictureList,
    scores: Mapping[str, Sequence[float | None]],
) -> None:
    """For each step: its prompt, the system's answer, and the true answer."""
    records, _ = read_growing_lines(one.system.source / PREDICTIONS, setting="systems", hint="run its command again")
    answers = {item.id: item.answers for item in one.system.items}

    def shown(parts: Any) -> list[dict[str, Any]]:
        parts = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        return [
            {"image": pictures.number(image_at(part["image"]))}
            if isinstance(part.get("image"), str)
            else {"text": str(part.get("text", ""))}
            for part in parts
        ]

    for record in records:
        if record.get("id") not in numbers or record["id"] not in answers:
            continue
        item = items[numbers[record["id"]]]
        steps: list[dict[str, Any]] = []
        for number, (step, answer) in enumerate(zip(record["steps"], answers[record["id"]], strict=True), start=1):
            wrote = [{"text": answer.text}] if answer.text else []
            drew = [{"image": pictures.number(answer.image)}] if answer.image else []
            told, truth = shown(step.get("parts")), shown(step.get("target"))
            of_step = scores.get(f"{record['id']}#{number}")
            steps.append({"told": told, "answer": [*wrote, *drew], "truth": truth, "scores": of_step})
        item.setdefault("steps", {})[place] = steps
        item.setdefault("history", shown(record.get("history")))


def _traces(one: Prepared, numbers: Mapping[str, int], limit: int) -> tuple[dict[int, Any], dict[int, str], str | None]:
    """Traces by item, texts of tokens, and a note about traces that are left out."""
    file = one.system.source / TRACE
    if not one.system.source.is_dir() or not file.is_file() or not limit:
        return {}, {}, None
    own = {(f"{item}#{one.system.rank}" if one.system.rank else item): numbers[item] for item in one.corpus.ids}
    traces, tokens = read_traces(file, own, limit=limit)
    note = (
        f"the steps of {counted(limit, 'item')} are in the page; more: traced_items=NUMBER"
        if limit == len(traces) < len(own)
        else None
    )
    return traces, tokens, note


def _system(one: Prepared, scores: Mapping[str, Any], note: str | None) -> dict[str, Any]:
    document, manifest = scores["document"], one.system.manifest or {}
    identity = manifest.get("identity")
    notes = [*document["notes"], *([note] if note else [])]
    return {
        "name": one.system.name,
        "source": str(one.system.source),
        "overall": scores["overall"],
        **{name: document[name] for name in ("n", "missing", "dropped", "empty")},
        "notes": notes,
        "not_run": document["not_run"],
        "weights": weights(identity) if isinstance(identity, dict) else None,
        **run_facts(one.system),
    }
