"""The objective and its gradient against slow twins."""

import pytest
import torch

from magic_cli.training.simctg import IGNORED, contrastive_loss, count_units, token_loss, token_similarity
from tests.reference import training as slow

LENGTHS = torch.tensor([5, 1, 3, 2])  # padded to 6; one text has no pair


def hidden_states():
    """Random states with a common part, so that cosines lie on both sides of every margin."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(4, 6, 7, generator=generator, dtype=torch.float64) + torch.randn(
        7, generator=generator, dtype=torch.float64
    )


@pytest.mark.parametrize("per_sequence", [False, True])
@pytest.mark.parametrize("margin", [0.2, 0.5, 1.0])
def test_contrastive_loss_equals_the_twin_when_padded(margin, per_sequence):
    hidden = hidden_states()
    fast = contrastive_loss(hidden, LENGTHS, margin=margin, per_sequence=per_sequence) / count_units(
        LENGTHS, per_sequence=per_sequence
    )
    assert float(fast) == pytest.approx(slow.contrastive(hidden.tolist(), LENGTHS.tolist(), margin, per_sequence), abs=1e-6)
    assert fast > 0


@pytest.mark.parametrize("per_sequence", [False, True])
def test_gradient_equals_differences_of_the_twin(per_sequence):
    hidden = hidden_states().requires_grad_()
    loss = contrastive_loss(hidden, LENGTHS, margin=0.5, per_sequence=per_sequence) / count_units(
        LENGTHS, per_sequence=per_sequence
    )
    loss.backward()
    step = 1e-5
    for place in [
        (0, 0, 0),
        (0, 4, 6),
        (2, 1, 3),
        (3, 1, 0),
        (1, 0, 2),
        (0, 5, 1),
        (2, 3, 2),
    ]:  # the last three: no pair, padding
        values = []
        for sign in (1, -1):
            moved = hidden.detach().clone()
            moved[place] += sign * step
            values.append(slow.contrastive(moved.tolist(), LENGTHS.tolist(), 0.5, per_sequence))
        expected = (values[0] - values[1]) / (2 * step)
        assert float(hidden.grad[place]) == pytest.approx(expected, abs=1e-6)
    assert hidden.grad[0, 5].abs().max() == 0 and hidden.grad[0, 0].abs().max() > 0


def test_contrastive_loss_is_not_rounded_by_mixed_precision():
    hidden = hidden_states().float()
    exact = contrastive_loss(hidden, LENGTHS, margin=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = contrastive_loss(hidden, LENGTHS, margin=0.5)
    assert float(mixed) == pytest.approx(float(exact), rel=1e-6)


def test_token_loss_equals_the_twin_and_ignores_padding():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, 9, generator=generator)
    labels = torch.tensor([[1, 8, 0, 3], [2, IGNORED, IGNORED, IGNORED], [4, 4, 7, IGNORED]])
    real = int((labels != IGNORED).sum())
    fast = float(token_loss(logits.flatten(0, 1), labels.flatten())) / real
    assert fast == pytest.approx(slow.mean_cross_entropy(logits.tolist(), labels.tolist()), abs=1e-6)


def test_token_similarity_equals_the_twin():
    hidden = hidden_states()
    found = token_similarity(hidden, LENGTHS)
    assert float(found[1]) == pytest.approx(0, abs=1e-12)
    for i, length in enumerate(LENGTHS.tolist()):
        if length > 1:
            assert float(found[i]) == pytest.approx(slow.similarity(hidden[i, :length].tolist()), abs=1e-6)
