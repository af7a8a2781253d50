"""Settings of ``magic bench``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from magic_cli.decoding.magic import MagicSearch
from magic_cli.decoding.method import DecodingMethod
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.errors import MOST_SEED, SettingsError, nearest, require
from magic_cli.models.settings import MOST_MIB, MachineSettings

PARTS = ("captions", "stories", "embedded", "variants", "growth", "memory", "zerocap")
_ONLY_BY_NAME = ("zerocap",)  # one caption of published ZeroCap takes as long as everything else
LANGUAGE_MODELS = ("natural", "random")
VARIANTS = ("bfloat16", "compile")
_MOST_TEXTS, _MOST_AT_ONCE, _MOST_REPEATS = 100_000, 10_000, 1000


@dataclass
class SearchSettings:
    """Settings of MAGIC search for one kind of text.

    Attributes:
        k: Candidates a step.
        alpha: Weight of the degeneration penalty.
        beta: Weight of the magic score.
        decoding_len: Tokens in all, prompt included.
    """

    k: int = 45
    alpha: float = 0.1
    beta: float = 2.0
    decoding_len: int = 16

    def check(self, group: str) -> None:
        """Refuse values that a search cannot have.

        Raises:
            SettingsError: One line that names the setting in ``group``.
        """
        require("beta", self.beta, above=0, prefix=group)
        _check_method(group, self.method)

    def method(self) -> MagicSearch:
        """The method with these settings."""
        return MagicSearch(decoding_len=self.decoding_len, k=self.k, alpha=self.alpha, beta=self.beta)


@dataclass
class GrowthSettings:
    """The points of the growth part. While one value varies, the others are those of ``captions`` and ``run.batch_size``.

    Attributes:
        k: Candidates per step.
        tokens: New tokens per caption.
        batch: Captions in a batch.
    """

    k: list[int] = field(default_factory=lambda: [5, 15, 30, 45, 60, 90])
    tokens: list[int] = field(default_factory=lambda: [8, 16, 32, 64])
    batch: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16, 32])

    def __post_init__(self) -> None:
        for name in ("k", "tokens", "batch"):
            _check_numbers(f"growth.{name}", getattr(self, name))


@dataclass
class ZeroCapSettings:
    """How ZeroCap is measured. MAGIC, for comparison, uses the settings of ``captions``.

    Attributes:
        captions: Captions that every side writes, at most ``texts``.
        repeats: Timed runs of every side.
        decoding_len: Tokens in all, with the start token.
        num_iterations: Gradient steps per token.
        num_texts: Texts per gradient step.
        step_size: Factor on the length of a gradient step.
    """

    captions: int = 1
    repeats: int = 1
    decoding_len: int = 17
    num_iterations: int = 5
    num_texts: int = 512
    step_size: float = 0.3

    def check(self, most_captions: int) -> None:
        """Refuse values that cannot be measured.

        Raises:
            SettingsError: One line that names the setting.
        """
        require("num_iterations", self.num_iterations, at_least=1, prefix="zerocap")
        require("step_size", self.step_size, above=0, prefix="zerocap")
        require("repeats", self.repeats, at_least=1, limit=_MOST_REPEATS, prefix="zerocap")
        require("captions", self.captions, at_least=1, prefix="zerocap")
        _check_method("zerocap", self.method)
        if self.captions > most_captions:
            raise SettingsError(f"zerocap.captions must be at most texts, {most_captions}, got {self.captions}")

    def method(self) -> ZeroCap:
        """ZeroCap with these settings."""
        return ZeroCap(
            decoding_len=self.decoding_len,
            num_iterations=self.num_iterations,
            num_texts=self.num_texts,
            step_size=self.step_size,
        )


@dataclass
class BenchSettings:
    """Everything ``magic bench`` needs.

    Attributes:
        full: The whole report instead of a quick one. It decides what null means in other settings.
        parts: The parts to measure, from ``PARTS``; null: captions; full: all but zerocap.
        language_models: Language models for captions, from ``LANGUAGE_MODELS``; null: natural; full: both.
        batch_sizes: Texts in a batch.
        texts: Texts per measurement, at least the largest batch size.
        checked_texts: Texts that the released algorithm also writes, to compare tokens; null: 1; full: all. Each repeat times
            another of them.
        repeats: Timed runs of everything, of which medians are reported; null: 3; full: 5.
        step_memory: MiB for steps that texts with the same beginning share, as ``run.step_memory`` of ``magic caption``. Captions
            and stories are measured without it and with it, each time from an empty memory; 0: only without.
        variants: The variants that are compared with float32, from ``VARIANTS``.
        photos: Folder of photos for the embedded models; null: the sample photos of a checkout.
        seed: Seed of random weights and image features.
        output: Folder of bench.json, report.md and growth.png, .svg; null: ``runs/bench/<time>``.
        captions: Search of captions.
        stories: Search of stories.
        growth: Points of the growth part.
        zerocap: Sizes of the zerocap part.
        run: What models run on; ``batch_size`` is that of variants, growth and memory.
    """

    full: bool = False
    parts: list[str] | None = None
    language_models: list[str] | None = None
    batch_sizes: list[int] = field(default_factory=lambda: [1, 8])
    texts: int = 8
    checked_texts: int | None = None
    repeats: int | None = None
    step_memory: int = 128
    variants: list[str] = field(default_factory=lambda: list(VARIANTS))
    photos: str | None = None
    seed: int = 0
    output: str | None = None
    captions: SearchSettings = field(default_factory=SearchSettings)
    stories: SearchSettings = field(default_factory=lambda: SearchSettings(k=5, alpha=0.6, beta=0.15, decoding_len=100))
    growth: GrowthSettings = field(default_factory=GrowthSettings)
    zerocap: ZeroCapSettings = field(default_factory=ZeroCapSettings)
    run: MachineSettings = field(default_factory=MachineSettings)

    def __post_init__(self) -> None:
        if self.parts is None:
            self.parts = list([name for name in PARTS if name not in _ONLY_BY_NAME] if self.full else ("captions",))
        if self.language_models is None:
            self.language_models = list(LANGUAGE_MODELS if self.full else ("natural",))
        if self.checked_texts is None:
            self.checked_texts = self.texts if self.full else 1
        if self.repeats is None:
            self.repeats = 5 if self.full else 3
        _check_names("parts", self.parts, PARTS)
        _check_names("language_models", self.language_models, LANGUAGE_MODELS)
        _check_names("variants", self.variants, VARIANTS)
        _check_numbers("batch_sizes", self.batch_sizes)
        require("texts", self.texts, at_least=1, limit=_MOST_TEXTS)
        require("checked_texts", self.checked_texts, at_least=1)
        require("repeats", self.repeats, at_least=1, limit=_MOST_REPEATS)
        require("step_memory", self.step_memory, at_least=0, limit=MOST_MIB)
        require("seed", self.seed, at_least=0, at_most=MOST_SEED)
        if self.texts < max(self.batch_sizes):
            raise SettingsError(f"texts must be at least the largest of batch_sizes, {max(self.batch_sizes)}, got {self.texts}")
        if self.checked_texts > self.texts:
            raise SettingsError(f"checked_texts must be at most texts, {self.texts}, got {self.checked_texts}")
        self.captions.check("captions")
        self.stories.check("stories")
        self.zerocap.check(self.texts)

    @property
    def num_repeats(self) -> int:
        """``repeats``, chosen if none was given."""
        assert self.repeats is not None  # __post_init__ chose it
        return self.repeats

    @property
    def num_checked(self) -> int:
        """``checked_texts``, chosen if none was given."""
        assert self.checked_texts is not None  # as above
        return self.checked_texts

    def claim(self) -> tuple[str, str] | None:
        """The folder that the user named, and all settings; None if no folder was named."""
        return (self.output, repr(asdict(self))) if self.output else None


def _check_names(setting: str, names: Sequence[str], known: Sequence[str]) -> None:
    if not names:
        raise SettingsError(f"{setting} must name at least one of {', '.join(known)}, got []")
    for name in names:
        if name not in known:
            raise SettingsError(f"{setting}: {nearest(name, known)}, got {name!r}")


def _check_numbers(setting: str, numbers: Sequence[int]) -> None:
    if not numbers or min(numbers) < 1:
        raise SettingsError(f"{setting} must be numbers of at least 1, got {list(numbers)}")
    require(setting, max(numbers), limit=_MOST_AT_ONCE)


def _check_method(group: str, method: Callable[[], DecodingMethod]) -> None:
    """Run the method's own checks, with the names of the settings in this command."""
    try:
        method()
    except SettingsError as error:
        raise SettingsError(str(error).replace("decoding.", f"{group}.", 1)) from error
