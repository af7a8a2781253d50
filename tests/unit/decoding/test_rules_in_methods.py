"""Every method goes by the rules on the next token: whole texts against slow twins of method and rules together."""

import pytest
import torch
from transformers import GPT2LMHeadModel, StoppingCriteriaList

from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ContrastiveSearch, MagicSearch
from magic_cli.decoding.rerank import Rerank
from magic_cli.decoding.rule_settings import RuleSettings
from magic_cli.decoding.rules import ForcedSequences, StopTexts
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling
from magic_cli.decoding.shortcuts.memory import StepMemory
from magic_cli.decoding.text import CaptionFormat, StoryFormat
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.errors import MagicError
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from tests.decoding import Guidance, generate
from tests.reference import filters
from tests.reference import rules as twins
from tests.reference import search as reference
from tests.reference.text import PAD, START, decode

LENGTH = 14
SETTINGS = {
    "repetition_penalty": RuleSettings(repetition_penalty=1.8),
    "forbidden_words": RuleSettings(forbidden_words=["a", "the", "standing", "park", "snow"]),
    "min_length": RuleSettings(min_length=9),
    "stop_texts": RuleSettings(stop_texts=[" o", "at", "er", "ing"]),
    "all": RuleSettings(
        repetition_penalty=1.3, forbidden_words=["a", "on", "."], min_length=6, stop_texts=[" o", "at", "r", "e"]
    ),
}
OFTEN = 269
"""Token of "ro", which the tiny model likes in all methods."""
each_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())


class RuledNetwork(GPT2LMHeadModel):
    """The tiny GPT-2, whose scores of the next token obey the rules as the slow twins tell them; no cache."""

    def obey(self, settings, tokenizer):
        self.settings, self.tokenizer = settings, tokenizer
        favour_ends(self)
        return self

    def after(self, prompt):
        self.prompt_length = len(prompt)
        return self

    def forward(self, input_ids=None, **inputs):
        out = super().forward(input_ids, **{**inputs, "use_cache": False})
        for row, ids in enumerate(input_ids.tolist()):
            out.logits[row, -1] = self._ruled(out.logits[row, -1], ids[: self.prompt_length], ids[self.prompt_length :])
        return out

    def has_ended(self, generated):
        settings, end = self.settings, self.tokenizer.eos_token_id
        return twins.has_ended(
            lambda ids: decode(self.tokenizer, ids), generated, settings.stop_texts, settings.min_length, {end}
        )

    def until_end(self, generated):
        """As far as the token that ends the text."""
        return next((generated[:n] for n in range(len(generated)) if self.has_ended(generated[:n])), generated)

    def _ruled(self, logits, prompt, generated):
        settings, end = self.settings, self.tokenizer.eos_token_id
        scores = logits.tolist()
        if settings.repetition_penalty != 1:
            scores = twins.repetition_penalty(scores, prompt, generated, settings.repetition_penalty)
        banned = twins.below_minimum(generated, settings.min_length, {end})
        if settings.forbidden_words:
            silent = self.tokenizer.convert_tokens_to_ids([START, PAD])
            read = lambda ids: decode(self.tokenizer, [i for i in ids if i not in silent]).replace(self.tokenizer.eos_token, "\n")
            banned |= twins.forbidden(settings.forbidden_words, read, generated, len(scores))
        return torch.tensor([-torch.inf if token in banned else score for token, score in enumerate(scores)], dtype=logits.dtype)


def favour_ends(network):
    """Make its end token, which is token 0, so likely that texts come to an end by themselves."""
    weight = network.get_output_embeddings().weight.data
    weight[0] = 1.2 * weight[OFTEN]


@pytest.fixture(scope="module")
def language_model(tiny_language_model_folder, network_and_tokenizer):
    network = GPT2LMHeadModel.from_pretrained(tiny_language_model_folder).eval()
    favour_ends(network)
    model = HuggingFaceLanguageModel(network, network_and_tokenizer[1])
    model.prepare(decoding_len=24, num_candidates=6)
    return model


@pytest.fixture(scope="module")
def make_ruled(tiny_language_model_folder, network_and_tokenizer):
    def make(settings):
        return RuledNetwork.from_pretrained(tiny_language_model_folder).eval().obey(settings, network_and_tokenizer[1])

    return make


@pytest.fixture
def prompts(language_model):
    return [[language_model.start_id, *language_model.encode(words)] for words in ("", "A man", "The")]


@pytest.fixture
def write(language_model, clip, image_features):
    """Captions by a method under rules, and what it writes without."""

    def write(method, prompts, settings, **options):
        guidance = Guidance(clip, image_features[: len(prompts)])
        rules, stop = settings.build(language_model)
        ruled = generate(
            language_model,
            method,
            prompts,
            guidance=guidance,
            rules=rules,
            text_format=CaptionFormat(language_model, stop),
            **options,
        )
        return ruled, generate(
            language_model, method, prompts, guidance=guidance, text_format=CaptionFormat(language_model), **options
        )

    return write


def require_obedience(language_model, prompts, settings, ruled, plain):
    """The rules hold, and would not have without them: else a twin that knew no rules would do as well."""
    end = language_model.end_id
    assert ruled != plain
    if settings is SETTINGS["min_length"]:
        assert any(len(ids) <= settings.min_length for ids in plain) and all(len(ids) >= settings.min_length for ids in ruled)
        assert all(end not in ids[: settings.min_length] for ids in ruled)
    if settings.stop_texts:
        full = [LENGTH - len(prompt) for prompt in prompts]
        assert any(end not in ids and len(ids) < room for ids, room in zip(ruled, full, strict=True)), (
            "no text comes to a stop text"
        )


@each_setting
def test_magic_search_equals_its_twin_when_rules_are_set(
    language_model, write, prompts, make_ruled, clip, image_features, settings
):
    method = {"decoding_len": LENGTH, "k": 5, "alpha": 0.2, "beta": 0.7}
    written, plain = write(MagicSearch(**method), prompts, settings)
    assert write(MagicSearch(**method), prompts, settings, lazy=False)[0] == written
    network = make_ruled(settings)
    for image, ids in enumerate(written):
        match = reference.released_match(
            lambda ids: decode(language_model.tokenizer, ids), lambda texts: clip.encode_texts(texts).double(), image_features[image].double(),
            logit_scale=clip.logit_scale,
        )  # fmt: skip
        assert ids == network.until_end(
            reference.search(network.after(prompts[image]), prompts[image], match=match, **method).ids
        )
    require_obedience(language_model, prompts, settings, written, plain)


@each_setting
def test_beam_search_equals_transformers_on_a_network_that_obeys(language_model, write, prompts, make_ruled, settings):
    written, plain = write(BeamSearch(LENGTH, num_beams=3), prompts, settings)
    network = make_ruled(settings)
    for prompt, ids in zip(prompts, written, strict=True):
        ends = lambda rows, scores: torch.tensor([network.has_ended(row[len(prompt) :]) for row in rows.tolist()])  # noqa: B023
        assert ids == network.until_end(transformers_beams(network, prompt, stopping_criteria=StoppingCriteriaList([ends])))
    require_obedience(language_model, prompts, settings, written, plain)


def transformers_beams(network, prompt, *, num_beams=3, **options):
    """What transformers' beam search writes after a prompt."""
    return network.after(prompt).generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, num_beams=num_beams, max_length=LENGTH,
        early_stopping=False, use_cache=False, pad_token_id=network.tokenizer.pad_token_id, eos_token_id=network.tokenizer.eos_token_id, **options,
    )[0, len(prompt) :].tolist()  # fmt: skip


@pytest.mark.parametrize("stop", ["ar", " his", "e"])
@pytest.mark.parametrize("num_beams", [1, 4])
def test_beam_search_ends_at_stop_texts_where_transformers_does(write, prompts, make_ruled, stop, num_beams):
    settings = RuleSettings(stop_texts=[stop])
    written, _ = write(BeamSearch(LENGTH, num_beams=num_beams), prompts, settings)
    network = make_ruled(settings)
    for prompt, ids in zip(prompts, written, strict=True):
        found = transformers_beams(network, prompt, num_beams=num_beams, stop_strings=[stop], tokenizer=network.tokenizer)
        assert ids == network.until_end(found)


@each_setting
def test_nucleus_sampling_equals_its_twin_when_rules_are_set(language_model, write, prompts, make_ruled, settings):
    seeds = [5, 6, 7]
    written, plain = write(NucleusSampling(LENGTH, p=0.8), prompts, settings, seeds=seeds)
    network = make_ruled(settings)
    for prompt, seed, ids in zip(prompts, seeds, written, strict=True):
        generator, text = torch.Generator().manual_seed(seed), list(prompt)
        while len(text) < LENGTH:
            scores = reference.read(network.after(prompt), [text])[0][0]
            kept = filters.nucleus(scores, 0.8)
            weights = (
                torch.tensor([score if token in kept else -torch.inf for token, score in enumerate(scores)])
                .double()
                .softmax(dim=0)
            )
            drawn = torch.rand((), generator=generator, dtype=torch.float64)
            text.append(int((weights.cumsum(dim=0) <= drawn * weights.sum()).sum()))
        assert ids == network.until_end(text[len(prompt) :])
    require_obedience(language_model, prompts, settings, written, plain)


METHODS = [MagicSearch(LENGTH, k=5, alpha=0.1, beta=0.5), MagicSearch(LENGTH, k=300, alpha=0.0, beta=2.0), ContrastiveSearch(LENGTH, k=4, alpha=0.5),
           GreedySearch(LENGTH), BeamSearch(LENGTH, num_beams=3), NucleusSampling(LENGTH, p=0.9),
           Rerank(LENGTH, base=NucleusSampling(LENGTH, p=0.9), num=3), ZeroCap(decoding_len=10, num_texts=8, num_iterations=1)]  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{type(method).__name__}{getattr(method, 'k', '')}")
def test_forced_sequence_stands_in_every_methods_text(language_model, clip, image_features, method):
    sequence = [33, 17, 301, 77]
    rules = [ForcedSequences([sequence], begin_at=2)]
    for memory in (None, StepMemory(1 << 20)):
        written = generate(
            language_model,
            method,
            [[language_model.start_id]] * 2,
            guidance=Guidance(clip, image_features[:2]),
            rules=rules,
            memory=memory,
        )
        assert [ids[2:6] for ids in written] == [sequence] * 2


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{type(method).__name__}{getattr(method, 'k', '')}")
def test_batch_equals_batches_of_one_when_rules_are_set(language_model, clip, image_features, method):
    rules, _ = SETTINGS["all"].build(language_model)
    write = lambda some, **options: generate(
        language_model, method, prompts[some], guidance=Guidance(clip, image_features[some]), rules=rules, **options
    )
    prompts = [[language_model.start_id, *language_model.encode(text)] for text in ("", "A man", "Two dogs")]
    alone = [write(slice(i, i + 1))[0] for i in range(3)]
    assert write(slice(0, 3)) == alone
    memory = StepMemory(1 << 20)
    assert [write(slice(0, 3), memory=memory), write(slice(0, 3), memory=memory)] == [alone] * 2


def test_text_that_may_not_go_on_is_said_in_one_line(language_model):
    everything = ForcedSequences([[1, 2]], begin_at=0)
    nothing_else = lambda logits, prompts, generated: logits.index_fill(1, torch.tensor([1]), -torch.inf)
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


def test_zerocap_s_own_end_token_waits_for_the_minimum_length(language_model, clip, image_features):
    method = ZeroCap(decoding_len=12, num_texts=8, num_iterations=1, prompt="<|endoftext|>A photo", end_factor=10.0)
    rules, _ = SETTINGS["min_length"].build(language_model)
    write = lambda rules: generate(
        language_model, method, [[language_model.start_id]] * 2, guidance=Guidance(clip, image_features[:2]), rules=rules
    )
    end = language_model.encode(".")[0]
    assert all(ids[-1] == end and len(ids) <= 9 for ids in write([])), "its texts end early by themselves"
    assert all(len(ids) > 9 and end not in ids[:9] for ids in write(rules))


def test_zerocap_s_beams_write_only_what_rules_allow(language_model, clip, image_features):
    sequence = [33, 17, 301, 77, 40, 41, 42]
    method = ZeroCap(decoding_len=8, num_texts=8, num_iterations=1, num_beams=3, prompt="<|endoftext|>A photo", end_factor=0.01)
    rules, seen = [ForcedSequences([sequence], begin_at=0)], []
    written = generate(
        language_model, method, [[language_model.start_id]] * 6, guidance=Guidance(clip, image_features), rules=rules,
        on_step=lambda index, step, details: seen.append(details),
    )  # fmt: skip
    assert written == [sequence] * 6
    assert all(details["p"] == [1.0] and len(details["token_ids"]) == 1 for details in seen)


def test_zerocap_s_scores_are_penalised_before_they_are_normalised(language_model, clip, image_features):
    """The rules see scores as those of every other method are, of either sign, not log probabilities."""
    seen, method = [], ZeroCap(decoding_len=5, num_texts=8, num_iterations=1, prompt="<|endoftext|>A photo")
    rule = lambda logits, prompts, generated: seen.append(logits) or logits
    generate(language_model, method, [[language_model.start_id]], guidance=Guidance(clip, image_features[:1]), rules=[rule])
    assert all((logits > 0).any() and (logits < 0).any() for logits in seen)


def test_best_of_several_is_judged_by_the_text_that_is_returned(language_model, clip, image_features):
    caption, seen = CaptionFormat(language_model, StopTexts([" a", "o"], language_model.decode)), []
    generate(
        language_model, Rerank(LENGTH, base=NucleusSampling(LENGTH, p=0.9), num=8), [[language_model.start_id]], guidance=Guidance(clip, image_features[:1]),
        text_format=caption, on_step=lambda index, step, details: seen.append(details),
    )  # fmt: skip
    texts = [details["text"] for details in seen]
    assert texts == [caption.text([language_model.start_id], details["token_ids"]) for details in seen]
    assert texts != [CaptionFormat(language_model).text([], details["token_ids"]) for details in seen]


def test_story_ends_after_the_minimum_length(language_model):
    fifth = language_model.encode("A. B. C. D. E. A man. Two dogs. A")
    decode = language_model.decode
    plain, longer = StoryFormat(language_model), StoryFormat(language_model, StopTexts([], decode, min_length=len(fifth) - 4))
    assert plain.text([], fifth) == "A. B. C. D. E." and longer.text([], fifth) == "A. B. C. D. E. A man. Two dogs."
    settled = [n for n in range(len(fifth) + 1) if longer.is_settled(fifth[:n])]
    assert settled == list(range(settled[0], len(fifth) + 1)) and settled[0] >= len(fifth) - 4
    assert {longer.text([], fifth[:n]) for n in settled} == {longer.text([], fifth)}
