"""The names under which an image may appear: with or without folder and suffix, as a Windows path, as COCO's number."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from magic_cli.data.images import IMAGE_SUFFIXES

_NUMBER = re.compile(r"(?:COCO_\w+_)?(\d{12})|(\d+)\.0")
"""COCO's file names, and a number that a spreadsheet has turned into a decimal one."""

_DEEPEST = 12
"""A name with more folders is also known by its last few parts alone."""


def is_image_name(text: str) -> bool:
    """Whether a text ends like the name of an image file.

    >>> [is_image_name(text) for text in ("sub/cat.JPG", "cat", ".jpg")]
    [True, False, False]
    """
    stem, dot, suffix = text.rpartition(".")
    return bool(stem) and f"{dot}{suffix}".lower() in IMAGE_SUFFIXES


def aliases(name: str) -> list[str]:
    r"""Names for the same image, the fullest first: fewer folders, no suffix, COCO's number.

    >>> aliases("val2014/COCO_val2014_000000391895.jpg")[1:]
    ['val2014/COCO_val2014_000000391895', 'COCO_val2014_000000391895.jpg', 'COCO_val2014_000000391895', '391895']
    >>> aliases("D:\\photos\\cat.JPG")
    ['D:\\photos\\cat.JPG', 'D:/photos/cat.jpg', 'D:/photos/cat', 'photos/cat.jpg', 'photos/cat', 'cat.jpg', 'cat']
    >>> aliases("42.0")
    ['42.0', '42']
    """
    parts = [part for part in unicodedata.normalize("NFC", name).replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts:
        return [name]
    stem, suffix = parts[-1], ""
    if is_image_name(stem):
        stem, _, suffix = stem.rpartition(".")
        suffix = f".{suffix.lower()}"
    found = [name]
    for start in range(max(0, len(parts) - _DEEPEST), len(parts)):
        folders = "".join(f"{part}/" for part in parts[start:-1])
        found += [f"{folders}{stem}{suffix}", f"{folders}{stem}"]
    if match := _NUMBER.fullmatch(stem):
        found.append(str(int(match[1] or match[2])))
    return list(dict.fromkeys(found))


def identities(file_name: str | None, number: int | str | None = None) -> tuple[str, ...]:
    """Names that identify an image across files: two files that share one of them mean the same image.

    Args:
        file_name: The name of the image file; None: not known.
        number: The image's id in its data set. Ignored if the file name has a COCO number: some data sets number images anew.

    >>> identities("val2014/COCO_val2014_000000391895.jpg", 7)
    ('name:COCO_val2014_000000391895', 'coco:391895')
    >>> identities("cat.jpg"), identities("cat.jpg", 7), identities(None, 391895), identities(None)
    (('name:cat',), ('name:cat', 'id:7'), ('id:391895', 'coco:391895'), ())
    """
    names = []
    if file_name:
        stem = file_name.replace("\\", "/").rpartition("/")[2]
        stem = stem.rpartition(".")[0] if is_image_name(stem) else stem
        names.append(f"name:{unicodedata.normalize('NFC', stem)}")
        if (match := _NUMBER.fullmatch(stem)) and match[1]:
            return (*names, f"coco:{int(match[1])}")
    if number is not None and number != "":
        names.append(f"id:{number}")
        if not file_name and str(number).isdecimal():
            names.append(f"coco:{int(number)}")
    return tuple(names)


def contradicted(name: str, known: Iterable[str]) -> str | None:
    r"""The known name that would match but for a different folder or suffix; None: a name matches, or none is similar.

    >>> contradicted("val/a.jpg", ["7", "train/a.jpg"]), contradicted("a.png", ["sub/a.jpg"])
    ('train/a.jpg', 'sub/a.jpg')
    >>> contradicted("D:\\x\\val\\a.JPG", ["val/a.jpeg"]), contradicted("val/a.jpg", ["a"]), contradicted("val/7.jpg", ["train/8.jpg"])
    (None, None, None)
    """
    folders, stem, suffix = _parts(name)
    first = None
    for other in known:
        its_folders, its_stem, its_suffix = _parts(other)
        if its_stem != stem:
            continue
        differ = suffix and its_suffix and suffix != its_suffix
        both = zip(reversed(folders), reversed(its_folders), strict=False)
        # absolute paths may differ in the parts that depend on the machine
        shared = list(both) if not {name[:1], other[:1]} & {"/", "\\"} and ":" not in name + other else list(both)[:1]
        if not differ and all(one == its for one, its in shared):
            return None
        first = first or other
    return first


def _parts(name: str) -> tuple[list[str], str, str]:
    """The folders, the stem and the suffix of a name; the suffix in its shortest form."""
    *folders, stem = [
        part for part in unicodedata.normalize("NFC", name).replace("\\", "/").split("/") if part not in ("", ".")
    ] or [""]
    if not is_image_name(stem):
        return folders, stem, ""
    stem, _, suffix = stem.rpartition(".")
    return folders, stem, {"jpeg": "jpg", "jfif": "jpg", "tiff": "tif"}.get(suffix.lower(), suffix.lower())


class NamedImages:
    """Images by all their names."""

    def __init__(self, named: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Index the names.

        Args:
            named: For each image its key (an id or a path, which is also a name), as ``find`` returns it, and its other names.
        """
        self._images: set[str] = set()
        self._full: dict[str, str | list[str]] = {}
        self._shortened: dict[str, str | list[str]] = {}
        for image, others in named:
            names = [image, *others]
            self._images.add(image)
            for name in names:
                _add(self._full, name, image)
            for alias in {alias for name in names for alias in aliases(name)}:
                _add(self._shortened, alias, image)

    def find(self, name: str) -> tuple[str, ...]:
        """The images with the given name in its fullest known form: one, several if the name is ambiguous, or none."""
        if name in self._images:
            return (name,)
        found = self._full.get(name) or next((self._shortened[alias] for alias in aliases(name) if alias in self._shortened), ())
        return (found,) if isinstance(found, str) else tuple(found)


def _add(known: dict[str, str | list[str]], name: str, image: str) -> None:
    """Add a name of an image. Lists are made only where needed, because there are hundreds of thousands of names."""
    before = known.get(name)
    if before is None:
        known[name] = image
    elif isinstance(before, str):
        if before != image:
            known[name] = [before, image]
    else:
        before.append(image)
