"""A widened language model computes what the small one does."""

import pytest
import torch
from transformers import GPT2Config

from magic_cli.benchmark.models import embedded_language_model, paper_config
from magic_cli.benchmark.widening import widen

TEXTS = ["<-start_of_text->A man riding a wave on top of a surfboard.", "<-start_of_text->Two dogs<|endoftext|> on a table"]


def compare(small, wide, ids, tolerance=1e-5):
    """Logits of the small vocabulary and cosines of hidden states agree; other tokens are out of reach."""
    with torch.inference_mode():
        old, new = (model(ids, output_hidden_states=True) for model in (small, wide))
    known = old.logits.shape[-1]
    difference = (old.logits - new.logits[..., :known]).abs().max() / old.logits.abs().max()
    assert difference < tolerance
    assert bool((new.logits[..., known:] < old.logits.min() - 1000).all())
    old, new = (torch.nn.functional.normalize(out.hidden_states[-1], dim=-1) for out in (old, new))
    torch.testing.assert_close(old @ old.mT, new @ new.mT, rtol=0, atol=tolerance)


def test_logits_and_cosines_stay_when_a_tiny_model_is_widened(network_and_tokenizer):
    small, tokenizer = network_and_tokenizer
    size = len(tokenizer)
    config = GPT2Config(vocab_size=size + 9, n_positions=200, n_embd=144, n_layer=4, n_head=6, n_inner=700)
    ids = torch.randint(size, (2, 30), generator=torch.Generator().manual_seed(0))
    compare(small, widen(small, config), ids, tolerance=1e-4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n_embd": 100, "n_head": 5}, "width 100"),
        ({"n_layer": 1}, "n_layer"),
        ({"n_head": 2}, "n_head"),
        ({"vocab_size": 10}, "vocab_size"),
    ],
)
def test_shape_is_refused_when_it_cannot_hold_the_small_model(network_and_tokenizer, change, named):
    shape = {"vocab_size": 2000, "n_positions": 128, "n_embd": 96, "n_layer": 2, "n_head": 4} | change
    with pytest.raises(ValueError, match=named):
        widen(network_and_tokenizer[0], GPT2Config(**shape))


def test_embedded_model_writes_the_same_when_it_has_the_paper_s_shape():
    small, tokenizer = embedded_language_model()
    wide = widen(small, paper_config())
    for text in TEXTS:
        compare(small, wide, torch.tensor([tokenizer(text)["input_ids"]]))
    start = torch.tensor([[tokenizer.convert_tokens_to_ids("<-start_of_text->")]])
    texts = [
        model.generate(
            start, do_sample=False, max_new_tokens=16, pad_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id
        ).tolist()
        for model in (small, wide)
    ]
    assert texts[0] == texts[1] and len(texts[0][0]) > 5
