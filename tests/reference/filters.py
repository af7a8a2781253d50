"""Top-k, nucleus and typical sampling as loops over one list of logits: each returns the set of tokens that may be drawn."""

import math


def softmax(logits: list[float]) -> list[float]:
    """Softmax of a list, in double precision."""
    largest = max(logits)
    exponentials = [math.exp(value - largest) for value in logits]
    total = sum(exponentials)
    return [value / total for value in exponentials]


def top_k(logits: list[float], k: int) -> set[int]:
    """The k most likely tokens."""
    return set(sorted(range(len(logits)), key=lambda i: -logits[i])[:k])


def nucleus(logits: list[float], p: float) -> set[int]:
    """The fewest most likely tokens whose mass reaches p."""
    probs = softmax(logits)
    return _until_mass(sorted(range(len(logits)), key=lambda i: -probs[i]), probs, p)


def typical(logits: list[float], mass: float) -> set[int]:
    """The fewest tokens nearest to the entropy in surprise whose mass reaches ``mass``."""
    probs = softmax(logits)
    entropy = -sum(q * math.log(q) for q in probs if q > 0)
    distance = [abs(-math.log(q) - entropy) if q > 0 else math.inf for q in probs]
    return _until_mass(sorted(range(len(logits)), key=lambda i: distance[i]), probs, mass)


def _until_mass(order: list[int], probs: list[float], mass: float) -> set[int]:
    kept, total = set(), 0.0
    for i in order:
        kept.add(i)
        total += probs[i]
        if total >= mass:
            break
    return kept
