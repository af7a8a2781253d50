"""Several guides steer one text: the score is the sum of their weighted scores, with the same shortcuts as for one."""

import pytest
import torch

from magic_cli.decoding.generate import generate
from magic_cli.decoding.guides import ImageGuide
from magic_cli.decoding.magic import MagicSearch
from magic_cli.decoding.request import Options
from magic_cli.decoding.rerank import Rerank
from magic_cli.decoding.sampling import TopKSampling
from magic_cli.decoding.shortcuts.memory import StepMemory
from magic_cli.errors import MagicError, SettingsError
from tests.decoding import Guidance
from tests.decoding import generate as generate_one
from tests.reference import search as reference
from tests.reference.text import decode

LENGTH = 14
METHOD = MagicSearch(LENGTH, k=5, alpha=0.3, beta=0.7)


def two(clip, images, others, weight=0.5):
    return [METHOD.image_guide(clip, images), ImageGuide(clip, others, weight, "dot_product")]


@pytest.mark.parametrize("lazy", [True, False])
def test_sum_of_two_guides_equals_the_slow_twin(language_model, network_and_tokenizer, clip, image_features, lazy):
    network, tokenizer = network_and_tokenizer
    prompts, images, others = [[language_model.start_id]] * 3, image_features[:3], image_features[3:6]
    written = generate(language_model, METHOD, prompts, two(clip, images, others), Options(lazy=lazy))
    encode = lambda texts: clip.encode_texts(texts).double()
    for row, one in enumerate(written):
        read = lambda ids: decode(tokenizer, ids)
        first = reference.released_match(read, encode, images[row].double(), logit_scale=clip.logit_scale)
        second = reference.paper_match(read, encode, others[row].double(), [])
        expected = reference.search(
            network, prompts[row], decoding_len=LENGTH, k=5, alpha=0.3, match=first, beta=0.7, others=[(second, 0.5)]
        )
        assert one.ids == expected.ids
    alone = generate_one(language_model, METHOD, prompts, guidance=Guidance(clip, images))
    assert [one.ids for one in written] != alone


def test_guides_of_one_model_read_each_text_once_and_one_without_weight_is_not_asked(make_language_model, clip, image_features):
    counts, texts = [], []
    for guides in (
        [METHOD.image_guide(clip, image_features)],
        two(clip, image_features, image_features.flip(0), 0.0),
        two(clip, image_features, image_features.flip(0), 1e-6),
    ):
        model = make_language_model()
        clip.work.counts.clear()
        texts.append([one.ids for one in generate(model, METHOD, [[model.start_id]] * 6, guides)])
        counts.append(clip.work.counts["texts_encoded"])
    assert texts[0] == texts[1] == texts[2] and counts[0] == counts[1] == counts[2]


def test_steps_are_remembered_for_all_guides(make_language_model, clip, image_features):
    model, memory = make_language_model(), StepMemory(1 << 20)
    prompts, guides = [[model.start_id]] * 2, two(clip, image_features[:2], image_features[2:4])
    expected = [one.ids for one in generate(model, METHOD, prompts, guides)]
    for _ in range(2):
        assert [one.ids for one in generate(model, METHOD, prompts, guides, Options(memory=memory))] == expected
    assert memory.met >= 2 * (LENGTH - 1)


def test_trace_shows_the_scores_of_every_guide(language_model, clip, image_features):
    seen = []
    options = Options(on_step=lambda index, step, details: seen.append(details), lazy=False)
    generate(language_model, METHOD, [[language_model.start_id]], two(clip, image_features[:1], image_features[1:2]), options)
    for details in seen:
        for p, penalty, f, other, score in zip(*(details[name] for name in ("p", "penalty", "f", "f_2", "score")), strict=True):
            assert score == pytest.approx(0.7 * p - 0.3 * penalty + 0.7 * f + 0.5 * other, abs=1e-5)


def test_faults_are_one_line(language_model, clip, image_features):
    prompts = [[language_model.start_id]]
    broken = two(clip, image_features[:1], torch.full_like(image_features[:1], torch.nan))
    broken[1].group = "guides.memory"
    with pytest.raises(MagicError, match="^guides.memory: the model computes NaN"):
        generate(language_model, METHOD, prompts, broken)
    method = Rerank(LENGTH, base=TopKSampling(LENGTH, k=5), num=2)
    with pytest.raises(SettingsError, match="^guides: decoding=rerank takes the image as its only guide, got 2"):
        generate(language_model, method, prompts, two(clip, image_features[:1], image_features[1:2]))
