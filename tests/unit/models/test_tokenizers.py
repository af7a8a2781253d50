"""Whether a folder has a tokenizer, and whether the model can embed what it makes."""

import shutil

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, GPT2Config, LlamaConfig, OPTConfig

from magic_cli.errors import MagicError
from magic_cli.models.faults import ModelFault
from magic_cli.models.loading import load_language_model, read_causal_model
from magic_cli.models.settings import LanguageModelSettings
from magic_cli.models.tokenizers import num_ids, read_tokenizer
from magic_cli.models.work_counter import WorkCounter
from tests.model_folders import remove_tokenizer


def load(folder, **options):
    settings = LanguageModelSettings(path=str(folder), **options)
    return load_language_model(settings, device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter())


@pytest.fixture
def folder(tiny_language_model_folder, tmp_path):
    return shutil.copytree(tiny_language_model_folder, tmp_path / "model")


def add_tokens(folder, *tokens, **roles):
    """Add tokens to the tokenizer, and leave the model as it is."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(tokens))
    tokenizer.add_special_tokens(roles)
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("config", [OPTConfig, GPT2Config, LlamaConfig, BertConfig])
def test_folder_without_tokenizer_has_none_whatever_the_library_makes_of_it(tmp_path, config):
    config().save_pretrained(tmp_path)
    tokenizer, [fault] = read_tokenizer(tmp_path, lambda: AutoTokenizer.from_pretrained(tmp_path))
    assert fault.text == f"no tokenizer in {tmp_path}"
    assert tokenizer is None or len(tokenizer) < 6


@pytest.mark.parametrize("kept", [(), ("tokenizer_config.json",)])
def test_language_model_without_tokenizer_files_is_refused(folder, tiny_language_model_folder, kept):
    remove_tokenizer(folder)
    for name in kept:
        shutil.copy(tiny_language_model_folder / name, folder)
    with pytest.raises(ModelFault, match=f"^language_model.path={folder}: no tokenizer in {folder}; copy its files"):
        load(folder)


def test_tokens_that_were_added_and_are_not_used_are_a_note(folder, tiny_language_model_folder, capsys):
    add_tokens(folder, "zebra", pad_token="[PAD]")
    model, facts = load(folder)
    assert facts["tokens_beyond_embeddings"] == ["zebra", "[PAD]"]
    [line] = capsys.readouterr().err.splitlines()
    assert (
        line
        == f"magic: language_model.path={folder}: the model has no embeddings for 'zebra', '[PAD]'; a text with such a token is refused"
    )
    original, _ = load(tiny_language_model_folder)
    assert model.encode_prompt("A man") == original.encode_prompt("A man")
    for encode in (model.encode, model.encode_prompt):
        with pytest.raises(
            MagicError, match="a text cannot be read: the model has 402 embeddings, and none for its tokenizer's 'zebra'"
        ):
            encode("A zebra runs")


@pytest.mark.parametrize(
    ("tokens", "roles", "options"),
    [(["<cap>"], {}, {"start_token": "<cap>"}), ([], {"bos_token": "<s>"}, {}), ([], {"eos_token": "<end>"}, {})],
    ids=["start", "begin", "end"],
)
def test_tokens_that_every_text_has_must_be_embeddable(folder, tokens, roles, options):
    add_tokens(folder, *tokens, **roles)
    with pytest.raises(ModelFault, match=r"the model has 402 embeddings, and none for .*resize_token_embeddings"):
        load(folder, **options)


def test_tokenizer_of_a_larger_model_is_refused(folder):
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2TokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        [f"{first}{second}" for first in "abcdefghijklmn" for second in "opqrstuvwxyz"] * 3,
        vocab_size=450,
        special_tokens=["<|endoftext|>"],
    )
    bpe.save_model(str(folder))
    (folder / "tokenizer.json").unlink()
    GPT2TokenizerFast.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(ModelFault, match=r"the model has 402 embeddings, and none for its tokenizer's .* more"):
        load(folder)
    with pytest.raises(ModelFault, match="the model has 402 embeddings"):
        read_causal_model(LanguageModelSettings(path=str(folder)), dtype=torch.float32, resizes=True)


def test_training_takes_tokens_that_were_added(folder):
    add_tokens(folder, "zebra", eos_token="<end>")
    _, tokenizer, _ = read_causal_model(LanguageModelSettings(path=str(folder)), dtype=torch.float32, resizes=True)
    assert num_ids(tokenizer) == 404
