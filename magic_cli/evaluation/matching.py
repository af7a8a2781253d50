"""Matches captions with images by id, or by image name if ids and names contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magic_cli.data.image_names import contradicted
from magic_cli.data.references import ReferenceSet
from magic_cli.data.system import Item, System
from magic_cli.errors import MagicError
from magic_cli.terminal.wording import counted


@dataclass(frozen=True)
class Match:
    """A system's captions, matched with the images of a reference file."""

    items: dict[str, Item]
    """The caption for each id of the references, in their order."""
    notes: tuple[str, ...] = ()
    """What the user should know about the matching."""

    @classmethod
    def of(cls, items: dict[str, Item], references: ReferenceSet, *notes: str) -> Match:
        """The match, with a note about captions whose image name matches only without its folder or suffix."""
        pairs = [(item.image or item.id, target) for target, item in items.items() if item.title is None and item.id != target]
        known = (
            (name, (target, references.image_names.get(target), references.guessed_names.get(target))) for name, target in pairs
        )
        others = [(name, other) for name, names in known if (other := contradicted(name, filter(None, names))) is not None]
        return cls(items, (*notes, *note_of_others(others, f"another folder or suffix in {references.source}")))


def note_of_others(pairs: Sequence[tuple[str, str]], where: str) -> list[str]:
    """A list with the note about names that match only without their folder or suffix; empty if there are none.

    Args:
        pairs: Each name, and the name that it matched.
        where: Where the matched names differ.
    """
    if not pairs:
        return []
    name, other = pairs[0]
    return [f"{counted(len(pairs), 'image has', 'images have')} {where}: {_shown(name)} is taken for {_shown(other)}"]


def match_references(system: System, references: ReferenceSet, *, drop_unmatched: bool) -> Match:
    """Find the references of each caption.

    An id may be a running number that means another image in the references. So image names are used instead of ids in two cases:
    a record's image name belongs to another image than its id; or some images are found only by name and others only by id. Each
    name must then belong to one image; otherwise neither is trusted. Stories are matched by id alone, because several may
    describe one image.

    Raises:
        MagicError: Ids and image names contradict each other, a caption has no references, or two captions have the same image.
    """
    names = {} if system.writes_stories else {item.id: item.image for item in system.items if item.image is not None}
    by_id = {item.id: references.find(item.id) for item in system.items}
    by_name = {item: references.find(name) for item, name in names.items()}
    contradicted = [item for item in names if len(by_id[item]) == 1 and _contradicts(references, by_id[item][0], names[item])]
    mixed = [] if contradicted else _found_by_name_alone(by_id, by_name)
    if not contradicted and not mixed:
        found = {item: by_id[item] if len(by_id[item]) == 1 else by_name.get(item) or by_id[item] for item in by_id}
        guesses = (
            {}
            if system.writes_stories
            else {item.id: item.image or item.guessed_image for item in system.items if not found[item.id]}
        )
        found |= {item: references.guess(name) for item, name in guesses.items() if name is not None}
        return Match.of(_in_order(system, references, found, drop_unmatched), references)
    if contradicted:
        contradiction = _contradiction(references, contradicted[0], by_id[contradicted[0]][0], names[contradicted[0]])
    else:
        contradiction = f"id {mixed[0]!r} is not in {references.source}, its image {_shown(names[mixed[0]])} is"
    if system.ids_are_chosen:
        which = f"{len(contradicted)} image names are other images'" if contradicted else f"image names find {len(mixed)} more"
        note = f"matched by id, as id_key says, though {which} ({contradiction})"
        return Match.of(_in_order(system, references, by_id, drop_unmatched), references, note)
    # ids that no name confirms may be left out on request, if nothing contradicts them
    may_drop = mixed and drop_unmatched
    unnamed = [item for item in by_id if len(by_name.get(item, ())) != 1 and not (may_drop and by_name.get(item) == ())]
    if unnamed:
        raise MagicError(f"{system.source}: {contradiction}; {_fault_of_name(unnamed[0], names, by_name)}, so {_remedy(system)}")
    return Match.of(
        _in_order(system, references, by_name, drop_unmatched), references, f"matched by image name, not by id: {contradiction}"
    )


def _found_by_name_alone(by_id: dict[str, tuple[str, ...]], by_name: dict[str, tuple[str, ...]]) -> list[str]:
    """Items that only their names find although some ids find images, too: the ids may then be row numbers."""
    unconfirmed = any(len(found) == 1 and by_name.get(item) != found for item, found in by_id.items())
    return [item for item, found in by_name.items() if len(found) == 1 and not by_id[item]] if unconfirmed else []


def _contradicts(references: ReferenceSet, target: str, image: str) -> bool:
    """Whether an image name belongs to another id than ``target``. A file without image names contradicts nothing."""
    found = references.find(image)
    return target not in found if found else references.image_name(target) is not None


def _contradiction(references: ReferenceSet, item: str, target: str, image: str) -> str:
    named = references.image_name(target)
    if named is None:
        return f"{_shown(image)}, the image of id {item!r}, is another one in {references.source}"
    return f"id {item!r} is {_shown(named)} in {references.source}, its image is {_shown(image)}"


def _in_order(
    system: System, references: ReferenceSet, found: dict[str, tuple[str, ...]], drop_unmatched: bool
) -> dict[str, Item]:
    matched: dict[str, Item] = {}
    for item in system.items:
        targets = found[item.id]
        if len(targets) != 1:
            if drop_unmatched:
                continue
            raise MagicError(
                f"{system.source}: {_unmatched(item.id, targets, references)}, or leave such captions out with unmatched=drop"
            )
        [target] = targets
        if target in matched:
            raise MagicError(
                f"{system.source}: the ids {matched[target].id!r} and {item.id!r} both mean image {target!r} of {references.source}; keep one"
            )
        matched[target] = item
    return {target: matched[target] for target in references.captions if target in matched}


def _unmatched(item: str, targets: tuple[str, ...], references: ReferenceSet) -> str:
    if targets:
        return f"the id {item!r} fits {targets[0]!r} and {targets[1]!r} of {references.source}; write it as one of them"
    example = next(iter(references.captions))
    return f"the id {item!r} is not in {references.source} (its ids look like {example!r}); give the references of these images"


def _fault_of_name(item: str, names: dict[str, str], by_name: dict[str, tuple[str, ...]]) -> str:
    if item not in names:
        return f"but id {item!r} has no image name"
    found = by_name[item]
    return f"but {_shown(names[item])} is " + (f"both {found[0]!r} and {found[1]!r} there" if found else "not there")


def _remedy(system: System) -> str:
    ids, images = system.keys or ("id", "image")
    where = f"evaluate {system.source / 'predictions.jsonl'} with" if system.source.is_dir() else "say which counts:"
    return f"{where} id_key={ids} for the ids, or id_key={images} for the image names (with unmatched=drop, unknown names are left out)"


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else f"...{name[-57:]}")
