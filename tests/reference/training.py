"""Slow, obvious twins of the training objective, in plain loops over sequences and token pairs."""

import math


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def mean_cross_entropy(logits, labels, ignored=-100):
    """Mean of -log softmax(logits)[label] over the tokens whose label is not ignored; nested lists (B, T, V) and (B, T)."""
    losses = []
    for rows, targets in zip(logits, labels, strict=True):
        for row, target in zip(rows, targets, strict=True):
            if target != ignored:
                losses.append(math.log(sum(math.exp(x) for x in row)) - row[target])
    return sum(losses) / len(losses)


def contrastive(hidden, lengths, margin, per_sequence):
    """SimCTG's contrastive loss: mean over pairs i != j of max(0, margin - s(i, i) + s(i, j)); over all, or text by text."""
    pairs_of_texts = []
    for states, length in zip(hidden, lengths, strict=True):
        pairs = [
            max(0.0, margin - cosine(states[i], states[i]) + cosine(states[i], states[j]))
            for i in range(length)
            for j in range(length)
            if i != j
        ]
        if pairs:
            pairs_of_texts.append(pairs)
    if per_sequence:
        means = [sum(pairs) / len(pairs) for pairs in pairs_of_texts]
        return sum(means) / len(means)
    every = [pair for pairs in pairs_of_texts for pair in pairs]
    return sum(every) / len(every)


def similarity(states):
    """Mean cosine of all ordered pairs of different tokens of one text."""
    values = [cosine(a, b) for i, a in enumerate(states) for j, b in enumerate(states) if i != j]
    return sum(values) / len(values)


def adamw_step(weight, gradient, *, lr, beta1, beta2, eps, weight_decay):
    """First AdamW update of one number (Loshchilov and Hutter 2019, algorithm 2), moments starting at 0."""
    mean = (1 - beta1) * gradient / (1 - beta1)
    square = (1 - beta2) * gradient**2 / (1 - beta2)
    return weight - lr * weight_decay * weight - lr * mean / (math.sqrt(square) + eps)
