"""The baseline of the measurements writes what the released algorithm writes, and does all of its work."""

import pytest
import torch

from magic_cli.benchmark.released import ReleasedSearch, clip_text_encoder
from magic_cli.decoding.magic import MagicSearch
from magic_cli.models.work_counter import WorkCounter
from tests.decoding import Guidance, generate
from tests.reference import search as reference
from tests.reference.text import decode

LENGTH = 14
CASES = [(6, 0.1, 2.0), (4, 0.6, 0.15), (5, 0.5, 0.5), (6, 0.0, 1.0), (1, 0.6, 1.0)]


@pytest.fixture
def released(network_and_tokenizer, clip):
    """The baseline on the tiny models."""
    work = WorkCounter()
    encode = clip_text_encoder(clip.model.text_model, clip.model.text_projection, clip.tokenizer, work)
    return ReleasedSearch(*network_and_tokenizer, encode, logit_scale=clip.logit_scale, work=work)


@pytest.mark.parametrize("image", [0, 4])
@pytest.mark.parametrize(("k", "alpha", "beta"), CASES)
def test_released_search_writes_the_tokens_of_reference_and_core_when_decisions_are_clear(
    released, language_model, network_and_tokenizer, clip, image_features, image, k, alpha, beta
):
    prompt, settings = [language_model.start_id], {"k": k, "alpha": alpha, "beta": beta, "decoding_len": LENGTH}
    network, tokenizer = network_and_tokenizer
    match = reference.released_match(
        lambda ids: decode(tokenizer, ids),
        lambda texts: clip.encode_texts(texts).double(),
        image_features[image].double(),
        logit_scale=clip.logit_scale,
    )
    expected = reference.search(network, prompt, match=match, **settings)
    assert expected.smallest_margin > 2e-5 and expected.smallest_gap > 1e-5
    found = released.generate(prompt, image_features[image], MagicSearch(**settings))
    guidance = Guidance(clip, image_features[image : image + 1])
    assert found == expected.ids
    assert [found] == generate(language_model, MagicSearch(**settings), [prompt], guidance=guidance)


def test_released_search_writes_the_tokens_of_the_core_when_the_text_outgrows_the_window(
    released, make_language_model, clip, image_features
):
    model = make_language_model(decoding_len=72, num_candidates=3)
    prompt, settings = model.encode("A man<|endoftext|>"), {"k": 3, "alpha": 0.6, "beta": 0.15, "decoding_len": 72}
    guidance = Guidance(clip, image_features[2:3])
    assert [released.generate(prompt, image_features[2], MagicSearch(**settings))] == generate(
        model, MagicSearch(**settings), [prompt], guidance=guidance
    )


def test_released_search_skips_nothing_when_work_is_counted(released, language_model, image_features):
    k, steps = 6, LENGTH - 1
    released.generate([language_model.start_id], image_features[0], MagicSearch(k=k, alpha=0.1, beta=2.0, decoding_len=LENGTH))
    counts = released.work.counts
    assert counts["lm_positions"] == counts["head_rows"] == 1 + k * steps
    assert counts["texts_encoded"] == k * steps
    assert counts["text_tokens"] % k == 0  # k equally long rows a step
    assert set(released.work.seconds) == {"language_model", "image_text_model", "text"}


def test_encoder_gives_the_adapter_s_features_when_texts_differ_in_length(clip):
    texts = ["a", "two dogs running over grass<|endoftext|> and more", ""]
    with torch.inference_mode():
        found = clip_text_encoder(clip.model.text_model, clip.model.text_projection, clip.tokenizer, WorkCounter())(texts)
    torch.testing.assert_close(found, clip.encode_texts(texts), rtol=1e-5, atol=1e-5)
