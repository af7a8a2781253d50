"""Every method goes by the rules on the next token: whole texts against slow twins of method and rules together."""

import pytest
import torch
from tests.decoding import Guidance, generate
from tests.reference import filters
from tests.reference import rules as twins
from tests.reference import search as reference
from tests.reference.text import decode
from transformers import GPT2LMHeadModel

from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ContrastiveSearch, MagicSearch
from magic_cli.decoding.rerank import Rerank
from magic_cli.decoding.rule_settings import RuleSettings
from magic_cli.decoding.rules import ForcedSequences
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling
from magic_cli.decoding.shortcuts.memory import StepMemory
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.errors import MagicError

LENGTH = 14
SETTINGS = {
    "repetition_penalty": RuleSettings(repetition_penalty=1.8),
    "forbidden_words": RuleSettings(forbidden_words=["a", "the", "man", "dog", "of"]),
    "min_length": RuleSettings(min_length=9),
    "all": RuleSettings(repetition_penalty=1.3, forbidden_words=["a", "in", "."], min_length=6),
}
each_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())


class RuledNetwork(GPT2LMHeadModel):
    """The tiny GPT-2, whose scores of the next token obey the rules as the slow twins tell them; no cache."""

    def obey(self, settings, tokenizer, length):
        self.settings, self.tokenizer, self.prompt_length = settings, tokenizer, length
        return self

    def forward(self, input_ids=None, **inputs):
        out = super().forward(input_ids, **{**inputs, "use_cache": False})
        for row, ids in enumerate(input_ids.tolist()):
            out.logits[row, -1] = self._ruled(out.logits[row, -1], ids[: self.prompt_length], ids[self.prompt_length :])
        return out

    def _ruled(self, logits, prompt, generated):
        settings, end = self.settings, self.tokenizer.eos_token_id
        scores = logits.tolist()
        if settings.repetition_penalty != 1:
            scores = twins.repetition_penalty(scores, prompt, generated, settings.repetition_penalty)
        banned = twins.below_minimum(generated, settings.min_length, {end})
        if settings.forbidden_words:
            read = lambda ids: decode(self.tokenizer, ids).replace(self.tokenizer.eos_token, "\n")  # noqa: E731
            banned |= twins.forbidden(settings.forbidden_words, read, generated, len(scores))
        return torch.tensor([-torch.inf if token in banned else score for token, score in enumerate(scores)], dtype=logits.dtype)


@pytest.fixture(scope="module")
def make_ruled(tiny_language_model_folder, network_and_tokenizer):
    def make(settings, length):
        network = RuledNetwork.from_pretrained(tiny_language_model_folder).eval()
        return network.obey(settings, network_and_tokenizer[1], length)

    return make


@each_setting
@pytest.mark.parametrize("lazy", [True, False])
def test_magic_search_equals_its_twin_when_rules_are_set(language_model, make_ruled, clip, image_features, settings, lazy):
    rules, _ = settings.build(language_model)
    method = {"decoding_len": LENGTH, "k": 5, "alpha": 0.2, "beta": 0.7}
    prompts = [[language_model.start_id]] * 3
    written = generate(language_model, MagicSearch(**method), prompts, guidance=Guidance(clip, image_features[:3]), rules=rules, lazy=lazy)
    network = make_ruled(settings, 1)
    for image, ids in enumerate(written):
        match = reference.released_match(
            lambda ids: decode(language_model.tokenizer, ids), lambda texts: clip.encode_texts(texts).double(), image_features[image].double(),
            logit_scale=clip.logit_scale,
        )  # fmt: skip
        assert ids == reference.search(network, prompts[image], match=match, **method).ids
    if settings is not SETTINGS["min_length"]:  # this model ends no text by itself
        assert written != generate(language_model, MagicSearch(**method), prompts, guidance=Guidance(clip, image_features[:3]))


@each_setting
def test_beam_search_equals_transformers_on_a_network_that_obeys(language_model, make_ruled, settings):
    rules, _ = settings.build(language_model)
    prompt = [language_model.start_id, *language_model.encode("Two")]
    tokenizer = language_model.tokenizer
    out = make_ruled(settings, len(prompt)).generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, num_beams=3, max_length=LENGTH, early_stopping=False,
        use_cache=False, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )[0, len(prompt) :].tolist()  # fmt: skip
    end = tokenizer.eos_token_id
    expected = out[: out.index(end) + 1] if end in out else out
    assert generate(language_model, BeamSearch(LENGTH, num_beams=3), [prompt], rules=rules) == [expected]


@each_setting
def test_nucleus_sampling_equals_its_twin_when_rules_are_set(language_model, make_ruled, settings):
    rules, _ = settings.build(language_model)
    prompts = [[language_model.start_id]] * 3
    written = generate(language_model, NucleusSampling(LENGTH, p=0.8), prompts, rules=rules, seeds=[5, 6, 7])
    network = make_ruled(settings, 1)
    for seed, ids in zip([5, 6, 7], written, strict=True):
        generator, text = torch.Generator().manual_seed(seed), list(prompts[0])
        while len(text) < LENGTH:
            scores = reference.read(network, [text])[0][0]
            kept = filters.nucleus(scores, 0.8)
            weights = torch.tensor([score if token in kept else -torch.inf for token, score in enumerate(scores)]).double().softmax(dim=0)
            drawn = torch.rand((), generator=generator, dtype=torch.float64)
            text.append(int((weights.cumsum(dim=0) <= drawn * weights.sum()).sum()))
        assert ids == text[1:]


METHODS = [MagicSearch(LENGTH, k=5, alpha=0.1, beta=0.5), MagicSearch(LENGTH, k=300, alpha=0.0, beta=2.0), ContrastiveSearch(LENGTH, k=4, alpha=0.5),
           GreedySearch(LENGTH), BeamSearch(LENGTH, num_beams=3), NucleusSampling(LENGTH, p=0.9),
           Rerank(LENGTH, base=NucleusSampling(LENGTH, p=0.9), num=3), ZeroCap(decoding_len=10, num_texts=8, num_iterations=1)]  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{type(method).__name__}{getattr(method, 'k', '')}")
def test_forced_sequence_stands_in_every_methods_text(language_model, clip, image_features, method):
    sequence = [33, 17, 301, 77]
    rules = [ForcedSequences([sequence], begin_at=2)]
    for memory in (None, StepMemory(1 << 20)):
        written = generate(language_model, method, [[language_model.start_id]] * 2, guidance=Guidance(clip, image_features[:2]), rules=rules, memory=memory)
        assert [ids[2:6] for ids in written] == [sequence] * 2


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{type(method).__name__}{getattr(method, 'k', '')}")
def test_batch_equals_batches_of_one_when_rules_are_set(language_model, clip, image_features, method):
    rules, _ = SETTINGS["all"].build(language_model)
    write = lambda some, **options: generate(  # noqa: E731
        language_model, method, prompts[some], guidance=Guidance(clip, image_features[some]), rules=rules, **options
    )
    prompts = [[language_model.start_id, *language_model.encode(text)] for text in ("", "A man", "Two dogs")]
    alone = [write(slice(i, i + 1))[0] for i in range(3)]
    assert write(slice(0, 3)) == alone
    memory = StepMemory(1 << 20)
    assert [write(slice(0, 3), memory=memory), write(slice(0, 3), memory=memory)] == [alone] * 2


def test_text_that_may_not_go_on_is_said_in_one_line(language_model):
    everything = ForcedSequences([[1, 2]], begin_at=0)
    nothing_else = lambda logits, prompts, generated: logits.index_fill(1, torch.tensor([1]), -torch.inf)  # noqa: E731
    with pytest.raises(MagicError, match="^rules: nothing may come next after the prompt"):
        generate(language_model, GreedySearch(LENGTH), [[language_model.start_id]], rules=[everything, nothing_else])


def test_trace_shows_only_candidates_that_may_come(language_model, clip, image_features):
    seen = []
    generate(
        language_model, MagicSearch(6, k=4, alpha=0.3, beta=0.5), [[language_model.start_id]], guidance=Guidance(clip, image_features[:1]),
        rules=[ForcedSequences([[33, 17]], begin_at=1)], on_step=lambda index, step, details: seen.append(details), lazy=False,
    )  # fmt: skip
    forced = seen[1]
    assert forced["choice"] == 33 and forced["token_ids"] == [33] and forced["p"] == [1.0] and forced["f"] == [1.0]
    assert len(seen[0]["token_ids"]) == 4 and len(forced["penalty"]) == len(forced["score"]) == 1
