"""The language model's tokenizer side: start token, prompts, decoding and its clean-up."""

import pytest
from transformers import PreTrainedTokenizerFast

from magic_cli.errors import MagicError
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from magic_cli.models.language.tokens import clean_up_spaces
from tests.tiny_models import CAPTIONS, START, build_language_tokenizer


@pytest.fixture
def network(network_and_tokenizer):
    return network_and_tokenizer[0]


def test_start_is_the_released_token_when_tokenizer_has_it(language_model):
    assert language_model.tokenizer.convert_ids_to_tokens(language_model.start_id) == START
    assert language_model.encode_prompt(None) == [language_model.start_id]
    assert language_model.encode_prompt("") == [language_model.start_id]


def test_prompt_words_follow_start_token_when_given(language_model):
    ids = language_model.encode_prompt("A man")
    assert ids[0] == language_model.start_id and language_model.decode([ids[1:]]) == ["A man"]


def test_start_is_own_begin_of_text_when_released_token_is_missing(network, tmp_path):
    backend = build_language_tokenizer(tmp_path).backend_tokenizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", bos_token="<|endoftext|>")
    vocabulary = {token: i for token, i in tokenizer.get_vocab().items() if token != START}
    tokenizer.get_vocab = lambda: vocabulary
    assert HuggingFaceLanguageModel(network, tokenizer).start_id == tokenizer.bos_token_id


def test_start_is_the_named_token_when_set(network, language_model):
    model = HuggingFaceLanguageModel(network, language_model.tokenizer, start_token="<|endoftext|>")
    assert model.start_id == model.end_id


def test_start_token_is_refused_when_vocabulary_lacks_it(network, language_model):
    with pytest.raises(MagicError, match="^language_model.start_token='<start>' is not in the tokenizer's vocab.*set null"):
        HuggingFaceLanguageModel(network, language_model.tokenizer, start_token="<start>")


def test_model_is_refused_when_tokenizer_has_no_end_token(network, tmp_path):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=build_language_tokenizer(tmp_path).backend_tokenizer)
    with pytest.raises(MagicError, match="^language_model: the tokenizer has no end-of-text token"):
        HuggingFaceLanguageModel(network, tokenizer)


def test_prompt_is_demanded_when_model_has_no_start_token(network, language_model):
    model = HuggingFaceLanguageModel(network, language_model.tokenizer)
    model.start_id = None
    assert model.encode_prompt("A man") == model.encode("A man")
    with pytest.raises(MagicError, match="^this language model has no start token: set prompt="):
        model.encode_prompt(None)


def test_text_survives_when_encoded_and_decoded(language_model):
    assert language_model.decode([language_model.encode(text) for text in CAPTIONS]) == CAPTIONS


def test_special_tokens_are_recognised_in_text_and_left_out_of_it(language_model):
    ids = language_model.encode("Skipping School <|endoftext|>")
    assert ids[-1] == language_model.end_id and ids.count(language_model.end_id) == 1
    assert language_model.decode([ids]) == ["Skipping School "]
    assert language_model.token_texts(ids)[-1] == "<|endoftext|>"


@pytest.mark.parametrize(
    ("spaced", "clean"),
    [
        ("a dog , a cat .", "a dog, a cat."),
        ("is it ? yes !", "is it? yes!"),
        ("it 's a dog , they 've seen I 'm sure we 're", "it's a dog, they've seen I'm sure we're"),
        ("it is n't ' so '", "it isn't'so '"),
        ("a  .  b", "a .  b"),
        ("", ""),
    ],
)
def test_space_before_punctuation_goes_when_decoded(language_model, network, spaced, clean):
    assert clean_up_spaces(spaced) == clean
    ids = language_model.encode(spaced)
    assert language_model.decode([ids]) == [clean]
    assert HuggingFaceLanguageModel(network, language_model.tokenizer, clean_up_spaces=False).decode([ids]) == [spaced]


def test_models_look_is_demanded_when_prepare_was_not_called(network, language_model):
    with pytest.raises(RuntimeError, match="prepare"):
        HuggingFaceLanguageModel(network, language_model.tokenizer).prefill([[1]])
