"""From settings to models: one function for language models, one for image-text models."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from magic_cli.errors import MagicError
from magic_cli.models.embedded.gpt2 import GPT2
from magic_cli.models.faults import Fault, ModelFault, refuse, some
from magic_cli.models.kinds import FAMILIES
from magic_cli.models.language.bodies import OTHER_MODEL, causal_faults, find_body, num_embeddings
from magic_cli.models.language.gguf_files import SUFFIX, forget_quantisation, gguf_source, no_progress
from magic_cli.models.language.tokens import DEFAULT_START_TOKEN, Tokens
from magic_cli.models.reading import instead_of, model_folder, reading, tell
from magic_cli.models.sources import EMBEDDED, describe_source, fetch, weights_digest
from magic_cli.models.tokenizers import beyond_faults, read_tokenizer, tokens_beyond
from magic_cli.models.weights import number_faults, read_pretrained
from magic_cli.models.work_counter import WorkCounter

if TYPE_CHECKING:
    from magic_cli.models.image_text.image_text_model import ImageTextModel
    from magic_cli.models.language.language_model import HuggingFaceLanguageModel


Check = Callable[[Tokens], None]
_HUB_PREFIX = "hf-hub:"


def resolve_device(name: str) -> torch.device:
    """The torch device of a setting; ``auto`` is CUDA if there is one, else the CPU.

    On CUDA, float32 means float32 from now on: torch computes convolutions in TF32 (10 bits of fraction) unless told not to.

    Raises:
        MagicError: The device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        count = torch.cuda.device_count()
        if (torch.device(name).index or 0) >= count:
            raise MagicError(f"run.device={name}: torch sees {count} CUDA devices here; set run.device=cpu or auto")
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


def quiet_libraries() -> None:
    """Keep the libraries' progress bars and notes off the terminal; errors still come through.

    Raises:
        MagicError: Python runs without docstrings, which transformers reads when it is imported.
    """
    if sys.flags.optimize > 1:
        raise MagicError(
            "Python runs without docstrings (PYTHONOPTIMIZE=2 or -OO), and transformers cannot be loaded without; set PYTHONOPTIMIZE=1, or unset it"
        )
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def load_language_model(
    settings: Any, *, device: torch.device, dtype: torch.dtype, work: WorkCounter, check: Check | None = None
) -> tuple[HuggingFaceLanguageModel, dict[str, Any]]:
    """The language model of ``LanguageModelSettings`` and its description for the manifest.

    Args:
        settings: Which model.
        device: Where it runs.
        dtype: Type of its weights.
        work: Where forward passes are counted.
        check: Looks at what is known before the weights are read, and may refuse it.

    Raises:
        MagicError: It cannot be had or read, or is not fit for use.
    """
    from magic_cli.models.fast.lean_modules import make_lean
    from magic_cli.models.language.language_model import HuggingFaceLanguageModel

    own = GPT2 if settings.name == EMBEDDED and not settings.path else None  # of which the import takes 2 seconds less
    model, tokenizer, description = read_causal_model(settings, dtype=dtype, check=check, network=own)
    with reading(settings):
        model = model.to(device)
        make_lean(model)
    refuse_unfit(settings, model)
    with reading(settings):
        language_model = HuggingFaceLanguageModel(
            model, tokenizer, start_token=settings.start_token, clean_up_spaces=settings.clean_up_spaces, work=work
        )
    if beyond := tokens_beyond(tokenizer, language_model.network.num_embeddings):
        tokens = some([repr(token) for token in beyond])
        tell(settings, [f"the model has no embeddings for {tokens}; a text with such a token is refused"])
        description["tokens_beyond_embeddings"] = beyond
    return language_model, description


def read_causal_model(
    settings: Any, *, dtype: torch.dtype, resizes: bool = False, check: Check | None = None, network: Any = None
) -> tuple[Any, Any, dict[str, Any]]:
    """Model and tokenizer of ``LanguageModelSettings``, and their description for the manifest.

    Args:
        settings: Which model.
        dtype: Type of its weights.
        resizes: Whether tokens that were added to the tokenizer will get embeddings, so that any of them may lack one.
        check: Looks at what is known before the weights are read, and may refuse it.
        network: What the weights are read into, with transformers' ``from_pretrained``; None: the network of transformers.

    Raises:
        MagicError: They cannot be had or read, weights are missing or no numbers, or the tokenizer is missing or not the model's.
    """
    from transformers import AutoModelForCausalLM

    quiet_libraries()
    place = model_folder(settings)
    with reading(settings):
        is_gguf = _is_gguf(place)
        where, options = _arguments(settings, place)
        tokenizer, faults = _before_weights(settings, place, check)
        with no_progress() if is_gguf else nullcontext():
            model, fit, of_weights = read_pretrained(network or AutoModelForCausalLM, where, dtype=dtype, **options)
        if not faults:
            used = {tokenizer.bos_token, tokenizer.eos_token, settings.start_token or DEFAULT_START_TOKEN}
            faults = beyond_faults(tokenizer, num_embeddings(model), () if resizes else used)
        refuse([*of_weights, *faults])
        if is_gguf:
            forget_quantisation(model)
    tell(settings, fit.notes())
    return model, tokenizer, describe_source(settings, place) | fit.facts()


def check_language_model(settings: Any, check: Check | None = None) -> None:
    """Refuse a language model that is not there or that ``check`` refuses, long before it is needed: no weights are read.

    Raises:
        MagicError: As ``read_causal_model``. Of a GGUF file, whose tokenizer takes long to read, only: it is not there.
    """
    quiet_libraries()
    place = model_folder(settings)
    if not _is_gguf(place):
        with reading(settings):
            refuse(_before_weights(settings, place, check)[1])


def _before_weights(settings: Any, place: Path, check: Check | None) -> tuple[Any, list[Fault]]:
    """A language model's tokenizer, and what is wrong with it; its kind is one that can be used, and ``check`` has refused nothing."""
    from transformers import AutoConfig, AutoTokenizer

    is_gguf = _is_gguf(place)
    where, options = _arguments(settings, place)
    if not is_gguf:
        _require_causal_kind(AutoConfig.from_pretrained(place, **options))
    tokenizer, faults = read_tokenizer(place, lambda: AutoTokenizer.from_pretrained(**where, **options))
    if check is not None and not is_gguf and not faults:
        check(_tokens(settings, place, tokenizer))
    return tokenizer, faults


def _arguments(settings: Any, place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What transformers' ``from_pretrained`` needs for a language model: where it is, and options."""
    if _is_gguf(place):
        return gguf_source(place), {}
    return {"pretrained_model_name_or_path": place}, {"trust_remote_code": settings.trust_remote_code}


def _is_gguf(place: Path) -> bool:
    return place.suffix == SUFFIX and place.is_file()


def _require_causal_kind(config: Any) -> None:
    """Refuse an architecture that has no causal language model, such as T5 or CLIP."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    brought = getattr(config, "auto_map", None) or {}
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and "AutoModelForCausalLM" not in brought:
        text = f"its config.json says model_type {config.model_type!r}, of which there is no causal language model"
        raise ModelFault([Fault("network", text, OTHER_MODEL)])


def refuse_unfit(settings: Any, model: Any) -> None:
    """Refuse a language model that is not causal, or gives no hidden states.

    Raises:
        ModelFault: It is such a model.
    """
    with reading(settings):
        refuse(causal_faults(model, find_body(model)))


def _tokens(settings: Any, folder: Path, tokenizer: Any) -> Tokens:
    """What tokenizer and configs of a language model say without its weights."""
    from transformers import AutoConfig, GenerationConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=settings.trust_remote_code)
    generation = GenerationConfig.from_pretrained(folder) if (folder / "generation_config.json").is_file() else None
    return Tokens(tokenizer, config, generation, start_token=settings.start_token, clean_up_spaces=settings.clean_up_spaces)


def load_image_text_model(
    settings: Any, *, device: torch.device, dtype: torch.dtype, work: WorkCounter
) -> tuple[ImageTextModel, dict[str, Any]]:
    """The image-text model of ``ImageTextModelSettings`` and its description for the manifest.

    Raises:
        MagicError: It cannot be had or read.
    """
    quiet_libraries()
    model, description = _FAMILIES[settings.family.value](settings, device=device, dtype=dtype, work=work)
    if dtype == torch.float16:  # numbers that were finite in the file may be too large for this type
        with reading(settings):
            refuse(number_faults(model.network))
    tell(settings, model.fit.notes())
    if settings.logit_scale is not None:
        model.logit_scale = settings.logit_scale
    return model, description | model.fit.facts() | {"family": settings.family.value, "logit_scale": model.logit_scale}


def check_image_text_model(settings: Any) -> None:
    """Refuse an image-text model that is not there, or is of another kind than its settings say: no weights are read.

    Raises:
        MagicError: As ``load_image_text_model``. Of a file of OpenAI's package, only: it is not there.
    """
    quiet_libraries()
    family = settings.family.value
    if family == "open_clip":
        from magic_cli.models.image_text.open_clip_model import read_open_clip_tokenizer

        with reading(settings):
            read_open_clip_tokenizer(settings.source)
    elif family != "openai_clip":
        folder = model_folder(settings)
        if family in FAMILIES.values():
            from magic_cli.models.image_text.huggingface_clip import before_weights

            with reading(settings):
                refuse(before_weights(folder, family)[-1])


def _load_huggingface(settings: Any, **options: Any) -> tuple[ImageTextModel, dict[str, Any]]:
    from magic_cli.models.image_text.huggingface_clip import load_huggingface

    folder = model_folder(settings)
    with reading(settings):
        model = load_huggingface(folder, family=settings.family.value, **options)
    return model, describe_source(settings, folder)


def _load_openai(settings: Any, **options: Any) -> tuple[ImageTextModel, dict[str, Any]]:
    from magic_cli.models.image_text.openai_clip import load_openai_clip, weights_file

    file = weights_file(settings.source)
    with reading(settings):
        model = load_openai_clip(file, **options)
    return model, describe_source(settings, file)


def _load_open_clip(settings: Any, **options: Any) -> tuple[ImageTextModel, dict[str, Any]]:
    from magic_cli.models.image_text.open_clip_model import load_open_clip

    if not settings.path and settings.name.startswith(_HUB_PREFIX):
        name = settings.name.removeprefix(_HUB_PREFIX)
        folder = fetch(name, revision=settings.revision, setting=settings.group, instead=instead_of(settings))
        with reading(settings):
            return load_open_clip(str(folder), pretrained=None, **options), describe_source(settings, folder)
    with reading(settings):
        model = load_open_clip(settings.source, pretrained=None if settings.path else settings.pretrained, **options)
    if settings.path:
        return model, describe_source(settings, Path(settings.source))
    # the package keeps its files to itself, so the weights themselves are hashed
    return model, {
        "name": f"{settings.name}/{settings.pretrained}",
        "revision": None,
        "weights_sha256": weights_digest(model.model),
    }


def _load_embedded(settings: Any, **options: Any) -> tuple[ImageTextModel, dict[str, Any]]:
    from magic_cli.models.embedded.image_text_model import EmbeddedImageTextModel

    folder = model_folder(settings)
    with reading(settings):
        model = EmbeddedImageTextModel.load(folder, **options)
    return model, describe_source(settings, folder)


_FAMILIES = {
    "huggingface_clip": _load_huggingface,
    "siglip": _load_huggingface,
    "openai_clip": _load_openai,
    "open_clip": _load_open_clip,
    "embedded": _load_embedded,
}
