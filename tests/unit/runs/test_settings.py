"""Whose setting wins, what identifies a run, and what is refused."""

import pytest
from hydra import compose, initialize_config_dir

from magic_cli.configuration import composing
from magic_cli.configuration.composing import to_settings
from magic_cli.configuration.files import find_config_dir
from magic_cli.errors import SettingsError
from magic_cli.interleaved.run_settings import INTERLEAVED_DATASETS
from magic_cli.runs import choices
from magic_cli.runs.identity import settings_hash, settings_that_matter
from magic_cli.runs.settings import CaptionSettings


def caption(*overrides, files=("a.jpg",)):
    composing.register()
    images = [] if any(o.startswith(("dataset=", "experiment=")) for o in overrides) else [f"dataset.paths=[{','.join(files)}]"]
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        return to_settings(compose("caption", [*images, *overrides]), CaptionSettings)


def test_language_model_recommends_when_nothing_else_is_said():
    s = caption("dataset=flickr30k")
    assert (s.decoding.k, s.decoding.alpha, s.decoding.beta, s.decoding.decoding_len) == (25, 0.1, 2.0, 20)


def test_dataset_brings_the_paper_models_when_none_are_named():
    s = caption("dataset=coco")
    assert s.language_model.name == "cambridgeltl/magic_mscoco"
    assert s.image_text_model.name == "openai/clip-vit-base-patch32"


def test_source_model_settings_hold_when_the_domain_is_crossed():
    s = caption("experiment=table2/flickr30k_to_coco_magic")
    assert s.dataset.name == "coco" and s.dataset.skip_greyscale
    assert s.language_model.name == "cambridgeltl/magic_flickr30k"
    assert (s.decoding.k, s.decoding.decoding_len) == (25, 20)


def test_image_text_model_overrides_beta_of_the_language_model():
    recommended = "+image_text_model.recommended.caption.beta=3.0"
    assert caption("image_text_model=embedded", "language_model=magic_mscoco", recommended).decoding.beta == 3.0
    assert caption("image_text_model=clip_vit_b32", "language_model=magic_mscoco").decoding.beta == 2.0


@pytest.mark.parametrize("order", [1, -1])
def test_command_line_wins_over_experiment_and_models(order):
    overrides = ["experiment=table1/coco_magic", "decoding.k=7", "language_model=gpt2", "dataset.skip_greyscale=false"][::order]
    s = caption(*overrides)
    assert (s.decoding.k, s.language_model.name, s.dataset.skip_greyscale) == (7, "gpt2", False)
    assert s.prompt == "A photo of"


def test_embedded_models_are_used_when_only_images_are_given():
    s = caption()
    assert (s.language_model.name, s.image_text_model.name) == ("embedded", "embedded")


def test_image_text_model_recommends_when_its_memory_is_unsure():
    models = {model: caption(f"image_text_model={model}").guides.memory for model in ("embedded", "clip_vit_b32")}
    assert (models["embedded"].unsure, models["embedded"].sure) == (0.58, 0.64)
    assert models["clip_vit_b32"].sure is None


def test_missing_recommendation_names_the_setting():
    with pytest.raises(Exception) as caught:
        caption("language_model.recommended.caption.k=null")
    from magic_cli.configuration.hydra_errors import explain

    assert "decoding.k" in str(explain(caught.value, [], "caption"))


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("run.batch_size=2", True), ("run.threads=1", True), ("run.trace=true", True), ("run.device=cpu", True), ("run.dir=x", True),
        ("run.workers=3", True), ("run.step_memory=0", True), ("run.cache_images=false", True), ("run.image_cache=x", True),
        ("run.seed=1", True),  # magic search is deterministic
        ("decoding.guides=[image]", True), ("guides.memory.weight=0.3", True), ("guides.second_model.weight=3", True),
        ("decoding=magic_memory", False), ("decoding.guides=[image,second_model]", False), ("decoding.beta=1", False), ("run.dtype=bfloat16", False), ("dataset.limit=1", False), ("prompt=hello", False),
        ("language_model.revision=v2", False), ("image_text_model.logit_scale=10", False),
    ],
)  # fmt: skip
def test_hash_changes_only_with_what_can_change_results(override, same):
    assert (settings_hash(caption()) == settings_hash(caption(override))) is same


def test_hash_depends_on_the_seed_when_sampling():
    assert settings_hash(caption("decoding=nucleus")) != settings_hash(caption("decoding=nucleus", "run.seed=1"))
    assert settings_hash(caption("decoding=nucleus")) != settings_hash(caption("decoding=nucleus", "run.repeat=2"))


def test_image_text_model_does_not_matter_when_the_method_does_not_look():
    assert "image_text_model" not in settings_that_matter(caption("decoding=contrastive"))
    assert "image_text_model" not in settings_that_matter(caption("decoding.beta=0"))


def test_methods_differ_in_hash_when_their_settings_agree():
    assert settings_hash(caption("decoding=greedy")) != settings_hash(caption("decoding=beam"))


def test_logit_scale_is_refused_when_not_positive():
    with pytest.raises(SettingsError, match=r"image_text_model\.logit_scale must be greater than 0, got 0\.0"):
        caption("image_text_model.logit_scale=0")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["image_text_model=open_clip", "image_text_model.revision=v2"],
            "revision=v2: only models of the hub have revisions, not open_clip",
        ),
        (
            ["image_text_model=clip_vit_b32", "image_text_model.pretrained=x"],
            "pretrained=x: only open_clip has it, not huggingface_clip",
        ),
    ],
)
def test_setting_is_refused_when_the_family_has_no_use_for_it(overrides, message):
    with pytest.raises(SettingsError, match=message):
        caption(*overrides)


def test_experiment_keeps_the_paper_models_when_other_images_are_named():
    s = caption("experiment=table1/coco_magic", "dataset=files", "dataset.paths=[a.jpg]")
    assert (s.language_model.name, s.image_text_model.name) == ("cambridgeltl/magic_mscoco", "openai/clip-vit-base-patch32")


@pytest.mark.parametrize(
    ("group", "classes"),
    [("decoding", choices.DECODING_METHODS), ("dataset", {**choices.DATASETS, **choices.STORY_DATASETS, **INTERLEAVED_DATASETS})],
)
def test_defaults_agree_where_a_class_and_its_config_both_have_one(group, classes):
    import yaml

    compared = 0
    for file in (find_config_dir() / group).glob("*.yaml"):
        values = yaml.safe_load(file.read_text())
        schema = next((entry for entry in values.pop("defaults") if "schema" in str(entry)), None)
        if schema is None:  # another option with other values
            continue
        settings_class = classes[next(name for name in classes if f"/{name}@" in schema)]
        for name, value in values.get(group, values).items():
            default = settings_class.__dataclass_fields__[name].default
            if file.stem in classes and isinstance(default, int | float | str) and not str(value).startswith("${"):
                assert getattr(default, "value", default) == value, f"{file}: {name}"
                compared += 1
    assert compared >= {"decoding": 8, "dataset": 6}[group]
