"""The text tower that distil_embedded_text_tower.py trains: how it begins, and how it reads a caption's unfinished versions with it.

Shapes: H width, G captions, P texts of each (itself, then unfinished ones), L tokens, E embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModelWithProjection


def new_tower(model: Any, start_id: int, embedding: int, *, units: int, positions: int) -> CLIPTextModelWithProjection:
    """An untrained tower that reads as a GPT-2 does: the same tokens, blocks of the same kind, of each the units that matter most.

    Args:
        model: A ``GPT2LMHeadModel``.
        start_id: Token that opens a text.
        embedding: E.
        units: Of each feed-forward block.
        positions: Twice the longest text, in tokens.
    """
    body, end = model.transformer, model.config.eos_token_id
    config = CLIPTextConfig(
        vocab_size=model.config.vocab_size, hidden_size=model.config.n_embd, num_hidden_layers=model.config.n_layer,
        num_attention_heads=model.config.n_head, intermediate_size=units, max_position_embeddings=positions, hidden_act="gelu",
        layer_norm_eps=model.config.layer_norm_epsilon, projection_dim=embedding, bos_token_id=start_id, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    network = CLIPTextModelWithProjection(config)
    tower = network.text_model
    pairs = [(tower.embeddings.token_embedding, body.wte), (tower.final_layer_norm, body.ln_f)]
    with torch.no_grad():
        tower.embeddings.position_embedding.weight.copy_(body.wpe.weight[:positions])
        for layer, block in zip(tower.encoder.layers, body.h, strict=True):
            pairs += [(layer.layer_norm1, block.ln_1), (layer.layer_norm2, block.ln_2)]
            attention, weights, biases = layer.self_attn, block.attn.c_attn.weight.chunk(3, 1), block.attn.c_attn.bias.chunk(3)
            for product, weight, bias in zip(
                (attention.q_proj, attention.k_proj, attention.v_proj), weights, biases, strict=True
            ):
                product.weight.copy_(weight.T)  # GPT-2's lie the other way round
                product.bias.copy_(bias)
            attention.out_proj.weight.copy_(block.attn.c_proj.weight.T)
            attention.out_proj.bias.copy_(block.attn.c_proj.bias)
            widen, narrow = block.mlp.c_fc, block.mlp.c_proj
            best = (widen.weight.norm(dim=0) * narrow.weight.norm(dim=1)).topk(units).indices
            layer.mlp.fc1.weight.copy_(widen.weight[:, best].T)
            layer.mlp.fc1.bias.copy_(widen.bias[best])
            layer.mlp.fc2.weight.copy_(narrow.weight[best].T)
            layer.mlp.fc2.bias.copy_(narrow.bias)
    for mine, its in pairs:
        mine.load_state_dict(its.state_dict())
    return network


@dataclass
class Packed:
    """Captions with the tails of their unfinished versions behind them, one row a caption.

    Attributes:
        ids: (G, L) tokens.
        positions: (G, L) place of each in its text.
        sees: (G, 1, L, L) which tokens each attends to: the caption's up to the place where its text parts from the caption, and
            its own tail's up to itself.
        ends: (G, P) where each text's end token lies.
    """

    ids: Tensor
    positions: Tensor
    sees: Tensor
    ends: Tensor


def pack(groups: Sequence[Sequence[Sequence[int]]]) -> Packed:
    """Put P texts of each caption, token ids with start and end, into one row, what they share only once."""
    rows, ends = [], []
    for caption, *others in groups:
        row = [(token, place, place + 1, 0) for place, token in enumerate(caption)]  # token, position, limit, tail
        ends.append([len(row) - 1])
        for tail, text in enumerate(others, start=1):
            shared = next((i for i, (a, b) in enumerate(zip(caption, text, strict=False)) if a != b), len(text) - 1)
            row += [(text[place], place, shared, tail) for place in range(shared, len(text))]
            ends[-1].append(len(row) - 1)
        rows.append(row)
    width = max(map(len, rows))
    grid = torch.tensor([row + [(0, 0, 1, -1)] * (width - len(row)) for row in rows])  # (G, L, 4)
    ids, positions, limits, tails = grid.unbind(2)
    place = torch.arange(width)
    of_caption = (tails[:, None] == 0) & (place < limits[:, :, None])
    of_tail = (tails[:, None] == tails[:, :, None]) & (tails[:, :, None] > 0) & (place <= place[:, None])
    return Packed(ids, positions, (of_caption | of_tail)[:, None], torch.tensor(ends))


def embed(network: CLIPTextModelWithProjection, packed: Packed) -> Tensor:
    """(G, P, E) float32, rows of length 1."""
    states = network.text_model(input_ids=packed.ids, position_ids=packed.positions, attention_mask=packed.sees).last_hidden_state
    pooled = states[torch.arange(len(states))[:, None], packed.ends]  # (G, L, H) -> (G, P, H)
    return functional.normalize(network.text_projection(pooled).float(), dim=-1)
