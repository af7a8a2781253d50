"""MAGIC and contrastive search against the released algorithm, written plainly in tests/reference/search.py."""

import pytest
import torch

from magic_cli.decoding.magic import ClipText, ContrastiveSearch, MagicSearch, Similarity
from magic_cli.decoding.sampling import GreedySearch
from tests.decoding import Guidance, generate
from tests.reference import search as reference
from tests.reference.text import decode

LENGTH = 14
# a decision closer than this may differ between two correct programs; the chosen cases have none
CLEAR_MARGIN, CLEAR_GAP = 2e-5, 1e-5


@pytest.fixture
def plain_encoder(clip):
    """Texts -> features, by the model's own encoder."""
    return lambda texts: clip.encode_texts(texts).double()


@pytest.fixture
def run_reference(network_and_tokenizer, clip, image_features, plain_encoder):
    """Run the reference on one photo."""
    network, tokenizer = network_and_tokenizer

    def run(prompt, *, image=None, window=60, paper_words=None, **settings):
        match = None
        if image is not None:
            features = image_features[image].double()
            read = lambda ids: decode(tokenizer, ids)
            if paper_words is not None:
                match = reference.paper_match(read, plain_encoder, features, paper_words)
            else:
                match = reference.released_match(read, plain_encoder, features, logit_scale=clip.logit_scale, window=window)
        outcome = reference.search(network, prompt, match=match, **settings)
        assert outcome.smallest_margin > CLEAR_MARGIN
        assert outcome.smallest_gap > CLEAR_GAP
        return outcome

    return run


@pytest.mark.parametrize("image", [0, 4])
@pytest.mark.parametrize(
    ("k", "alpha", "beta"), [(6, 0.1, 2.0), (4, 0.6, 0.15), (5, 0.5, 0.5), (6, 0.0, 1.0), (3, 1.0, 0.2), (1, 0.6, 1.0)]
)
def test_magic_search_writes_reference_tokens_when_caption_is_steered(
    language_model, clip, image_features, run_reference, image, k, alpha, beta
):
    prompt = [language_model.start_id]
    method = MagicSearch(LENGTH, k=k, alpha=alpha, beta=beta)
    expected = run_reference(prompt, image=image, decoding_len=LENGTH, k=k, alpha=alpha, beta=beta)
    guidance = Guidance(clip, image_features[image : image + 1])
    assert generate(language_model, method, [prompt], guidance=guidance) == [expected.ids]


@pytest.mark.parametrize(("k", "alpha"), [(6, 0.1), (5, 0.6), (3, 1.0), (1, 0.5)])
def test_contrastive_search_writes_reference_tokens_when_prompt_has_words(language_model, run_reference, k, alpha):
    prompt = language_model.encode("A man riding a")
    expected = run_reference(prompt, decoding_len=LENGTH + 4, k=k, alpha=alpha)
    assert generate(language_model, ContrastiveSearch(LENGTH + 4, k=k, alpha=alpha), [prompt]) == [expected.ids]


def test_tokens_equal_reference_when_text_goes_on_after_end_of_text(language_model, clip, image_features, run_reference):
    """The reference scores the literal ``<|endoftext|>``, the fast core cuts the text before it."""
    prompt, settings = [language_model.start_id], {"k": 6, "alpha": 0.1, "beta": 0.5, "decoding_len": 16}
    expected = run_reference(prompt, image=5, **settings)
    guidance = Guidance(clip, image_features[5:6])
    assert generate(language_model, MagicSearch(**settings), [prompt], guidance=guidance) == [expected.ids]
    assert language_model.end_id in expected.ids[:8]  # a weak case otherwise


@pytest.mark.parametrize("lazy", [True, False])
def test_details_equal_reference_when_traced(language_model, clip, image_features, run_reference, lazy):
    prompt, settings = [language_model.start_id], {"k": 5, "alpha": 0.3, "beta": 1.0, "decoding_len": LENGTH}
    expected = run_reference(prompt, image=2, **settings)
    seen = []
    generate(
        language_model,
        MagicSearch(**settings),
        [prompt],
        guidance=Guidance(clip, image_features[2:3]),
        on_step=lambda index, step, details: seen.append((index, step, details)),
        lazy=lazy,
    )
    assert [(index, step) for index, step, _ in seen] == [(0, step) for step in range(LENGTH - 1)]
    left_out = 0
    for (_, _, details), plain, token in zip(seen, expected.steps, expected.ids, strict=True):
        assert details["choice"] == token
        assert details["token_ids"] == plain["token_ids"]
        for name in ("p", "f"):
            assert details[name] == pytest.approx(plain[name], abs=2e-4), name
        for name in ("penalty", "score"):
            known = [(value, expected) for value, expected in zip(details[name], plain[name], strict=True) if value is not None]
            assert [value for value, _ in known] == pytest.approx([expected for _, expected in known], abs=2e-4), name
            left_out += settings["k"] - len(known)
    assert (left_out > 0) == lazy


@pytest.mark.parametrize("look_ahead", ["tree", "repeated", "recompute"])
@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 2.0), (0.3, 0.5), (0.02, 0.0)])
def test_same_tokens_and_trace_are_written_with_less_work_when_lazy(
    make_language_model, clip, image_features, look_ahead, alpha, beta
):
    model = make_language_model(look_ahead=look_ahead)
    words = [[model.start_id, *model.encode(text)] for text in ("", "A man", "A", "Two dogs are", "People", "The")]
    method, outcomes, positions, traces = MagicSearch(LENGTH, k=6, alpha=alpha, beta=beta), [], [], []
    for lazy, batches in ((False, [slice(0, 6)]), (True, [slice(0, 6)]), (True, [slice(i, i + 1) for i in range(6)])):
        model = make_language_model(look_ahead=look_ahead)  # which remembers no start from the round before
        written, seen = [], {}
        for batch in batches:
            guidance = Guidance(clip, image_features[batch])
            note = lambda index, step, details: seen.update({(batch.start + index, step): details})  # noqa: B023
            written += generate(model, method, words[batch], guidance=guidance, lazy=lazy, on_step=note)
        outcomes.append(written)
        positions.append(model.work.counts["lm_positions"])
        traces.append({key: [value is None for value in details["penalty"]] for key, details in seen.items()})
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert positions[2] < positions[0] and positions[2] <= positions[1] <= positions[0]
    assert traces[1] == traces[2]  # what a batch's neighbours need is no part of a row's trace


def test_details_name_only_what_was_computed_when_weights_are_zero(language_model, clip, image_features):
    seen = []
    for method in (MagicSearch(6, k=3, alpha=0.0, beta=1.0), MagicSearch(6, k=3, alpha=0.4, beta=0.0)):
        generate(
            language_model, method, [[language_model.start_id]], guidance=Guidance(clip, image_features[:1]),
            on_step=lambda index, step, details: seen.append(details),
        )  # fmt: skip
    without_penalty, without_image = seen[0], seen[-1]
    assert without_penalty["penalty"] is None and sum(without_penalty["f"]) == pytest.approx(1.0)
    assert without_image["f"] is None and len(without_image["penalty"]) == 3


def test_tokens_equal_reference_when_paper_formula_is_set(language_model, clip, image_features, run_reference):
    words = language_model.encode("A man riding a")
    prompt = [language_model.start_id, *words]
    settings = {"k": 5, "alpha": 0.1, "beta": 1.0, "decoding_len": LENGTH + 4}
    method = MagicSearch(**settings, clip_text=ClipText.prefix_and_generated, similarity=Similarity.dot_product)
    released = generate(language_model, MagicSearch(**settings), [prompt], guidance=Guidance(clip, image_features[1:2]))
    expected = run_reference(prompt, image=1, paper_words=words, **settings)
    assert generate(language_model, method, [prompt], guidance=Guidance(clip, image_features[1:2])) == [expected.ids]
    assert released != [expected.ids]  # else the settings would be without effect


def test_tokens_equal_reference_when_scored_text_is_a_short_window(language_model, clip, image_features, run_reference):
    prompt, settings = [language_model.start_id], {"k": 5, "alpha": 0.1, "beta": 1.0, "decoding_len": LENGTH}
    guidance = Guidance(clip, image_features[4:5])
    expected = run_reference(prompt, image=4, window=4, **settings)
    assert generate(language_model, MagicSearch(**settings, clip_text_window=4), [prompt], guidance=guidance) == [expected.ids]
    assert generate(language_model, MagicSearch(**settings), [prompt], guidance=guidance) != [expected.ids]


def test_magic_search_is_contrastive_search_when_beta_is_zero(language_model, clip, image_features):
    prompts = [[language_model.start_id]] * 2
    magic = generate(
        language_model, MagicSearch(20, k=5, alpha=0.4, beta=0.0), prompts, guidance=Guidance(clip, image_features[:2])
    )
    assert magic == generate(language_model, ContrastiveSearch(20, k=5, alpha=0.4), prompts)


@pytest.mark.parametrize("k", [1, 6])
def test_magic_search_is_greedy_when_alpha_and_beta_are_zero(language_model, k):
    prompts = [[language_model.start_id], language_model.encode("A plate of food")]
    greedy = generate(language_model, GreedySearch(20), prompts)
    assert generate(language_model, MagicSearch(20, k=k, alpha=0.0, beta=0.0), prompts) == greedy


def test_different_images_get_different_texts_when_beta_is_large(language_model, clip, image_features):
    texts = generate(
        language_model, MagicSearch(16, k=6, alpha=0.1, beta=2.0), [[language_model.start_id]] * 6,
        guidance=Guidance(clip, image_features),
    )  # fmt: skip
    assert len({tuple(text) for text in texts}) >= 4


@pytest.mark.parametrize("look_ahead", ["tree", "repeated", "recompute"])
def test_tokens_stay_the_same_when_look_ahead_way_changes(make_language_model, clip, image_features, look_ahead):
    model, plain_model = make_language_model(look_ahead=look_ahead), make_language_model(look_ahead="recompute")
    prompts = [[model.start_id], model.encode("A man riding"), model.encode("Two dogs are running over"), [model.start_id]]
    method = MagicSearch(20, k=6, alpha=0.3, beta=0.7)
    expected = [
        generate(plain_model, method, [prompt], guidance=Guidance(clip, image_features[i : i + 1]))[0]
        for i, prompt in enumerate(prompts)
    ]
    assert generate(model, method, prompts, guidance=Guidance(clip, image_features[:4])) == expected


def test_tokens_stay_the_same_when_text_tower_is_plain(language_model, clip, image_features):
    prompts, method = [[language_model.start_id]] * 6, MagicSearch(24, k=6, alpha=0.2, beta=1.0)
    assert clip.text_tower is not None
    incremental = generate(language_model, method, prompts, guidance=Guidance(clip, image_features))
    clip.text_tower = None
    assert generate(language_model, method, prompts, guidance=Guidance(clip, image_features)) == incremental


def test_guidance_and_prompts_stay_unchanged_when_text_is_generated(language_model, clip, image_features):
    features, prompts = image_features[:2].clone(), [[language_model.start_id], [5, 6, 7]]
    weights = {name: tensor.clone() for name, tensor in language_model.network.model.state_dict().items()}
    generate(language_model, MagicSearch(12, k=4, alpha=0.2, beta=1.0), prompts, guidance=Guidance(clip, features))
    assert torch.equal(features, image_features[:2])
    assert prompts == [[language_model.start_id], [5, 6, 7]]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in language_model.network.model.state_dict().items())
