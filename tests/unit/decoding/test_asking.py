"""Guides are asked only about candidates that they could make the best; the twin that always asks about all chooses the same tokens."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from magic_cli.decoding import generate as core
from magic_cli.decoding import scoring
from magic_cli.decoding.guides import ImageGuide, ScaledGuide, Steering, WordsGuide
from magic_cli.decoding.magic import MagicSearch
from magic_cli.decoding.request import Options
from magic_cli.decoding.shortcuts import asking
from magic_cli.decoding.shortcuts.memory import StepMemory
from magic_cli.errors import MagicError
from tests.decoding import Guidance, generate

LENGTH = 10
ROWS, K, E = 3000, 5, 8


@pytest.fixture
def make_steering():
    """Steering of rows by several guides over features that are given to it."""

    def make(generator, weights):
        scorer = SimpleNamespace(logit_scale=4.0)
        guides = [ImageGuide(scorer, torch.randn(ROWS, E, generator=generator), weight) for weight in weights]
        if len(guides) > 1:
            guides[-1] = ScaledGuide(guides[-1], torch.rand(ROWS, generator=generator))
        return Steering(guides, torch.arange(ROWS))

    return make


def read_from(features, count):
    """A ``read`` that shows only what was asked for."""
    seen = torch.full_like(features, torch.nan)

    def read(steering, which):
        assert bool(which.any(dim=1).all())
        count["texts"] += int((which & seen.isnan().any(dim=2)).sum())
        seen[which] = features[which]
        return [seen] * len(steering.guides)

    return read


@pytest.mark.parametrize("weights", [[0.15], [2.0], [0.3, 0.2]])
@pytest.mark.parametrize("spread", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("lead", [0.0, 0.25, 1.0])
def test_choice_and_its_closeness_are_those_of_the_twin_that_asks_about_all(make_steering, monkeypatch, weights, spread, lead):
    monkeypatch.setattr(asking, "_CLEAR_LEAD", lead)
    generator = torch.Generator().manual_seed(round(100 * spread))
    steering, total = make_steering(generator, weights), sum(weights)
    known, features = spread * torch.rand(ROWS, K, generator=generator), torch.randn(ROWS, K, E, generator=generator)
    # leads of exactly the range, of a little more and less, and of nothing
    known[:900, 1] = known[:900].amax(dim=1) + 1
    known[:300, 0] = known[:300, 1] - total
    known[300:600, 0] = known[300:600, 1] - total + torch.linspace(-4e-5, 4e-5, 300)
    known[600:900, 0] = known[600:900, 1]
    forbidden = torch.rand(ROWS, K, generator=generator) < 0.2
    forbidden[:, :2] = False
    for out in (None, forbidden):
        count = Counter()
        read = read_from(features, count)
        f, unrivalled = asking.ask(known, out, steering, lambda which: read(steering, which))  # noqa: B023
        every = steering.score([features] * len(weights), out)
        scores = [known + steering.total(one) for one in (f, every)] if f else [known, known + steering.total(every)]
        if out is not None:
            scores = [score.masked_fill(out, -torch.inf) for score in scores]
        chosen, expected = map(scoring.best_candidate, scores)
        close = scoring.is_close(scores[1], beta=total)
        differs = chosen != expected
        assert not bool((differs & ~close).any())
        assert bool((scoring.is_close(scores[0], beta=total) | ~differs).all()), "what may differ is computed again"
    if total < 1:
        assert unrivalled > 0 and count["texts"] < ROWS * K


def test_nobody_is_asked_where_no_row_has_rivals_and_only_rivals_where_the_lead_is_clear(make_steering):
    steering, asked = make_steering(torch.Generator().manual_seed(0), [0.1]), []
    features = torch.zeros(ROWS, K, E)  # all fit equally well
    read = lambda which: (asked.append(which.clone()), [features])[1]
    known = torch.tensor([0.5, 0.39, 0.3, 0.2, 0.1]).repeat(ROWS, 1)
    assert asking.ask(known, None, steering, read) == ((), ROWS) and asked == []
    known[1, 1] = 0.43  # clear
    known[2, 1] = 0.499  # not clear
    (f,), unrivalled = asking.ask(known, None, steering, read)
    assert unrivalled == ROWS - 2 and len(asked) == 1
    assert asked[0][:3].tolist() == [[True, *[False] * 4], [True, True, False, False, False], [True] * 5]
    assert f[1].tolist() == [0.5, 0.5, 0, 0, 0] and f[2].tolist() == pytest.approx([0.2] * 5)


def test_the_rest_is_asked_about_where_the_first_answers_do_not_decide():
    scorer, asked = SimpleNamespace(logit_scale=4.0), []
    steering = Steering([ImageGuide(scorer, torch.eye(2)[:1].expand(2, -1), 1.0)], torch.arange(2))
    features = torch.eye(2)[[1, 0, 0]].expand(2, -1, -1)  # the leader does not fit the image, the others do
    read = lambda which: (asked.append(which.tolist()), [features])[1]
    (f,), _ = asking.ask(torch.tensor([[2.0, 1.3, 0.9], [2.0, 0.9, 0.9]]), None, steering, read)
    # one of two takes nearly all, so 1.3 + 0.98 might win; of three each gets half, and 2.0 + 0.01 wins
    assert asked == [[[True, True, False], [True, False, False]], [[False, False, True], [True, False, False]]]
    assert f[0].tolist() == pytest.approx([0.0091, 0.4955, 0.4955], abs=1e-4) and f[1].tolist() == [1, 0, 0]


def three_may_come(logits, prompts, generated):
    return scoring.keep_top_k(logits, 3)


def one_may_come_after_a_bare_start(logits, prompts, generated):
    """Whose penalty is not computed at the end of a text."""
    bare = torch.tensor([len(prompt) == 1 for prompt in prompts])
    return torch.where(bare[:, None], scoring.keep_top_k(logits, 1), logits)


SETTINGS = [(0.6, 0.15, 5), (0.6, 0.8, 4), (0.9, 0.02, 6), (0.5, 0.5, 5), (0.0, 0.2, 5), (1.0, 0.3, 3), (0.6, 0.15, 1)]


@pytest.mark.parametrize(("alpha", "beta", "k"), SETTINGS)
def test_tokens_equal_the_twin_that_always_asks(make_language_model, clip, image_features, alpha, beta, k):
    method, model = MagicSearch(LENGTH, k=k, alpha=alpha, beta=beta), make_language_model()
    prompts = [[model.start_id, *model.encode(text)] for text in ("", "A man", "A", "Two dogs are", "People", "The")]
    texts, work = [], []
    for lazy, batches in ((False, [slice(0, 6)]), (True, [slice(0, 6)]), (True, [slice(i, i + 1) for i in range(6)])):
        clip.work.counts.clear()
        counts, written = Counter(), []
        for batch in batches:
            guidance = Guidance(clip, image_features[batch])
            written += generate(model, method, prompts[batch], guidance=guidance, lazy=lazy, counts=counts)
        texts.append(written)
        work.append((clip.work.counts["texts_encoded"], counts["steps_unasked"]))
    assert texts[0] == texts[1] == texts[2]
    assert work[0][1] == 0 and work[1][1] == work[2][1]
    if beta <= 0.2:
        assert work[1][1] > 0 and max(work[1][0], work[2][0]) < work[0][0]


def test_tokens_equal_the_twin_with_rules_words_two_guides_and_remembered_steps(language_model, clip, image_features):
    model, method = language_model, MagicSearch(LENGTH, k=5, alpha=0.6, beta=0.3)
    prompts = [[model.start_id], [model.start_id, *model.encode("A man")], [model.start_id]]
    words = WordsGuide(method.image_guide(clip, image_features[:3]), [["a red bus", "two dogs"]] * 3, most=3, floor=1e-4)
    second = ImageGuide(clip, image_features[3:], 0.2, "dot_product")
    for guides in ([words], [method.image_guide(clip, image_features[:3]), second]):
        for rules in ([], [three_may_come], [one_may_come_after_a_bare_start]):
            memory = StepMemory(1 << 20)
            options = [{"lazy": False}, {}, {"memory": memory}, {"memory": memory}]
            texts = [core.generate(model, method, prompts, guides, Options(rules=rules, **some)) for some in options]
            assert all([one.ids for one in other] == [one.ids for one in texts[0]] for other in texts[1:])
        assert guides == [words] or memory.met > 0


def test_what_is_remembered_grows_by_features_that_another_image_needs(make_language_model, clip, image_features):
    model, memory = make_language_model(), StepMemory(1 << 20)
    method, prompts = MagicSearch(LENGTH, k=5, alpha=0.6, beta=0.3), [[model.start_id]]
    for image in [*range(4), *range(4)]:
        guidance = Guidance(clip, image_features[image, None])
        written = generate(model, method, prompts, guidance=guidance, memory=memory)
        assert written == generate(model, method, prompts, guidance=guidance, lazy=False)
    clip.work.counts.clear()
    model.work.counts.clear()
    for image in range(4):
        generate(model, method, prompts, guidance=Guidance(clip, image_features[image, None]), memory=memory)
    assert not clip.work.counts and model.work.counts["lm_positions"] == 0
    sizes = [step.size for place in (memory._once, memory._again) for step in place.values()]
    assert memory._size == sum(sizes)


def test_traces_show_what_guides_say_of_every_candidate(language_model, clip, image_features):
    seen, guidance = [], Guidance(clip, image_features[:1])
    method = MagicSearch(LENGTH, k=5, alpha=0.6, beta=0.15)
    generate(language_model, method, [[language_model.start_id]], guidance=guidance, on_step=lambda *step: seen.append(step[2]))
    assert seen and all(sum(details["f"]) == pytest.approx(1) and None not in details["score"] for details in seen)


def test_a_fault_of_the_image_is_still_one_line(language_model, clip, image_features):
    broken = Guidance(clip, torch.full_like(image_features[:1], torch.nan))
    with pytest.raises(MagicError, match="^image_text_model: the model computes NaN"):
        generate(language_model, MagicSearch(LENGTH, k=5, alpha=0.6, beta=0.15), [[language_model.start_id]], guidance=broken)


class RanksGuide:
    """A guide of somebody else's: the rank of each candidate's match among all. What one gets depends on how many there are, not on a factor."""

    def __init__(self, guide):
        self.guide, self.weight, self.scorer, self.group = guide, guide.weight, guide.scorer, "guides.ranks"

    def open(self, prompt_of_row):
        rows = self.guide.open(prompt_of_row)

        def score(features, forbidden):
            match = rows.match(features)
            if forbidden is not None:
                match = match.masked_fill(forbidden, -torch.inf)
            return match.argsort(dim=1).argsort(dim=1) / (match.shape[1] - 1)

        return SimpleNamespace(match=rows.match, score=score, select=rows.select)


def test_guide_that_does_not_allow_it_is_asked_about_all(language_model, clip, image_features):
    method, counts = MagicSearch(LENGTH, k=5, alpha=0.6, beta=0.15), Counter()
    guide, prompts = RanksGuide(method.image_guide(clip, image_features[:3])), [[language_model.start_id]] * 3
    texts = [
        [one.ids for one in core.generate(language_model, method, prompts, [guide], Options(lazy=lazy, counts=counts))]
        for lazy in (True, False)
    ]
    assert texts[0] == texts[1] and not counts
    assert Steering([ScaledGuide(guide, torch.ones(3))], torch.arange(3)).may_ask_few is False


@pytest.mark.parametrize("beta", [1e-6, 0.15])
def test_image_that_is_no_number_is_refused_even_if_no_step_asked(language_model, clip, image_features, beta):
    method = MagicSearch(LENGTH, k=5, alpha=0.6, beta=beta)
    guide = method.image_guide(clip, image_features[:1] * torch.nan)
    with pytest.raises(MagicError, match="image_text_model: the model computes NaN"):
        core.generate(language_model, method, [[language_model.start_id]], [guide])
