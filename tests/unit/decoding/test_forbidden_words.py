"""Forbidden words: by hand, against the plain twin, and for every kind of tokenizer."""

import random

import pytest

from magic_cli.decoding.rules import ForbiddenWords
from magic_cli.decoding.token_texts import token_texts
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from magic_cli.models.language.tokens import clean_up_spaces
from tests.reference import rules as reference
from tests.reference.rules import forbidden_by

TOKENS = ["", "c", "a", "t", " c", "at", " cat", "s", "egory", " hot", " dog", "-", "shirt", " ", ".", "!", "Cat", "e"]
ID = {text: i for i, text in enumerate(TOKENS)}
SIZE = len(TOKENS)


def split(text: str) -> list[int]:
    """``"c|at"``: the tokens between the bars."""
    return [ID[piece] for piece in text.split("|")] if text else []


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["cat"], "", [" cat", "Cat"]),
        (["cat"], " c", ["at", " cat"]),
        (["cat"], " c|a", ["t", " cat"]),
        (["cat"], "c", ["at", " cat"]),  # at the very beginning
        (["cat"], "e|c", [" cat"]),  # "ecat" is another word
        (["cat"], "s|-|c", ["at", " cat"]),
        (["cat"], "s|-", [" cat", "Cat"]),
        (["cat"], "s", [" cat"]),  # "sCat"
        (["CAT", "cat"], " ", [" cat", "Cat"]),
        (["cats"], " cat", ["s"]),
        (["category"], " cat", ["egory"]),
        (["category"], " c|at", ["egory"]),
        (["at"], " c", []),
        (["hot dog"], " hot", [" dog"]),
        (["hot dog"], " hot| | ", [" dog"]),
        (["hot  dog"], " hot", [" dog"]),
        (["hot dog"], " hot|s", []),
        (["hot dog"], "t|-|s| hot", [" dog"]),
        (["t-shirt"], " |t|-", ["shirt"]),
        (["t-shirt"], "t", []),
        (["!"], " cat", ["!"]),  # what is no letter has no border
        (["cat!"], " cat", ["!"]),
        (["cat."], " cat| ", ["."]),  # the clean-up of spaces joins them
        (["cat ."], " cat", ["."]),
        ([" cat "], "", [" cat", "Cat"]),
    ],
)
def test_word_is_forbidden_however_it_is_spelled(words, text, expected):
    found = forbidden_by(ForbiddenWords(words, TOKENS), split(text), vocab_size=SIZE)
    assert sorted(TOKENS[i] for i in found) == sorted(expected)


def test_prompt_counts_as_text_so_far_but_its_own_words_forbid_nothing():
    rule = ForbiddenWords(["cat", "hot dog"], TOKENS)
    assert forbidden_by(rule, [], prompt=split(" hot"), vocab_size=SIZE) == {ID[" dog"], ID[" cat"]}
    assert forbidden_by(rule, split("a"), prompt=split(" c"), vocab_size=SIZE) == {ID["t"], ID[" cat"]}
    assert forbidden_by(rule, [], prompt=split(" cat"), vocab_size=SIZE) == {ID[" cat"]}
    assert forbidden_by(rule, split("s"), prompt=split(" cat"), vocab_size=SIZE) == {ID[" cat"]}


@pytest.mark.parametrize("far", [1, 40, 400])
def test_beginning_of_a_phrase_is_found_when_many_spaces_follow_it(far):
    rule = ForbiddenWords(["hot dog"], TOKENS)
    assert ID[" dog"] in forbidden_by(rule, [ID[" hot"], *[ID[" "]] * far], vocab_size=SIZE)


BYTES = [b"x", b"caf", b"\xc3", b"\xa9", b"\xe7\x8c", b"\xab", b"\xe7", b"\x8c", b"\xabx", b" caf\xc3", b"\xa9s", b"e",
         b"\xcc\x81", b"\xff", b"\xa9 caf"]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "text", "expected"),
    [
        ("café", [1, 2], [3, 14]),  # 0xA9 completes it, "és" does not
        ("café", [9], [3, 14]),
        ("CAFE\u0301", [1, 2], [3, 14]),
        ("café", [1, 11], [12]),  # e and the accent apart
        ("cafe", [1], [11]),
        ("cafe", [1, 11], []),
        ("猫", [4], [5, 8]),
        ("猫", [6, 7], [5, 8]),
        ("猫", [6], []),
        ("猫", [0, 4], [5, 8]),  # no border between words in Chinese
        ("猫", [4, 13], []),
        ("caf", [2], [1, 9, 14]),  # after a broken character and inside "é caf"
    ],
)
def test_word_is_forbidden_when_tokens_are_parts_of_characters(word, text, expected):
    found = forbidden_by(ForbiddenWords([word], BYTES), text, prompt=(13,), vocab_size=len(BYTES))  # as an end token opens a text
    assert sorted(found) == sorted(expected)


@pytest.fixture(scope="module")
def tiny(language_model):
    return language_model


@pytest.fixture(scope="module")
def embedded():
    from magic_cli.benchmark.models import embedded_language_model

    return HuggingFaceLanguageModel(*embedded_language_model())


def plain_text(model, ids: list[int]) -> str:
    """Text as it is shown; the start token is none, an end token joins nothing."""
    pieces, run = [], []
    for i in [*ids, model.end_id]:
        if i == model.end_id:
            pieces.append(model.tokenizer.decode(run, clean_up_tokenization_spaces=False))
            run = []
        elif i != model.start_id:
            run.append(i)
    return clean_up_spaces("\ufffd".join(pieces))


@pytest.mark.parametrize(("name", "num_texts"), [("tiny", 120), ("embedded", 8)])
def test_forbidden_words_equal_their_twin_when_texts_are_random(name, num_texts, request):
    model = request.getfixturevalue(name)
    words = ["cat", "on top", "a", "it's", "café", "riding a", "ing"]
    rule = ForbiddenWords(words, token_texts(model))
    rng = random.Random(8)
    seeds = [" cat", "cat", " on top", " riding", " caf", "é", "it", "'", " ca", " ri", "c", "on", " ", " r"]
    found = 0
    for _ in range(num_texts):
        ids: list[int] = []
        for _ in range(rng.randint(0, 4)):
            piece = model.encode(rng.choice(seeds))
            ids += piece[: rng.randint(1, len(piece))] if rng.random() < 0.8 else [rng.randrange(model.vocab_size)]
        expected = reference.forbidden(words, lambda sequence: plain_text(model, sequence), ids, model.vocab_size)
        got = forbidden_by(rule, ids, prompt=(model.end_id,), vocab_size=model.vocab_size)
        assert got == expected, (ids, plain_text(model, ids), [model.decode([[i]]) for i in got ^ expected])
        found += len(expected)
    assert found > 2 * num_texts


@pytest.mark.parametrize("name", ["tiny", "embedded"])
def test_token_texts_are_the_vocabulary_s_bytes_when_tokenizer_is_byte_level(name, request):
    model = request.getfixturevalue(name)
    printable = [*range(33, 127), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
    texts = token_texts(model)
    assert len(texts) == model.vocab_size and texts is token_texts(model)
    special = {model.end_id: b"\xff", model.start_id: b"", model.tokenizer.pad_token_id: b""}
    parts = 0
    for i, text in enumerate(texts):
        if i in special:
            assert text == special[i]
            continue
        expected = bytes(byte_of[c] for c in model.tokenizer.convert_ids_to_tokens(i))
        if b"\xef\xbf\xbd" in text:  # a byte that no text has
            assert expected[0] in {0xC0, 0xC1, *range(0xF5, 0x100)}
        elif expected in (b" .", b" ,"):
            assert text == expected.strip()  # as decoded text has it
        else:
            assert text == expected
            parts += not expected.isascii()
    assert parts > 100


class ByteFallbackModel:
    """A vocabulary as sentencepiece makes them: words with a mark for the space, and all 256 bytes."""

    start_id, end_id, end_ids = 1, 2, frozenset({2})

    def __init__(self) -> None:
        from tokenizers import Tokenizer, decoders, models

        words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁cat", "▁", "c", "at", "▁a", "é", "猫"]
        self.core = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[], byte_fallback=True))
        self.core.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        self.vocab_size, self.words = len(words) + 4, words  # a matrix may have more rows than there are tokens

    def decode(self, sequences):
        return self.core.decode_batch([list(ids) for ids in sequences], skip_special_tokens=False)


def test_words_are_found_when_vocabulary_is_sentencepiece_s_with_byte_fallback():
    model = ByteFallbackModel()
    texts, place = token_texts(model), model.words.index
    assert texts[place("▁cat")] == b" cat" and texts[place("▁")] == b" " and texts[place("猫")] == "猫".encode()
    for byte in [*range(0x80), *range(0x80, 0xC0), *range(0xC2, 0xF5)]:
        assert texts[place(f"<0x{byte:02X}>")] == bytes([byte])
    assert texts[1:3] == [b"", b"\xff"] and texts[-4:] == [b""] * 4
    rule = ForbiddenWords(["cat", "é", "猫"], texts)
    ids = [place("<0xE7>"), place("<0x8C>")]
    assert place("<0xAB>") in forbidden_by(rule, ids, vocab_size=model.vocab_size)
    found = forbidden_by(rule, [place("c")], vocab_size=model.vocab_size)
    assert found == {place("at"), place("▁cat"), place("猫")}
