"""Generative vokens: new tokens of a language model whose rows alone are trained.

The tokens ``[IMG0]`` to ``[IMG{n-1}]`` stand for an image that is drawn, ``<ImageHere>`` for one that is read. Their rows of the
input and output embeddings start as the mean of the old rows. During training they are separate parameters that hide the rows
below. So no gradient, weight decay or rounding reaches an old row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from magic_cli.errors import MagicError
from magic_cli.models.language.bodies import num_embeddings
from magic_cli.models.tokenizers import num_ids

IMAGE_SLOT = "<ImageHere>"


def voken_names(number: int) -> list[str]:
    """The names of the vokens.

    >>> voken_names(2)
    ['[IMG0]', '[IMG1]']
    """
    return [f"[IMG{i}]" for i in range(number)]


@dataclass(frozen=True)
class VokenIds:
    """Ids of the new tokens; they are consecutive."""

    vokens: tuple[int, ...]
    """Ids of ``[IMG0]`` to ``[IMG{n-1}]``."""
    slot: int
    """Id of ``<ImageHere>``."""

    @property
    def rows(self) -> slice:
        """Their rows in the embeddings."""
        return slice(self.vokens[0], self.slot + 1)


def add_vokens(tokenizer: Any, model: Any, number: int) -> VokenIds:
    """Add the new tokens to a tokenizer and their rows to its model. Each row starts as the mean of the old rows.

    Args:
        tokenizer: Changed in place.
        model: A Hugging Face causal LM, changed in place.
        number: Number of vokens (n).

    Raises:
        MagicError: The tokenizer already has some of the tokens.
    """
    names = [*voken_names(number), IMAGE_SLOT]
    known = [name for name in names if name in tokenizer.get_vocab()]
    if known:
        raise MagicError(
            f"interleaved_model.language_model: its tokenizer has the token {known[0]!r} already; name a model without vokens"
        )
    old = num_ids(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": names}, replace_extra_special_tokens=False)
    ids = tokenizer.convert_tokens_to_ids(names)
    if ids != list(range(old, old + len(names))):
        raise MagicError("interleaved_model.language_model: its tokenizer does not give new tokens the next ids; use another")
    tables = {id(table.weight): table for table in (model.get_input_embeddings(), model.get_output_embeddings())}
    means = [table.weight.detach()[:old].float().mean(dim=0) for table in tables.values()]  # each (D,)
    if num_ids(tokenizer) > num_embeddings(model):
        model.resize_token_embeddings(num_ids(tokenizer), mean_resizing=False)
    vokens = VokenIds(tuple(ids[:-1]), ids[-1])
    tables = {id(table.weight): table for table in (model.get_input_embeddings(), model.get_output_embeddings())}
    with torch.no_grad():
        for table, mean in zip(tables.values(), means, strict=True):
            table.weight[vokens.rows] = mean.to(table.weight.dtype)
    return vokens


class NewRows(nn.Module):
    """The rows of the new tokens as float32 parameters, which hide the model's own rows during training.

    Args:
        model: A causal LM with the vokens added.
        ids: Their ids.

    Attributes:
        input: (n + 1, D) rows of the input embeddings.
        output: (n + 1, D) rows of the output embeddings; None if the model uses one table for both.
    """

    def __init__(self, model: Any, ids: VokenIds) -> None:
        super().__init__()
        self.ids = ids
        embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
        self._tables = (embeddings, head)  # a tuple hides them from torch, so that this module does not own them
        self.input = nn.Parameter(embeddings.weight.detach()[ids.rows].float().clone())
        self.output = None if head.weight is embeddings.weight else nn.Parameter(head.weight.detach()[ids.rows].float().clone())

    def embed(self, token_ids: Tensor) -> Tensor:
        """Input embeddings (..., D) of token ids (...)."""
        embeddings, _ = self._tables
        old, rows = embeddings(token_ids), self.ids.rows
        is_new = (token_ids >= rows.start) & (token_ids < rows.stop)
        new = nn.functional.embedding((token_ids - rows.start).clamp(0, rows.stop - rows.start - 1), self.input)
        return torch.where(is_new[..., None], new.to(old.dtype), old)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores (N, V) in float32 for the token after hidden states (N, H)."""
        _, head = self._tables
        old, rows = head(hidden).float(), self.ids.rows
        weight = self.input if self.output is None else self.output
        new = nn.functional.linear(hidden.float(), weight)  # (N, n + 1)
        if head.bias is not None:
            new = new + head.bias[rows].float()
        return torch.cat([old[:, : rows.start], new, old[:, rows.stop :]], dim=1)

    @torch.no_grad()
    def bake(self) -> None:
        """Write the rows into the model's own tables."""
        for table, weight in zip(self._tables, (self.input, self.output), strict=True):
            if weight is not None:
                table.weight[self.ids.rows] = weight.to(table.weight)


def voken_features(hidden: Tensor, is_first: Tensor, number: int) -> Tensor:
    """The states (B, n, H) that predict the vokens, from (B, T, H) and a mask (B, T) of ``[IMG0]``, which is once in each row.

    ``[IMG0]`` at position p is predicted by the state at p - 1, and so on, up to ``[IMG{n-1}]`` by the state at p + n - 2.
    """
    first = is_first.int().argmax(dim=1) - 1  # (B,)
    places = first[:, None] + torch.arange(number, device=hidden.device)  # (B, n)
    return hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))


def refuse_reserved(texts: Sequence[str], number: int) -> None:
    """Refuse texts that contain the names of the new tokens, because they would be read as these tokens.

    Raises:
        MagicError: A text contains one.
    """
    for text in texts:
        for name in (*voken_names(number), IMAGE_SLOT):
            if name in text:
                raise MagicError(f"a text holds {name!r}, which stands for an image ({text[:60]!r}); take it out of the text")
