"""Attention by plain products against torch's own."""

import pytest
import torch

from magic_cli.models.fast import small_attention
from magic_cli.models.fast.small_attention import attend


@pytest.mark.parametrize(
    ("groups", "heads", "queries", "keys", "width"), [(3, 4, 5, 9, 8), (1, 12, 1, 1, 64), (2, 2, 70, 60, 16)]
)
@pytest.mark.parametrize("scale", [None, 0.3])
def test_it_is_torchs_attention(groups, heads, queries, keys, width, scale):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(groups, count + 3, heads, width, generator=generator).transpose(1, 2)[:, :, :count]
        for count in (queries, keys, keys)
    )
    hidden = torch.rand(groups, 1, queries, keys, generator=generator) < 0.4
    hidden[..., 0] = False
    mask = torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    torch.testing.assert_close(attend(query, key, value, mask, scale), expected, atol=1e-5, rtol=1e-5)
    mask = mask[:1]  # one for all groups
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    before = mask.clone()
    torch.testing.assert_close(attend(query, key, value, mask, scale), expected, atol=1e-5, rtol=1e-5)
    assert mask.equal(before)


def test_long_texts_and_16_bits_go_to_torchs_own(monkeypatch):
    monkeypatch.setattr(torch, "baddbmm", None)
    monkeypatch.setattr(small_attention, "_MOST_SCORES", 11)
    small, mask = torch.ones(1, 2, 3, 4), torch.zeros(1, 1, 3, 4)
    assert attend(small, torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4), mask).shape == small.shape
    monkeypatch.setattr(small_attention, "_MOST_SCORES", 12)
    half = torch.ones(1, 2, 4, 4, dtype=torch.bfloat16)
    assert attend(half[:, :, :3], half, half, mask.bfloat16()).dtype == torch.bfloat16
