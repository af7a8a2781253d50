"""From config files and words of the command line to checked settings: the schemas, the resolver and the conversion.

Only this module, ``points.py`` and ``cli/`` use OmegaConf and Hydra.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from magic_cli.benchmark.settings import BenchSettings
from magic_cli.configuration.known_settings import known_settings, meant
from magic_cli.configuration.live_settings import LiveSettings
from magic_cli.data.training_texts import TextDataset
from magic_cli.decoding.rule_settings import RuleSettings
from magic_cli.errors import SettingsError
from magic_cli.evaluation.settings import DEFAULT_SCORER, EvaluateSettings, TableSettings
from magic_cli.guides.settings import GuidesSettings
from magic_cli.human_eval.settings import HumanEvalSettings
from magic_cli.interleaved.run_settings import INTERLEAVED_DATASETS, PROMPT_FORMS, InterleaveSettings
from magic_cli.interleaved.settings import InterleavedModelSettings
from magic_cli.interleaved.training.settings import TrainVokensSettings
from magic_cli.metrics.settings import MetricsSettings
from magic_cli.models.settings import ImageTextModelSettings, LanguageModelSettings, MachineSettings
from magic_cli.report_page.settings import ReportSettings
from magic_cli.retrieval.image_settings import RetrieveImagesSettings
from magic_cli.runs.choices import DATASETS, DECODING_METHODS, STORY_DATASETS, TASKS
from magic_cli.runs.merge_settings import MergeSettings
from magic_cli.runs.settings import CaptionSettings, RunSettings, StorySettings
from magic_cli.training.settings import FinetuneSettings

_OPTIONAL = ("prompt", "memory_unsure", "memory_sure")
"""Values that a model may leave without a recommendation."""

# classes of settings that depend on the chosen option
_CHOSEN: dict[str, tuple[type, ...]] = {
    "decoding": tuple(DECODING_METHODS.values()),
    "decoding.base": tuple(DECODING_METHODS.values()),
    "dataset": (*DATASETS.values(), *STORY_DATASETS.values(), *INTERLEAVED_DATASETS.values(), TextDataset),
    "prompt": tuple(PROMPT_FORMS.values()),
    "language_model": (LanguageModelSettings,),
    "image_text_model": (ImageTextModelSettings,),
    "interleaved_model": (InterleavedModelSettings,),
}


_NAMES = ("language_model.path", "language_model.name", "interleaved_model.name")
"""Settings that name a model with recommended values."""


def settings_of(settings_class: type) -> dict[str, bool]:
    """The full names of a command's settings, for all choices; the value says whether a setting holds text."""
    return known_settings(settings_class, tuple(_CHOSEN.items()))


def register() -> None:
    """Register the schemas and the resolver with Hydra. May be called again."""
    from omegaconf import OmegaConf

    from magic_cli.configuration.schemas import LazySchemas

    store = LazySchemas()
    store.store(group="schema", name="caption", node=CaptionSettings)
    store.store(group="schema", name="story", node=StorySettings)
    store.store(group="schema", name="interleave", node=InterleaveSettings)
    store.store(group="schema", name="evaluate", node=EvaluateSettings)
    store.store(group="schema", name="table", node=TableSettings)
    store.store(group="schema", name="report", node=ReportSettings)
    store.store(group="schema", name="merge_runs", node=MergeSettings)
    store.store(group="schema", name="human_eval", node=HumanEvalSettings)
    store.store(group="schema", name="bench", node=BenchSettings)
    store.store(group="schema", name="live", node=LiveSettings)
    store.store(group="schema", name="retrieve_images", node=RetrieveImagesSettings)
    store.store(group="schema", name="finetune_lm", node=FinetuneSettings)
    store.store(group="schema", name="train_vokens", node=TrainVokensSettings)
    store.store(group="schema/training_texts", name="any", node=TextDataset)
    store.store(group="schema/run", name="default", node=RunSettings)
    store.store(group="schema/rules", name="default", node=RuleSettings)
    store.store(group="schema/guides", name="default", node=GuidesSettings)
    store.store(group="schema/machine", name="default", node=MachineSettings)
    store.store(group="schema/metrics", name="default", node=MetricsSettings)
    store.store(group="schema/language_model", name="any", node=LanguageModelSettings)
    store.store(group="schema/image_text_model", name="any", node=ImageTextModelSettings)
    store.store(group="schema/interleaved_model", name="any", node=InterleavedModelSettings)
    store.store(group="schema/image_text_model", name="of_runs", node=DEFAULT_SCORER)
    datasets = {**DATASETS, **STORY_DATASETS, **INTERLEAVED_DATASETS}
    for group, classes in (("decoding", DECODING_METHODS), ("dataset", datasets), ("prompt_form", PROMPT_FORMS)):
        for name, settings_class in classes.items():
            store.store(group=f"schema/{group}", name=name, node=settings_class)
    OmegaConf.register_new_resolver("recommended", _recommended, replace=True)


def _recommended(key: str, otherwise: Any = None, *, _root_: Any) -> Any:
    """The value that the chosen models recommend for this task; the image-text model overrides the language model.

    Args:
        key: Name of a setting.
        otherwise: The value if no model recommends one; None: that is an error.
    """
    from omegaconf import OmegaConf

    if key == "prompt" and (OmegaConf.select(_root_, "decoding.prompt") is not None or not _needs_language_model(_root_)):
        return None  # a method with its own prompt, or with whole captions, needs no recommended prompt
    task = OmegaConf.select(_root_, "task")
    if task not in TASKS:
        raise SettingsError(f"task={task} is fixed by the command; leave it out")
    for group in ("image_text_model", "language_model", "interleaved_model"):
        value = OmegaConf.select(_root_, f"{group}.recommended.{task}.{key}")
        if value is not None:
            return value
    if key in _OPTIONAL or otherwise is not None:
        return otherwise
    name = next(filter(None, (OmegaConf.select(_root_, place) for place in _NAMES)), "the model")
    raise SettingsError(f"decoding.{key}: {name} recommends none for {task}; set decoding.{key}=...")


def _needs_language_model(root: Any) -> bool:
    """Whether the chosen method needs a language model. The class says so; there is no object yet."""
    from omegaconf import OmegaConf

    needed = getattr(OmegaConf.get_type(root, "decoding"), "needs_language_model", True)
    return needed is not False  # a property: it depends on the object


def to_settings(config: Any, settings_class: type) -> Any:
    """Plain, checked dataclasses from a composed Hydra config.

    Raises:
        SettingsError: A value is missing, of the wrong type or out of range.
    """
    from omegaconf import OmegaConf

    _refuse_unknown_keys(config, "", list(composed_names(config)))
    _check_task(config, settings_class)
    _check_inner_methods(config)
    settings = OmegaConf.to_object(config)
    if not isinstance(settings, settings_class):
        raise TypeError(f"expected {settings_class.__name__}, got {type(settings).__name__}")
    return settings


def _check_task(config: Any, settings_class: type) -> None:
    """Compare the command with the ``task`` of an experiment."""
    [own] = [item.default for item in fields(settings_class) if item.name == "task"] or [None]
    if own is not None and config.task != own:
        raise SettingsError(
            f"task={config.task}: this is `magic {own}`; an experiment with that task is run by `magic {config.task} experiment=...`, and "
            "task itself is fixed by the command"
        )


def _check_inner_methods(config: Any) -> None:
    """Check a decoding method that is a setting of another one, as if it stood alone, with full names in messages.

    Settings that it inherits from the outer method are named as the user sets them: at the outer one.
    """
    from omegaconf import DictConfig, OmegaConf

    outer = config._get_node("decoding") if "decoding" in config else None
    if not isinstance(outer, DictConfig):
        return
    for name in map(str, outer):
        inner = outer._get_node(name)
        if not isinstance(inner, DictConfig) or not is_dataclass(OmegaConf.get_type(inner)):
            continue
        try:
            OmegaConf.to_object(inner)
        except SettingsError as error:
            own = {key: f"decoding.{name}.{key}" for key in map(str, inner) if not OmegaConf.is_interpolation(inner, key)}
            message = re.split(r"\bdecoding\.(\w+)", str(error))  # every second part is a name
            message[1::2] = [own.get(key, f"decoding.{key}") for key in message[1::2]]
            raise SettingsError("".join(message)) from error


def composed_names(config: Any, path: str = "") -> Iterator[str]:
    """The full names of the settings that a composed config defines by its classes."""
    from omegaconf import DictConfig, OmegaConf

    settings_class = OmegaConf.get_type(config)
    if isinstance(config, DictConfig) and is_dataclass(settings_class):
        for item in fields(settings_class):
            if item.name != "task":
                yield f"{path}{item.name}"
                yield from composed_names(config._get_node(item.name), f"{path}{item.name}.")


def _refuse_unknown_keys(node: Any, path: str, names: list[str]) -> None:
    """Refuse keys that no dataclass has; Hydra's ``+key=value`` can add them."""
    from omegaconf import DictConfig, OmegaConf

    settings_class = OmegaConf.get_type(node)
    if not isinstance(node, DictConfig) or not is_dataclass(settings_class):
        return
    known = [item.name for item in fields(settings_class)]
    for key in map(str, node):
        if key not in known:
            raise SettingsError(f"unknown setting {path}{key}; {meant(f'{path}{key}', names, known)}")
        child = node._get_node(key)
        _refuse_unknown_keys(child, f"{path}{key}.", names)
