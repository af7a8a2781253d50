"""Texts and images in turn: the prompts that a model gets step by step, and the true answers by people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.images import StoredImage
from magic_cli.data.json_files import read_records, whole_characters
from magic_cli.data.named_images import ImageRoot
from magic_cli.errors import MagicError

HINT = (
    'give JSON lines {"id"?, "parts": [{"text": ...}, {"image": FILE}, ...], "target"?: [...]}, or of stories {"id"?, "history"?: [...], "steps": [{"parts", "target"?}, ...]} '
    "(docs/interleaved.md)"
)
_PART = 'a part is {"text": TEXT} or {"image": FILE}'
_KEYS = {"text": {"text", "once"}, "image": {"image", "once", "caption"}}


@dataclass(frozen=True, slots=True)
class Part:
    """A text or an image."""

    text: str | None = None
    image: Path | StoredImage | None = None
    """The image. A part has either a text or an image."""
    once: bool = False
    """True: only its own step contains it; later steps do not see it."""
    caption: str | None = None
    """What an image shows, in words; for training only, the model does not read it."""

    def as_record(self) -> dict[str, Any]:
        """The part in the form of a file of items."""
        content = {"text": self.text} if self.image is None else {"image": str(self.image)}
        return content | ({"once": True} if self.once else {}) | ({} if self.caption is None else {"caption": self.caption})


@dataclass(frozen=True, slots=True)
class Step:
    """One prompt and, if it is known, its true answer."""

    parts: tuple[Part, ...]
    target: tuple[Part, ...] | None = None
    """The true answer: texts and at most one image; None: not known."""

    @property
    def caption(self) -> str | None:
        """A description of the target's image; None: there is no image or no description."""
        return next((part.caption for part in self.target or () if part.image is not None), None)


@dataclass(frozen=True, slots=True)
class InterleavedItem:
    """A story of one or several steps; each is answered by a text, an image, or both."""

    id: str
    """Unique in its run."""
    steps: tuple[Step, ...]
    past: tuple[Part, ...] = ()
    """Parts before the first step: all steps see them, and they answer nothing."""

    @property
    def path(self) -> None:
        """None: an item is not about a single image."""
        return None

    def as_record(self) -> dict[str, Any]:
        """The item in the form of a file of items."""
        steps = [
            {"parts": [part.as_record() for part in step.parts]}
            | ({} if step.target is None else {"target": [part.as_record() for part in step.target]})
            for step in self.steps
        ]
        past = {"history": [part.as_record() for part in self.past]} if self.past else {}
        return {"id": self.id, **past, **(steps[0] if len(steps) == 1 else {"steps": steps})}

    def history(self, number: int, answers: Sequence[Sequence[Part]]) -> list[Part]:
        """The parts that step ``number`` (from 0) sees before its own: the history and all earlier steps with these answers."""
        past = zip(self.steps[:number], answers, strict=True)
        return [
            *self.past,
            *(part for step, answer in past for part in (*(part for part in step.parts if not part.once), *answer)),
        ]

    def truth(self, number: int) -> list[tuple[Part, ...]]:
        """The true answers of all steps before step ``number``.

        Raises:
            ValueError: One is not known; the message says which step, from 1.
        """
        targets = []
        for place, step in enumerate(self.steps[:number], start=1):
            if step.target is None:
                raise ValueError(f"step {place} has no target")
            targets.append(step.target)
        return targets


def read_interleaved(path: Path, *, setting: str, images: str | None = None) -> list[InterleavedItem]:
    """The items of a file, in its order. A record without id gets its number as id.

    Args:
        path: JSON lines, or a JSON list; ``.gz`` is unpacked.
        setting: The setting that names the file.
        images: Folder of the images in the records, or its address; None: the folder of the file.

    Raises:
        MagicError: The file has another form, or an id appears twice; names the record.
    """
    document = read_records(path, setting=setting, hint=HINT)
    rows = document if isinstance(document, list) else [document]
    root = ImageRoot.typed(images, "dataset.root") if images else ImageRoot(path.parent)
    items: dict[str, InterleavedItem] = {}
    for number, row in enumerate(rows, start=1):
        place = f"{setting}={path} record {number}"
        item = _item(row, place, number, root)
        if item.id in items:
            raise MagicError(f"{place}: the id {item.id!r} appears twice; ids must differ")
        items[item.id] = item
    return list(items.values())


def _item(row: Any, place: str, number: int, root: ImageRoot) -> InterleavedItem:
    if not isinstance(row, Mapping) or ("parts" in row) == ("steps" in row):
        raise MagicError(f"{place}: needs either parts or steps; {HINT}")
    item = row.get("id", number)
    if isinstance(item, bool) or not isinstance(item, str | int) or item == "":
        raise MagicError(f"{place}: id must be a text or a whole number, got {str(item)[:60]!r}")
    steps = row.get("steps", [row])
    if not isinstance(steps, list) or not steps:
        raise MagicError(f"{place}: steps must be a list that is not empty, got {str(steps)[:60]!r}")
    several = "steps" in row
    past = tuple(_parts(row.get("history", []), f"{place} history", root))
    return InterleavedItem(
        whole_characters(str(item)),
        tuple(
            _step(step, f"{place} step {count}" if several else place, root, may_be_empty=count > 1 or bool(past))
            for count, step in enumerate(steps, start=1)
        ),
        past,
    )


def _step(row: Any, place: str, root: ImageRoot, *, may_be_empty: bool) -> Step:
    if not isinstance(row, Mapping):
        raise MagicError(f'{place}: must be {{"parts": [...], "target"?: [...]}}, got {str(row)[:60]!r}')
    parts = tuple(_parts(row.get("parts", []), f"{place} parts", root))
    if not parts and not may_be_empty:
        raise MagicError(f"{place}: has no parts, and nothing comes before it; {_PART}")
    if row.get("target") is None:
        return Step(parts)
    target = tuple(_parts(row["target"], f"{place} target", root))
    if sum(part.image is not None for part in target) > 1:
        raise MagicError(f"{place}: its target has several images; a step answers with one at most, write a step for each")
    if any(part.once for part in target):
        raise MagicError(f"{place}: once belongs to parts, not to the target; leave it out")
    if not target:
        raise MagicError(f"{place}: its target is empty; leave it out where the truth is not known")
    return Step(parts, target)


def _parts(rows: Any, place: str, root: ImageRoot) -> Iterator[Part]:
    if not isinstance(rows, list):
        raise MagicError(f"{place}: must be a list, got {str(rows)[:60]!r}; {_PART}")
    for number, row in enumerate(rows, start=1):
        where = f"{place} number {number}"
        kind = "text" if isinstance(row, Mapping) and "text" in row else "image"
        if not isinstance(row, Mapping) or kind not in row or not row.keys() <= _KEYS[kind]:
            raise MagicError(f"{where}: {_PART}, got {str(row)[:60]!r}")
        if not isinstance(row.get("once", False), bool):
            raise MagicError(f"{where}: once must be true or false, got {str(row['once'])[:60]!r}")
        for key in row.keys() - {"once"}:
            if not isinstance(row[key], str) or not row[key].strip():
                raise MagicError(f"{where}: its {key} must be a text that is not empty, got {str(row[key])[:60]!r}")
        yield _part(kind, row[kind], root, once=row.get("once", False), caption=row.get("caption"))


def _part(kind: str, value: str, root: ImageRoot, **more: Any) -> Part:
    """A part of the given kind; images lie in ``root`` unless their path is absolute, or an address."""
    return Part(text=whole_characters(value), **more) if kind == "text" else Part(image=root.image(value), **more)
