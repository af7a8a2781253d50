"""Incremental encoding with a causal CLIP text tower: only what is new in a text is computed.

CLIP's text tower is causal, so what the candidates of a row share with the text so far keeps its keys and values from
step to step. Each step runs the tokens by which the candidates differ, plus their end tokens, as one tree; the tail that
becomes shared afterwards is remembered, not computed again. Tokenising the longer text may rewrite the last word, so
what is shared is decided on token ids, never on strings (``text_plan.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from magic_cli.models.fast.block import Block
from magic_cli.models.fast.compiling import compiled
from magic_cli.models.fast.lean_modules import Chain, linear, packed, use_lean_activations
from magic_cli.models.fast.tree_attention import TreeAttention
from magic_cli.models.faults import Fault, ModelFault
from magic_cli.models.image_text.text_plan import Earlier, Ints, Places, TextPlan
from magic_cli.models.work_counter import WorkCounter


@dataclass
class CausalTextTower:
    """A pre-norm causal text tower that pools at the end token, and how to read its weights.

    Attributes:
        embed: Token ids (..., ) -> (..., D).
        positions: (context length, D) learned position embeddings.
        blocks: The transformer blocks in order.
        project: Final norm and projection of pooled states, (U, D) -> (U, E).
        num_heads: Attention heads.
        plain: The tower that this one is the packed form of; None if it is not packed.
    """

    embed: Callable[[Tensor], Tensor]
    positions: Tensor
    blocks: list[Block]
    project: nn.Module
    num_heads: int
    plain: CausalTextTower | None = None

    @property
    def context_length(self) -> int:
        return self.positions.shape[0]

    def packed(self) -> CausalTextTower:
        """A tower on packed copies of the weights: faster for the few tokens of a step."""
        return replace(self, blocks=[block.packed() for block in self.blocks], project=Chain(packed(self.project)), plain=self)

    def compiled(self) -> CausalTextTower:
        """A tower that runs what follows attention, the larger part, through torch.compile, which packs for itself."""
        plain = self.plain or self
        return replace(plain, blocks=[replace(block, mlp=compiled(block.mlp)) for block in plain.blocks])


def packed_attention_block(block: Any) -> Block:
    """Read a block built on ``nn.MultiheadAttention`` (OpenAI's ``clip``, OpenCLIP)."""
    use_lean_activations(block)
    attention = block.attn
    scale1, scale2 = getattr(block, "ls_1", nn.Identity()), getattr(block, "ls_2", nn.Identity())
    return Block(
        norm1=block.ln_1,
        query_key_value=linear(attention.in_proj_weight, attention.in_proj_bias),
        out=nn.Sequential(attention.out_proj, scale1),
        norm2=block.ln_2,
        mlp=nn.Sequential(block.mlp, scale2),
    )


def cut_at_end(ids: Sequence[int], end_id: int) -> list[int]:
    """Token ids up to and including the first end token (which is where CLIP pools).

    Raises:
        ModelFault: There is none, since the tokenizer is not the model's.

    >>> cut_at_end([1, 5, 2, 7, 2, 0], end_id=2)
    [1, 5, 2]
    """
    ids = list(ids)
    if end_id not in ids:
        remedy = "give it its own tokenizer (of CLIP's kind, which puts a start and an end token around every text)"
        raise ModelFault([Fault("tokenizer", f"its tokenizer ends no text with the end token, whose id is {end_id}", remedy)])
    return ids[: ids.index(end_id) + 1]


class IncrementalTexts:
    """Text session of B rows on a causal tower (implements ``protocols.TextSession``).

    Args:
        tower: The text tower.
        tokenize: Texts -> token ids with start and end token, at most the tower's context long.
        num_rows: B.
        work: Where texts and tokens are counted.
    """

    def __init__(
        self, tower: CausalTextTower, tokenize: Callable[[list[str]], list[list[int]]], num_rows: int, work: WorkCounter
    ) -> None:
        self.tower, self.tokenize, self.work = tower, tokenize, work
        context_length, width = tower.positions.shape
        self.shared = tower.positions.new_zeros(len(tower.blocks), num_rows, context_length, 2 * width)
        """(layers, B, context length, 2 D) keys and, beside them, values of the tokens that a row's candidates share."""
        self._earlier: Earlier | None = None
        self._computed: list[Tensor] = []
        """The same (N, 2 D) of the last step's tokens, layer by layer."""

    def select(self, rows: Tensor) -> None:
        """Keep only ``rows`` (R,); a copy of the session must not be used any more."""
        kept = rows.tolist()
        may_write = torch.is_inference_mode_enabled() or not self.shared.is_inference()
        if may_write and kept == sorted(set(kept)):  # some rows end, as in most methods: the others move up in the same memory
            length = 0 if self._earlier is None else int(self._earlier.plan.shared.max())
            for place, row in enumerate(kept):
                if place != row:
                    self.shared[:, place, :length] = self.shared[:, row, :length]
            self.shared = self.shared[:, : len(kept)]
        else:
            self.shared = self.shared.index_select(1, rows.to(self.shared.device))
        if self._earlier is not None:
            self._earlier = self._earlier.select(kept)

    def encode(self, texts: list[list[str]]) -> Tensor:
        """Projected features (B, K, E) of K texts for each of B rows."""
        with self.work.phase("text"):
            distinct = list(dict.fromkeys(text for row in texts for text in row))
            tokens = dict(zip(distinct, self.tokenize(distinct), strict=True))
            plan = TextPlan.of([tokens[text] for row in texts for text in row], len(texts), self._earlier)
        with self.work.phase("image_text_model"):
            features = self.tower.project.forward(self._forward(plan)).float()  # (U, D) -> (U, E)
            self._earlier = Earlier(plan, np.arange(len(texts)))
            self.work.add("texts_encoded", len(plan.ends))
            self.work.add("text_tokens", len(plan.ids))
            return features[self._on_device(plan.text_of)]

    def _forward(self, plan: TextPlan) -> Tensor:
        """Run the new tokens; returns the last block's output at the end tokens, (U, D)."""
        tower = self.tower
        ids, positions = self._on_device(np.stack([plan.ids, plan.positions]))
        ends = self._on_device(plan.ends)
        recalled, fresh = (self._on_device(self._flat(places)) for places in (plan.recalled, plan.fresh))
        attention = TreeAttention(plan, tower.num_heads, tower.positions.dtype, self._on_device)
        x = tower.embed(ids) + tower.positions[positions]  # (N, D)
        computed: list[Tensor] = []
        shared = self.shared.flatten(1, 2)  # (layers, B * context length, 2 D)
        for i, block in enumerate(tower.blocks):
            three = block.ask(x)
            computed.append(three[:, x.shape[1] :])
            for source, (tokens, at) in (self._computed, recalled), (computed, fresh):
                if len(tokens):
                    shared[i].index_copy_(0, at, source[i].index_select(0, tokens))
            is_last = block is tower.blocks[-1]  # nobody looks at the other tokens' outputs
            attended = attention(three, self.shared[i], ends_only=is_last)
            x = block.go_on(x.index_select(0, ends) if is_last else x, attended)
        self._computed = computed
        return x

    def _flat(self, places: Places) -> Ints:
        """(2, M): index among computed tokens, and where they go among all shared ones, (B * context length, 2 D)."""
        tokens, rows, at = places
        return np.stack([tokens, rows * self.shared.shape[2] + at])

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.shared.device, non_blocking=True)
