"""How many tokens a model reads: its config's limit, less the positions that are kept for padding."""

from __future__ import annotations

from typing import Any

from torch import nn

_MOST_TOKENS = 512
"""For encoders whose config names no limit: the number of BERT's positions."""


def most_positions(config: Any) -> int | None:
    """Most tokens that a model with this config reads; None: it names no limit (XLNet's is -1)."""
    config = config.get_text_config()
    limits = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len"))
    return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)


def usable_positions(model: nn.Module) -> int | None:
    """Most tokens that a model reads; None: no limit is known.

    RoBERTa and its kin count positions from behind the padding token's id, so that the first rows of the embedding are of no use.
    """
    limit = most_positions(model.config)
    embeddings = (
        module
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    )
    tables = [(table.num_embeddings, table.padding_idx + 1) for table in embeddings if table.padding_idx is not None]
    return min((size - unused for size, unused in tables if size == limit), default=limit)


def longest_text(model: nn.Module, tokenizer: Any) -> int:
    """Tokens at which a text is cut, special ones included, for an encoder and its tokenizer."""
    named = tokenizer.model_max_length  # a huge number where it names none
    return min(usable_positions(model) or _MOST_TOKENS, named if named and named > 0 else _MOST_TOKENS)
