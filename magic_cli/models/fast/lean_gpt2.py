"""GPT-2's forward pass over its own modules, without the half that its library does around them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from magic_cli.models.fast.block import Block
from magic_cli.models.fast.lean_modules import Chain
from magic_cli.models.fast.small_attention import attend, for_all_heads


class LeanGPT2:
    """A step of a few positions on a cache.

    At batch size 1 the library's own pass over 12 layers spends as long on masks, hooks and bookkeeping as on small products.
    ``probe.py`` compares the result with the library's, as for every way of looking ahead. Hooks on the parts are not run: the library's own
    collect hidden states, of which none are asked for here. The parts are those that the body has when this is made.

    Args:
        body: Hugging Face's ``GPT2Model`` in eval mode, without cross-attention; or one with parts of the same names.
    """

    def __init__(self, body: Any) -> None:
        self.body = body
        self._layers = [
            (Block(layer.ln_1, attn.c_attn, attn.c_proj, layer.ln_2, Chain(mlp.c_fc, mlp.act, mlp.c_proj)), attn.scaling)
            for layer, attn, mlp in ((layer, layer.attn, layer.mlp) for layer in body.h)
        ]

    @classmethod
    def of(cls, body: Any) -> LeanGPT2 | None:
        """None if that is another model than plain GPT-2."""
        if getattr(body, "is_lean_gpt2", False):
            return cls(body)
        # by name: the import takes seconds, and without it there is no such body
        if (type(body).__module__, type(body).__name__) != ("transformers.models.gpt2.modeling_gpt2", "GPT2Model"):
            return None
        config = body.config
        return None if body.training or config.add_cross_attention or config._attn_implementation != "sdpa" else cls(body)

    def __call__(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        """Last-layer hidden states (B, Q, H).

        Args:
            ids: (B, Q).
            mask: (B, 1, Q, T + Q), additive.
            positions: (B, Q).
            cache: ``DynamicCache`` of the T tokens before; takes up these.
        """
        return self.states(self.body.wte(ids) + self.body.wpe(positions), mask, cache)

    def states(self, x: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """The same of embedded tokens (B, Q, H), their positions included."""
        num_rows, num_queries, width = x.shape
        num_heads = self.body.h[0].attn.num_heads
        mask = for_all_heads(mask, num_heads, num_rows)
        x = x.flatten(0, 1)
        for number, (block, scaling) in enumerate(self._layers):
            three = block.ask(x).view(num_rows, num_queries, 3, num_heads, -1)
            query, key, value = three.permute(2, 0, 3, 1, 4)  # (B, heads, Q, d) each
            key, value = cache.update(key, value, number)
            attended = attend(query, key, value, mask, scaling)
            x = block.go_on(x, attended.transpose(1, 2).reshape(-1, width))
        return self.body.ln_f(x).unflatten(0, (num_rows, num_queries))
