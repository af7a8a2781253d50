"""GPT-2's forward pass over its own modules, without the half that its library does around them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from magic_cli.models.fast.small_attention import attend, for_all_heads


class LeanGPT2:
    """A step of a few positions on a cache.

    At batch size 1 the library's own pass over 12 layers spends as long on masks, hooks and bookkeeping as on small products.
    ``probe.py`` compares the result with the library's, as for every way of looking ahead. Hooks on the parts are not run: the library's own
    collect hidden states, of which none are asked for here.

    Args:
        body: Hugging Face's ``GPT2Model`` in eval mode, without cross-attention; or one with parts of the same names.
    """

    def __init__(self, body: Any) -> None:
        self.body = body

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
        body = self.body
        mask = for_all_heads(mask, body.h[0].attn.num_heads, len(x))
        for number, block in enumerate(body.h):
            attention, mlp = block.attn, block.mlp
            # ``forward``, not a call: what nn.Module does around a call takes a fifth of a small product's time
            three = attention.c_attn.forward(block.ln_1.forward(x))
            query, key, value = (self._heads(part, attention) for part in three.chunk(3, dim=-1))
            key, value = cache.update(key, value, number)
            attended = attend(query, key, value, mask, attention.scaling)
            x = x + attention.c_proj.forward(attended.transpose(1, 2).flatten(2))
            x = x + mlp.c_proj.forward(mlp.act.forward(mlp.c_fc.forward(block.ln_2.forward(x))))
        return body.ln_f(x)

    @staticmethod
    def _heads(x: Tensor, attention: Any) -> Tensor:
        """(B, Q, H) -> (B, heads, Q, d)."""
        return x.unflatten(2, (attention.num_heads, attention.head_dim)).transpose(1, 2)
