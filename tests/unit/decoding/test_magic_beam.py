"""MAGIC's beam search equals a slow twin, finds the best text where the beam holds them all, and is beam search without an image."""

import itertools

import pytest
import torch

from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.generate import generate as write
from magic_cli.decoding.guides import ImageGuide, ScaledGuide
from magic_cli.decoding.magic import ClipText, MagicBeam, Similarity
from magic_cli.decoding.text import CaptionFormat
from magic_cli.errors import MagicError, SettingsError
from tests.decoding import Guidance, generate
from tests.reference import search as reference
from tests.reference.beam import beam
from tests.reference.text import decode
from tests.unit.decoding.test_beam import ThreeWords

PROMPTS = ["", "A man", "Two dogs"]


def prompts_of(model):
    return [[model.start_id, *model.encode(text)] for text in PROMPTS]


@pytest.mark.parametrize(
    ("settings", "similarity", "whole"),
    [
        ({"num_beams": 3, "k": 9, "beta": 0.3}, Similarity.scaled_cosine, False),
        ({"num_beams": 4, "k": 30, "beta": 0.02, "length_penalty": 0.5}, Similarity.scaled_cosine, True),
        ({"num_beams": 2, "k": 12, "beta": 0.1}, Similarity.dot_product, False),
        ({"num_beams": 1, "k": 8, "beta": 1.0}, Similarity.dot_product, True),
    ],
)
def test_every_text_is_the_slow_twin_s(language_model, network_and_tokenizer, clip, image_features, settings, similarity, whole):
    network, tokenizer = network_and_tokenizer
    clip_text = ClipText.prefix_and_generated if whole else ClipText.generated
    method = MagicBeam(14, similarity=similarity, clip_text=clip_text, **settings)
    prompts, images, beta = prompts_of(language_model), image_features[:3], settings["beta"]
    found = generate(language_model, method, prompts, guidance=Guidance(clip, images))
    for prompt, image, ids in zip(prompts, images.double(), found, strict=True):
        words = prompt[1:] if whole else []

        def match(texts, image=image, words=words):
            cut = [list(itertools.takewhile(lambda i: i not in language_model.end_ids, text)) for text in texts]
            features = clip.encode_texts([decode(tokenizer, [*words, *text]) for text in cut]).double()
            if similarity is Similarity.dot_product:
                return [beta * float(text @ image) for text in features]
            return [beta * clip.logit_scale * reference.cosine(text, image) for text in features]

        options = {name: value for name, value in settings.items() if name != "beta"}
        assert ids == beam(network, prompt, decoding_len=14, ends=language_model.end_ids, match=match, **options)


def test_without_an_image_it_is_beam_search_but_for_texts_that_are_cut_off(language_model):
    prompts, options = prompts_of(language_model), {"text_format": CaptionFormat(language_model)}
    settings = {"num_beams": 4, "length_penalty": -0.5}
    expected = generate(language_model, BeamSearch(40, **settings), prompts, **options)
    found = generate(language_model, MagicBeam(40, k=8, beta=0.0, **settings), prompts, **options)
    has_ended = [ids[-1] in language_model.end_ids for ids in expected]
    assert any(has_ended)
    assert list(itertools.compress(found, has_ended)) == list(itertools.compress(expected, has_ended))


def test_guides_are_added_by_their_weights(language_model, clip, image_features):
    """Two guides of one image are one of twice the weight; a share of a guide is that part of its weight."""
    method, prompts = MagicBeam(14, num_beams=3, k=12, beta=0.2), [[language_model.start_id]] * 3
    images = image_features[:3]
    one, two = ImageGuide(clip, images, 0.2), ImageGuide(clip, images, 0.4)
    written = lambda guides: [text.ids for text in write(language_model, method, prompts, guides)]
    assert written([one, one]) == written([two]) != written([one])
    assert written([ScaledGuide(two, torch.full((3,), 0.5))]) == written([one])


class Words:
    """Texts of ``ThreeWords`` match by what is written of them in a table."""

    logit_scale = 1.0

    def open_texts(self, num_rows, *, reuse=True):
        return self

    def encode(self, texts):
        return torch.tensor([[[self.match(text), 0.0] for text in row] for row in texts])

    def select(self, rows):
        pass

    @staticmethod
    def match(text):
        return ((hash_of(text) % 7) - 3) / 2


def hash_of(text):
    return sum((place + 3) * (int(word) + 1) for place, word in enumerate(text.split())) * 5


class ThreeReadableWords(ThreeWords):
    special_ids = frozenset({2})

    def decode(self, sequences):
        return [" ".join(map(str, ids)) for ids in sequences]


@pytest.mark.parametrize("length_penalty", [0.5, 1.0])
@pytest.mark.parametrize("beta", [0.3, 2.0])
def test_best_of_all_texts_is_found_when_beam_holds_every_one(length_penalty, beta):
    def worth(ids):
        log_p = sum(float(ThreeWords.table[a, b]) for a, b in itertools.pairwise([0, *ids]))
        words = " ".join(str(i) for i in ids if i != 2)
        return log_p / len(ids) ** length_penalty + beta * Words.match(words)

    ended = [
        ids for length in (1, 2, 3) for ids in itertools.product(range(3), repeat=length) if ids.count(2) == 1 and ids[-1] == 2
    ]  # fmt: skip
    method = MagicBeam(4, num_beams=20, k=60, beta=beta, length_penalty=length_penalty, similarity=Similarity.dot_product)
    guide = ImageGuide(Words(), torch.tensor([[1.0, 0.0]]), beta, "dot_product")
    [found] = write(ThreeReadableWords(), method, [[0]], [guide])
    assert found.ids == list(max(ended, key=worth))


def test_a_text_that_ends_is_preferred_to_one_that_is_cut_off():
    guide = ImageGuide(Words(), torch.tensor([[0.0, 1.0]]), 1.0, "dot_product")  # matches nothing
    method = MagicBeam(2, num_beams=3, k=9, beta=1.0, similarity=Similarity.dot_product)
    assert [text.ids for text in write(ThreeReadableWords(), method, [[0]], [guide])] == [[2]], "0 has p 0.5, the end 0.1"


def test_faults_are_one_line(language_model, clip, image_features):
    with pytest.raises(
        SettingsError, match=r"^decoding.k must be at least 10 with decoding.num_beams=5, got 9; set decoding.k=10"
    ):
        generate(
            language_model,
            MagicBeam(14, num_beams=5, k=9, beta=1.0),
            [[language_model.start_id]],
            guidance=Guidance(clip, image_features[:1]),
        )
    with pytest.raises(SettingsError, match=r"^decoding.guides must name image"):
        MagicBeam(14, beta=1.0, guides=["memory"])
    with pytest.raises(MagicError, match=r"^image_text_model: the model computes NaN"):
        generate(
            language_model,
            MagicBeam(14, num_beams=3, k=9, beta=1.0),
            [[language_model.start_id]],
            guidance=Guidance(clip, image_features[:1] * float("nan")),
        )
