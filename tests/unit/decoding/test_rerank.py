"""Best of N: which candidates there are, which one is taken, and that batching changes nothing."""

from collections import Counter

import pytest
import torch

from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ClipText
from magic_cli.decoding.rerank import Rerank, candidate_seed
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling, TopKSampling, TypicalSampling
from magic_cli.decoding.text import CaptionFormat
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.errors import MagicError, SettingsError
from tests.decoding import Guidance, generate

LENGTH, NUM = 10, 7
BASES = {"nucleus": NucleusSampling(LENGTH), "top_k": TopKSampling(LENGTH, k=5), "typical": TypicalSampling(LENGTH, mass=0.6)}
each_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())


@pytest.fixture
def prompts(language_model):
    return [[language_model.start_id, *language_model.encode(text)] for text in ("", "A man", "Two dogs are")]


def write(model, clip, images, prompts, method, seeds, **options):
    return generate(
        model, method, prompts, guidance=Guidance(clip, images), seeds=seeds, text_format=CaptionFormat(model), **options
    )


@each_base
def test_best_of_the_base_s_own_texts_is_taken(language_model, clip, image_features, prompts, base):
    caption = CaptionFormat(language_model)
    written = write(language_model, clip, image_features[:3], prompts, Rerank(LENGTH, base=base, num=NUM), [5, 6, 7])
    for prompt, seed, image, ids in zip(prompts, [5, 6, 7], image_features, written, strict=False):
        texts = {}
        for number in range(NUM):
            alone = generate(language_model, base, [prompt], seeds=[candidate_seed(seed, number)], text_format=caption)[0]
            texts[caption.text(prompt, alone)] = alone
        assert len(texts) > 3
        fits = {t: float(torch.cosine_similarity(clip.encode_texts([t])[0], image, dim=0)) for t in texts}
        assert caption.text(prompt, ids) == max(fits, key=fits.__getitem__)


def test_batch_equals_items_one_by_one(language_model, clip, image_features, prompts):
    method = Rerank(LENGTH, base=BASES["nucleus"], num=NUM)
    together = write(language_model, clip, image_features[:3], prompts, method, [5, 6, 7])
    alone = [
        write(language_model, clip, image_features[i : i + 1], [prompts[i]], method, [5 + i])[0] for i in (2, 0, 1)
    ]  # fmt: skip
    assert together == [alone[1], alone[2], alone[0]]
    assert together != write(language_model, clip, image_features[:3], prompts, method, [15, 16, 17])


def test_one_candidate_is_the_base_with_that_seed(language_model, clip, image_features, prompts):
    method = Rerank(LENGTH, base=BASES["top_k"], num=1)
    seeds = [candidate_seed(seed, 0) for seed in (5, 6, 7)]
    plain = generate(language_model, BASES["top_k"], prompts, seeds=seeds, text_format=CaptionFormat(language_model))
    assert write(language_model, clip, image_features[:3], prompts, method, [5, 6, 7]) == plain


def test_trace_holds_all_candidates_and_equal_ones_are_encoded_once(language_model, clip, image_features):
    seen, prompt = [], [language_model.start_id, *language_model.encode("A man")]
    method, before = Rerank(4, base=TopKSampling(4, k=2), num=12), Counter(clip.work.counts)
    ids = write(
        language_model, clip, image_features[:1], [prompt], method, [3], on_step=lambda *step: seen.append(step)
    )[0]  # fmt: skip
    assert [(index, step, details["candidate"]) for index, step, details in seen] == [(0, i, i) for i in range(12)]
    lines = [details for _, _, details in seen]
    firsts = {text: min(i for i, line in enumerate(lines) if line["text"] == text) for text in {line["text"] for line in lines}}
    assert 1 < len(firsts) < 12 and all(line["same_as"] == firsts[line["text"]] for line in lines)
    assert clip.work.counts["texts_encoded"] - before["texts_encoded"] == len(firsts)
    best = max(range(12), key=lambda i: (lines[i]["cosine"], -i))
    assert {line["choice"] for line in lines} == {best} and lines[best]["token_ids"] == ids


def test_prompt_is_scored_only_where_it_is_wanted(language_model, clip, image_features):
    prompt = [language_model.start_id, *language_model.encode("A man")]
    texts = {}
    for clip_text in ClipText:
        method = Rerank(LENGTH, base=BASES["nucleus"], num=3, clip_text=clip_text)
        write(
            language_model, clip, image_features[:1], [prompt], method, [3],
            on_step=lambda index, step, details, name=clip_text.name: texts.setdefault((name, step), details["text"]),
        )  # fmt: skip
    assert all(texts["prefix_and_generated", i].removeprefix("A man").strip() == texts["generated", i] for i in range(3))


@pytest.mark.parametrize(
    "base", [GreedySearch(LENGTH), BeamSearch(LENGTH), ZeroCap(LENGTH)], ids=lambda base: type(base).__name__
)
def test_base_that_is_not_sampled_is_refused(base):
    with pytest.raises(SettingsError, match=f"^decoding.base={type(base).__name__}: must be a sampled method"):
        Rerank(LENGTH, base=base)


def test_rerank_of_rerank_and_other_lengths_and_numbers_are_refused():
    with pytest.raises(SettingsError, match="^decoding.num must be at least 1, got 0"):
        Rerank(LENGTH, base=BASES["nucleus"], num=0)
    with pytest.raises(SettingsError, match="^decoding.base=Rerank: must be a sampled method"):
        Rerank(LENGTH, base=Rerank(LENGTH, base=BASES["nucleus"]))
    with pytest.raises(SettingsError, match="^decoding.base.decoding_len must be decoding.decoding_len=12, got 10"):
        Rerank(12, base=BASES["nucleus"])
    with pytest.raises(SettingsError, match="^decoding.base must be a sampled method .*, got 'nucleus'"):
        Rerank(LENGTH, base="nucleus")


def test_run_is_refused_when_a_feature_is_not_finite(language_model, clip, image_features, prompts):
    with pytest.raises(MagicError, match="^image_text_model: the model computes NaN"):
        write(language_model, clip, image_features[:3] * torch.nan, prompts, Rerank(LENGTH, base=BASES["nucleus"]), [1, 2, 3])
