"""How an index is searched. Imports neither torch nor FAISS, so that settings load fast."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol, runtime_checkable

from magic_cli.errors import MOST_ITEMS, SettingsError, nearest, require

KINDS = ("exact", "ivf", "hnsw")
FEATURE_TYPES = ("float16", "float32")
_MOST = 1_000_000


@dataclass
class IndexSettings:
    """The kind of index and its settings; settings of the other kinds have no effect.

    Attributes:
        kind: ``exact`` looks at every feature; ``ivf`` at the ``nprobe`` nearest of ``nlist`` cells; ``hnsw`` follows a graph.
        nlist: Cells of ivf, 1 to 1,000,000; null: 4 times the square root of the number of features.
        nprobe: Cells searched per query, 1 to 1,000,000.
        m: Neighbours per node of hnsw, 2 to 1024.
        ef_construction: Candidates while the graph is built, 1 to 1,000,000.
        ef: Candidates per query, 1 to 1,000,000.
        features: Number type of the stored features: float16 halves disk and memory.
        memory_gib: The exact index keeps the features in memory, as float32, if they fit into this size; else it reads them
            from disk block by block.
    """

    setting: ClassVar[str] = "search"
    """The name of this group of settings."""

    kind: str = "exact"
    nlist: int | None = None
    nprobe: int = 32
    m: int = 32
    ef_construction: int = 200
    ef: int = 256
    features: str = "float16"
    memory_gib: float = 1.0

    def __post_init__(self) -> None:
        check_choice(f"{self.setting}.kind", self.kind, KINDS)
        check_choice(f"{self.setting}.features", self.features, FEATURE_TYPES)
        check = partial(require, prefix=self.setting)
        if self.nlist is not None:
            check("nlist", self.nlist, at_least=1, limit=_MOST)
        check("nprobe", self.nprobe, at_least=1, limit=_MOST)
        check("m", self.m, at_least=2, limit=1024)
        check("ef_construction", self.ef_construction, at_least=1, limit=_MOST)
        check("ef", self.ef, at_least=1, limit=_MOST)
        check("memory_gib", self.memory_gib, at_least=0, at_most=2**20)

    @property
    def index_settings(self) -> IndexSettings:
        """These settings, for whoever knows them as something else, too (``CaptionSource``)."""
        return self

    @property
    def built_with(self) -> dict[str, Any]:
        """The settings of this kind that shape the index file; those that matter only in a query are left out."""
        names: tuple[str, ...] = {"exact": (), "ivf": ("nlist",), "hnsw": ("m", "ef_construction")}[self.kind]
        return {name: getattr(self, name) for name in names}

    @property
    def found_with(self) -> dict[str, Any]:
        """The settings of this kind that decide what a query finds."""
        names: tuple[str, ...] = {"exact": (), "ivf": ("nprobe",), "hnsw": ("ef",)}[self.kind]
        return self.built_with | {name: getattr(self, name) for name in names}


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a value that is not among the known ones.

    Raises:
        SettingsError: One line with the setting, the value and what is allowed.

    >>> check_choice("search.kind", "hsnw", ("exact", "ivf", "hnsw"))
    Traceback (most recent call last):
        ...
    magic_cli.errors.SettingsError: search.kind='hsnw' is unknown; did you mean hnsw? (exact, ivf, hnsw)
    """
    if value not in known:
        raise SettingsError(f"{name}={value!r} is unknown; {nearest(str(value), known)}")


COCO = "coco"
"""The name of the captions that come with pycocoevalcap."""


@runtime_checkable
class CaptionSource(Protocol):
    """Which captions an index holds: settings of every method or guide that looks captions up, beside ``IndexSettings``."""

    @property
    def setting(self) -> str:
        """The name of the group of settings, as in ``decoding.captions_file``."""

    @property
    def label(self) -> str:
        """The first words of messages about the index."""

    @property
    def index_settings(self) -> IndexSettings:
        """The kind of index."""

    @property
    def features(self) -> str:
        """Number type of the stored features."""

    @property
    def captions(self) -> str:
        """The name of the captions in runs and tables; ``coco``: COCO's training captions, which need no file."""

    @property
    def captions_file(self) -> str | None:
        """Karpathy JSON, COCO captions JSON, JSON lines, a table or plain lines; None: the captions that come with pycocoevalcap."""

    @property
    def split(self) -> str:
        """Split of a file whose images or records have splits, as Karpathy's do."""

    @property
    def limit(self) -> int | None:
        """Only the first so many captions, at least 1; None: all."""

    @property
    def folder(self) -> str | None:
        """Folder of the index; None: one for each model and set of captions below the user's cache."""

    @property
    def most(self) -> int | None:
        """How many captions the method uses at most, counted from the first; None: all."""


def check_captions(settings: CaptionSource) -> None:
    """Refuse settings that name no captions.

    Raises:
        SettingsError: One line with the setting.
    """
    name = settings.setting
    if settings.limit is not None:
        require("limit", settings.limit, at_least=1, limit=MOST_ITEMS, prefix=name)
    if settings.captions_file is None and settings.captions != COCO:
        raise SettingsError(
            f"{name}.captions={settings.captions}: set {name}.captions_file to their file; only {COCO}'s training captions come with magic"
        )
