"""Settings of models and of the machine that they run on, which all commands share. No torch: settings load fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from magic_cli.data.paths import expanded
from magic_cli.errors import MOST_THREADS, SettingsError, require

MOST_SIDE_BY_SIDE = 65_536
MOST_PROCESSES = 256
MOST_MIB = 2**20
MOST_ACTORS = 10_000


class Family(Enum):
    """Kinds of image-text model; each has an adapter in ``models/``."""

    huggingface_clip = "huggingface_clip"
    openai_clip = "openai_clip"
    open_clip = "open_clip"
    siglip = "siglip"
    embedded = "embedded"


class LookAheadWay(Enum):
    """How the language model looks at candidates (models/language/lookahead.py)."""

    auto = "auto"
    tree = "tree"
    repeated = "repeated"
    recompute = "recompute"


class EngineName(Enum):
    """Where batches are computed."""

    local = "local"
    ray = "ray"


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
    """

    name: str | None = None
    path: str | None = None
    revision: str = "main"

    group: ClassVar[str]
    """The settings group, as the user types it."""
    path_is: ClassVar[str] = "file or folder"
    """What ``path`` may name."""

    def __post_init__(self) -> None:
        if not self.name and not self.path:
            raise SettingsError(f"{self.group}.path or {self.group}.name must name a model")
        if self.path and not expanded(self.path, f"{self.group}.path").exists():
            place = expanded(self.path, f"{self.group}.path").absolute()
            raise SettingsError(
                f"{self.group}.path={self.path}: no such {self.path_is} (looked at {place}); correct the path, or set it to null to use {self.name}"
            )

    @property
    def source(self) -> str:
        """What a loader is given."""
        return str(expanded(self.path, f"{self.group}.path")) if self.path else str(self.name)


@dataclass
class DecodingModelSource(ModelSource):
    """A model that takes part in decoding.

    Attributes:
        recommended: Values that this model recommends; the command line and experiments win over them.
    """

    recommended: dict[str, Any] = field(default_factory=dict)


@dataclass
class LanguageModelSettings(DecodingModelSource):
    """A causal language model.

    Attributes:
        start_token: Token that opens a caption; null: ``<-start_of_text->`` if the model has it, else its own
            begin-of-text token.
        clean_up_spaces: Remove the space before punctuation in decoded text, as for the published numbers.
        look_ahead: How candidates are looked at; ``auto`` tries what the model can do.
        trust_remote_code: Run code that comes with the model.
    """

    start_token: str | None = None
    clean_up_spaces: bool = True
    look_ahead: LookAheadWay = LookAheadWay.auto
    trust_remote_code: bool = False

    group: ClassVar[str] = "language_model"


@dataclass
class DefaultImageTextModel(DecodingModelSource):
    """An image-text model that a command uses if the user has not chosen one.

    Attributes:
        family: Which adapter reads it.
        pretrained: OpenCLIP's tag or weights file for an architecture.
        logit_scale: Factor on the cosine in the magic score, 0.001 to 100,000; null: the model's own.
    """

    family: Family = Family.huggingface_clip
    pretrained: str | None = None
    logit_scale: float | None = None

    group: ClassVar[str] = "image_text_model"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.logit_scale is not None:
            require("logit_scale", self.logit_scale, above=0, floor=0.001, limit=100_000, prefix=self.group)
        from_hub = self.family in (Family.huggingface_clip, Family.siglip) or str(self.name).startswith("hf-hub:")
        if self.revision != "main" and not from_hub:
            raise SettingsError(
                f"{self.group}.revision={self.revision}: only models of the hub have revisions, not {self.family.value}"
            )
        if self.pretrained and self.family is not Family.open_clip:
            raise SettingsError(f"{self.group}.pretrained={self.pretrained}: only open_clip has it, not {self.family.value}")


@dataclass
class ImageTextModelSettings(DefaultImageTextModel):
    """An image-text model that was chosen: all options of the group ``image_text_model`` are of this class."""


@dataclass
class MachineSettings:
    """What models run on.

    Attributes:
        batch_size: Images side by side, 1 to 65,536.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: Type of weights; float32 for numbers that are compared.
        threads: CPU threads, 1 to 1024; null: torch decides.
    """

    batch_size: int = 8
    device: str = "auto"
    dtype: DType = DType.float32
    threads: int | None = None

    def __post_init__(self) -> None:
        self._check_batch_size()
        if self.threads is not None:
            require("threads", self.threads, at_least=1, limit=MOST_THREADS, prefix="run")
        kind, _, number = self.device.partition(":")
        if self.device not in ("auto", "cpu", "cuda") and not (kind == "cuda" and number.isdigit()):
            raise SettingsError(f"run.device must be auto, cpu, cuda or cuda:N, got {self.device!r}")

    def _check_batch_size(self) -> None:
        require("batch_size", self.batch_size, at_least=1, limit=MOST_SIDE_BY_SIDE, prefix="run")


@dataclass
class ReadingMachineSettings(MachineSettings):
    """What models run on, where images are read beside them; one process, or many.

    Attributes:
        workers: Processes that read images ahead of the models, 0 (the main process reads) to 256; null: chosen by the number of cores.
        devices: Processes of this machine that compute batches side by side, 1 to 256, each on a GPU of its own where there are
            any, else on its share of the cores; null: this process.
        engine: ``ray``: batches are computed by workers of a Ray cluster.
        address: Of the Ray cluster, as ``ray.init`` takes it, such as ``auto``; null: one is started on this machine.
        actors: Ray's workers, 1 to 10,000; null: one for each GPU of the cluster, where there are none one for so many cores as
            ``threads`` says.
    """

    workers: int | None = None
    devices: int | None = None
    engine: EngineName = EngineName.local
    address: str | None = None
    actors: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers is not None:
            require("workers", self.workers, at_least=0, limit=MOST_PROCESSES, prefix="run")
        if self.devices is not None:
            require("devices", self.devices, at_least=1, limit=MOST_PROCESSES, prefix="run")
        if self.actors is not None:
            require("actors", self.actors, at_least=1, limit=MOST_ACTORS, prefix="run")
        self._check_engine()

    @property
    def is_one_process(self) -> bool:
        """Whether this process computes all batches."""
        return self.engine is EngineName.local and self.devices is None

    def _check_engine(self) -> None:
        if self.engine is EngineName.ray and self.devices is not None:
            raise SettingsError(f"run.devices={self.devices}: are processes of this machine; with run.engine=ray, say run.actors")
        for name, value in (("address", self.address), ("actors", self.actors)):
            if value is not None and self.engine is not EngineName.ray:
                raise SettingsError(f"run.{name}={value}: belongs to run.engine=ray; add that, or leave it out")
