"""Typed settings of the commands that write texts.

A decoding method and a dataset are their own settings: the dataclass that runs is the schema that Hydra checks, so a
typo, a wrong type or a value out of range is refused before anything heavy loads.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from magic_cli.data.datasets import CocoCaptionsDataset, Dataset, KarpathyDataset, PhotoFiles, PhotoFolder
from magic_cli.data.story_datasets import StoryDataset, TitleFile, TitleList
from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ContrastiveSearch, MagicSearch
from magic_cli.decoding.method import DecodingMethod
from magic_cli.decoding.rerank import Rerank
from magic_cli.decoding.rule_settings import RuleSettings
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling, TopKSampling, TypicalSampling
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.errors import MOST_ITEMS, MOST_SEED, SettingsError, require
from magic_cli.models.settings import MOST_MIB, MOST_PROCESSES, MachineSettings
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

TASKS = ("caption", "story", "interleave")

TITLE = "{title}"
"""Where a story's prompt takes the title."""


@dataclass
class RunSettings(MachineSettings):
    """Where and how a run is carried out.

    Attributes:
        dir: Run folder; null: ``runs/<command>/<dataset>-<method>-<hash of the settings>``.
        seed: Seed of the sampled methods, 0 to 2**63 - 1.
        repeat: Which of several sampled runs this is, 1 to 1,000,000,000; each repeat draws anew.
        repeats: How many sampled runs, 1 to 10,000, each in a folder of its own; they count up from ``repeat``.
        objective: A measure, such as ``cider``: the run is evaluated by it when it is done, and a sweeper that searches
            (``hydra/sweeper=optuna``) gets the value.
        trace: Write every step's candidates and scores to trace.jsonl.
        lazy: Look only at candidates that can still win (same tokens; a trace then has null for what was left out); null: on the
            CPU, where it saves time, and without ``trace``. On a GPU it saves arithmetic, too, at the price of waiting for the
            device a few times more a token.
        step_memory: MiB for steps that are remembered from text to text (same tokens), 0 to 2**20: texts begin alike, and nearly all
            that a step computes is the same for all images. Nothing is remembered in 16 bits, on a GPU and with ``trace``.
        compile: Run the models through torch.compile: slow to start, then faster.
        workers: Processes that read images ahead of the decoder, 0 (the main process reads) to 256; null: chosen by the number
            of cores.
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
    step_memory: int = 128
    compile: bool = False
    workers: int | None = None
    cache_images: bool = True
    image_cache: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require("repeat", self.repeat, at_least=1, limit=MOST_ITEMS, prefix="run")
        require("repeats", self.repeats, at_least=1, limit=10_000, prefix="run")
        require("seed", self.seed, at_least=0, at_most=MOST_SEED, prefix="run")
        require("step_memory", self.step_memory, at_least=0, limit=MOST_MIB, prefix="run")
        if self.workers is not None:
            require("workers", self.workers, at_least=0, limit=MOST_PROCESSES, prefix="run")


class RunOfTexts:
    """What the settings of all commands that write texts can say; they have ``dataset``, ``decoding``, ``rules``, ``run`` and ``task``."""

    @property
    def is_sampled(self) -> bool:
        """Whether the seed can change a result."""
        return self.decoding.is_sampled

    @property
    def models(self) -> dict[str, Any]:
        """Where the models that may take part come from, as the manifest names them."""
        raise NotImplementedError(f"{type(self).__name__}.models")

    def check_task(self, name: str) -> None:
        """Refuse another task than the command's.

        Raises:
            SettingsError: It is another.
        """
        if self.task != name:
            raise SettingsError(f"task={self.task} is fixed by the command; leave it out")

    def check_rules(self) -> None:
        """Refuse rules that the method cannot go by, or that leave a text no room.

        Raises:
            SettingsError: One line that names the setting.
        """
        if not self.rules.is_default and not self.decoding.needs_language_model:
            raise SettingsError(f"rules: decoding={method_name(self.decoding)} finds whole captions and writes no tokens; leave rules out")
        if self.rules.min_length and self.rules.min_length >= self.decoding.decoding_len:
            raise SettingsError(
                f"rules.min_length must be below decoding.decoding_len={self.decoding.decoding_len}, got {self.rules.min_length}; lower it, or raise the latter"
            )

    def claim(self) -> tuple[str, str] | None:
        """The run folder that was named, and what identifies the run that may use it; None if none was named."""
        return (self.run.dir, settings_hash(self)) if self.run.dir else None


@dataclass
class WritingSettings(RunOfTexts):
    """What ``magic caption`` and ``magic story`` need alike."""

    dataset: Any
    language_model: Any
    image_text_model: Any
    decoding: Any
    run: RunSettings = field(default_factory=RunSettings)
    rules: RuleSettings = field(default_factory=RuleSettings)
    prompt: str | None = None
    task: str = ""
    """Picks the values that models recommend; fixed."""

    @property
    def models(self) -> dict[str, Any]:
        return {"language_model": self.language_model, "image_text_model": self.image_text_model}


@dataclass
class CaptionSettings(WritingSettings):
    """Everything ``magic caption`` needs. ``prompt`` are words that open every caption, after the start token."""

    task: str = "caption"

    def __post_init__(self) -> None:
        self.check_task("caption")
        if not isinstance(self.dataset, Dataset):
            raise SettingsError(f"dataset={self.dataset.name} holds titles, not images: write stories for them with `magic story`")
        if self.prompt is not None and not self.decoding.needs_language_model:
            raise SettingsError(
                f"prompt={self.prompt!r}: decoding={method_name(self.decoding)} finds whole captions and opens none with a prompt; leave prompt out"
            )
        self.check_rules()


@dataclass
class StorySettings(WritingSettings):
    """Everything ``magic story`` needs.

    ``prompt`` is what opens every story, with ``{title}`` where the title belongs; null: the title and the end-of-text token,
    as the paper's story model was trained.
    """

    task: str = "story"

    def __post_init__(self) -> None:
        self.check_task("story")
        if not isinstance(self.dataset, StoryDataset):
            raise SettingsError(f"dataset={self.dataset.name} holds images, not titles: caption them with `magic caption`")
        if not self.decoding.needs_language_model:
            raise SettingsError(f"decoding={method_name(self.decoding)} finds captions and writes no stories; name another method")
        if self.prompt is not None and TITLE not in self.prompt:
            raise SettingsError(f"prompt={self.prompt!r}: must contain {TITLE}, where the title belongs; null: title and end-of-text")
        self.check_rules()


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
    "run": (
        "dir", "batch_size", "device", "threads", "trace", "lazy", "step_memory", "compile", "workers", "cache_images", "image_cache",
        "repeats", "objective",
    ),  # fmt: skip
    "language_model": ("recommended",),  # already resolved into the settings that use it
    "image_text_model": ("recommended",),
    "interleaved_model": ("recommended",),
    "page": ("kind", "items"),
}


def settings_that_matter(settings: Any) -> dict[str, Any]:
    """The settings that can change results: what identifies a run."""
    plain = as_plain(settings)
    for group in _WITHOUT_EFFECT.keys() & plain.keys():
        for name in _WITHOUT_EFFECT[group]:
            del plain[group][name]
        if not plain[group]:
            del plain[group]
    if not settings.is_sampled:
        del plain["run"]["seed"], plain["run"]["repeat"]
    if not settings.decoding.needs_image:
        del plain["image_text_model"]
    if not settings.decoding.needs_language_model:
        del plain["language_model"], plain["prompt"]
    for name in settings.decoding.without_effect:
        del plain["decoding"][name]
    if settings.rules.is_default:  # runs of before there were rules go on
        del plain["rules"]
    elif settings.rules.repetition_in_prompt:  # likewise
        del plain["rules"]["repetition_in_prompt"]
    return plain


def settings_hash(settings: Any) -> str:
    """Eight hexadecimal digits that name the settings which can change results."""
    text = json.dumps(settings_that_matter(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def method_name(method: DecodingMethod | CaptionRetrieval) -> str:
    """The name under which the user chose a method."""
    return next(name for name, method_class in DECODING_METHODS.items() if type(method) is method_class)
