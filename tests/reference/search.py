"""MAGIC search and contrastive search as the released code runs them: one image, no cache at all, nothing skipped.

Every candidate's whole sequence goes through the language model again, every candidate's whole text through the
image-text model, and decoding runs to its full length.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Outcome:
    """What the search wrote, and how clear its decisions were."""

    ids: list[int] = field(default_factory=list)
    """Generated tokens, prompt excluded."""
    smallest_margin: float = math.inf
    """Smallest difference between the best and the second-best score of a step."""
    smallest_gap: float = math.inf
    """Smallest difference between the k-th and the (k+1)-th logit of a step."""
    steps: list[dict[str, list]] = field(default_factory=list)
    """``token_ids``, ``p``, ``penalty``, ``f`` and ``score`` of every step's candidates."""


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of two vectors."""
    return float(a @ b / (a.norm() * b.norm()))


def softmax(values: list[float]) -> list[float]:
    """Softmax of a list."""
    largest = max(values)
    exponentials = [math.exp(value - largest) for value in values]
    total = sum(exponentials)
    return [value / total for value in exponentials]


def search(
    network: torch.nn.Module,
    prompt: list[int],
    *,
    decoding_len: int,
    k: int,
    alpha: float,
    match: Callable[[list[list[int]]], list[float]] | None = None,
    beta: float = 0.0,
    others: Sequence[tuple[Callable[[list[list[int]]], list[float]], float]] = (),
    joining: Sequence[int] = (),
    most: int = 0,
    floor: float = 0.0,
) -> Outcome:
    """MAGIC search (contrastive search without ``match``).

    Args:
        network: Hugging Face causal LM.
        prompt: Token ids.
        decoding_len: Tokens in all, prompt included.
        k: Candidates a step.
        alpha: Weight of the degeneration penalty.
        match: Generated ids, candidate included -> what stands inside the softmax of the magic score, for all k candidates.
        beta: Weight of the magic score.
        others: More matches, each with its weight, whose scores are added.
        joining: Tokens of which the ``most`` likeliest join the candidates, if their probability is at least ``floor``.
    """
    outcome, ids = Outcome(), list(prompt)
    while len(ids) < decoding_len:
        logits, hidden = read(network, [ids])[0]
        probabilities = softmax(logits)
        ranked = sorted(range(len(logits)), key=lambda i: -logits[i])
        candidates = ranked[:k]
        outcome.smallest_gap = min(outcome.smallest_gap, logits[ranked[k - 1]] - logits[ranked[k]])
        candidates += [i for i in ranked[k:] if i in joining and probabilities[i] >= floor][:most]
        p = [probabilities[i] for i in candidates]
        extended = read(network, [[*ids, i] for i in candidates])
        penalty = [max(cosine(states[-1], past) for past in hidden) for _, states in extended]
        generated = ids[len(prompt) :]
        f = softmax(match([[*generated, i] for i in candidates])) if match else [0.0] * len(candidates)
        score = [(1 - alpha) * p[i] - alpha * penalty[i] + beta * f[i] for i in range(len(candidates))]
        for other, weight in others:
            more = softmax(other([[*generated, i] for i in candidates]))
            score = [score[i] + weight * more[i] for i in range(len(candidates))]
        best = score.index(max(score))
        if k > 1:
            outcome.smallest_margin = min(outcome.smallest_margin, score[best] - sorted(score)[-2])
        outcome.steps.append({"token_ids": candidates, "p": p, "penalty": penalty, "f": f, "score": score})
        ids.append(candidates[best])
    outcome.ids = ids[len(prompt) :]
    return outcome


@torch.inference_mode()
def read(network: torch.nn.Module, sequences: list[list[int]]) -> list[tuple[list[float], Tensor]]:
    """Of each of several equally long sequences: next-token logits, and the last layer's hidden states (T, H)."""
    out = network(torch.tensor(sequences), output_hidden_states=True, use_cache=False)
    return [(logits[-1].tolist(), hidden.double()) for logits, hidden in zip(out.logits, out.hidden_states[-1], strict=True)]


def released_match(
    decode: Callable[[list[int]], str],
    encode_texts: Callable[[list[str]], Tensor],
    image: Tensor,
    *,
    logit_scale: float,
    window: int = 60,
) -> Callable[[list[list[int]]], list[float]]:
    """The match of the released code: last 60 tokens, special tokens kept in the text, scaled cosine."""

    def match(sequences: list[list[int]]) -> list[float]:
        features = encode_texts([decode(ids[-window:]) for ids in sequences])
        return [logit_scale * cosine(text, image) for text in features]

    return match


def paper_match(
    decode: Callable[[list[int]], str], encode_texts: Callable[[list[str]], Tensor], image: Tensor, words: list[int]
) -> Callable[[list[list[int]]], list[float]]:
    """The match as the paper prints it: prompt words and generated text, dot product."""
    return lambda sequences: (encode_texts([decode([*words, *ids]) for ids in sequences]) @ image).tolist()
