"""Slow, obvious twins of the story metrics, one text at a time."""

import math

import torch


def cosine(a, b) -> float:
    a, b = [float(x) for x in a], [float(x) for x in b]
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)))


def coherence(encode, titles, stories) -> float:
    """Mean cosine; ``encode`` turns one text into a vector."""
    total = 0.0
    for title, story in zip(titles, stories, strict=True):
        total += cosine(encode(title), encode(story)) if story.strip(" .!?") else 0.0
    return total / len(titles)


def pooled(model, tokenizer, text):
    """Pooled output of one text, alone, without padding."""
    with torch.inference_mode():
        return model(**tokenizer(text, return_tensors="pt")).pooler_output[0]


def last_state(model, ids):
    """Last-layer state of the last token, alone, without padding or mask."""
    with torch.inference_mode():
        return model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]


def cut_pairs(tokenizer, written, human, longest):
    """Token ids of each pair, the human story cut to as many tokens as the written one."""
    pairs = []
    for mine, other in zip(written, human, strict=True):
        ids = (tokenizer(mine)["input_ids"] or [tokenizer.eos_token_id])[:longest]
        pairs.append((ids, (tokenizer(other)["input_ids"] or [tokenizer.eos_token_id])[: len(ids)]))
    return pairs
