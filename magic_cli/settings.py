"""Typed settings of every command.

A decoding method and a dataset are their own settings: the dataclass that runs is the schema that Hydra checks, so a
typo, a wrong type or a value out of range is refused before anything heavy loads.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from magic_cli.data.datasets import CocoCaptionsDataset, Dataset, KarpathyDataset, PhotoFiles, PhotoFolder
from magic_cli.data.story_datasets import StoryDataset, TitleFile, TitleList
from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ContrastiveSearch, MagicSearch
from magic_cli.decoding.method import DecodingMethod
from magic_cli.decoding.rerank import Rerank
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling, TopKSampling, TypicalSampling
from magic_cli.decoding.zerocap import ZeroCap
from magic_cli.errors import SettingsError, require
from magic_cli.retrieval.clipre import CaptionRetrieval

DECODING_METHODS: dict[str, type[DecodingMethod] | type[CaptionRetrieval]] = {
    "magic": MagicSearch,
    "contrastive": ContrastiveSearch,
    "greedy": GreedySearch,
    "beam": BeamSearch,
    "top_k": TopKSampling,
    "nucleus": NucleusSampling,
    "typical": TypicalSampling,
    "clipre": CaptionRetrieval,
    "zerocap": ZeroCap,
    "rerank": Rerank,
}

DATASETS: dict[str, type[Dataset]] = {
    "files": PhotoFiles,
    "photos": PhotoFolder,
    "karpathy": KarpathyDataset,
    "coco_captions": CocoCaptionsDataset,
}

STORY_DATASETS: dict[str, type[StoryDataset]] = {
    "title": TitleList,
    "titles": TitleFile,
}


TASKS = ("caption", "story")

TITLE = "{title}"
"""Where a story's prompt takes the title."""


class Family(Enum):
    """Kinds of image-text model; each has an adapter in ``models/``."""

    huggingface_clip = "huggingface_clip"
    openai_clip = "openai_clip"
    open_clip = "open_clip"
    siglip = "siglip"
    embedded = "embedded"


class LookAheadWay(Enum):
    """How the language model looks at candidates (models/lookahead.py)."""

    auto = "auto"
    tree = "tree"
    repeated = "repeated"
    recompute = "recompute"


class DType(Enum):
    """Type of weights and activations."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@dataclass
class ModelSource:
    """Where a model comes from: ``path`` if it is set, else ``name``.

    Attributes:
        name: Hub id (or name within its package).
        path: Local folder or file; wins over ``name``.
        revision: Branch, tag or commit on the hub.
        recommended: Values that this model recommends; the command line and experiments win over them.
    """

    name: str | None = None
    path: str | None = None
    revision: str = "main"
    recommended: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name and not self.path:
            raise SettingsError(f"{self.group}.path or {self.group}.name must name a model")
        if self.path and not Path(self.path).expanduser().exists():
            place = Path(self.path).expanduser().absolute()
            raise SettingsError(f"{self.group}.path={self.path}: no such file or folder (looked at {place}); correct the path, or set it to null to use {self.name}")

    @property
    def group(self) -> str:
        """The settings group, as the user types it."""
        raise NotImplementedError(f"{type(self).__name__}.group")

    @property
    def source(self) -> str:
        """What a loader is given."""
        return str(Path(self.path).expanduser()) if self.path else str(self.name)


@dataclass
class LanguageModelSettings(ModelSource):
    """A causal language model.

    Attributes:
        start_token: Token that opens a caption; null: ``<-start_of_text->`` if the model has it, else its own
            begin-of-text token.
        clean_up_spaces: Remove the space before punctuation in decoded text, as for the published numbers.
        look_ahead: How candidates are looked at; ``auto`` tries what the model can do.
        trust_remote_code: Run code that the model brings along.
    """

    start_token: str | None = None
    clean_up_spaces: bool = True
    look_ahead: LookAheadWay = LookAheadWay.auto
    trust_remote_code: bool = False

    @property
    def group(self) -> str:
        return "language_model"


@dataclass
class ImageTextModelSettings(ModelSource):
    """An image-text model.

    Attributes:
        family: Which adapter reads it.
        pretrained: OpenCLIP's tag or weights file for an architecture.
        logit_scale: Factor on the cosine in the magic score, greater than 0; null: the model's own.
    """

    family: Family = Family.huggingface_clip
    pretrained: str | None = None
    logit_scale: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.logit_scale is not None:
            require("logit_scale", self.logit_scale, above=0, prefix=self.group)
            if not math.isfinite(self.logit_scale):
                raise SettingsError(f"{self.group}.logit_scale must be a finite number, got {self.logit_scale}")
        from_hub = self.family in (Family.huggingface_clip, Family.siglip) or str(self.name).startswith("hf-hub:")
        if self.revision != "main" and not from_hub:
            raise SettingsError(f"{self.group}.revision={self.revision}: only models of the hub have revisions, not {self.family.value}")
        if self.pretrained and self.family is not Family.open_clip:
            raise SettingsError(f"{self.group}.pretrained={self.pretrained}: only open_clip has it, not {self.family.value}")

    @property
    def group(self) -> str:
        return "image_text_model"


@dataclass
class MachineSettings:
    """What models run on.

    Attributes:
        batch_size: Images side by side, at least 1.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: Type of weights; float32 for numbers that are compared.
        threads: CPU threads; null: torch decides.
    """

    batch_size: int = 8
    device: str = "auto"
    dtype: DType = DType.float32
    threads: int | None = None

    def __post_init__(self) -> None:
        require("batch_size", self.batch_size, at_least=1, prefix="run")
        if self.threads is not None:
            require("threads", self.threads, at_least=1, prefix="run")
        kind, _, number = self.device.partition(":")
        if self.device not in ("auto", "cpu", "cuda") and not (kind == "cuda" and number.isdigit()):
            raise SettingsError(f"run.device must be auto, cpu, cuda or cuda:N, got {self.device!r}")


@dataclass
class RunSettings(MachineSettings):
    """Where and how a run is carried out.

    Attributes:
        dir: Run folder; null: ``runs/<command>/<dataset>-<method>-<hash of the settings>``.
        seed: Seed of the sampled methods, 0 to 2**63 - 1.
        repeat: Which of several sampled runs this is, at least 1; each repeat draws anew.
        repeats: How many sampled runs, at least 1, each in a folder of its own; they count up from ``repeat``.
        objective: A measure, such as ``cider``: the run is evaluated by it when it is done, and a sweeper that searches
            (``hydra/sweeper=optuna``) gets the value.
        trace: Write every step's candidates and scores to trace.jsonl.
        lazy: Look only at candidates that can still win (same tokens); null: on the CPU, where it saves time. On a GPU it
            saves arithmetic, too, at the price of waiting for the device once more a token.
        compile: Run the models through torch.compile: slow to start, then faster.
        workers: Processes that read images ahead of the decoder, at least 0 (the main process reads); null: chosen by the
            number of cores.
        cache_images: Keep image features on disk, and use those that an earlier run kept.
        image_cache: Folder of these features; null: ``magic/images`` below XDG_CACHE_HOME, or below ~/.cache.
    """

    dir: str | None = None
    seed: int = 0
    repeat: int = 1
    repeats: int = 1
    objective: str | None = None
    trace: bool = False
    lazy: bool | None = None
    compile: bool = False
    workers: int | None = None
    cache_images: bool = True
    image_cache: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require("repeat", self.repeat, at_least=1, prefix="run")
        require("repeats", self.repeats, at_least=1, prefix="run")
        require("seed", self.seed, at_least=0, at_most=2**63 - 1, prefix="run")
        if self.workers is not None:
            require("workers", self.workers, at_least=0, prefix="run")


@dataclass
class WritingSettings:
    """What ``magic caption`` and ``magic story`` need alike."""

    dataset: Any
    language_model: Any
    image_text_model: Any
    decoding: Any
    run: RunSettings = field(default_factory=RunSettings)
    prompt: str | None = None
    task: str = ""
    """Picks the values that models recommend; fixed."""

    def claim(self) -> tuple[str, str] | None:
        """The run folder that was named, and what identifies the run that may use it; None if none was named."""
        return (self.run.dir, settings_hash(self)) if self.run.dir else None


@dataclass
class CaptionSettings(WritingSettings):
    """Everything ``magic caption`` needs. ``prompt`` are words that open every caption, after the start token."""

    task: str = "caption"

    def __post_init__(self) -> None:
        if self.task != "caption":
            raise SettingsError(f"task={self.task} is fixed by the command; leave it out")
        if not isinstance(self.dataset, Dataset):
            raise SettingsError(f"dataset={self.dataset.name} holds titles, not images: write stories for them with `magic story`")


@dataclass
class StorySettings(WritingSettings):
    """Everything ``magic story`` needs.

    ``prompt`` is what opens every story, with ``{title}`` where the title belongs; null: the title and the end-of-text token,
    as the paper's story model was trained.
    """

    task: str = "story"

    def __post_init__(self) -> None:
        if self.task != "story":
            raise SettingsError(f"task={self.task} is fixed by the command; leave it out")
        if not isinstance(self.dataset, StoryDataset):
            raise SettingsError(f"dataset={self.dataset.name} holds images, not titles: caption them with `magic caption`")
        if not self.decoding.needs_language_model:
            raise SettingsError(f"decoding={method_name(self.decoding)} finds captions and writes no stories; name another method")
        if self.prompt is not None and TITLE not in self.prompt:
            raise SettingsError(f"prompt={self.prompt!r}: must contain {TITLE}, where the title belongs; null: title and end-of-text")


def as_plain(settings: Any) -> dict[str, Any]:
    """Settings as dicts, lists and scalars, for YAML and JSON; ``decoding.method`` names the method."""
    return _plain(asdict(settings)) | {"decoding": _plain_method(settings.decoding)}


def _plain_method(method: DecodingMethod) -> dict[str, Any]:
    """A method's settings with its name; the same for a method that is one of them."""
    inner = {name: _plain_method(value) for name, value in vars(method).items() if isinstance(value, DecodingMethod)}
    return {"method": method_name(method), **_plain(asdict(method)), **inner}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


# What cannot change a result, so that a run goes on after it is changed.
_WITHOUT_EFFECT = {
    "run": ("dir", "batch_size", "device", "threads", "trace", "lazy", "compile", "workers", "cache_images", "image_cache", "repeats", "objective"),
    "language_model": ("recommended",),  # already resolved into the settings that use it
    "image_text_model": ("recommended",),
}


def settings_that_matter(settings: Any) -> dict[str, Any]:
    """The settings that can change results: what identifies a run."""
    plain = as_plain(settings)
    for group, names in _WITHOUT_EFFECT.items():
        for name in names:
            del plain[group][name]
    if not settings.decoding.is_sampled:
        del plain["run"]["seed"], plain["run"]["repeat"]
    if not settings.decoding.needs_image:
        del plain["image_text_model"]
    if not settings.decoding.needs_language_model:
        del plain["language_model"], plain["prompt"]
    for name in settings.decoding.without_effect:
        del plain["decoding"][name]
    return plain


def settings_hash(settings: Any) -> str:
    """Eight hexadecimal digits that name the settings which can change results."""
    text = json.dumps(settings_that_matter(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def method_name(method: DecodingMethod | CaptionRetrieval) -> str:
    """The name under which the user chose a method."""
    return next(name for name, method_class in DECODING_METHODS.items() if type(method) is method_class)
