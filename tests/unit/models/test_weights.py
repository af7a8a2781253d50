"""Weights of a file against what the model needs: nothing is filled at random, whatever the file's names."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from magic_cli.models.faults import ModelFault
from magic_cli.models.loading import load_language_model, read_causal_model
from magic_cli.models.settings import LanguageModelSettings
from magic_cli.models.weights import number_faults
from magic_cli.models.work_counter import WorkCounter
from tests.model_folders import change_config, copy_with, with_nan, with_prefix, without, write_weights


def read(folder):
    return read_causal_model(LanguageModelSettings(path=str(folder)), dtype=torch.float32)


def refused(folder):
    """The faults of a folder that is refused, and the one line that says so."""
    with pytest.raises(ModelFault) as caught:
        read(folder)
    line = str(caught.value)
    assert line.startswith(f"language_model.path={folder}: ") and "\n" not in line
    return caught.value.faults, line


def in_shards(folder, weights):
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        write_weights(folder / file, {name: weights[name] for name in part})
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickled(folder, stored):
    (folder / "model.safetensors").unlink()
    torch.save(stored, folder / "pytorch_model.bin")


def as_bodys(weights):
    return {name.removeprefix("transformer."): weight for name, weight in weights.items()}


@pytest.fixture(scope="module")
def original(tiny_language_model_folder):
    return read(tiny_language_model_folder)[0]


@pytest.mark.parametrize(
    ("prefix", "change"),
    [
        ("_orig_mod.", with_prefix("_orig_mod.")),
        ("module.", with_prefix("module.")),
        ("model.", with_prefix("model.")),
        ("module._orig_mod.", with_prefix("module._orig_mod.")),
        ("model.", lambda weights: with_prefix("model.")(as_bodys(weights))),
        ("model.", lambda weights: with_prefix("model.")(weights) | {"criterion.weight": torch.ones(2)}),
        (
            "_orig_mod.",
            lambda weights: {name.replace("transformer.", "transformer._orig_mod."): weight for name, weight in weights.items()},
        ),
        (
            "_checkpoint_wrapped_module.",
            lambda weights: {name.replace("h.1.", "h.1._checkpoint_wrapped_module."): weight for name, weight in weights.items()},
        ),
    ],
    ids=[
        "compiled",
        "ddp",
        "lightning",
        "compiled_in_ddp",
        "body_in_lightning",
        "lightning_with_more",
        "compiled_body",
        "one_wrapped_layer",
    ],
)
def test_known_prefix_is_taken_off_and_said(tiny_language_model_folder, original, tmp_path, prefix, change, capsys):
    model, _, facts = read(copy_with(tiny_language_model_folder, tmp_path / "model", change))
    assert facts["stripped_prefix"] == prefix and facts["files"]["model.safetensors"]
    assert f"{prefix!r} was taken off" in capsys.readouterr().err
    for name, weight in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    assert model.generation_config.eos_token_id == original.generation_config.eos_token_id
    model.save_pretrained(tmp_path / "saved")
    assert (
        load_file(tmp_path / "saved" / "model.safetensors").keys()
        == load_file(tiny_language_model_folder / "model.safetensors").keys()
    )


@pytest.mark.parametrize("stored", ["shards", "bin", "checkpoint"])
def test_known_prefix_is_taken_off_in_every_kind_of_file(tiny_language_model_folder, original, tmp_path, stored):
    folder = copy_with(tiny_language_model_folder, tmp_path / "model", lambda weights: weights)
    weights = with_prefix("module._orig_mod.")(load_file(folder / "model.safetensors"))
    if stored == "shards":
        in_shards(folder, weights)
    else:
        pickled(folder, weights if stored == "bin" else {"state_dict": weights, "epoch": 3})
    model, _, facts = read(folder)
    assert facts["stripped_prefix"] == ("state_dict." if stored == "checkpoint" else "") + "module._orig_mod."
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in original.state_dict().items())


def test_unknown_prefix_is_named_and_nothing_is_guessed(tiny_language_model_folder, tmp_path):
    [fault], line = refused(copy_with(tiny_language_model_folder, tmp_path / "model", with_prefix("policy.lm.")))
    assert "transformer.wte.weight" in fault.text and "'policy.lm.'" in fault.remedy and "'policy.lm.'" in line


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (without("transformer.h.1."), ["12 of the 29", "transformer.h.1.ln_1.weight"]),
        (without("transformer.wte"), ["2 of the 29", "transformer.wte.weight", "lm_head.weight"]),
        (
            lambda weights: with_prefix("_orig_mod.")(without("transformer.ln_f.")(weights)),
            ["2 of the 29", "transformer.ln_f.weight"],
        ),
        (lambda weights: {"x": torch.ones(1)}, ["29 of the 29"]),
    ],
    ids=["layer", "embeddings", "prefix_and_norm", "all"],
)
def test_missing_weights_are_refused_by_name(tiny_language_model_folder, tmp_path, change, names):
    [fault], _ = refused(copy_with(tiny_language_model_folder, tmp_path / "model", change))
    assert fault.topic == "weights" and all(name in fault.text for name in names), fault


def test_missing_head_is_refused_unless_it_is_tied(tiny_language_model_folder, tmp_path):
    folder = copy_with(tiny_language_model_folder, tmp_path / "model", lambda weights: weights)
    change_config(folder, tie_word_embeddings=False)
    [fault], _ = refused(folder)
    assert "lm_head.weight" in fault.text and '"tie_word_embeddings": true' in fault.remedy


@pytest.mark.parametrize(
    "change",
    [
        as_bodys,
        lambda weights: weights | {"lm_head.weight": weights["transformer.wte.weight"].clone()},
        lambda weights: weights | {"transformer.h.0.attn.bias": torch.ones(1, 1, 128, 128)},
    ],
    ids=["names_of_the_body", "head_beside_its_twin", "old_mask"],
)
def test_forms_that_published_files_have_are_no_fault(tiny_language_model_folder, original, tmp_path, change, capsys):
    model, _, facts = read(copy_with(tiny_language_model_folder, tmp_path / "model", change))
    assert facts.keys() == {"name", "revision", "files"} and capsys.readouterr().err == ""
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in original.state_dict().items())


def test_left_over_weights_are_one_warning_and_in_the_manifest(tiny_language_model_folder, tmp_path, capsys):
    folder = copy_with(
        tiny_language_model_folder,
        tmp_path / "model",
        lambda weights: weights | {"value.w": torch.ones(2), "value.b": torch.ones(1)},
    )
    settings = LanguageModelSettings(path=str(folder))
    _, facts = load_language_model(settings, device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter())
    assert facts["left_over_weights"] == ["value.b", "value.w"]
    assert (
        capsys.readouterr().err
        == f"magic: language_model.path={folder}: weights in its files for which the model has no place are not used: value.b, value.w\n"
    )


def test_other_shapes_are_refused_with_both(tiny_language_model_folder, tmp_path):
    folder = copy_with(tiny_language_model_folder, tmp_path / "model", lambda weights: weights)
    change_config(folder, n_positions=64)
    [fault], _ = refused(folder)
    assert "transformer.wpe.weight is (128, 48) in its files and (64, 48) by its config.json" in fault.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(tiny_language_model_folder, tmp_path, value):
    def change(weights):
        weights["transformer.h.0.mlp.c_fc.weight"][1, 2] = value
        return weights

    [fault], line = refused(copy_with(tiny_language_model_folder, tmp_path / "model", change))
    assert fault.topic == "numbers" and "NaN or infinity in transformer.h.0.mlp.c_fc.weight;" in line


def test_numbers_too_large_for_float16_name_the_type_that_holds_them(tiny_language_model_folder, tmp_path):
    folder = copy_with(
        tiny_language_model_folder, tmp_path / "model", lambda weights: {name: weight * 1e6 for name, weight in weights.items()}
    )
    with pytest.raises(ModelFault, match="run.dtype=float32"):
        read_causal_model(LanguageModelSettings(path=str(folder)), dtype=torch.float16)
    read(folder)


def test_finite_weights_pass_where_their_sum_is_not_and_masks_may_be_infinite():
    module = torch.nn.Linear(4, 4)
    module.weight.data.fill_(3e38)
    module.register_buffer("mask", torch.full((3,), -torch.inf))
    assert number_faults(module) == []
    module.mask[0] = torch.nan
    assert "mask" in number_faults(module)[0].text


def test_all_faults_are_told_together(tiny_language_model_folder, tmp_path):
    folder = copy_with(tiny_language_model_folder, tmp_path / "model", with_nan("transformer.wpe.weight"))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    faults, line = refused(folder)
    assert [fault.topic for fault in faults] == [
        "numbers",
        "tokenizer",
    ] and "(and 1 more: `magic doctor --model PLACE` shows all)" in line


def test_models_without_a_tied_head_and_of_other_kinds_have_no_false_alarm(tiny_language_model_folder, tmp_path, capsys):
    from transformers import GPTNeoXConfig, LlamaConfig, OPTConfig

    tokenizer = AutoTokenizer.from_pretrained(tiny_language_model_folder)
    small = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    for number, config in enumerate((
        LlamaConfig(**small, intermediate_size=64), LlamaConfig(**small, intermediate_size=64, tie_word_embeddings=True),
        GPTNeoXConfig(**small, intermediate_size=64), OPTConfig(**small, ffn_dim=64, word_embed_proj_dim=32),
    )):  # fmt: skip
        folder = tmp_path / str(number)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        assert read(folder)[2].keys() == {"name", "revision", "files"}
    assert capsys.readouterr().err == ""
