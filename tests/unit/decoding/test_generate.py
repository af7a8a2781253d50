"""The loop: batches, early stops, traces, types; what must hold for every method."""

import pytest
import torch

from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ContrastiveSearch, MagicBeam, MagicSearch
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling, TopKSampling, TypicalSampling
from magic_cli.decoding.text import CaptionFormat, StoryFormat, story_prompt
from magic_cli.errors import MagicError
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from tests.decoding import Guidance, generate
from tests.reference import text as reference

LENGTH = 18
METHODS = {
    "magic": MagicSearch(LENGTH, k=6, alpha=0.1, beta=0.5),
    "magic_without_penalty": MagicSearch(LENGTH, k=6, alpha=0.0, beta=0.5),
    "contrastive": ContrastiveSearch(LENGTH, k=6, alpha=0.4),
    "greedy": GreedySearch(LENGTH),
    "beam": BeamSearch(LENGTH, num_beams=3),
    "magic_beam": MagicBeam(LENGTH, num_beams=3, k=12, beta=0.05),
    "top_k": TopKSampling(LENGTH, k=10),
    "nucleus": NucleusSampling(LENGTH, p=0.9),
    "typical": TypicalSampling(LENGTH, mass=0.5),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


@pytest.fixture
def prompts(language_model):
    """Six prompts of very different length."""
    words = ["A man", "Two dogs are running", "", "A", "A plate of", ""]
    return [[language_model.start_id, *language_model.encode(text)] for text in words]


@each_method
def test_batch_equals_batches_of_one_when_prompts_are_ragged(language_model, clip, image_features, prompts, method):
    seeds = [11, 12, 13, 14, 15, 16]
    caption = CaptionFormat(language_model)
    together = generate(
        language_model, method, prompts, guidance=Guidance(clip, image_features), seeds=seeds, text_format=caption
    )
    alone = [
        generate(
            language_model,
            method,
            [prompt],
            guidance=Guidance(clip, image_features[i : i + 1]),
            seeds=[seeds[i]],
            text_format=caption,
        )[0]  # fmt: skip
        for i, prompt in enumerate(prompts)
    ]
    assert together == alone
    assert len({tuple(ids) for ids in together}) > 3


@each_method
def test_results_follow_their_prompts_when_order_changes(language_model, clip, image_features, prompts, method):
    order, seeds = [3, 5, 0, 4, 2, 1], [11, 12, 13, 14, 15, 16]
    straight = generate(language_model, method, prompts, guidance=Guidance(clip, image_features), seeds=seeds)
    shuffled = generate(
        language_model, method, [prompts[i] for i in order], guidance=Guidance(clip, image_features[order]),
        seeds=[seeds[i] for i in order],
    )  # fmt: skip
    assert shuffled == [straight[i] for i in order]


@pytest.mark.parametrize("name", [name for name in METHODS if "beam" not in name])
def test_every_row_fills_decoding_len_when_nothing_settles(language_model, clip, image_features, prompts, name):
    results = generate(language_model, METHODS[name], prompts, guidance=Guidance(clip, image_features))
    assert [len(prompt) + len(ids) for prompt, ids in zip(prompts, results, strict=True)] == [LENGTH] * 6


@pytest.mark.parametrize("name", ["magic", "magic_without_penalty", "contrastive", "greedy", "nucleus"])
def test_caption_stays_the_same_when_decoding_stops_at_end_of_text(language_model, clip, image_features, name):
    caption, prompt = CaptionFormat(language_model), [language_model.start_id]
    options = {"guidance": Guidance(clip, image_features), "seeds": range(6)}
    full = generate(language_model, METHODS[name], [prompt] * 6, **options)
    stopped = generate(language_model, METHODS[name], [prompt] * 6, text_format=caption, **options)
    assert [caption.text(prompt, ids) for ids in stopped] == [caption.text(prompt, ids) for ids in full]
    for whole, part in zip(full, stopped, strict=True):
        assert whole[: len(part)] == part
        assert len(part) == (whole.index(language_model.end_id) + 1 if language_model.end_id in whole else len(whole))


def test_decoding_stops_early_when_some_captions_end(language_model, clip, image_features):
    """Without this the test above would compare full-length runs with each other."""
    caption = CaptionFormat(language_model)
    prompts, guidance = [[language_model.start_id]] * 6, Guidance(clip, image_features)
    results = generate(language_model, METHODS["magic"], prompts, guidance=guidance, text_format=caption)
    lengths = [len(ids) for ids in results]
    assert min(lengths) < LENGTH - 1 == max(lengths)


def test_story_stays_the_same_when_decoding_stops_at_its_fifth_sentence(make_language_model):
    model = make_language_model(decoding_len=100, look_ahead="tree")
    story = StoryFormat(model)
    titles = ["Skipping school", "A cake", "The dog", "Tom"] * 3
    prompts = [model.encode(story_prompt(title, "<|endoftext|>")) for title in titles]
    method = TopKSampling(100, k=30)
    full = generate(model, method, prompts, seeds=range(12))
    stopped = generate(model, method, prompts, seeds=range(12), text_format=story)
    for prompt, whole, part in zip(prompts, full, stopped, strict=True):
        assert story.text(prompt, part) == story.text(prompt, whole) == reference.story(model.tokenizer, [*prompt, *whole])
    ends = [model.end_id in part for part in stopped]
    sentences = [model.decode([part])[0].count(".") >= 5 for part in stopped]
    assert any(ends) and any(sentences) and sum(map(len, stopped)) < sum(map(len, full))


@each_method
def test_trace_names_every_choice_when_on_step_is_given(language_model, clip, image_features, method):
    seen, prompts = [], [[language_model.start_id]] * 2
    results = generate(
        language_model, method, prompts, guidance=Guidance(clip, image_features[:2]), seeds=[1, 2],
        on_step=lambda index, step, details: seen.append((index, step, details)),
    )  # fmt: skip
    if isinstance(method, BeamSearch):
        assert {"choice", "parent", "row"} == set(seen[0][2])
        return
    for prompt, ids in enumerate(results):
        mine = [(step, details) for index, step, details in seen if index == prompt]
        assert [step for step, _ in mine] == list(range(LENGTH - 1))
        assert [details["choice"] for _, details in mine] == ids
        assert all(details["choice"] in details["token_ids"] and max(details["p"]) <= 1 for _, details in mine)


@pytest.mark.parametrize("look_ahead", ["tree", "repeated", "recompute"])
def test_greedy_search_equals_transformers_when_batch_is_ragged(make_language_model, network_and_tokenizer, prompts, look_ahead):
    network, tokenizer = network_and_tokenizer
    model = make_language_model(look_ahead=look_ahead)
    for prompt, ids in zip(prompts, generate(model, GreedySearch(24), prompts), strict=True):
        expected = network.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, max_length=24,
            eos_token_id=None, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        assert ids == expected[0, len(prompt) :].tolist()


@each_method
@pytest.mark.parametrize("look_ahead", ["tree", "repeated", "recompute"])
def test_text_is_written_when_weights_are_bfloat16(tiny_language_model_folder, clip, image_features, method, look_ahead):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = AutoModelForCausalLM.from_pretrained(tiny_language_model_folder, dtype=torch.bfloat16)
    model = HuggingFaceLanguageModel(network, AutoTokenizer.from_pretrained(tiny_language_model_folder))
    assert model.prepare(decoding_len=LENGTH, num_candidates=6, look_ahead=look_ahead) == look_ahead
    prompts = [[model.start_id], model.encode("A man riding a")]
    results = generate(model, method, prompts, guidance=Guidance(clip, image_features[:2]), seeds=[0, 1])
    assert all(0 <= token < model.vocab_size for ids in results for token in ids)
    assert model.prefill(prompts).logits.dtype == torch.float32
    assert len(set(results[0])) > 2


def test_run_is_refused_when_a_model_computes_nan(make_language_model, clip, image_features):
    prompts, method = [[400]], METHODS["magic"]
    with pytest.raises(MagicError, match="^image_text_model: the model computes NaN; set run.dtype=float32"):
        generate(make_language_model(), method, prompts, guidance=Guidance(NanTexts(), image_features[:1]))
    broken = make_language_model()
    broken.network.logits = lambda hidden: torch.full((len(hidden), broken.vocab_size), torch.nan)
    with pytest.raises(MagicError, match="^language_model: the model computes NaN; set run.dtype=float32"):
        generate(broken, GreedySearch(LENGTH), prompts)
    odd_photo = torch.full_like(image_features[:1], torch.inf)
    with pytest.raises(MagicError, match="^image_text_model: the model computes NaN"):
        generate(make_language_model(), method, prompts, guidance=Guidance(clip, odd_photo))


@pytest.mark.parametrize("lazy", [True, False])
def test_run_is_refused_when_a_candidate_that_was_looked_at_is_nan(make_language_model, clip, image_features, monkeypatch, lazy):
    model = make_language_model()
    peek = type(model).peek

    def overflowing(self, state, ids, wanted=None):
        hidden = peek(self, state, ids, wanted).clone()
        hidden[-1, int(wanted[-1].nonzero()[-1]) if wanted is not None else -1] = torch.nan
        return hidden

    monkeypatch.setattr(type(model), "peek", overflowing)
    with pytest.raises(MagicError, match="^language_model: the model computes NaN"):
        generate(model, METHODS["magic"], [[400], [401]], guidance=Guidance(clip, image_features[:2]), lazy=lazy)


class NanTexts:
    """An image-text model whose features overflow."""

    logit_scale = 100.0

    def open_texts(self, num_rows):
        return self

    def encode(self, texts):
        return torch.full((len(texts), len(texts[0]), 24), torch.nan)

    def select(self, rows):
        pass
