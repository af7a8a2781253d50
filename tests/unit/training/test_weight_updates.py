"""One update: against AdamW by hand, and however its samples are cut into micro-batches."""

import pytest
import torch

from magic_cli.training.language_task import LanguageTask
from magic_cli.training.objective import Objective
from magic_cli.training.samples import Samples
from magic_cli.training.session import make_accelerator
from magic_cli.training.settings import Averaging, Normalisation, OptimizerSettings, Shape
from magic_cli.training.weight_updates import Updater, rate_factor
from tests.reference import training as slow


def updated(make_model, settings, micro_batches):
    """The model after one update."""
    model = make_model()
    task = LanguageTask(model, settings, Samples([], 0, 0, 0), Samples([], 0, 0, 0))
    Updater(task, settings, make_accelerator(settings), total=10).update(0, micro_batches)
    return model


def plain_gradients(make_model, rows, *, margin=0.5, per_sequence=False):
    """Gradients of the objective of one batch, written from the formula with torch's own masked mean."""
    model = make_model()
    width = max(map(len, rows)) - 1
    padded = torch.tensor([row[:-1] + [0] * (width - len(row) + 1) for row in rows])
    out = model(padded, output_hidden_states=True)
    likelihood = torch.cat(
        [torch.log_softmax(out.logits[i, : len(row) - 1], -1)[range(len(row) - 1), row[1:]] for i, row in enumerate(rows)]
    )
    pairs = []
    for i, row in enumerate(rows):
        unit = torch.nn.functional.normalize(out.hidden_states[-1][i, : len(row) - 1], dim=-1)
        excess = (margin - 1 + unit @ unit.T).clamp_min(0)
        pairs.append(excess[~torch.eye(len(unit), dtype=torch.bool)])
    contrast = torch.stack([p.mean() for p in pairs]).mean() if per_sequence else torch.cat(pairs).mean()
    (-likelihood.mean() + contrast).backward()
    return model, {name: weight.grad for name, weight in model.named_parameters()} | {"lm_head.weight": model.lm_head.weight.grad}


@pytest.mark.parametrize("normalisation", list(Normalisation))
def test_update_equals_adamw_by_hand(make_model, make_settings, rows, normalisation):
    numbers = {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "weight_decay": 0.1}
    settings = make_settings(objective={"normalisation": normalisation}, optimizer={**numbers, "clip_norm": None})
    found = updated(make_model, settings, [rows]).state_dict()
    before, gradients = plain_gradients(make_model, rows, per_sequence=normalisation is Normalisation.sequence)
    for name, weight in before.state_dict().items():
        for place in ((0,) * weight.dim(), tuple(size - 1 for size in weight.shape)):
            expected = slow.adamw_step(float(weight[place]), float(gradients[name][place]), **numbers)
            assert float(found[name][place]) == pytest.approx(expected, abs=1e-6), name


@pytest.mark.parametrize("normalisation", list(Normalisation))
def test_accumulation_equals_one_big_batch(make_model, make_settings, rows, normalisation):
    settings = make_settings(objective={"normalisation": normalisation}, optimizer={"lr": 0.01, "eps": 1e-3})
    whole = updated(make_model, settings, [rows])
    parts = updated(make_model, settings, [rows[:1], rows[1:3], rows[3:]])
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_released_averaging_weighs_micro_batches_alike(make_model, make_settings, rows):
    options = {"lr": 0.01, "eps": 1e-3}
    released = make_settings(objective={"averaging": Averaging.micro_batches, "margin": 0.0}, optimizer=options)
    weighted = make_settings(objective={"margin": 0.0}, optimizer=options)
    cut = [rows[2:3], rows[4:5]]  # six targets and two
    assert not torch.equal(updated(make_model, released, cut).lm_head.weight, updated(make_model, weighted, cut).lm_head.weight)
    equal = [rows[1:2], rows[4:5]]  # two targets each
    for one, other in zip(
        updated(make_model, released, equal).parameters(), updated(make_model, weighted, equal).parameters(), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-7)


def test_margin_zero_is_cross_entropy_alone(make_model, rows, monkeypatch):
    from magic_cli.training import objective
    from magic_cli.training.batching import collate

    monkeypatch.setattr(objective, "contrastive_loss", None)  # calling it would fail
    inputs, labels, lengths = collate(rows)
    likelihood, contrast = Objective(make_model().eval(), margin=0.0)(inputs, labels, lengths)
    assert contrast == 0
    logits = make_model().eval()(inputs).logits
    real = int((labels >= 0).sum())
    assert likelihood.item() / real == pytest.approx(slow.mean_cross_entropy(logits.tolist(), labels.tolist()), abs=1e-6)


def test_learning_rate_rises_and_falls():
    linear = OptimizerSettings(warmup=0.1)
    assert [rate_factor(step, 100, linear) for step in (0, 5, 10, 55)] == pytest.approx([0, 0.5, 1, 0.5])
    cosine = OptimizerSettings(warmup=0.0, shape=Shape.cosine, floor=0.2)
    assert [rate_factor(step, 100, cosine) for step in (0, 50, 100)] == pytest.approx([1, 0.6, 0.2])
