"""Our modules compute what the libraries' compute."""

import copy
from collections import OrderedDict

import pytest
import torch
from transformers.activations import NewGELUActivation, QuickGELUActivation

from magic_cli.models.fast import lean_modules
from magic_cli.models.fast.lean_modules import Chain, PackedLinear, QuickGelu, _Fused, added, make_lean, packed, unpack_products
from tests.tiny_models import CAPTIONS


@pytest.fixture(params=[True, False])
def plain_suits_single_rows(request, monkeypatch):
    """Both kinds of processor."""
    monkeypatch.setattr(lean_modules, "_plain_suits_single_rows", lambda: request.param)
    return request.param


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 3), (2, 2), (4,), (5,), (3, 40), (0,), (2, 0)])
def test_packed_product_equals_linear_layer_when_rows_are_few_or_many(shape, bias, keep, plain_suits_single_rows):
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 40, bias=bias)
    packed = PackedLinear(layer, keep=keep)
    x = torch.randn(*shape, 24)
    with torch.inference_mode():
        assert packed(x).shape == (*shape, 40)
        assert torch.allclose(packed(x), layer(x), atol=1e-6)
        strided = torch.randn(48, *shape).movedim(0, -1)[..., ::2]
        assert torch.allclose(packed(strided), layer(strided), atol=1e-6)


def test_packed_product_has_gradients_and_gives_its_weights_back():
    layer = torch.nn.Linear(24, 40)
    packed, x = PackedLinear(layer), torch.randn(3, 24, requires_grad=True)
    assert torch.equal(packed.weight, layer.weight) and torch.equal(packed.unpack().weight, layer.weight)
    packed(x).square().sum().backward()
    gradient, x.grad = x.grad, None
    layer(x).square().sum().backward()
    assert torch.allclose(gradient, x.grad, atol=1e-5)


def test_activations_equal_the_libraries_when_replaced():
    x = torch.linspace(-6, 6, 301)
    assert torch.equal(QuickGelu()(x), QuickGELUActivation()(x))
    assert torch.allclose(torch.nn.GELU(approximate="tanh")(x), NewGELUActivation()(x), atol=1e-6)


@torch.inference_mode()
def test_language_model_computes_the_same_when_made_lean(network_and_tokenizer, plain_suits_single_rows):
    network, tokenizer = network_and_tokenizer
    lean = copy.deepcopy(network)
    make_lean(lean)
    kinds = {type(layer).__name__ for layer in lean.modules()}
    assert "PackedLinear" in kinds and not kinds & {"Linear", "Conv1D", "NewGELUActivation", "GELU"}
    for rows in (1, 4, 7):
        ids = tokenizer(CAPTIONS[:rows], padding=True, return_tensors="pt")["input_ids"]
        for length in (1, ids.shape[1]):
            expected, got = (model(ids[:, :length]).logits for model in (network, lean))
            assert torch.allclose(got, expected, atol=1e-4 * float(expected.abs().max()))
    assert lean.get_output_embeddings().weight is lean.get_input_embeddings().weight  # still tied


def test_weights_stay_plain_in_small_language_models_where_that_suits_single_rows(
    network_and_tokenizer, monkeypatch, plain_suits_single_rows
):
    for limit, kept in ((lean_modules._SMALL, {plain_suits_single_rows}), (1000, {False})):
        monkeypatch.setattr(lean_modules, "_SMALL", limit)
        lean = copy.deepcopy(network_and_tokenizer[0])
        make_lean(lean)
        assert {layer.is_kept for layer in lean.base_model.modules() if isinstance(layer, PackedLinear)} == kept


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_language_model_of_16_bits_stays_near_when_made_lean(network_and_tokenizer, dtype):
    network, tokenizer = network_and_tokenizer
    lean = copy.deepcopy(network).to(dtype)
    make_lean(lean)
    assert ("PackedLinear" in {type(layer).__name__ for layer in lean.modules()}) == (dtype == torch.bfloat16)
    ids = tokenizer(CAPTIONS[:3], padding=True, return_tensors="pt")["input_ids"]
    expected = network(ids).logits
    assert torch.allclose(lean(ids).logits.float(), expected, atol=0.05 * float(expected.abs().max()))


@torch.inference_mode()
def test_plain_layers_come_back_when_unpacked(network_and_tokenizer):
    network, tokenizer = network_and_tokenizer
    lean = copy.deepcopy(network)
    make_lean(lean)
    unpack_products(lean)
    assert "PackedLinear" not in {type(layer).__name__ for layer in lean.modules()}
    ids = tokenizer(CAPTIONS[:3], padding=True, return_tensors="pt")["input_ids"]
    assert torch.allclose(lean(ids).logits, network(ids).logits, atol=1e-5)


@pytest.mark.parametrize("activation", [QuickGelu(), torch.nn.GELU(), torch.nn.GELU(approximate="tanh")])
def test_original_stays_as_it_is_when_a_packed_copy_is_made(activation):
    torch.manual_seed(0)
    mlp = torch.nn.Sequential(OrderedDict(c_fc=torch.nn.Linear(8, 32), gelu=activation, c_proj=torch.nn.Linear(32, 8)))
    original = torch.nn.Sequential(mlp, torch.nn.Linear(8, 4))
    copied, x = packed(original), torch.randn(5, 8)
    assert [type(layer) for layer in copied[0]] == [PackedLinear, torch.nn.Identity, PackedLinear]
    assert [type(layer) for layer in mlp] == [torch.nn.Linear, type(activation), torch.nn.Linear]
    with torch.inference_mode():
        assert torch.allclose(copied(x), original(x), atol=1e-6)
    assert torch.allclose(copied(x), original(x), atol=1e-6)  # with gradients
    unpack_products(copied)
    assert torch.allclose(copied(x), original(x), atol=1e-6)


def test_chain_computes_what_its_parts_do_one_after_the_other():
    first, second = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Identity()), torch.nn.Linear(8, 3)
    chain, x = Chain(first, torch.nn.Sequential(torch.nn.Sequential(second))), torch.randn(2, 4)
    assert list(chain) == [first[0], second]
    assert torch.equal(chain(x), second(first(x)))


@pytest.mark.parametrize("kind", ["plain", "packed", "chain", "with an activation"])
@pytest.mark.parametrize("rows", [1, 5])
def test_a_sum_in_the_same_pass_is_that_of_two(kind, rows):
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 24))
    part = {
        "plain": lambda: plain,
        "packed": lambda: PackedLinear(plain[2]),
        "chain": lambda: Chain(packed(plain)),
        "with an activation": lambda: PackedLinear(plain[2], activation=_Fused.of(torch.nn.GELU())),
    }[kind]()
    x, y = torch.randn(rows, 24), torch.randn(rows, 16 if kind in ("plain", "chain") else 32)
    before = x.clone()
    with torch.inference_mode():
        assert torch.equal(added(x, part, y), x + part(y))
    assert torch.equal(added(x, part, y), x + part(y))  # with gradients
    assert torch.equal(x, before)


@torch.inference_mode()
def test_a_sum_of_16_bit_numbers_rounds_as_two_operations_do():
    torch.manual_seed(0)
    part = PackedLinear(torch.nn.Linear(64, 24).bfloat16())
    x, y = 100 * torch.randn(5, 24, dtype=torch.bfloat16), torch.randn(5, 64, dtype=torch.bfloat16)
    assert torch.equal(added(x, part, y), x + part(y))
