"""Text encoders read as much of a text as their model has positions for."""

import pytest
import torch
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from magic_cli.models.language.positions import longest_text
from magic_cli.models.text_encoders import PooledEncoder

SHAPE = {"vocab_size": 500, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}


@pytest.mark.parametrize(
    ("model", "positions"),
    [
        (RobertaModel(RobertaConfig(**SHAPE, max_position_embeddings=34, pad_token_id=1)), 32),
        (RobertaModel(RobertaConfig(**SHAPE, max_position_embeddings=34, pad_token_id=0)), 33),
        (BertModel(BertConfig(**SHAPE, max_position_embeddings=34)), 34),
    ],
    ids=["roberta", "roberta_padding_0", "bert"],
)
def test_long_text_is_cut_at_what_the_model_has_positions_for(network_and_tokenizer, model, positions):
    tokenizer = network_and_tokenizer[1]
    assert longest_text(model, tokenizer) == positions
    encoder = PooledEncoder(model, tokenizer)
    words = "a man on the grass "
    ids = tokenizer(words * 12)["input_ids"]
    assert len(ids) > positions
    whole, cut = encoder.encode([words * 12, tokenizer.decode(ids[:positions])])
    assert torch.allclose(torch.tensor(whole), torch.tensor(cut), atol=1e-6)


def test_tokenizer_or_config_may_name_less_or_nothing(network_and_tokenizer, monkeypatch):
    model, tokenizer = BertModel(BertConfig(**SHAPE, max_position_embeddings=200)), network_and_tokenizer[1]
    assert longest_text(model, tokenizer) == tokenizer.model_max_length == 128
    monkeypatch.setattr(model.config, "max_position_embeddings", -1)
    assert longest_text(model, tokenizer) == 128
    monkeypatch.setattr(tokenizer, "model_max_length", int(1e30))
    assert longest_text(model, tokenizer) == 512
