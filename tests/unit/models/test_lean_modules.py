"""Our modules compute what the libraries' compute."""

import copy

import pytest
import torch
from tests.tiny_models import CAPTIONS
from transformers.activations import NewGELUActivation, QuickGELUActivation

from magic_cli.models.lean_modules import MOST_ROWS, QuickGelu, ThinLinear, make_lean


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 3), (2, 2), (4,), (5,), (3, 4), (0,), (2, 0)])
def test_thin_product_equals_linear_layer_when_rows_are_few_or_many(shape, bias):
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 40, bias=bias)
    thin = ThinLinear(layer.weight, layer.bias)
    x = torch.randn(*shape, 24)
    with torch.inference_mode():
        assert thin(x).shape == (*shape, 40) and thin(x).is_contiguous()
        assert torch.allclose(thin(x), layer(x), atol=1e-6)


def test_activations_equal_the_libraries_when_replaced():
    x = torch.linspace(-6, 6, 301)
    assert torch.equal(QuickGelu()(x), QuickGELUActivation()(x))
    assert torch.allclose(torch.nn.GELU(approximate="tanh")(x), NewGELUActivation()(x), atol=1e-6)


@torch.inference_mode()
def test_language_model_computes_the_same_when_made_lean(network_and_tokenizer):
    network, tokenizer = network_and_tokenizer
    lean = copy.deepcopy(network)
    make_lean(lean)
    kinds = {type(layer).__name__ for layer in lean.modules()}
    assert "ThinLinear" in kinds and not kinds & {"Linear", "Conv1D", "NewGELUActivation"}
    for rows in (1, MOST_ROWS, 7):
        ids = tokenizer(CAPTIONS[:rows], padding=True, return_tensors="pt")["input_ids"]
        for length in (1, ids.shape[1]):
            expected, got = (model(ids[:, :length]).logits for model in (network, lean))
            assert torch.allclose(got, expected, atol=1e-4 * float(expected.abs().max()))
    assert lean.get_output_embeddings().weight is lean.get_input_embeddings().weight  # still tied


def test_weights_stay_where_they_are_when_they_are_not_float32(network_and_tokenizer):
    lean = copy.deepcopy(network_and_tokenizer[0]).to(torch.bfloat16)
    make_lean(lean)
    kinds = {type(layer).__name__ for layer in lean.modules()}
    assert "ThinLinear" not in kinds and "NewGELUActivation" not in kinds
