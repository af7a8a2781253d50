"""A block against its parts, run one by one."""

import pytest
import torch
from torch import nn

from magic_cli.models.fast.block import Block


class OwnNorm(nn.LayerNorm):
    """A norm with a forward pass of its own, as OpenAI's CLIP has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize("norm", [lambda: nn.LayerNorm(8, eps=0.1), lambda: nn.LayerNorm(8, bias=False), lambda: OwnNorm(8)])
@pytest.mark.parametrize("is_packed", [False, True])
@torch.inference_mode()
def test_block_computes_what_its_parts_do(norm, is_packed):
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))
    plain = Block(norm(), nn.Linear(8, 24), nn.Linear(8, 8), norm(), mlp)
    for name in ("norm1", "norm2"):
        nn.init.normal_(getattr(plain, name).weight)
    block = plain.packed() if is_packed else plain
    x, attended = torch.randn(2, 3, 8)
    torch.testing.assert_close(block.ask(x), plain.query_key_value(plain.norm1(x)))
    middle = x + plain.out(attended)
    torch.testing.assert_close(block.go_on(x, attended), middle + plain.mlp(plain.norm2(middle)))
