"""Turns prediction and reference files into corpora for scoring: ids are matched, and everything left out is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from magic_cli.data.image_lookup import ImageLookup
from magic_cli.data.paths import expanded, named_paths
from magic_cli.data.predictions import read_system
from magic_cli.data.references import ReferenceSet
from magic_cli.data.run_files import without_texts
from magic_cli.data.system import System
from magic_cli.errors import MagicError, SettingsError
from magic_cli.evaluation.answers import answers_corpus
from magic_cli.evaluation.coverage import Coverage, run_notes, wanted
from magic_cli.evaluation.found_images import images_of_captions
from magic_cli.evaluation.matching import Match, match_references
from magic_cli.metrics.base import Corpus
from magic_cli.metrics.text import collapsed, says_something
from magic_cli.terminal.wording import counted

_NOTHING = frozenset({"nan", "NaN", "None", "null", "NULL", "<NA>"})


@dataclass(frozen=True)
class Prepared:
    """A system's captions, matched with their references, not yet scored."""

    system: System
    corpus: Corpus
    coverage: Coverage
    references: Path
    """The prediction file or run folder."""
    folder: Path | None
    """The folder for the results; None: they are not written."""

    @property
    def place(self) -> Path:
        """``folder``, for results that are written."""
        if self.folder is None:
            raise ValueError(f"{self.system.name}: the results are not written")
        return self.folder


def find_systems(
    patterns: Sequence[str], *, id_key: str | None, caption_key: str | None, tell: Callable[[str], None] | None = None
) -> list[System]:
    """Read all run folders and files that the patterns name; every system gets a different name.

    Args:
        patterns: Paths, and patterns such as ``runs/caption/*``.
        id_key: Key of the ids in files; None: it is found.
        caption_key: Key of the captions in files; None: it is found.
        tell: Receives a line about the run folders that have no text yet; they are left out if other systems remain. None: they are refused.

    Raises:
        SettingsError: No file was named, or a pattern matches nothing.
        MagicError: A file cannot be read.
    """
    if not patterns:
        raise SettingsError("systems is empty; name a run folder or a prediction file, as in `magic evaluate RUN`")
    paths: list[Path] = []
    for pattern in patterns:
        found = named_paths(pattern, setting="systems")
        if not found:
            raise SettingsError(f"systems={pattern}: no such file or folder (looked at {expanded(pattern).absolute()})")
        paths += found
    paths = list({path.resolve(): path for path in paths}.values())
    if tell is not None:
        paths = _with_texts(paths, tell)
    systems = [read_system(path, id_key=id_key, caption_key=caption_key) for path in paths]
    return [replace(system, name=name) for system, name in zip(systems, distinct_names(systems), strict=True)]


def _with_texts(paths: list[Path], tell: Callable[[str], None]) -> list[Path]:
    """Systems without the runs that have no text yet: a start that failed leaves such a folder, which ``runs/caption/*`` names, too. All, if all are such."""
    empty = [path for path in paths if without_texts(path)]
    if not empty or len(empty) == len(paths):
        return paths
    which = counted(len(empty), "folder has no text yet and is", "folders have no text yet and are")
    tell(f"systems: {which} left out{', e.g.' if empty[1:] else ':'} {empty[0]}")
    return [path for path in paths if path not in empty]


def distinct_names(systems: Sequence[System]) -> list[str]:
    """Names of systems. Equal names get as many parent folders as needed to differ, then their suffix."""
    names = [system.name for system in systems]
    parents = [[part for part in system.source.resolve().parts[:-1] if part != "/"] for system in systems]
    for depth in range(1, max(map(len, parents), default=0) + 1):
        repeated = {name for name in names if names.count(name) > 1}
        if not repeated:
            break
        for i, system in enumerate(systems):
            if names[i] in repeated:
                names[i] = "/".join([*parents[i][-depth:], system.name])
    return [system.source.name if names.count(name) > 1 else name for system, name in zip(systems, names, strict=True)]


def of_split(system: System, split: str) -> System:
    """The system's captions of one split, if its own file has splits.

    Raises:
        SettingsError: It has no splits, or no captions of this one.
    """
    splits = {item.split for item in system.items if item.split is not None}
    if not splits:
        raise SettingsError(f"split={split}: {system.source} has no splits; give references that have, or leave split out")
    if split not in splits:
        raise SettingsError(f"split={split}: {system.source} has the splits {', '.join(sorted(splits))}")
    return replace(system, items=tuple(item for item in system.items if item.split == split), planned=None)


def build_corpus(
    system: System,
    references: ReferenceSet | None,
    *,
    images: ImageLookup | None,
    drop_unmatched: bool,
    needs_references: bool = True,
) -> tuple[Corpus, Coverage]:
    """Match a system's captions with their references and images.

    Args:
        system: The output of a captioner.
        references: The references; None: those in the system's own file.
        images: Folder with the images; None: the paths in the files.
        drop_unmatched: Leave out (and count) captions without references instead of refusing them.
        needs_references: Whether texts without any references are refused.

    Returns:
        The corpus, in the order of given references, so that systems share it; and the counts of what was left out.

    Raises:
        MagicError: A caption lacks references that are needed, two captions belong to one image, or a name fits two images.
    """
    if system.writes_answers:
        return answers_corpus(system, references)
    match = (
        _own(system, needs_references)
        if references is None
        else match_references(system, references, drop_unmatched=drop_unmatched)
    )
    found = match.items
    if not found:
        where = references.source if references else system.source
        nothing = "its caption has no" if len(system.items) == 1 else f"none of its {len(system.items)} captions has"
        raise MagicError(f"{system.source}: {nothing} references in {where}; compare the ids")
    images_found = images_of_captions(system, found, references, images)
    digests = tuple(item.image_sha256 if item.retrieved is None else None for item in found.values())
    corpus = Corpus(
        name=system.name,
        ids=tuple(found),
        captions=tuple(collapsed(item.text) for item in found.values()),
        references=tuple(
            tuple(map(collapsed, references.captions[target] if references else item.references))
            for target, item in found.items()
        ),
        images=images_found.files,
        image_digests=digests if any(digests) else (),
        image_folder=images.root if images else None,
        titles=tuple(collapsed(item.title) for item in found.values() if item.title is not None),
    )
    total = len(references.captions) if references else max(len(found) + system.failed, wanted(system))
    dropped = len(system.items) - len(found)
    notes = (*match.notes, *images_found.notes, *run_notes(system), *_wordless(corpus))
    return corpus, Coverage(len(found), total - len(found), dropped=dropped, notes=notes)


def _own(system: System, needs_references: bool) -> Match:
    without = [item.id for item in system.items if not item.references] if needs_references else []
    if without and len(without) == len(system.items):
        raise MagicError(
            f"{system.source}: has no references; give them with --references FILE, or score by what needs none: --metrics clip_score,repetition"
        )
    if without:
        raise MagicError(
            f"{system.source}: {counted(len(without), 'caption has', 'captions have')} no references, e.g. id {without[0]!r}; give them with --references FILE"
        )
    return Match({item.id: item for item in system.items})


def _wordless(corpus: Corpus) -> list[str]:
    """Warnings about references without a word, which no caption can match, and captions such as "None" that mean no caption."""
    notes = []
    without = [
        item for item, texts in zip(corpus.ids, corpus.references, strict=True) if texts and not any(map(says_something, texts))
    ]
    if without:
        notes.append(f"{counted(len(without), 'item has', 'items have')} no reference with a word, e.g. id {without[0]!r}")
    for what, texts in (
        ("caption", corpus.captions),
        ("reference", tuple(text for several in corpus.references for text in several)),
    ):
        nothing = [text for text in texts if text in _NOTHING]
        if nothing:
            notes.append(
                f"{counted(len(nothing), f'{what} is', f'{what}s are')} {nothing[0]!r}, which programs write for a missing caption; it is scored as that word"
            )
    return notes
