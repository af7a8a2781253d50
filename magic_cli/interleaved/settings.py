"""Settings of models that write text and images. No torch: settings load fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from magic_cli.data.paths import expanded
from magic_cli.errors import SettingsError, require
from magic_cli.models.settings import LanguageModelSettings, ModelSource

TINY = "tiny"
"""Name of the parts that ship with magic."""

GROUP = "interleaved_model"


class Sampler(Enum):
    """How noise becomes an image: schedulers of diffusers; ``pndm`` is Stable Diffusion's own."""

    pndm = "pndm"
    ddim = "ddim"
    ddpm = "ddpm"
    euler = "euler"
    dpm_solver = "dpm_solver"


@dataclass
class LanguagePart(LanguageModelSettings):
    """The causal language model that writes; it must read input embeddings (``inputs_embeds``)."""

    @property
    def group(self) -> str:
        return f"{GROUP}.language_model"


@dataclass
class VisionPart(ModelSource):
    """A BLIP-2 or InstructBLIP folder, of which vision encoder, Q-Former and projection are read.

    Attributes:
        projection: Safetensors file with ``weight`` and ``bias`` of another projection into the language model; null: the folder's own.
    """

    projection: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projection and not expanded(self.projection).is_file():
            raise SettingsError(
                f"{self.group}.projection={self.projection}: no such file; name the safetensors file that scripts/convert_minigpt5.py made of "
                "MiniGPT-4's checkpoint, or set null for the folder's own projection"
            )

    @property
    def group(self) -> str:
        return f"{GROUP}.vision"


@dataclass
class DiffusionPart(ModelSource):
    """A Stable Diffusion folder of diffusers: vae, unet and scheduler, for training's caption loss text_encoder and tokenizer, too."""

    @property
    def group(self) -> str:
        return f"{GROUP}.diffusion"


@dataclass
class MapperSettings:
    """Shape of the mapper, a transformer from voken states to the diffusion model's conditions.

    Attributes:
        layers: Of encoder and decoder each, 1 to 100.
        heads: Attention heads, 1 to 1024; they divide the width of the diffusion model's conditions.
        feed_forward: Width of the layers' inner part, as a multiple of their own, 1 to 64.
        queries: Vectors that condition the diffusion model (T), 1 to 4096; Stable Diffusion's text encoder gives 77.
    """

    layers: int = 4
    heads: int = 8
    feed_forward: int = 4
    queries: int = 77

    def __post_init__(self) -> None:
        for name, limit in (("layers", 100), ("heads", 1024), ("feed_forward", 64), ("queries", 4096)):
            require(name, getattr(self, name), at_least=1, limit=limit, prefix=f"{GROUP}.mapper")


@dataclass
class InterleavedModelSettings:
    """A model that reads and writes text and images.

    Attributes:
        name: What the model is called.
        language_model: Who writes.
        vision: Who looks.
        diffusion: Who draws.
        vokens: Folder of ``magic train-vokens`` (or of scripts/convert_minigpt5.py) with what was trained; null: fresh, at random.
        num_vokens: Tokens that stand for an image (n), 1 to 1024.
        mapper: Shape of the mapper; of trained vokens, their own.
        recommended: Values that this model recommends; the command line and experiments win over them.
    """

    name: str
    language_model: LanguagePart
    vision: VisionPart
    diffusion: DiffusionPart
    vokens: str | None = None
    num_vokens: int = 8
    mapper: MapperSettings = field(default_factory=MapperSettings)
    recommended: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require("num_vokens", self.num_vokens, at_least=1, limit=1024, prefix=GROUP)
        if self.vokens and self.vokens != TINY and not expanded(self.vokens).is_dir():
            raise SettingsError(
                f"{GROUP}.vokens={self.vokens}: no such folder; name the folder that `magic train-vokens` wrote, or set null for fresh vokens"
            )


class AdapterKind(Enum):
    """What adapts the language model: low-rank updates, a learnt prefix, or nothing."""

    none = "none"
    lora = "lora"
    prefix = "prefix"


@dataclass
class AdapterSettings:
    """What adapts the frozen language model in stage two.

    Attributes:
        kind: Which; stage one has none.
        r: Rank of the low-rank updates, 1 to 4096.
        alpha: Their weight is ``alpha / r``, 0 to 65,536.
        dropout: Of their input, in [0, 1).
        targets: Ends of the names of the layers that they are added to.
        prefix_length: Learnt places before every text, 1 to 4096.
        prefix_width: Inner width of the network that makes the prefix while it is trained, 1 to 65,536.
    """

    kind: AdapterKind = AdapterKind.lora
    r: int = 8
    alpha: float = 16
    dropout: float = 0.05
    targets: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    prefix_length: int = 5
    prefix_width: int = 1024

    def __post_init__(self) -> None:
        require("r", self.r, at_least=1, limit=4096, prefix="adapter")
        require("alpha", self.alpha, above=0, floor=1e-6, limit=65_536, prefix="adapter")
        require("dropout", self.dropout, at_least=0, below=1, prefix="adapter")
        require("prefix_length", self.prefix_length, at_least=1, limit=4096, prefix="adapter")
        require("prefix_width", self.prefix_width, at_least=1, limit=65_536, prefix="adapter")
        if self.kind is AdapterKind.lora and not self.targets:
            raise SettingsError("adapter.targets must name at least one kind of layer, such as [q_proj,v_proj], got none")
