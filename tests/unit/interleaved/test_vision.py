"""Images through a Q-Former: folders that transformers wrote, of both kinds, give the vectors that transformers' own modules give."""

import json

import pytest
import torch

from magic_cli.errors import MagicError
from magic_cli.interleaved.vision import QFormerReader
from tests.tiny_models import randomise

SIDE, WIDTH, VECTORS, HIDDEN = 16, 16, 3, 24


def whole_model(kind):
    """BLIP-2 or InstructBLIP with a language model, all tiny and random."""
    import transformers as t

    sizes = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**sizes, "image_size": SIDE, "patch_size": 8}
    former = {**sizes, "vocab_size": 30, "encoder_hidden_size": WIDTH, "cross_attention_frequency": 2,
              "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # fmt: skip
    text = t.LlamaConfig(**(sizes | {"hidden_size": HIDDEN}), vocab_size=40).to_dict()
    config_class, model_class = {
        "blip-2": (t.Blip2Config, t.Blip2ForConditionalGeneration),
        "instructblip": (t.InstructBlipConfig, t.InstructBlipForConditionalGeneration),
    }[kind]
    config = config_class(vision_config=vision, qformer_config=former, text_config=text, num_query_tokens=VECTORS)
    return randomise(model_class(config), seed=1, spread=0.2).eval()


@pytest.mark.parametrize("kind", ["blip-2", "instructblip"])
def test_vectors_are_those_of_transformers_own_modules(kind, tmp_path):
    whole = whole_model(kind)
    whole.save_pretrained(tmp_path)
    reader = QFormerReader.load(tmp_path, HIDDEN)
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    parts = getattr(whole, "model", whole)
    with torch.inference_mode():
        seen = parts.vision_model(pixel_values=pixels).last_hidden_state
        no_text = {} if kind == "blip-2" else {"input_ids": None}
        asked = parts.qformer(query_embeds=parts.query_tokens.expand(2, -1, -1), encoder_hidden_states=seen, **no_text)
        expected = parts.language_projection(asked.last_hidden_state)
        found = reader(pixels)
    assert found.shape == (2, VECTORS, HIDDEN) and reader.side == SIDE
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (found[0] - found[1]).abs().max() > 1e-3 and not any(weight.requires_grad for weight in reader.parameters())


def test_folder_of_another_kind_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(MagicError, match="model_type 'clip'; name a BLIP-2 or InstructBLIP folder"):
        QFormerReader.load(tmp_path, HIDDEN)
