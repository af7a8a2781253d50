"""ZeroCap as REFERENCE section 6 tells it: plain loops, every text encoded anew, every context read anew, plain autograd."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache


@dataclass
class Numbers:
    """The settings, with the names of the description."""

    beams: int = 1
    length: int = 16
    iterations: int = 5
    texts: int = 512
    temperature: float = 0.01
    clip_scale: float = 1.0
    ce_scale: float = 0.2
    step_size: float = 0.3
    grad_norm_factor: float = 0.9
    fusion: float = 0.99
    repetition_penalty: float = 1.0
    end_factor: float = 1.01
    forbidden_factor: float = 20.0


@dataclass
class World:
    """Models and what is known about their tokens."""

    network: torch.nn.Module
    decode: Callable[[list[int]], str]
    encode_texts: Callable[[list[str]], Tensor]
    image: Tensor
    end: int
    forbidden: set[int]


def read(world: World, tokens: list[int]) -> list[list[Tensor]]:
    """Keys and values of all layers for some tokens."""
    cache = DynamicCache()
    with torch.no_grad():
        world.network(torch.tensor([tokens]), past_key_values=cache)
    return [[layer.keys.clone(), layer.values.clone()] for layer in cache.layers]


def next_logits(world: World, last: int, layers: list[list[Tensor]]) -> Tensor:
    """(V) scores of what follows the last token on a context."""
    cache = DynamicCache()
    for number, (keys, values) in enumerate(layers):
        cache.update(keys, values, number)
    return world.network(torch.tensor([[last]]), past_key_values=cache).logits[0, -1]


def moved(layers: list[list[Tensor]], deltas: list[list[Tensor]]) -> list[list[Tensor]]:
    return [[x + d for x, d in zip(pair, change, strict=True)] for pair, change in zip(layers, deltas, strict=True)]


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def clip_target(world: World, numbers: Numbers, tokens: list[int], p: Tensor) -> Tensor:
    """t: softmax of cosine over temperature on the likeliest tokens, zero elsewhere."""
    best = sorted(range(len(p)), key=lambda v: -float(p[v]))[: numbers.texts]
    texts = [world.decode([*tokens[1:], v]) for v in best]
    features = world.encode_texts(texts)
    match = torch.tensor([cosine(feature, world.image) / numbers.temperature for feature in features], dtype=p.dtype)
    target = torch.zeros_like(p)
    for v, value in zip(best, match.softmax(0), strict=True):
        target[v] = value
    return target


def next_token_log_p(world: World, numbers: Numbers, tokens: list[int], step: int) -> Tensor:
    """(V) log probabilities of the next token after steps (1) to (4)."""
    layers, last = read(world, tokens[:-1]), tokens[-1]
    with torch.no_grad():
        p0 = next_logits(world, last, layers).softmax(0)
    deltas = [[torch.zeros_like(x) for x in pair] for pair in layers]
    for _ in range(numbers.iterations):
        for pair in deltas:
            for delta in pair:
                delta.requires_grad_(True)
        p = next_logits(world, last, moved(layers, deltas)).softmax(0)
        target = clip_target(world, numbers, tokens, p.detach())
        loss = numbers.clip_scale * -(target * p.log()).sum() + numbers.ce_scale * (p * (p.log() - p0.log())).sum()
        loss.backward()
        for pair in deltas:
            for i, delta in enumerate(pair):
                g = delta.grad
                pair[i] = delta.detach() - numbers.step_size * g / (g.norm() + 1e-15) ** numbers.grad_norm_factor
    with torch.no_grad():
        logits = next_logits(world, last, moved(layers, deltas)).tolist()

    def divided(x: float, by: float) -> float:
        return x / by if x > 0 else x * by

    for v in set(tokens[-4:]):
        logits[v] = divided(logits[v], numbers.repetition_penalty)
    if step == 0:
        logits[world.end] = divided(logits[world.end], 1.6)
    for v in world.forbidden:
        logits[v] = divided(logits[v], numbers.forbidden_factor)
    if step >= 1:
        x = logits[world.end]
        logits[world.end] = x * numbers.end_factor if x > 0 else x / numbers.end_factor
    p = torch.tensor(logits, dtype=p0.dtype).softmax(0) ** numbers.fusion * p0 ** (1 - numbers.fusion)
    return (p / p.sum()).log()


def zerocap(world: World, numbers: Numbers, prompt: list[int]) -> list[int]:
    """The generated tokens of the best text."""
    beams = [([], 0.0, 0)]  # tokens, log p, length
    for step in range(numbers.length):
        candidates = []
        for generated, total, length in beams:
            if generated and generated[-1] == world.end:
                candidates.append((total / length, generated, total, length))  # goes on with log p 0, no longer
                continue
            log_p = next_token_log_p(world, numbers, [*prompt, *generated], step).tolist()
            for v, gain in enumerate(log_p):
                candidates.append(((total + gain) / (length + 1), [*generated, v], total + gain, length + 1))
        candidates.sort(key=lambda candidate: -candidate[0])
        beams = [(generated, total, length) for _, generated, total, length in candidates[: numbers.beams]]
        if all(generated[-1] == world.end for generated, _, _ in beams):
            break
    texts = [generated for generated, _, _ in beams]
    if len(texts) == 1:
        return texts[0]
    fits = [cosine(feature, world.image) for feature in world.encode_texts([world.decode(ids) for ids in texts])]
    return texts[fits.index(max(fits))]
