"""Steps that texts which begin alike share are computed once, and what rounding may decide is decided one way."""

from dataclasses import dataclass

import pytest
import torch

from magic_cli.decoding import scoring
from magic_cli.decoding.magic import ClipText, ContrastiveSearch, MagicSearch
from magic_cli.decoding.rules import StopTexts
from magic_cli.decoding.sampling import GreedySearch
from magic_cli.decoding.shortcuts.memory import KnownStep, StepMemory
from magic_cli.decoding.text import CaptionFormat
from magic_cli.errors import MagicError
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from tests.decoding import Guidance, generate

LENGTH, NUM_CANDIDATES, SIZE = 12, 3, 2048 + 3 * (8 + 4 + 4 + 4 * 2)
ROOM = 1 << 20


def evidence(first: int, penalty=(0.5, float("nan"), float("nan")), **options) -> KnownStep:
    ids = torch.arange(first, first + NUM_CANDIDATES)
    return KnownStep(ids, torch.full((3,), 0.1), (torch.ones(3, 2),), torch.tensor(penalty), **options)


def test_step_is_found_by_all_tokens_before_it():
    memory = StepMemory(ROOM)
    memory.put([7], [1, 2], evidence(0))
    assert memory.get([7], [1, 2]).ids.tolist() == [0, 1, 2]
    assert memory.get([7], [1]) is memory.get([7, 1], [2]) is memory.get([], [7, 1, 2]) is None


def test_penalties_add_up_when_a_step_is_put_again():
    memory, nan = StepMemory(ROOM), float("nan")
    memory.put([7], [], evidence(0, (0.5, nan, nan)))
    memory.put([7], [], evidence(0, (0.4, 0.3, nan)))
    assert memory.get([7], []).penalty.nan_to_num(nan=-1).tolist() == pytest.approx([0.4, 0.3, -1])
    memory.put([7], [], evidence(1, (0.1, 0.1, 0.1)))  # another order of nearly equal candidates: other places
    assert memory.get([7], []).penalty.nan_to_num(nan=-1).tolist() == pytest.approx([0.4, 0.3, -1])
    memory.put([7], [], evidence(2, (0.2, 0.2, 0.2), alone=True))
    memory.put([7], [], evidence(0, (0.4, 0.3, nan)))
    assert memory.get([7], []).penalty.tolist() == pytest.approx([0.2] * 3) and len(memory) == 1


def test_steps_met_once_go_first_when_room_is_short():
    memory = StepMemory(10 * SIZE)
    assert evidence(0).size == SIZE
    for number in range(10):
        memory.put([number], [], evidence(number))
    for number in (3, 0):
        assert memory.get([number], []) is not None
    for number in range(10, 18):
        memory.put([number], [], evidence(number))
    assert [number for number in range(18) if memory.get([number], []) is not None] == [0, 3, *range(10, 18)]
    for number in range(100, 200):  # those met again are many now, and the longest unmet of them go as well
        memory.put([number], [], evidence(number))
        memory.get([number], [])
    assert len(memory) == 10


def assert_same(details, other):
    """The same numbers of a step, but for penalty and score of a sure winner, which may be known or not."""
    for name, values in details.items():
        if isinstance(values, list):
            pairs = list(zip(values, other[name], strict=True))
            known = [pair for pair in pairs if None not in pair]
            differing = [pair for pair in pairs if pair not in known and pair != (None, None)]
            assert not differing or (name in ("penalty", "score") and len(differing) == 1 and not known), (name, pairs)
            assert [one for one, _ in known] == pytest.approx([another for _, another in known], abs=2e-4), name
        else:
            assert values == other[name], name


@pytest.fixture
def prompts(language_model):
    return [[language_model.start_id], [language_model.start_id], [language_model.start_id, *language_model.encode("A man")]] * 2


@pytest.mark.parametrize("look_ahead", ["tree", "repeated", "recompute"])
@pytest.mark.parametrize(
    "options",
    [{"alpha": 0.1, "beta": 0.4}, {"alpha": 0.6, "beta": 0.15}, {"alpha": 0.0, "beta": 1.0},
     {"alpha": 0.1, "beta": 1.0, "clip_text": ClipText.prefix_and_generated, "clip_text_window": 5}],
)  # fmt: skip
@pytest.mark.parametrize("lazy", [True, False])
def test_same_texts_and_traces_are_written_with_less_work_when_steps_are_remembered(
    make_language_model, clip, image_features, prompts, look_ahead, options, lazy
):
    method, texts, traces, work = MagicSearch(LENGTH, k=5, **options), [], [], []
    for memory, batches in (
        (None, [slice(i, i + 1) for i in range(6)]),
        (StepMemory(ROOM), [slice(0, 2), slice(2, 6)]),
        (StepMemory(ROOM), [slice(i, i + 1) for i in range(6)]),
        (None, [slice(0, 6)]),
    ):
        model, seen, written = make_language_model(look_ahead=look_ahead), {}, []
        clip.work.counts.clear()
        for batch in batches:
            note = lambda index, step, details: seen.update({(batch.start + index, step): details})  # noqa: B023
            guidance = Guidance(clip, image_features[batch])
            written += generate(model, method, prompts[batch], guidance=guidance, on_step=note, lazy=lazy, memory=memory)
        texts.append(written)
        traces.append(seen)
        work.append(clip.work.counts["texts_encoded"])
    assert texts[1:] == texts[:1] * 3
    for other in traces[1:]:
        assert other.keys() == traces[0].keys()
        for key, details in traces[0].items():
            assert_same(details, other[key])
    assert max(work[1:3]) < work[0]


def test_nothing_is_computed_again_when_no_image_tells_texts_apart(make_language_model):
    model, method, memory = make_language_model(), ContrastiveSearch(LENGTH, k=5, alpha=0.3), StepMemory(ROOM)
    first = generate(model, method, [[model.start_id]], memory=memory)
    model.work.counts.clear()
    assert generate(model, method, [[model.start_id]] * 3, memory=memory) == first * 3
    assert model.work.counts["lm_positions"] == 0 and memory.met == 3 * len(first[0])
    words = model.decode([first[0][: LENGTH // 2]])[0]
    [part] = generate(
        model, method, [[model.start_id]], memory=memory, text_format=CaptionFormat(model, StopTexts([words[-5:]], model.decode))
    )
    assert 0 < len(part) <= LENGTH // 2 and part == first[0][: len(part)] and model.work.counts["lm_positions"] == 0


@dataclass
class Adaptive(ContrastiveSearch):
    """Weighs the penalty by the entropy of the next token, for which it reads all scores."""

    def step(self, step):
        entropy = torch.distributions.Categorical(logits=step.logits).entropy().mean().item()
        alpha, found = min(1.0, self.alpha * entropy), step.candidates(self.k)
        penalty = step.look_ahead(found, scoring.combine(found.confidence, None, None, alpha=alpha), alpha=alpha)
        return step.best(found, scoring.combine(found.confidence, penalty, None, alpha=alpha))


def test_method_that_asks_for_more_than_is_remembered_has_it_computed(language_model):
    method, memory, prompts = Adaptive(12, k=4, alpha=0.1), StepMemory(ROOM), [[language_model.start_id]]
    plain = generate(language_model, method, prompts)
    assert [generate(language_model, method, prompts, memory=memory) for _ in range(2)] == [plain] * 2
    assert memory.met == 0


class Unsteady:
    """A language model that computes something a little different for several rows, as rounding does."""

    def __init__(self, model, error):
        self.model, self.error = model, error

    def __getattr__(self, name):
        return getattr(self.model, name)

    def _disturb(self, logits):
        if len(logits) > 1:
            logits = logits + self.error * torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
        return logits

    def prefill(self, prompts):
        state = self.model.prefill(prompts)
        state.logits = self._disturb(state.logits)
        return state

    def select(self, state, rows):
        state = self.model.select(state, rows)
        state.logits = self._disturb(state.logits)
        return state

    def commit(self, state, choice):
        self.model.commit(state, choice)
        state.logits = self._disturb(state.logits)


@pytest.mark.parametrize("new_memory", [lambda: None, lambda: StepMemory(ROOM)], ids=["without_memory", "with_memory"])
@pytest.mark.parametrize("method", [MagicSearch(LENGTH, k=5, alpha=0.1, beta=0.4), ContrastiveSearch(LENGTH, k=5, alpha=0.6)])
def test_what_rounding_may_decide_is_decided_alone(
    make_language_model, clip, image_features, monkeypatch, prompts, method, new_memory
):
    """With rounding made large enough to be seen, and the thresholds with it."""
    monkeypatch.setattr(scoring, "NEAR_LOGITS", 1.0)
    monkeypatch.setattr(scoring, "NEAR_SCORES", 1.0)
    steady, unsteady = make_language_model(), Unsteady(make_language_model(), 0.1)

    def write(model, batch, memory, **options):
        guidance = Guidance(clip, image_features[batch])
        return generate(model, method, prompts[batch], guidance=guidance, memory=memory, **options)

    alone = [write(steady, slice(i, i + 1), new_memory(), lazy=False)[0] for i in range(6)]
    assert write(unsteady, slice(0, 6), new_memory()) == alone
    memory = new_memory()
    assert [*write(unsteady, slice(0, 2), memory), *write(unsteady, slice(2, 6), memory)] == alone
    assert memory is None or memory.met > 0
    assert write(unsteady, slice(0, 6), new_memory(), settle_ties=False) != alone


@pytest.mark.parametrize(
    "method", [ContrastiveSearch(LENGTH, k=1, alpha=0.3), ContrastiveSearch(LENGTH, k=4, alpha=0.0), GreedySearch(LENGTH)]
)
def test_ties_are_decided_alone_when_little_is_weighed(make_language_model, monkeypatch, method):
    monkeypatch.setattr(scoring, "NEAR_LOGITS", 1.0)
    monkeypatch.setattr(scoring, "NEAR_SCORES", 1.0)
    model = make_language_model()
    prompts = [[model.start_id], [model.start_id, *model.encode("A man")], [model.start_id, *model.encode("Two dogs")]]
    alone = [generate(model, method, [prompt])[0] for prompt in prompts]
    unsteady, memory = Unsteady(model, 0.1), StepMemory(ROOM)
    assert generate(unsteady, method, prompts, memory=memory) == generate(unsteady, method, prompts, memory=memory) == alone
    assert generate(unsteady, method, prompts, settle_ties=False) != alone


def test_trace_shows_what_decided_when_a_row_was_computed_alone(make_language_model, clip, image_features, monkeypatch, prompts):
    monkeypatch.setattr(scoring, "NEAR_LOGITS", 1.0)
    unsteady, seen = Unsteady(make_language_model(), 0.1), []
    note = lambda index, step, details: seen.append(details)
    method, guidance = MagicSearch(LENGTH, k=5, alpha=0.1, beta=0.4), Guidance(clip, image_features[:6])
    peek, peeked = unsteady.model.peek, []
    unsteady.peek = lambda state, ids, wanted=None: (peeked.append((ids, ids.clone())), peek(state, ids, wanted))[1]
    generate(unsteady, method, prompts, guidance=guidance, on_step=note, lazy=False)
    assert all(ids.equal(before) for ids, before in peeked)  # what the state goes on from is not what the trace shows
    for details in seen:
        assert details["token_ids"][details["score"].index(max(details["score"]))] == details["choice"]


def test_rows_computed_alone_are_looked_at_for_nan(make_language_model, monkeypatch):
    monkeypatch.setattr(scoring, "NEAR_LOGITS", 1.0)
    model, peek = make_language_model(), HuggingFaceLanguageModel.peek
    prompts = [[model.start_id], [model.start_id, *model.encode("A man")]]

    def overflowing(self, state, ids, wanted=None):
        hidden = peek(self, state, ids, wanted)
        return hidden if len(hidden) > 1 else torch.full_like(hidden, torch.nan)

    monkeypatch.setattr(HuggingFaceLanguageModel, "peek", overflowing)
    with pytest.raises(MagicError, match="^language_model: the model computes NaN"):
        generate(model, ContrastiveSearch(LENGTH, k=3, alpha=0.3), prompts)
