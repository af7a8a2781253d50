"""Typed settings of the commands that write texts.

A decoding method and a data set are their own settings: Hydra checks the same dataclass that runs. A typo, a wrong type or a
value out of range is refused before anything heavy loads.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from magic_cli.data.datasets import Dataset
from magic_cli.data.story_datasets import StoryDataset
from magic_cli.decoding.rule_settings import RuleSettings
from magic_cli.errors import MOST_ITEMS, MOST_SEED, SettingsError, require
from magic_cli.guides.base import GuideSettings
from magic_cli.guides.settings import GuidesSettings
from magic_cli.models.settings import MOST_MIB, ModelSource, ReadingMachineSettings
from magic_cli.retrieval.settings import CaptionSource
from magic_cli.runs.batch_size import AUTO
from magic_cli.runs.choices import method_name
from magic_cli.runs.identity import settings_hash
from magic_cli.runs.shards import Shard
from magic_cli.terminal.wording import counted

STDIN = "-"
"""As `dataset.root`: lines of stdin name the images."""
_OF_FOLDERS = ("dir", "trace", "objective", "engine", "devices", "repeats", "report", "shard", "parquet")
"""Settings of runs that have a folder."""
_OF_BATCHES = {"batch_size": 1, "workers": 0}
"""Settings of runs that know their images beforehand, with what they are for one that does not."""
TITLE = "{title}"
"""Where a story's prompt takes the title."""


@dataclass
class RunSettings(ReadingMachineSettings):
    """Where and how a run is carried out; ``workers``, ``devices`` and the like are those of every command that reads images.

    Attributes:
        batch_size: Texts that are written side by side, 1 to 65,536; ``auto``: as many as fit into memory, found by trial.
        dir: Run folder; null: ``runs/<command>/<dataset>-<method>-<hash of the settings>``.
        seed: Seed of the sampled methods, 0 to 2**63 - 1.
        repeat: Number of this sampled run, 1 to 1,000,000,000; each repeat draws other tokens.
        repeats: How many sampled runs, 1 to 10,000, each in its own folder; they count up from ``repeat``.
        objective: A measure, such as ``cider``. The finished run is evaluated by it, and a sweeper that searches
            (``hydra/sweeper=optuna``) gets the value.
        shard: Only a part of the data set: ``2/8`` is the second of eight; ``magic merge-runs`` makes one run of all parts. Each part has
            a folder of its own, ``shard-2-of-8`` in ``dir`` where that is set.
        trace: Write every step's candidates and scores to trace.jsonl.
        lazy: Skip candidates that can no longer win. The tokens are the same; a trace then has null for the numbers left out.
            null: true where it saves time, and without ``trace``: on the CPU, and on a GPU from batches of 16. The CPU waits for
            the GPU a few more times per token, which costs more than small batches save.
        step_memory: MiB for remembered steps, 0 to 2**20. Texts with the same beginning share most of a step's work; the tokens
            are the same. Unused in 16 bits, on a GPU and with ``trace``.
        compile: Run the models through torch.compile: slow to start, then faster.
        report: When the run is done, write report.html into its folder, as ``magic report`` does.
        parquet: When the run is done, write predictions.parquet into its folder, too.
        cache_images: Keep image features on disk, and use those that an earlier run kept.
        image_cache: Folder of these features; null: ``magic/images`` below XDG_CACHE_HOME, or below ~/.cache.
    """

    batch_size: int | str = 8  # type: ignore[assignment]  # other commands take numbers alone
    dir: str | None = None
    seed: int = 0
    repeat: int = 1
    repeats: int = 1
    objective: str | None = None
    report: bool = False
    shard: str | None = None
    parquet: bool = False
    trace: bool = False
    lazy: bool | None = None
    step_memory: int = 128
    compile: bool = False
    cache_images: bool = True
    image_cache: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require("repeat", self.repeat, at_least=1, limit=MOST_ITEMS, prefix="run")
        require("repeats", self.repeats, at_least=1, limit=10_000, prefix="run")
        require("seed", self.seed, at_least=0, at_most=MOST_SEED, prefix="run")
        require("step_memory", self.step_memory, at_least=0, limit=MOST_MIB, prefix="run")
        if self.shard is not None:
            self._check_shard(Shard.of(self.shard))

    def _check_batch_size(self) -> None:
        if isinstance(self.batch_size, str) and self.batch_size != AUTO:
            raise SettingsError(f"run.batch_size must be a whole number of at least 1, or {AUTO}, got {self.batch_size!r}")
        if self.batch_size != AUTO:
            super()._check_batch_size()

    @property
    def part(self) -> Shard | None:
        """The part of the data set that is asked for; None: all of it."""
        return None if self.shard is None else Shard.of(self.shard)

    @property
    def folder(self) -> str | None:
        """The run folder that was named; None: none was."""
        return str(Path(self.dir, self.part.folder)) if self.dir and self.part else self.dir

    def _check_shard(self, shard: Shard) -> None:
        if self.objective is not None:
            raise SettingsError(
                f"run.objective={self.objective}: measures whole data sets, and run.shard={shard.number}/{shard.count} writes a part; leave one of them out"
            )


class RunOfTexts:
    """What the settings of all commands that write texts share: ``dataset``, ``decoding``, ``rules``, ``run`` and ``task``."""

    decoding: Any
    rules: RuleSettings
    run: RunSettings
    task: str

    @property
    def is_sampled(self) -> bool:
        """Whether the seed can change a result."""
        return self.decoding.is_sampled

    @property
    def models(self) -> dict[str, Any]:
        """Where the models come from, by the names of the manifest."""
        raise NotImplementedError(f"{type(self).__name__}.models")

    def check_task(self, name: str) -> None:
        """Refuse a task other than the command's own.

        Raises:
            SettingsError: Another task was set.
        """
        if self.task != name:
            raise SettingsError(f"task={self.task} is fixed by the command; leave it out")

    def require_number(self, where: str) -> None:
        """Refuse ``run.batch_size=auto`` where no trial finds it.

        Raises:
            SettingsError: It is asked for.
        """
        if self.run.batch_size == AUTO:
            raise SettingsError(f"run.batch_size={AUTO}: {where}; give a number")

    def check_rules(self) -> None:
        """Refuse rules that the method cannot obey, or that leave no room for a text.

        Raises:
            SettingsError: One line that names the setting.
        """
        if not self.rules.is_default and not self.decoding.needs_language_model:
            raise SettingsError(
                f"rules: decoding={method_name(self.decoding)} finds whole captions and writes no tokens; leave rules out"
            )
        if self.rules.min_length and self.rules.min_length >= self.decoding.decoding_len:
            raise SettingsError(
                f"rules.min_length must be below decoding.decoding_len={self.decoding.decoding_len}, got {self.rules.min_length}; lower it, or raise decoding.decoding_len"
            )

    @property
    def chosen_guides(self) -> dict[str, GuideSettings]:
        """The guides that steer beside the image, by name."""
        return {}

    def notes(self) -> list[str]:
        """Notes for the user about settings that have no effect."""
        return []

    def room_fault(self, prompt_length: int) -> str | None:
        """Why a text after a prompt of so many tokens cannot reach its minimum length; None: it can."""
        length = self.decoding.decoding_len
        room, least = length - prompt_length, self.rules.min_length
        if room <= 0 or room >= least:  # a prompt that leaves no room at all has its own error
            return None
        return (
            f"rules.min_length={least}: the prompt has {counted(prompt_length, 'token')}, and decoding.decoding_len={length} counts them, which leaves room "
            f"for {room}; lower it, or raise decoding.decoding_len"
        )

    def claim(self) -> tuple[str, str] | None:
        """The run folder that was named, and what identifies the run that may use it; None if none was named."""
        return (self.run.folder, settings_hash(self)) if self.run.folder else None


@dataclass
class WritingSettings(RunOfTexts):
    """What ``magic caption`` and ``magic story`` share."""

    dataset: Any
    language_model: Any
    image_text_model: Any
    decoding: Any
    run: RunSettings = field(default_factory=RunSettings)
    rules: RuleSettings = field(default_factory=RuleSettings)
    guides: GuidesSettings = field(default_factory=GuidesSettings)
    prompt: str | None = None
    task: str = ""
    """Picks the values that models recommend for this kind of text; cannot be changed."""

    @property
    def models(self) -> dict[str, Any]:
        of_guides = {guide.setting: guide for guide in self.chosen_guides.values() if isinstance(guide, ModelSource)}
        return {"language_model": self.language_model, "image_text_model": self.image_text_model, **of_guides}

    @property
    def chosen_guides(self) -> dict[str, GuideSettings]:
        return self.guides.chosen(self.decoding)

    @property
    def caption_sources(self) -> list[CaptionSource]:
        """The method and guides that look captions up in an index."""
        return [one for one in (self.decoding, *self.chosen_guides.values()) if isinstance(one, CaptionSource)]

    def notes(self) -> list[str]:
        takes_guides = any(item.name == "guides" for item in fields(self.decoding))
        return self.guides.notes(self.decoding.guides, method_name(self.decoding) if takes_guides else "magic")


@dataclass
class CaptionSettings(WritingSettings):
    """Everything ``magic caption`` needs. ``prompt`` opens every caption, after the start token."""

    task: str = "caption"

    @property
    def asks_stdin(self) -> bool:
        """Whether stdin names the images; there is no run folder then."""
        return getattr(self.dataset, "root", None) == STDIN

    def __post_init__(self) -> None:
        self.check_task("caption")
        plain = RunSettings()
        for name in _OF_FOLDERS if self.asks_stdin else ():
            if getattr(self.run, name) != getattr(plain, name):
                raise SettingsError(
                    f"run.{name} belongs to a run folder, and --images - keeps none; leave it out, or name a folder"
                )
        for name, alone in _OF_BATCHES.items() if self.asks_stdin else ():
            if getattr(self.run, name) not in (getattr(plain, name), alone):
                raise SettingsError(f"run.{name} has no effect on --images -, which answers each path by itself; leave it out")
        if not isinstance(self.dataset, Dataset):
            raise SettingsError(
                f"dataset={self.dataset.name} holds titles, not images: write stories for them with `magic story`"
            )
        if self.prompt is not None and not self.decoding.needs_language_model:
            raise SettingsError(
                f"prompt={self.prompt!r}: decoding={method_name(self.decoding)} finds whole captions and opens none with a prompt; leave prompt out"
            )
        if self.run.trace and not self.decoding.needs_language_model:
            raise SettingsError(
                f"run.trace=true: decoding={method_name(self.decoding)} takes no steps that could be traced; leave run.trace out"
            )
        self.check_rules()
        self.guides.check(self.decoding)


@dataclass
class StorySettings(WritingSettings):
    """Everything ``magic story`` needs.

    ``prompt`` opens every story, with ``{title}`` where the title belongs; null: the title and the end-of-text token,
    which the paper's story model was trained with.
    """

    task: str = "story"

    def __post_init__(self) -> None:
        self.check_task("story")
        if not isinstance(self.dataset, StoryDataset):
            raise SettingsError(f"dataset={self.dataset.name} holds images, not titles: caption them with `magic caption`")
        if not self.decoding.needs_language_model:
            raise SettingsError(
                f"decoding={method_name(self.decoding)} finds captions and writes no stories; name another method"
            )
        if self.prompt is not None and TITLE not in self.prompt:
            raise SettingsError(
                f"prompt={self.prompt!r}: must contain {TITLE}, where the title belongs; null: title and end-of-text"
            )
        self.check_rules()
        self.guides.check(self.decoding)
