"""The body of a language model is what gives its hidden states, and earlier states must not hear of later tokens."""

import pytest
import torch
from transformers import (
    BartConfig,
    BartForCausalLM,
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    ElectraConfig,
    ElectraForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    RobertaConfig,
    RobertaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    XLNetConfig,
    XLNetLMHeadModel,
)

from magic_cli.models.faults import ModelFault
from magic_cli.models.language import bodies
from magic_cli.models.language.bodies import WholeModel, causal_faults, find_body, takes_positions
from magic_cli.models.language.network import Network
from magic_cli.models.language.probe import choose_look_ahead
from magic_cli.models.loading import load_language_model
from magic_cli.models.settings import LanguageModelSettings
from magic_cli.models.work_counter import WorkCounter
from magic_cli.training.objective import Objective
from tests.tiny_models import randomise

SMALL = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
LLAMA4 = {
    "intermediate_size_mlp": 64,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "num_local_experts": 2,
    "interleave_moe_layer_step": 1,
}
BART = {"vocab_size": 99, "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64}

CAUSAL = {
    "llama4": lambda: Llama4ForCausalLM(Llama4TextConfig(**SMALL, **LLAMA4)),
    "bert_decoder": lambda: BertLMHeadModel(BertConfig(**SMALL, is_decoder=True)),
    "electra_decoder": lambda: ElectraForCausalLM(ElectraConfig(**SMALL, is_decoder=True, embedding_size=16)),
    "bart": lambda: BartForCausalLM(BartConfig(**BART, is_decoder=True, is_encoder_decoder=False)),
}
NOT_CAUSAL = {
    "bert": lambda: BertLMHeadModel(BertConfig(**SMALL)),
    "roberta": lambda: RobertaForCausalLM(RobertaConfig(**SMALL)),
    "xlnet": lambda: XLNetLMHeadModel(XLNetConfig(vocab_size=99, d_model=32, n_layer=2, n_head=4, d_inner=64)),
}


@pytest.mark.parametrize("name", CAUSAL)
@torch.no_grad()
def test_body_gives_the_states_of_a_causal_model(name):
    model = randomise(CAUSAL[name](), seed=7)
    body, ids = find_body(model), torch.arange(6)[None] + 40
    assert causal_faults(model, body) == []
    states = body(ids, use_cache=False).last_hidden_state
    assert torch.allclose(states, model(ids, output_hidden_states=True).hidden_states[-1], atol=1e-5)
    choose_look_ahead(Network(model, WorkCounter()), decoding_len=12, num_candidates=4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NOT_CAUSAL)
def test_model_that_looks_ahead_is_not_causal_in_any_type(name, dtype):
    model = randomise(NOT_CAUSAL[name](), seed=7).to(dtype)
    [fault] = causal_faults(model, find_body(model))
    assert "is not causal" in fault.text


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_is_not_taken_for_looking_ahead(network_and_tokenizer, dtype):
    import copy

    model = copy.deepcopy(network_and_tokenizer[0]).to(dtype)
    assert causal_faults(model, find_body(model)) == []


def test_whole_model_is_the_body_where_no_part_is(network_and_tokenizer, monkeypatch):
    model, _ = network_and_tokenizer
    plain = Network(model, WorkCounter())
    states = bodies._states
    monkeypatch.setattr(bodies, "_states", lambda part, ids: states(part, ids) if isinstance(part, WholeModel) else None)
    body = find_body(model)
    assert isinstance(body, WholeModel) and takes_positions(body)
    network = Network(model, WorkCounter())
    ids = torch.tensor([[5, 60, 7, 80]])
    with torch.no_grad():
        assert torch.allclose(network.hidden(ids)[0], plain.hidden(ids)[0], atol=1e-5)
    assert choose_look_ahead(network, decoding_len=12, num_candidates=4).name == "tree"


def test_training_takes_the_same_body():
    model = randomise(CAUSAL["llama4"](), seed=7).train()
    objective = Objective(model, margin=0.5)
    ids = torch.tensor([[5, 60, 7, 80]])
    likelihood, contrast = objective(ids, ids.roll(-1, 1), torch.tensor([4]))
    assert objective.head_is_plain and model.training and torch.isfinite(likelihood + contrast)
    assert len(list(objective.parameters())) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (lambda: BertForMaskedLM(BertConfig(**SMALL | {"vocab_size": 402})), "BertLMHeadModel is not causal: .*is_decoder"),
        (
            lambda: T5ForConditionalGeneration(T5Config(vocab_size=402, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)),
            "model_type 't5', of which there is no causal",
        ),
    ],
)
def test_folder_of_another_kind_is_one_line(network_and_tokenizer, tmp_path, model, line):
    model().save_pretrained(tmp_path)
    network_and_tokenizer[1].save_pretrained(tmp_path)
    settings = LanguageModelSettings(path=str(tmp_path))
    with pytest.raises(ModelFault, match=f"^language_model.path={tmp_path}: .*{line}") as refused:
        load_language_model(settings, device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter())
    assert "\n" not in str(refused.value)
