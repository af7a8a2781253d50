"""The memory guide equals a slow twin in every use; with no weight it is MAGIC to the token."""

import json

import pytest
import torch

from magic_cli.data.image_names import identities
from magic_cli.decoding.generate import generate
from magic_cli.decoding.magic import MagicBeam, MagicSearch, Similarity
from magic_cli.decoding.request import Options
from magic_cli.decoding.shortcuts.memory import StepMemory
from magic_cli.errors import SettingsError
from magic_cli.guides.base import Images
from magic_cli.guides.memory import Memory, Use
from tests.reference import memory as slow
from tests.reference import search as reference
from tests.reference.text import decode
from tests.tiny_models import CAPTIONS

LENGTH = 14
METHOD = MagicSearch(LENGTH, k=5, alpha=0.3, beta=0.7)
SMALL = {"neighbours": 4, "temperature": 0.1, "features": "float32"}
UNKNOWN = [()] * 6


@pytest.fixture
def opened(viewers, tmp_path):
    """A memory of the tiny captions: ``opened(weight=..., use=...)``."""

    def make(captions=CAPTIONS, **settings):
        file = tmp_path / "captions.json"
        file.write_text(json.dumps(captions))
        memory = Memory(captions_file=str(file), folder=str(tmp_path / f"index{len(captions)}"), **SMALL | settings).load()
        facts = memory.open(viewers)
        assert facts["name"] == "captions.json" and facts["count"] == len(memory._index.captions.texts)
        return memory

    return make


def tokens(model, guides, count, **options):
    return [one.ids for one in generate(model, METHOD, [[model.start_id]] * count, guides, Options(**options))]


def steered(memory, method, clip, features, names=UNKNOWN):
    return memory.steer([method.image_guide(clip, features)], Images((features,), list(names)))


def test_steps_without_weight_are_magic_s(opened, language_model, clip, image_features):
    expected = tokens(language_model, [METHOD.image_guide(clip, image_features)], 6)
    for use in Use:
        memory = opened(weight=0.0, use=use, **({"unsure": 0.99, "sure": 1.0} if use is Use.replace else {}))
        assert memory.is_active is (use is Use.replace)
        assert tokens(language_model, steered(memory, METHOD, clip, image_features), 6) == expected
    faded = opened(weight=0.9, unsure=0.99, sure=1.0)
    [guide] = steered(faded, METHOD, clip, image_features)
    assert guide.vectors.equal(image_features), "to the bit"


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("similarity", [Similarity.scaled_cosine, Similarity.dot_product])
@pytest.mark.parametrize(
    ("use", "fade"), [(Use.mix, ()), (Use.replace, ()), (Use.beside, ()), (Use.mix, (-0.5, 0.9)), (Use.beside, (-0.5, 0.9))]
)
def test_memory_equals_the_slow_twin(
    opened, language_model, network_and_tokenizer, clip, image_features, use, fade, similarity, lazy
):
    network, tokenizer = network_and_tokenizer
    method = MagicSearch(LENGTH, k=5, alpha=0.3, beta=0.7, similarity=similarity)
    unsure, sure = fade or (None, None)
    memory, features = opened(use=use, weight=0.6, unsure=unsure, sure=sure), image_features[:2]
    guides = steered(memory, method, clip, features, UNKNOWN[:2])
    written = generate(language_model, method, [[language_model.start_id]] * 2, guides, Options(lazy=lazy))
    texts = clip.encode_texts(CAPTIONS).double().tolist()
    encode = lambda sentences: clip.encode_texts(sentences).double()
    read = lambda ids: decode(tokenizer, ids)

    def match(vector):
        vector = torch.tensor(vector, dtype=torch.float64)
        if similarity is Similarity.dot_product:
            return reference.paper_match(read, encode, vector, [])
        return reference.released_match(read, encode, vector, logit_scale=clip.logit_scale)

    for image, one in zip(features.double().tolist(), written, strict=True):
        recalled, mean_cosine = slow.recall(image, texts, neighbours=4, temperature=0.1)
        share = slow.share(1.0 if use is Use.replace else 0.6, mean_cosine, unsure, sure)
        if use is Use.beside:
            first, beta, others = match(image), 0.7 * (1 - share), [(match(recalled), 0.7 * share)]
        else:
            first, beta, others = match(slow.mixed(image, recalled, share)), 0.7, []
        expected = reference.search(
            network, [language_model.start_id], decoding_len=LENGTH, k=5, alpha=0.3, match=first, beta=beta, others=others
        )
        assert one.ids == expected.ids


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("use", [Use.mix, Use.beside])
def test_words_of_the_memory_join_as_in_the_slow_twin(
    opened, language_model, network_and_tokenizer, clip, image_features, use, lazy
):
    network, tokenizer = network_and_tokenizer
    memory, features = opened(use=use, weight=0.6, words=3, words_floor=0.004), image_features[:3]
    guides = steered(memory, METHOD, clip, features, UNKNOWN[:3])
    written = generate(language_model, METHOD, [[language_model.start_id]] * 3, guides, Options(lazy=lazy))
    texts = clip.encode_texts(CAPTIONS).double().tolist()

    def match(vector):
        vector = torch.tensor(vector, dtype=torch.float64)
        encode = lambda sentences: clip.encode_texts(sentences).double()
        return reference.released_match(lambda ids: decode(tokenizer, ids), encode, vector, logit_scale=clip.logit_scale)

    joined, numbers = 0, set()
    for image, one in zip(features.double().tolist(), written, strict=True):
        recalled, _ = slow.recall(image, texts, neighbours=4, temperature=0.1)
        captions = slow.nearest(image, texts, neighbours=4)
        tokens = {i for number in captions for space in ("", " ") for i in tokenizer.encode(space + CAPTIONS[number])}
        words = {"joining": tokens, "most": 3, "floor": 0.004}
        if use is Use.beside:
            how = {"match": match(image), "beta": 0.7 * 0.4, "others": [(match(recalled), 0.7 * 0.6)]}
        else:
            how = {"match": match(slow.mixed(image, recalled, 0.6)), "beta": 0.7}
        expected = reference.search(network, [language_model.start_id], decoding_len=LENGTH, k=5, alpha=0.3, **how, **words)
        assert one.ids == expected.ids
        for step, token in zip(expected.steps, expected.ids, strict=True):
            joined += step["token_ids"].index(token) >= 5
            numbers.add(len(step["token_ids"]) - 5)
    assert joined >= 3, "words were chosen that are not among the five likeliest"
    assert len(numbers) > 1, "more join some steps than others"


def test_words_of_the_memory_are_the_image_s_own(opened, language_model, clip, image_features):
    """Neither the batch nor steps that another image left behind change which words join."""
    memory = opened(words=3, words_floor=0.004)
    together = tokens(language_model, steered(memory, METHOD, clip, image_features), 6)
    assert together != tokens(language_model, steered(opened(), METHOD, clip, image_features), 6)
    steps = StepMemory(1 << 20)
    for _ in range(2):
        for row in range(6):
            alone = steered(memory, METHOD, clip, image_features[row : row + 1], UNKNOWN[:1])
            assert tokens(language_model, alone, 1, memory=steps) == together[row : row + 1]
    assert not len(steps), "their candidates depend on more than the tokens so far"


def test_words_take_part_without_a_share_of_the_memory():
    assert Memory(weight=0, words=1).is_active
    assert not Memory(weight=0).is_active
    with pytest.raises(SettingsError, match="guides.memory.words=1: only MAGIC's steps take words"):
        Memory(words=1).check(MagicBeam(LENGTH, beta=1, k=20, num_beams=2))


def test_an_image_s_memory_does_not_depend_on_the_batch(opened, clip, image_features):
    memory = opened()
    [together] = steered(memory, METHOD, clip, image_features)
    for row in range(6):
        [alone] = steered(memory, METHOD, clip, image_features[row : row + 1], UNKNOWN[:1])
        assert alone.vectors.equal(together.vectors[row : row + 1])


def test_own_captions_are_never_recalled(opened, clip, image_features, viewers):
    records = [{"image": f"{number:012}.jpg", "captions": [text]} for number, text in enumerate(CAPTIONS)]
    names = [identities("a.jpg")] * 5 + [identities(f"COCO_val2014_{3:012}.jpg", 77)]
    without = opened([record for number, record in enumerate(records) if number != 3])
    [expected] = steered(without, METHOD, clip, image_features, names)
    [found] = steered(opened(records), METHOD, clip, image_features, names)
    assert found.vectors[5].equal(expected.vectors[5])
    counts = viewers.where.work.counts
    assert (counts["images_in_memory"], counts["captions_excluded"], counts["images_recalled"]) == (1, 1, 12)
    only = opened([{"image": "a.jpg", "captions": CAPTIONS[:3]}])
    [alone] = steered(only, METHOD, clip, image_features, [identities("a.jpg")] * 6)
    assert alone.vectors.equal(image_features), "nothing is left to recall"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sure": 0.5}, "guides.memory.unsure=None and guides.memory.sure=0.5: set both, or neither"),
        ({"unsure": 0.5, "sure": 0.4}, r"guides.memory.sure must be in \(0.5, 1\], got 0.4"),
        ({"weight": 1.5}, "guides.memory.weight must be at most 1, got 1.5"),
        ({"neighbours": 0}, "guides.memory.neighbours must be at least 1, got 0"),
        ({"words": -1}, "guides.memory.words must be at least 0, got -1"),
        ({"words_floor": 0.0}, "guides.memory.words_floor must be in \\(0, 1\\], got 0"),
        ({"kind": "hnws"}, "guides.memory.kind='hnws' is unknown; did you mean hnsw"),
    ],
)
def test_faults_are_one_line(settings, message):
    with pytest.raises(SettingsError, match=f"^{message}"):
        Memory(**settings)
