"""Token ids put together from pieces are those of the whole text, for every tokenizer that reads words apart."""

import random

import pytest

from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.models.embedded.image_text_model import EmbeddedImageTextModel
from magic_cli.models.image_text.word_tokens import WordTokens, word_tokens

ODD = [
    "", " ", "a", " a", "a ", "a  dog", "a dog ", "word " * 90, "wordwordword" * 40, "don't isn 't 's ' s", "3 4th 1999's U.S.A. e-mail...", "A DOG!",
    "a dog<|endoftext|> x", "a < b", "<|startoftext|> x", "fish &amp; chips", "fish &am p;", "a café", "a cafe\u0301 bar", "cafe \u0301x",
    "ΣΑΣ ΣΑΣ", "“a” dog", "a\tdog", "a\ndog b", "a\u00a0dog c", "a\u200bdog c", "\x1b[31m red", "dog\x07 x", "Ã© Ã©", "日本 語", "👍🏽 👍",
]  # fmt: skip
"""Texts in which something could reach across a space, or that tokenizers treat as a whole."""


@pytest.fixture(scope="module")
def openai_tokenize():
    from magic_cli.models.image_text.causal_text import cut_at_end
    from magic_cli.models.image_text.openai_clip import import_clip

    clip = import_clip()
    return lambda texts: [cut_at_end(row, 49407) for row in clip.tokenize(list(texts), truncate=True).tolist()]


@pytest.fixture(scope="module")
def open_clip_tokenize():
    import open_clip

    from magic_cli.models.image_text.causal_text import cut_at_end

    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    return lambda texts: [cut_at_end(row, tokenizer.eot_token_id) for row in tokenizer(list(texts)).tolist()]


@pytest.fixture
def huggingface_tokenize(clip):
    assert isinstance(clip._read_growing, WordTokens)
    return clip.tokenize


@pytest.fixture(scope="module")
def embedded_tokenize():
    return EmbeddedImageTextModel.load().tokenize


@pytest.mark.parametrize("kind", ["openai_tokenize", "open_clip_tokenize", "huggingface_tokenize", "embedded_tokenize"])
def test_ids_are_those_of_the_whole_text(kind, request):
    tokenize = request.getfixturevalue(kind)
    rng, captions = random.Random(0), [texts[0] for texts in list(load_bundled_coco_captions().values())[:150]]
    grown = [caption[: rng.randrange(1, len(caption))] for caption in captions]
    texts = [*ODD, *captions, *grown, *(f"{odd} {caption}" for odd, caption in zip(ODD, captions, strict=False))]
    by_word = word_tokens(tokenize, len(tokenize(["word " * 200])[0]))
    for _ in range(2):  # unknown, and known
        found = by_word(texts)
        assert [(text, ids) for text, ids, whole in zip(texts, found, tokenize(texts), strict=True) if ids != whole] == []


def test_pieces_are_read_once():
    read = []

    def tokenize(texts):
        read.extend(texts)
        return [[1, *map(len, text.split()), 2] for text in texts]

    by_word = WordTokens(tokenize, 5)
    assert by_word(["a big dog", "a big cat", "a big"]) == [[1, 1, 3, 3, 2], [1, 1, 3, 3, 2], [1, 1, 3, 2]]
    assert by_word(["a big dog", "a big dog sat on"]) == [[1, 1, 3, 3, 2]] * 2
    assert read == ["", "a big", " dog", " cat", "a", " big", "a big dog sat", " on"]


def test_tokenizer_that_looks_across_a_space_is_left_alone(openai_tokenize):
    def joined(texts):
        return [
            ids if "two dogs" not in text else [ids[0], 7, ids[-1]]
            for ids, text in zip(openai_tokenize(texts), texts, strict=True)
        ]

    assert word_tokens(joined, 77) is None
    assert word_tokens(openai_tokenize, 50) is None  # of another length
