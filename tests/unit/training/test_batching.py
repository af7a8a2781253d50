"""How samples are dealt to updates."""

import random
from collections import Counter

import torch

from magic_cli.training.batching import BatchPlan, collate, fewest_parts
from magic_cli.training.simctg import IGNORED


def caption_lengths(count):
    """Lengths as captions have them: 9 to 30 tokens, most near 13."""
    return [9 + min(int(random.Random(i).expovariate(0.25)), 21) for i in range(count)]


def plan(count=4000, *, by_length=True, seed=0, batch_size=32, parts=8):
    return BatchPlan(caption_lengths(count), batch_size, parts, seed, by_length)


def padding(plan, updates):
    cells = real = 0
    for update in range(updates):
        for batch in plan.micro_batches(update):
            lengths = [plan.lengths[i] for i in batch]
            cells += max(lengths) * len(batch)
            real += sum(lengths)
    return 1 - real / cells


def test_each_pass_sees_every_sample_once():
    dealt = plan(1000)  # 31.25 updates a pass
    seen = [i for update in range(125) for batch in dealt.micro_batches(update) for i in batch]
    assert Counter(seen) == dict.fromkeys(range(1000), 4)
    assert (
        Counter(i for update in range(31) for batch in plan(1000).micro_batches(update) for i in batch).most_common(1)[0][1] == 1
    )


def test_an_update_is_the_same_however_one_comes_to_it():
    walked, jumped = plan(), plan()
    for update in range(150):
        walked.micro_batches(update)
    assert walked.micro_batches(150) == jumped.micro_batches(150) != plan(seed=1).micro_batches(150)


def test_an_update_has_the_same_samples_however_they_are_cut():
    cuts = [plan(by_length=False, parts=2), plan(parts=5), plan(parts=32)]
    assert len({tuple(sorted(i for batch in cut.micro_batches(7) for i in batch)) for cut in cuts}) == 1
    assert [len(batch) for batch in cuts[1].micro_batches(7)] == [6, 7, 6, 7, 6]


def test_length_grouping_keeps_padding_under_a_tenth():
    lengths = caption_lengths(4000)
    for batch_size in (32, 128):
        parts = fewest_parts(lengths, batch_size, 1, seed=0)
        assert (
            padding(plan(batch_size=batch_size, parts=parts), 60) < 0.1 < 0.3 < padding(plan(batch_size=batch_size, parts=1), 60)
        )
        assert padding(plan(batch_size=batch_size, parts=parts // 2), 50) > 0.08
    assert fewest_parts([9] * 50, 32, 4, seed=0) == 4


def test_collate_shifts_and_pads_on_the_right():
    inputs, labels, lengths = collate([[5, 6, 7, 8], [9, 3]])
    assert inputs.tolist() == [[5, 6, 7], [9, 0, 0]]
    assert labels.tolist() == [[6, 7, 8], [3, IGNORED, IGNORED]]
    assert torch.equal(lengths, torch.tensor([3, 1]))
