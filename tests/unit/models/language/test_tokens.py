"""Which tokens end a text, and which stand in none."""

import random

import pytest
from transformers import GenerationConfig, GPT2Config, LlavaConfig

from magic_cli.benchmark.models import embedded_language_model
from magic_cli.models.language.tokens import Tokens, clean_up_spaces, most_positions
from tests.tiny_models import END, PAD, START, build_language_tokenizer


@pytest.fixture
def tokenizer(tmp_path):
    """END, START and PAD of 0, 400 and 401, and two more that chat models add, of which one is called a word."""
    tokenizer = build_language_tokenizer(tmp_path)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|eot_id|>"]})
    tokenizer.add_tokens(["<|im_end|>", "<end_of_turn>", "snowboarder"])
    return tokenizer


def tokens_of(tokenizer, *, config=None, generation=None, copied=False, **options):
    generation = None if generation is None else GenerationConfig(eos_token_id=generation)
    if generation is not None:
        generation._from_model_config = copied
    return Tokens(tokenizer, GPT2Config(vocab_size=len(tokenizer), eos_token_id=config), generation, **options)


def ends(tokenizer, **where):
    return set(tokenizer.convert_ids_to_tokens(sorted(tokens_of(tokenizer, **where).end_ids)))


def test_every_token_ends_a_text_that_tokenizer_or_configs_call_an_end(tokenizer):
    eot, turn, im_end = tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<end_of_turn>", "<|im_end|>"])
    assert ends(tokenizer) == {END}
    assert ends(tokenizer, config=eot) == {END, "<|eot_id|>"}
    assert ends(tokenizer, config=[0, eot], generation=[turn, im_end], copied=True) == {
        END,
        "<|eot_id|>",
        "<end_of_turn>",
        "<|im_end|>",
    }
    assert PAD not in ends(tokenizer, config=0) and PAD in ends(tokenizer, config=[0, tokenizer.pad_token_id])


def test_ends_of_the_whole_and_of_its_text_part_count_when_a_model_reads_images_too(tokenizer):
    eot, turn = tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<end_of_turn>"])
    text = {"model_type": "llama", "vocab_size": len(tokenizer), "max_position_embeddings": 77, "eos_token_id": eot}
    tokens = Tokens(tokenizer, LlavaConfig(text_config=text, eos_token_id=turn))
    assert tokens.end_ids == {0, eot, turn} and (tokens.vocab_size, tokens.positions) == (len(tokenizer), 77)


@pytest.mark.parametrize("wrong", [None, -1, 50256, [], [50256, -1]])
def test_end_is_the_tokenizers_alone_when_a_config_names_none_that_there_is(tokenizer, wrong):
    assert ends(tokenizer, config=wrong, generation=wrong, copied=True) == {END}


def test_word_ends_a_text_only_when_a_generation_config_names_it_on_purpose(tokenizer):
    [stop] = tokenizer.encode(".")
    assert ends(tokenizer, config=stop, generation=stop, copied=True) == {END}, "a default of GPT2Config names some word"
    assert ends(tokenizer, config=stop, generation=[0, stop]) == {END, "."}


def test_special_tokens_stand_in_no_text_whatever_the_tokenizer_calls_them(tokenizer):
    tokens = tokens_of(tokenizer, config=tokenizer.convert_tokens_to_ids("<end_of_turn>"))
    special = [START, PAD, END, "<|eot_id|>", "<|im_end|>", "<end_of_turn>"]
    ids = tokenizer.encode("A man" + "".join(special) + " riding a snowboarder")
    assert set(tokenizer.convert_tokens_to_ids(special)) < set(ids) and tokens.special_ids == set(
        tokenizer.convert_tokens_to_ids(special)
    )
    assert tokens.decode([ids, []]) == ["A man riding a snowboarder", ""]
    assert "".join(tokens.token_texts(ids)) == tokenizer.decode(ids)


def test_named_start_token_stands_in_no_text(tokenizer):
    tokens = tokens_of(tokenizer, start_token="snowboarder")
    assert tokens.decode([[tokens.start_id, *tokenizer.encode("A man")]]) == ["A man"]


@pytest.mark.parametrize(("limits", "expected"), [({"n_positions": 64}, 64), ({"n_positions": -1}, None)])
def test_positions_are_those_of_the_config_if_it_has_a_limit(limits, expected):
    assert most_positions(GPT2Config(**limits)) == expected


@pytest.mark.parametrize("clean_up", [True, False])
def test_texts_are_the_tokenizer_s_own_whatever_the_tokens(clean_up):
    _, tokenizer = embedded_language_model()
    tokens = Tokens(tokenizer, GPT2Config(vocab_size=len(tokenizer)), clean_up_spaces=clean_up)
    rng = random.Random(0)
    sequences = [[rng.randrange(len(tokenizer)) for _ in range(rng.randrange(12))] for _ in range(500)]
    kept = [[i for i in ids if i not in tokens.special_ids] for ids in sequences]
    own = tokenizer.batch_decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert sum(text.isascii() for text in own) in range(50, 490)  # of both kinds
    assert tokens.decode(sequences) == ([clean_up_spaces(text) for text in own] if clean_up else own)
