"""Settings of models that write text and images. Does not import torch, so that settings load fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from magic_cli.data.paths import expanded
from magic_cli.errors import SettingsError, require
from magic_cli.models.settings import LanguageModelSettings, ModelSource

TINY = "tiny"
"""Name of the parts that ship with magic."""

GROUP = "interleaved_model"


class Sampler(Enum):
    """How noise becomes an image: schedulers of diffusers. ``pndm`` is the one of Stable Diffusion."""

    pndm = "pndm"
    ddim = "ddim"
    ddpm = "ddpm"
    euler = "euler"
    dpm_solver = "dpm_solver"


@dataclass
class LanguagePart(LanguageModelSettings):
    """The causal language model that writes. It must accept input embeddings (``inputs_embeds``)."""

    group: ClassVar[str] = f"{GROUP}.language_model"


@dataclass
class VisionPart(ModelSource):
    """A BLIP-2 or InstructBLIP folder; the vision encoder, the Q-Former and the projection are read from it.

    Attributes:
        projection: Safetensors file with ``weight`` and ``bias`` of another projection to the language model; null: the one
            in the folder.
    """

    group: ClassVar[str] = f"{GROUP}.vision"

    projection: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projection and not expanded(self.projection).is_file():
            raise SettingsError(
                f"{self.group}.projection={self.projection}: no such file; name the safetensors file that scripts/convert_minigpt5.py made of "
                "MiniGPT-4's checkpoint, or set null for the folder's own projection"
            )


@dataclass
class DiffusionPart(ModelSource):
    """A Stable Diffusion folder of diffusers: vae, unet and scheduler; for the caption loss also text_encoder and tokenizer."""

    group: ClassVar[str] = f"{GROUP}.diffusion"


@dataclass
class MapperSettings:
    """Shape of the mapper, a transformer that turns voken states into conditions of the diffusion model.

    Attributes:
        layers: Layers of the encoder, and of the decoder, 1 to 100.
        heads: Attention heads, 1 to 1024; must divide the width of the diffusion model's conditions.
        feed_forward: Width of the inner layers, as a multiple of the mapper's width, 1 to 64.
        queries: Number of condition vectors (T), 1 to 4096; Stable Diffusion's text encoder gives 77.
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
        name: The name of the model.
        language_model: The language model.
        vision: The vision encoder.
        diffusion: The diffusion model.
        vokens: Folder of ``magic train-vokens`` (or of scripts/convert_minigpt5.py) with trained weights; null: random ones.
        num_vokens: Number of tokens that stand for an image (n), 1 to 1024.
        mapper: Shape of the mapper; trained vokens bring their own.
        recommended: Values that this model recommends; the command line and experiments override them.
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
    """The adapter of the language model: low-rank updates, a learnt prefix, or none."""

    none = "none"
    lora = "lora"
    prefix = "prefix"


@dataclass
class AdapterSettings:
    """The adapter of the frozen language model in stage two.

    Attributes:
        kind: Which adapter; stage one has none.
        r: Rank of the low-rank updates, 1 to 4096.
        alpha: The updates have the weight ``alpha / r``; 0 to 65,536.
        dropout: Dropout on their input, in [0, 1).
        targets: The last parts of the names of the layers that get updates.
        prefix_length: Learnt positions before every text, 1 to 4096.
        prefix_width: Inner width of the network that makes the prefix during training, 1 to 65,536.
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
