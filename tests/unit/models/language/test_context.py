"""The context as tensors: for several families the model's own logits, and gradients; models without one are refused."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, MambaConfig, Qwen2Config

from magic_cli.errors import MagicError
from magic_cli.models.language.context import logits_on_context, read_context
from magic_cli.models.language.network import Network
from magic_cli.models.work_counter import WorkCounter
from tests.tiny_models import randomise

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 32}
CONFIGS = {
    "llama": LlamaConfig(**SIZES, **HEADS, num_key_value_heads=2),
    "qwen2": Qwen2Config(**SIZES, **HEADS, num_key_value_heads=2),
    "gpt_neox": GPTNeoXConfig(**SIZES, **HEADS),
}


def network_of(config) -> Network:
    return Network(randomise(AutoModelForCausalLM.from_config(config), seed=3), WorkCounter())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_logits_are_the_model_s_own_and_gradients_reach_every_tensor(config):
    network = network_of(config)
    ids = torch.randint(60, (2, 7), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        context = read_context(network, ids[:, :-1])
        last = ids[:, -1] + 0
        own = network.own_logits(ids)
        assert torch.allclose(logits_on_context(network, last, context), own, atol=1e-4)
    assert len(context) == 4 and all(tensor.shape[:3:2] == (2, 6) for tensor in context)
    leaves = [tensor.clone().requires_grad_() for tensor in context]
    logits = logits_on_context(network, last, leaves)
    assert torch.allclose(logits, own, atol=1e-4)
    gradients = torch.autograd.grad(logits[0].log_softmax(dim=0)[5], leaves)
    assert all(gradient[0].abs().max() > 0 == gradient[1].abs().max() for gradient in gradients), "rows are apart"


def test_model_without_keys_and_values_is_refused_by_name():
    network = network_of(MambaConfig(**SIZES, state_size=4))
    with pytest.raises(MagicError, match="^language_model: MambaForCausalLM .*decoding=zerocap shifts"):
        read_context(network, torch.tensor([[1, 2, 3]]))


def test_text_that_outgrows_the_model_is_refused():
    network = network_of(CONFIGS["llama"])
    read_context(network, torch.zeros(1, 31, dtype=torch.long))
    with pytest.raises(MagicError, match="^decoding.decoding_len: the text outgrows the language model's 32 positions"):
        read_context(network, torch.zeros(1, 32, dtype=torch.long))
