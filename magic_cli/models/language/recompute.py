"""The way to look ahead that every model can go: nothing is kept, everything is read again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from magic_cli.decoding.prompts import Prompt
from magic_cli.models.language.lookahead import LookAhead, Peek, State, left_pad


class Recompute(LookAhead):
    """No cache and no padding: every candidate's whole sequence is read again. Slow, and right for every model."""

    name = "recompute"

    def prefill(self, prompts: Sequence[Prompt]) -> State:
        ids, valid = left_pad([prompt.readable for prompt in prompts], self.network.device)
        vectors = self._vectors(prompts, ids)
        parts = [
            (rows, tokens.shape[1], self.network.hidden(tokens, use_cache=False, **instead)[0])
            for rows, tokens, instead in self._same_length(ids, valid, vectors)
        ]
        first = parts[0][-1]
        hidden = first.new_zeros(*ids.shape, first.shape[-1])
        for rows, length, part in parts:
            hidden[rows, ids.shape[1] - length :] = part
        state = State(ids, valid, hidden, logits=hidden.new_zeros(0), vectors=vectors)
        state.logits = self._logits(state)
        return state

    def peek(self, state: State, ids: Tensor, wanted: Tensor | None = None) -> Tensor:
        wanted = torch.ones_like(ids, dtype=torch.bool) if wanted is None else wanted
        peeked = state.hidden.new_full((*ids.shape, state.hidden.shape[-1]), torch.nan)
        for rows, tokens, instead in self._same_length(state.ids, state.valid, state.vectors):
            group, columns = wanted[rows].nonzero(as_tuple=True)
            if not len(group):
                continue
            new = ids[rows[group], columns, None]
            sequences = torch.cat([tokens[group], new], dim=1)
            if instead:
                instead = {"inputs_embeds": torch.cat([instead["inputs_embeds"][group], self.network.embed(new)], dim=1)}
            hidden, _ = self.network.hidden(sequences, use_cache=False, **instead)
            peeked[rows[group], columns] = hidden[:, -1]
        state.peeked = Peek(ids, peeked)
        return peeked

    def commit(self, state: State, choice: Tensor) -> None:
        state.append(choice)
        state.logits = self._logits(state)

    def _logits(self, state: State) -> Tensor:
        if self.network.head_is_plain:
            return self.network.logits(state.hidden[:, -1])
        groups = self._same_length(state.ids, state.valid, state.vectors)
        parts = [(rows, self.network.own_logits(ids, use_cache=False, **instead)) for rows, ids, instead in groups]
        order = torch.cat([rows for rows, _ in parts]).argsort()
        return torch.cat([logits for _, logits in parts])[order]

    def _same_length(self, ids: Tensor, valid: Tensor, vectors: Tensor | None) -> list[tuple[Tensor, Tensor, dict[str, Tensor]]]:
        """Rows of equal length together: [(row indices, their unpadded tokens, what is read instead of these if not the tokens)]."""
        if vectors is not None:  # those of the prompts; what was written since has its tokens' own
            vectors = torch.cat([vectors, self.network.embed(ids[:, vectors.shape[1] :])], dim=1)
        lengths = valid.sum(dim=1)
        groups = []
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().squeeze(1)
            first = ids.shape[1] - length
            groups.append((rows, ids[rows, first:], {} if vectors is None else {"inputs_embeds": vectors[rows, first:]}))
        return groups
