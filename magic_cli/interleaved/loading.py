"""Turns settings into a model that reads and writes text and images."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from magic_cli.data.paths import expanded
from magic_cli.interleaved.drawers import TextDrawer
from magic_cli.interleaved.drawing import Drawing
from magic_cli.interleaved.folders import naming, part_folder, require_extra
from magic_cli.interleaved.mapper import VokenMapper
from magic_cli.interleaved.model import InterleavedModel
from magic_cli.interleaved.settings import DiffusionPart, InterleavedModelSettings
from magic_cli.interleaved.text_conditions import TextConditions
from magic_cli.interleaved.trained import TrainedVokens
from magic_cli.interleaved.vision import QFormerReader
from magic_cli.interleaved.vokens import VokenIds, add_vokens
from magic_cli.models.fast.lean_modules import make_lean
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from magic_cli.models.loading import quiet_libraries, read_causal_model, refuse_unfit
from magic_cli.models.sources import describe_source
from magic_cli.models.work_counter import WorkCounter


@dataclasses.dataclass
class Parts:
    """The parts as they are read and as training takes them: no adapter in the language model, no trained rows.

    Attributes:
        language_model: A Hugging Face causal LM whose tables have rows for the vokens.
        tokenizer: The tokenizer, with the vokens.
        ids: Ids of the vokens.
        reader: The vision encoder.
        mapper: A fresh, seeded mapper.
        drawing: The diffusion model.
        trained: Trained weights, not applied yet.
        source: The files of the parts, for the manifest.
    """

    language_model: Any
    tokenizer: Any
    ids: VokenIds
    reader: QFormerReader
    mapper: VokenMapper
    drawing: Drawing
    trained: TrainedVokens | None
    source: dict[str, Any]


def load_interleaved_model(
    settings: InterleavedModelSettings, *, device: torch.device, dtype: torch.dtype, work: WorkCounter
) -> tuple[InterleavedModel, dict[str, Any]]:
    """The model, ready to write and draw, and its description for the manifest.

    Args:
        settings: The parts.
        device: The device.
        dtype: Number type of the language model, the vision encoder and the diffusion model; Q-Former and mapper stay in float32.
        work: Counts forward passes.

    Raises:
        MagicError: A part cannot be read or does not fit the others, or a library is missing.
    """
    parts = read_parts(settings, dtype=dtype)
    prefix = parts.trained.settle(parts.language_model, parts.ids, parts.mapper) if parts.trained is not None else None
    language_model = parts.language_model.to(device)
    make_lean(language_model)
    model = HuggingFaceLanguageModel(
        language_model, parts.tokenizer, clean_up_spaces=settings.language_model.clean_up_spaces, work=work
    )
    if prefix is not None:
        model.network.begin_with(prefix)
    whole = InterleavedModel(
        model, parts.ids, parts.reader.to(device), parts.mapper.to(device).eval(), parts.drawing.to(device).eval()
    )
    return whole, parts.source


def load_text_drawer(settings: DiffusionPart, *, device: torch.device, dtype: torch.dtype) -> tuple[TextDrawer, dict[str, Any]]:
    """The diffusion model alone, and its description for the manifest.

    Raises:
        MagicError: It cannot be read, or a library is missing.
    """
    require_extra(_import_extra)
    quiet_libraries()
    drawing, source = _read_drawing(settings, dtype)
    return text_drawer(settings, drawing.to(device).eval()), {"diffusion": source}


def text_drawer(settings: DiffusionPart, drawing: Drawing) -> TextDrawer:
    """A drawer from texts, made from a loaded diffusion model.

    Raises:
        MagicError: The folder has no text encoder, or weights are missing.
    """
    with naming(settings):
        folder = part_folder(settings, "diffusion")
        conditions = TextConditions.load(folder, drawing.unet.dtype, otherwise="set draw_from=vokens")
    return TextDrawer(drawing, conditions.to(drawing.unet.device))


def _read_drawing(settings: DiffusionPart, dtype: torch.dtype) -> tuple[Drawing, dict[str, Any]]:
    folder = part_folder(settings, "diffusion")
    with naming(settings):
        return Drawing.load(folder, dtype), describe_source(settings, folder)


def read_parts(settings: InterleavedModelSettings, *, dtype: torch.dtype, seed: int = 0) -> Parts:
    """All parts. Rows for the vokens are added; the mapper is fresh.

    Args:
        settings: The parts.
        dtype: Number type of the frozen parts.
        seed: Seed of the fresh mapper.

    Raises:
        MagicError: As ``load_interleaved_model``.
    """
    require_extra(_import_extra)
    quiet_libraries()
    source: dict[str, Any] = {}
    trained = TrainedVokens.load(settings.vokens) if settings.vokens else None
    number, shape = (trained.num_vokens, trained.mapper_settings) if trained else (settings.num_vokens, settings.mapper)
    folder = part_folder(settings.language_model, "language_model")
    asked = dataclasses.replace(settings.language_model, path=str(folder))
    language_model, tokenizer, source["language_model"] = read_causal_model(asked, dtype=dtype)
    refuse_unfit(asked, language_model)
    ids = add_vokens(tokenizer, language_model, number)
    width = language_model.get_input_embeddings().weight.shape[1]
    folder = part_folder(settings.vision, "vision")
    with naming(settings.vision):
        projection = expanded(settings.vision.projection) if settings.vision.projection else None
        reader = QFormerReader.load(folder, width, projection=projection, dtype=dtype)
        source["vision"] = describe_source(settings.vision, folder)
    drawing, source["diffusion"] = _read_drawing(settings.diffusion, dtype)
    if trained is not None:
        source["vokens"] = trained.source
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mapper = VokenMapper(width, drawing.width, number, shape)
    return Parts(language_model.requires_grad_(False), tokenizer, ids, reader, mapper, drawing, trained, source)


def _import_extra() -> None:
    import diffusers  # noqa: F401
    import peft  # noqa: F401
