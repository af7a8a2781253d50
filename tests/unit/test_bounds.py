"""No numeric setting takes a number that makes no sense: the kind of slip that ends in hours, a full memory or empty texts."""

import dataclasses
import typing

import pytest

from magic_cli.benchmark.settings import BenchSettings, GrowthSettings, SearchSettings, ZeroCapSettings
from magic_cli.data.datasets import PhotoFolder
from magic_cli.data.interleaved_datasets import PartList
from magic_cli.data.story_datasets import TitleList
from magic_cli.data.training_texts import SourceKind, TextDataset, TextSource
from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ContrastiveSearch, MagicBeam, MagicSearch
from magic_cli.decoding.rerank import Rerank
from magic_cli.decoding.rule_settings import RuleSettings
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling, TopKSampling, TypicalSampling
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.errors import SettingsError
from magic_cli.evaluation.settings import BootstrapSettings, EvaluateSettings
from magic_cli.guides.memory import Memory
from magic_cli.guides.second_model import SecondModel
from magic_cli.human_eval.settings import HumanEvalAction, HumanEvalSettings
from magic_cli.interleaved.prompts import PromptSettings
from magic_cli.interleaved.run_settings import InterleaveSettings, PageSettings
from magic_cli.interleaved.settings import (
    AdapterSettings,
    DiffusionPart,
    InterleavedModelSettings,
    LanguagePart,
    MapperSettings,
    VisionPart,
)
from magic_cli.interleaved.training.settings import (
    Stage,
    TrainVokensSettings,
    VokenItems,
    VokenObjectiveSettings,
    VokenOptimizerSettings,
    VokenRunSettings,
)
from magic_cli.metrics.settings import METRICS, MetricsSettings
from magic_cli.models.settings import ImageTextModelSettings, MachineSettings
from magic_cli.report_page.settings import ReportSettings
from magic_cli.retrieval.clipre import CaptionRetrieval
from magic_cli.retrieval.image_settings import ReadingMachineSettings, RetrieveImagesAction, RetrieveImagesSettings
from magic_cli.retrieval.settings import IndexSettings
from magic_cli.runs.choices import DECODING_METHODS
from magic_cli.runs.settings import RunSettings
from magic_cli.training.settings import FreshModel, ObjectiveSettings, OptimizerSettings, TrainingRunSettings, ValidateSettings

BUNDLED = TextSource(kind=SourceKind.bundled_coco)
MODEL = InterleavedModelSettings("x", LanguagePart(name="x"), VisionPart(name="x"), DiffusionPart(name="x"))
TRAIN_VOKENS = TrainVokensSettings(Stage.mls, MODEL, PromptSettings(), one_stage=True)
INTERLEAVE = InterleaveSettings(PartList("parts", parts=["a"]), MODEL, None, NucleusSampling(16), PromptSettings())
VALID = [
    MagicSearch(16, k=5, alpha=0.1, beta=1.0), MagicBeam(16, beta=1.0), ContrastiveSearch(16, k=5, alpha=0.1), GreedySearch(16), BeamSearch(16), TopKSampling(16),
    NucleusSampling(16), TypicalSampling(16), CaptionRetrieval(), ZeroCap(), Rerank(16, base=TopKSampling(16)), RunSettings(), MachineSettings(),
    ReadingMachineSettings(), ImageTextModelSettings(name="x", logit_scale=1.0), PhotoFolder("photos", root="."), TitleList("title", title=["a"]), IndexSettings(),
    RetrieveImagesSettings(None, RetrieveImagesAction.query, queries=["a"], index="x"), FreshModel(), ObjectiveSettings(), OptimizerSettings(),
    ValidateSettings(), TrainingRunSettings(), TextDataset(train=[BUNDLED], held_out=1.0), BUNDLED, BootstrapSettings(), EvaluateSettings(None),
    HumanEvalSettings(HumanEvalAction.make, files=["x"]), ReportSettings(None, systems=["x"]), MetricsSettings(), *(metric() for metric in METRICS.values()), BenchSettings(),
    GrowthSettings(), Memory(unsure=-0.1, sure=0.2), SecondModel(logit_scale=1.0), RuleSettings(),
    INTERLEAVE, PageSettings(), PartList("parts", parts=["a"]), MapperSettings(), AdapterSettings(), VokenItems(),
    VokenObjectiveSettings(), VokenOptimizerSettings(), VokenRunSettings(), TRAIN_VOKENS,
]  # fmt: skip
CHECKED_LATER = {
    ("TextSource", "held_out"), ("TextDataset", "held_out"),  # a share, or any whole number of texts
    ("TrainingRunSettings", "parts"), ("VokenRunSettings", "parts"),  # bound to the batch size
    ("VokenItems", "held_out"),  # a share, or any whole number of items
    ("VokenOptimizerSettings", "dropout"),  # any value is refused
    ("EvaluateSettings", "image_ranks"), ("ReportSettings", "image_ranks"),  # compared with those of the stories
}  # fmt: skip
HUGE = {int: (10**12, 2**63), float: (1e39, float("inf"), float("nan"))}


def numbers():
    """(settings, name of the field, its type, whether it is a list of them) of every numeric setting."""
    for settings in VALID:
        hints = typing.get_type_hints(type(settings))
        for item in dataclasses.fields(settings):
            kinds = {kind for kind in (int, float) if kind in (hints[item.name], *typing.get_args(hints[item.name]))}
            if kinds and (type(settings).__name__, item.name) not in CHECKED_LATER:
                yield settings, item.name, kinds.pop(), typing.get_origin(hints[item.name]) is list


NUMBERS = {f"{type(settings).__name__}.{name}": (settings, name, kind, is_list) for settings, name, kind, is_list in numbers()}


def test_every_decoding_method_and_enough_settings_are_looked_at():
    assert {type(settings) for settings in VALID} >= set(DECODING_METHODS.values()) and len(NUMBERS) > 90


@pytest.mark.parametrize("case", NUMBERS)
def test_setting_is_refused_when_it_is_far_too_large(case):
    settings, name, kind, is_list = NUMBERS[case]
    for value in HUGE[kind]:
        if "seed" in name and value < 2**63:
            continue
        with pytest.raises(SettingsError, match=name.replace("_", ".") if name != "weight" else "weight"):
            dataclasses.replace(settings, **{name: [value] if is_list else value})


@pytest.mark.parametrize("case", [case for case, (_, _, kind, _) in NUMBERS.items() if kind is float])
def test_number_that_float32_cannot_tell_from_zero_is_refused_or_harmless(case):
    settings, name, _, _ = NUMBERS[case]
    harmless = {
        "p", "mass", "fusion_factor", "grad_norm_factor", "dropout", "margin", "beta1", "beta2", "warmup", "floor",
        "weight_decay", "length_penalty", "epochs", "confidence", "memory_gib", "timeout", "tokenizer_timeout", "explained_variance", "unsure", "sure",
    }  # fmt: skip
    if name in harmless:
        dataclasses.replace(settings, **{name: 1e-46})
    else:
        with pytest.raises(SettingsError, match=f"{name} must be .*at least .*, got 1e-46$"):
            dataclasses.replace(settings, **{name: 1e-46})


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: BenchSettings(captions=SearchSettings(beta=1e39)), "captions.beta must be at most 1000, got 1e+39"),
        (lambda: BenchSettings(captions=SearchSettings(k=10**12)), "captions.k must be at most 1000000, got 1000000000000"),
        (
            lambda: BenchSettings(stories=SearchSettings(decoding_len=10**9)),
            "stories.decoding_len must be at most 32768, got 1000000000",
        ),
        (
            lambda: BenchSettings(zerocap=ZeroCapSettings(num_iterations=10**9)),
            "zerocap.num_iterations must be at most 1000, got 1000000000",
        ),
        (
            lambda: BenchSettings(zerocap=ZeroCapSettings(step_size=1e-46)),
            "zerocap.step_size must be 0 or at least 1e-06, got 1e-46",
        ),
        (lambda: RunSettings(threads=50_000), "run.threads must be at most 1024, got 50000"),
        (lambda: TopKSampling(16, temperature=1e-46), "decoding.temperature must be at least 1e-06, got 1e-46"),
        (lambda: MagicSearch(16, k=5, alpha=0.1, beta=1e39), "decoding.beta must be at most 1000, got 1e+39"),
        (lambda: BeamSearch(16, length_penalty=1000.0), "decoding.length_penalty must be in [-10, 10], got 1000.0"),
        (lambda: BootstrapSettings(samples=99_999_999_999), "bootstrap.samples must be at most 1000000, got 99999999999"),
    ],
)
def test_message_names_setting_bound_and_value(check, message):
    with pytest.raises(SettingsError) as refused:
        check()
    assert str(refused.value) == message
