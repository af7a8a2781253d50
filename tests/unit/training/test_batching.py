"""How samples are dealt to updates."""

import random
from collections import Counter

import torch

from magic_cli.training.batching import BatchPlan, collate
from magic_cli.training.simctg import IGNORED


def caption_lengths(count):
    """Lengths as captions have them: 9 to 30 tokens, most near 13."""
    return [9 + min(int(random.Random(i).expovariate(0.25)), 21) for i in range(count)]


def plan(count=4000, *, by_length=True, seed=0, batch_size=16, per_update=2):
    return BatchPlan(caption_lengths(count), batch_size, per_update, seed, by_length)


def padding(plan, updates):
    cells = real = 0
    for update in range(updates):
        for batch in plan.micro_batches(update):
            lengths = [plan.lengths[i] for i in batch]
            cells += max(lengths) * len(batch)
            real += sum(lengths)
    return 1 - real / cells


def test_each_pass_sees_every_sample_once():
    dealt = plan(2048)  # 64 updates of 32: one pool is one pass
    seen = Counter(i for update in range(64) for batch in dealt.micro_batches(update) for i in batch)
    assert seen == Counter(range(2048))
    second = Counter(i for update in range(64, 128) for batch in dealt.micro_batches(update) for i in batch)
    assert second == Counter(range(2048))


def test_an_update_is_the_same_however_one_comes_to_it():
    walked, jumped = plan(), plan()
    for update in range(150):
        walked.micro_batches(update)
    assert walked.micro_batches(150) == jumped.micro_batches(150) != plan(seed=1).micro_batches(150)


def test_length_grouping_keeps_padding_under_a_tenth():
    grouped, mixed = padding(plan(), 60), padding(plan(by_length=False), 60)
    assert grouped < 0.1 < 0.3 < mixed


def test_no_sample_meets_itself_in_a_micro_batch_when_texts_are_few():
    few = plan(100, batch_size=16, per_update=2)
    for update in range(3):
        for batch in few.micro_batches(update):
            assert len(set(batch)) == len(batch) == 16


def test_collate_shifts_and_pads_on_the_right():
    inputs, labels, lengths = collate([[5, 6, 7, 8], [9, 3]])
    assert inputs.tolist() == [[5, 6, 7], [9, 0, 0]]
    assert labels.tolist() == [[6, 7, 8], [3, IGNORED, IGNORED]]
    assert torch.equal(lengths, torch.tensor([3, 1]))
