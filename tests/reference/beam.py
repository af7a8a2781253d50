"""Beam search over log probability and image together in plain Python: no cache, every text read anew by both models."""

import math
from collections.abc import Callable, Sequence

import torch

from tests.reference.search import read


def beam(
    network: torch.nn.Module,
    prompt: list[int],
    *,
    decoding_len: int,
    num_beams: int,
    k: int,
    ends: Sequence[int],
    match: Callable[[list[list[int]]], list[float]],
    length_penalty: float = 1.0,
) -> list[int]:
    """Generated ids of the text with the greatest worth.

    Args:
        network: Hugging Face causal LM.
        prompt: Token ids.
        decoding_len: Tokens in all, prompt included.
        num_beams: Texts that are kept.
        k: Continuations of a step that are matched, the likeliest of all kept texts.
        ends: Tokens that end a text.
        match: Texts (generated ids) -> what is added to each one's averaged log probability, weights included.
        length_penalty: The log probability is divided by length to this power.
    """
    running, finished = [(0.0, [])], []
    while True:
        texts = []
        for total, ids in running:
            [(logits, _)] = read(network, [[*prompt, *ids]])
            norm = math.log(sum(math.exp(value) for value in logits))
            texts += [(total + value - norm, [*ids, token]) for token, value in enumerate(logits)]
        texts = sorted(texts, key=lambda text: -text[0])[:k]
        length = len(texts[0][1])
        matches = match([ids for _, ids in texts])
        ranked = sorted(
            ((total / length**length_penalty + fit, total, ids) for (total, ids), fit in zip(texts, matches, strict=True)),
            key=lambda text: -text[0],
        )
        is_last = len(prompt) + length == decoding_len
        running = [(total, ids) for _, total, ids in ranked if ids[-1] not in ends][:num_beams]
        best_running = max((worth for worth, _, ids in ranked if ids[-1] not in ends), default=-math.inf)
        finished += [(ids[-1] in ends, worth, ids) for worth, _, ids in ranked[:num_beams] if ids[-1] in ends or is_last]
        finished = sorted(finished, key=lambda text: (not text[0], -text[1]))[:num_beams]
        if is_last or (len(finished) == num_beams and best_running <= finished[-1][1]):
            return finished[0][2]
