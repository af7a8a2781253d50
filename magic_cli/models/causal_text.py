"""Incremental encoding with a causal CLIP text tower: only what is new in a text is computed.

CLIP's text tower is causal, so what the candidates of a row share with the text so far keeps its keys and values from
step to step. Each step runs the newly shared tokens and every candidate's differing tail plus end token as one tree:
a token sees the shared tokens before it and those of its own candidate. Tokenising the longer text may rewrite the
last word, so what is shared is decided on token ids, never on strings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from magic_cli.work import Work

_SHARED, _PADDING = -1, -2  # owner of a token that belongs to no single candidate


@dataclass
class Block:
    """The parts of one transformer block, whatever the library calls them; all map (..., D) to (..., D)."""

    norm1: Callable[[Tensor], Tensor]
    query: Callable[[Tensor], Tensor]
    key_value: Callable[[Tensor], tuple[Tensor, Tensor]]
    out: Callable[[Tensor], Tensor]
    norm2: Callable[[Tensor], Tensor]
    mlp: Callable[[Tensor], Tensor]


@dataclass
class CausalTextTower:
    """A pre-norm causal text tower that pools at the end token, and how to read its weights.

    Attributes:
        embed: Token ids (..., ) -> (..., D).
        positions: (context length, D) learned position embeddings.
        blocks: The transformer blocks in order.
        project: Final norm and projection of pooled states, (..., D) -> (..., E).
        num_heads: Attention heads.
    """

    embed: Callable[[Tensor], Tensor]
    positions: Tensor
    blocks: list[Block]
    project: Callable[[Tensor], Tensor]
    num_heads: int

    @property
    def context_length(self) -> int:
        return self.positions.shape[0]


def packed_attention_block(block: nn.Module) -> Block:
    """Read a block built on ``nn.MultiheadAttention`` (OpenAI's ``clip``, OpenCLIP)."""
    attention, width = block.attn, block.attn.embed_dim
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    scale1, scale2 = getattr(block, "ls_1", nn.Identity()), getattr(block, "ls_2", nn.Identity())
    return Block(
        norm1=block.ln_1,
        query=lambda x: nn.functional.linear(x, weight[:width], bias[:width]),
        key_value=lambda x: nn.functional.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1),
        out=lambda x: scale1(attention.out_proj(x)),
        norm2=block.ln_2,
        mlp=lambda x: scale2(block.mlp(x)),
    )


def cut_at_end(ids: Sequence[int], end_id: int) -> list[int]:
    """Token ids up to and including the first end token (which is where CLIP pools).

    >>> cut_at_end([1, 5, 2, 7, 2, 0], end_id=2)
    [1, 5, 2]
    """
    ids = list(ids)
    return ids[: ids.index(end_id) + 1]


@dataclass
class _Plan:
    """What one row computes in one step."""

    reused: int
    """Leading tokens whose keys and values are already kept."""
    shared: tuple[int, ...]
    """Tokens that all candidates share; kept afterwards."""
    tails: list[list[int]]
    """What is left of each distinct text, end token included."""
    tail_of: list[int]
    """(K) distinct text of each candidate."""

    @classmethod
    def of(cls, texts: Sequence[tuple[int, ...]], kept: tuple[int, ...]) -> _Plan:
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        shared = _common_prefix([text[:-1] for text in distinct])
        return cls(
            reused=len(_common_prefix([shared, kept])),
            shared=shared,
            tails=[list(text[len(shared) :]) for text in distinct],
            tail_of=[distinct[text] for text in texts],
        )


@dataclass
class _Tokens:
    """The new tokens of all rows, padded to S."""

    ids: Tensor
    """(B, S)"""
    positions: Tensor
    """(B, S) place of the token in its text."""
    owners: Tensor
    """(B, S) distinct text that the token belongs to, ``_SHARED`` or ``_PADDING``."""
    ends: Tensor
    """(B, U) index in S of each distinct text's end token."""
    number: int = field(default=0)
    """Real tokens."""


class IncrementalTexts:
    """Text session of B rows on a causal tower (implements ``protocols.TextSession``).

    Args:
        tower: The text tower.
        tokenize: Texts -> token ids with start and end token, at most the tower's context long.
        num_rows: B.
        work: Where texts and tokens are counted.
    """

    def __init__(
        self, tower: CausalTextTower, tokenize: Callable[[list[str]], list[list[int]]], num_rows: int, work: Work
    ) -> None:
        self.tower, self.tokenize, self.work = tower, tokenize, work
        self.kept: list[tuple[int, ...]] = [() for _ in range(num_rows)]
        head_dim = tower.positions.shape[1] // tower.num_heads
        shape = (len(tower.blocks) - 1, num_rows, tower.num_heads, tower.context_length, head_dim)
        # the last block's are needed within a step only
        self.keys = tower.positions.new_zeros(*shape)
        self.values = tower.positions.new_zeros(*shape)
        self._last = [tower.positions.new_zeros(shape[1:]) for _ in range(2)]

    def select(self, rows: Tensor) -> None:
        """Keep only ``rows`` (R,)."""
        self.kept = [self.kept[i] for i in rows.tolist()]
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self._last = [tensor[rows] for tensor in self._last]

    def encode(self, texts: list[list[str]]) -> Tensor:
        """Projected features (B, K, E) of K texts for each of B rows."""
        with self.work.phase("text"):
            tokenized = iter(self.tokenize([text for row in texts for text in row]))
        with self.work.phase("image_text_model"):
            plans = [
                _Plan.of([tuple(next(tokenized)) for _ in row], kept) for row, kept in zip(texts, self.kept, strict=True)
            ]
            tokens = self._gather(plans)
            pooled = self._forward(tokens, torch.tensor([plan.reused for plan in plans], device=tokens.ids.device))
            self.kept = [plan.shared for plan in plans]
            index = torch.tensor([plan.tail_of for plan in plans], device=pooled.device)
            features = self.tower.project(pooled)  # (B, U, D) -> (B, U, E)
            self.work.add("texts_encoded", sum(len(plan.tails) for plan in plans))
            self.work.add("text_tokens", tokens.number)
            return features.gather(1, index[:, :, None].expand(-1, -1, features.shape[-1])).float()

    def _gather(self, plans: list[_Plan]) -> _Tokens:
        rows, ends = [], []
        for plan in plans:
            fresh = plan.shared[plan.reused :]
            row = [(token, plan.reused + i, _SHARED) for i, token in enumerate(fresh)]
            row_ends = []
            for owner, tail in enumerate(plan.tails):
                row += [(token, len(plan.shared) + i, owner) for i, token in enumerate(tail)]
                row_ends.append(len(row) - 1)
            rows.append(row)
            ends.append(row_ends)
        width, most = max(map(len, rows)), max(map(len, ends))
        number = sum(map(len, rows))
        for row, row_ends in zip(rows, ends, strict=True):
            row += [(0, 0, _PADDING)] * (width - len(row))
            row_ends += [0] * (most - len(row_ends))
        ids, positions, owners = torch.tensor(rows, device=self.keys.device).unbind(dim=2)
        return _Tokens(ids, positions, owners, torch.tensor(ends, device=self.keys.device), number)

    def _forward(self, tokens: _Tokens, reused: Tensor) -> Tensor:
        """Run the new tokens; returns the last block's output at the end tokens, (B, U, D)."""
        tower, longest = self.tower, int(reused.max())
        x = tower.embed(tokens.ids) + tower.positions[tokens.positions]  # (B, S, D)
        mask = self._mask(tokens, reused, longest, x.dtype)
        fresh = (tokens.owners == _SHARED).nonzero(as_tuple=True)  # (row, index in S)
        place = tokens.positions[fresh]
        rows = torch.arange(len(x), device=x.device)[:, None]
        for i, block in enumerate(tower.blocks):
            is_last = i == len(tower.blocks) - 1
            kept_keys, kept_values = self._last if is_last else (self.keys[i], self.values[i])
            normed = block.norm1(x)
            keys, values = map(self._heads, block.key_value(normed))  # (B, heads, S, D / heads)
            if is_last:  # nobody looks at the other positions' outputs
                normed, x, mask = normed[rows, tokens.ends], x[rows, tokens.ends], mask[rows, 0, tokens.ends][:, None]
            attended = nn.functional.scaled_dot_product_attention(
                self._heads(block.query(normed)),
                torch.cat([kept_keys[:, :, :longest], keys], dim=2),
                torch.cat([kept_values[:, :, :longest], values], dim=2),
                attn_mask=mask,
            )
            x = x + block.out(attended.transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm2(x))
            kept_keys[fresh[0], :, place] = keys[fresh[0], :, fresh[1]]
            kept_values[fresh[0], :, place] = values[fresh[0], :, fresh[1]]
        return x

    def _heads(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (B, heads, S, D / heads)."""
        return x.unflatten(-1, (self.tower.num_heads, -1)).transpose(1, 2)

    def _mask(self, tokens: _Tokens, reused: Tensor, longest: int, dtype: torch.dtype) -> Tensor:
        """Additive mask (B, 1, S, longest + S): a token sees shared ones and its own text's, up to its place."""
        kept_places = torch.arange(longest, device=reused.device).expand(len(reused), -1)
        kept_owners = torch.where(kept_places < reused[:, None], _SHARED, _PADDING)
        places = torch.cat([kept_places, tokens.positions], dim=1)[:, None]  # (B, 1, longest + S)
        owners = torch.cat([kept_owners, tokens.owners], dim=1)[:, None]
        same = (owners == _SHARED) | (owners == tokens.owners[:, :, None])
        seen = same & (places <= tokens.positions[:, :, None])  # -> (B, S, longest + S)
        return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def _common_prefix(sequences: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Longest prefix that all sequences share (of integers: it lies between the smallest and the largest)."""
    low, high = min(sequences), max(sequences)
    for i, token in enumerate(low):
        if i == len(high) or high[i] != token:
            return low[:i]
    return low
