"""Measures what training should improve: the perplexity of unseen texts, and the similarity of tokens within a text."""

from __future__ import annotations

import math

import torch

from magic_cli.terminal.progress import progress
from magic_cli.training.batching import collate
from magic_cli.training.objective import Objective
from magic_cli.training.samples import Samples
from magic_cli.training.simctg import IGNORED, token_loss, token_similarity

_BATCH_TOKENS = 4096


@torch.no_grad()
def measure(objective: Objective, samples: Samples) -> dict[str, float]:
    """Perplexity and isotropy of a model on samples. The model stays in its mode (training or evaluation).

    Returns:
        ``loss``: mean negative log-likelihood of a token in nats, lower is better; ``perplexity_per_token``: its exponential;
        ``perplexity_per_word``: the same per word between white space, including the share of the end token, so that different
        tokenizers compare; ``token_similarity``: mean cosine of different tokens of a text, in [-1, 1], lower is more isotropic.
    """
    model = objective.model
    was_training = model.training
    model.eval()
    total = similarity = 0.0
    order = sorted(range(len(samples.rows)), key=lambda i: len(samples.rows[i]))
    batches = _batches([samples.rows[i] for i in order])
    with progress(len(batches), "validation", "batch", leave=False) as bar:
        for rows in batches:
            inputs, labels, lengths = (tensor.to(model.device) for tensor in collate(rows))
            is_real = labels != IGNORED
            hidden, logits = objective.states_and_logits(inputs, is_real)
            total += float(token_loss(logits, labels[is_real]))
            similarity += float(token_similarity(hidden, lengths).double().sum())
            bar.update()
    model.train(was_training)
    loss = total / samples.num_targets
    return {
        "loss": loss,
        "perplexity_per_token": _exp(loss),
        "perplexity_per_word": _exp(total / samples.num_words),
        "token_similarity": similarity / len(samples.rows),
    }


def _batches(rows: list[list[int]]) -> list[list[list[int]]]:
    """Group rows, which are sorted by length, into batches of about the same number of tokens."""
    batches: list[list[list[int]]] = []
    for row in rows:
        if not batches or (len(batches[-1]) + 1) * len(row) > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
