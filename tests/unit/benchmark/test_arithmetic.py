"""Arithmetic is counted in full and can be run again on its own."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from magic_cli.benchmark.arithmetic import matrix_product_peak, record
from magic_cli.models.fast.lean_modules import added, packed


@pytest.fixture
def linear():
    return torch.nn.Linear(16, 32)


@pytest.mark.parametrize("inference", [True, False])
def test_every_kind_of_product_is_counted_when_it_runs(linear, inference):
    x, square = torch.randn(3, 5, 16), torch.randn(4, 6, 6)
    lean, y = packed(linear), torch.zeros(15, 32)
    query, key = torch.randn(2, 4, 7, 8), torch.randn(2, 4, 9, 8)
    mask = torch.zeros(2, 1, 7, 9)
    cases = [
        (lambda: linear(x), 2 * 3 * 5 * 16 * 32),
        (lambda: lean(x), 2 * 3 * 5 * 16 * 32),
        (lambda: added(y, lean, x.flatten(0, 1)), 2 * 3 * 5 * 16 * 32),
        (lambda: x @ x.mT, 2 * 3 * 5 * 5 * 16),
        (lambda: torch.addmm(torch.zeros(6), square[0], square[1]), 2 * 6**3),
        (lambda: torch.bmm(square, square), 4 * 2 * 6**3),
        (lambda: torch.baddbmm(square, square, square), 4 * 2 * 6**3),
        (lambda: scaled_dot_product_attention(query, key, key), 2 * 2 * 2 * 4 * 7 * 9 * 8),
        (lambda: scaled_dot_product_attention(query, key, key, attn_mask=mask), 2 * 2 * 2 * 4 * 7 * 9 * 8),
        (lambda: torch.nn.functional.layer_norm(x, (16,)), 0),
    ]
    for compute, flops in cases:
        with torch.inference_mode(inference):
            plain = compute()
            result, products = record([linear], compute)
        assert products.flops == flops
        torch.testing.assert_close(result, plain)


def test_flops_of_a_gpt2_are_those_of_its_weights_and_attention(network_and_tokenizer):
    network, ids = network_and_tokenizer[0], torch.arange(12)[None]
    with torch.inference_mode():
        _, products = record([network], lambda: network(ids))
    config = network.config
    matrices = 12 * config.n_embd**2 * config.n_layer + config.n_embd * config.vocab_size
    attention = config.n_layer * 2 * 12 * 12 * config.n_embd
    assert products.flops == 2 * 12 * matrices + 2 * attention


def test_replay_runs_the_same_shapes_on_the_weights_themselves(linear):
    x = torch.randn(40, 16)
    query = torch.randn(1, 2, 40, 8)

    def compute():
        return linear(x)[:, ::2] @ linear(x).mT[::2], scaled_dot_product_attention(query, query, query)

    with torch.inference_mode():
        _, products = record([linear], compute)
        seen, again = record([linear], products.replay)
    assert seen > 0
    described = [[getattr(leaf, "shape", leaf) for leaf in product.leaves] for product in products.products]
    assert described == [[getattr(leaf, "shape", leaf) for leaf in product.leaves] for product in again.products]
    weights = [leaf for product in again.products for leaf in product.leaves if isinstance(leaf, torch.Tensor)]
    storages = {weight.untyped_storage().data_ptr() for weight in weights}
    assert storages == {weight.untyped_storage().data_ptr() for weight in linear.parameters()}


def test_nothing_is_kept_when_only_the_count_is_wanted(linear):
    with torch.inference_mode():
        _, products = record([linear], lambda: linear(torch.randn(3, 16)), keep=False)
    assert products.flops == 2 * 3 * 16 * 32
    with pytest.raises(ValueError, match="keep=True"):
        products.replay()


def test_peak_grows_with_the_matrices():
    small, large = (matrix_product_peak(sizes=[size], seconds=0.05) for size in (8, 512))
    assert 0 < small < large
