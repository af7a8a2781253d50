"""A model whose ends are others than its tokenizer's end token writes what it would write with that one alone."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ClipText, ContrastiveSearch, MagicBeam, MagicSearch
from magic_cli.decoding.rerank import Rerank
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling, TopKSampling, TypicalSampling
from magic_cli.decoding.text import CaptionFormat, StoryFormat
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from tests.decoding import Guidance, generate
from tests.tiny_models import END, PAD, START

LENGTH = 16
METHODS = {
    "magic": MagicSearch(LENGTH, k=6, alpha=0.1, beta=0.5),
    "magic_paper": MagicSearch(LENGTH, k=6, alpha=0.1, beta=0.5, clip_text=ClipText.prefix_and_generated),
    "contrastive": ContrastiveSearch(LENGTH, k=6, alpha=0.3),
    "greedy": GreedySearch(LENGTH),
    "beam": BeamSearch(LENGTH, num_beams=3),
    "magic_beam": MagicBeam(LENGTH, num_beams=3, k=12, beta=0.05),
    "top_k": TopKSampling(LENGTH, k=20),
    "nucleus": NucleusSampling(LENGTH),
    "typical": TypicalSampling(LENGTH, mass=0.6),
    "rerank": Rerank(LENGTH, base=NucleusSampling(LENGTH), num=4),
    "zerocap": ZeroCap(12, num_iterations=1, num_texts=8, num_beams=2, end_factor=0.1, forbidden_factor=0.5),
}
NEW_END, NEW_PAD = "<|eot_id|>", "<|end_of_text|>"


@pytest.fixture(scope="module")
def renamed_folder(tiny_language_model_folder, tmp_path_factory):
    """The tiny model, its end token renamed; the tokenizer calls another token its end, the configs name both."""
    folder = tmp_path_factory.mktemp("renamed") / "model"
    shutil.copytree(tiny_language_model_folder, folder)
    for file in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        file.write_text(file.read_text().replace(END, NEW_END).replace(PAD, NEW_PAD))
    change(folder / "tokenizer_config.json", eos_token=NEW_PAD, pad_token=NEW_PAD)
    for name in ("config.json", "generation_config.json"):
        change(folder / name, eos_token_id=[401, 0])
    return folder


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def load(folder):
    model = HuggingFaceLanguageModel(AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
    model.network.head.weight.data[0] *= 2  # its end token, so that most texts come to an end
    model.prepare(decoding_len=LENGTH, num_candidates=6)
    return model


@pytest.fixture(scope="module")
def models(tiny_language_model_folder, renamed_folder):
    return [load(tiny_language_model_folder), load(renamed_folder)]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("text_format", [CaptionFormat, StoryFormat])
def test_texts_are_the_same_when_ends_have_other_names(models, clip, image_features, name, text_format):
    texts, tokens = [], []
    for model in models:
        prompts = [[model.start_id, *model.encode(words)] for words in ("", "A man", "A", "The", "Two dogs", "")]
        written = generate(
            model, METHODS[name], prompts, guidance=Guidance(clip, image_features), seeds=range(6), text_format=text_format(model)
        )
        texts.append([text_format(model).text(prompt, ids) for prompt, ids in zip(prompts, written, strict=True)])
        tokens.append(written)
    assert texts[0] == texts[1] and tokens[0] == tokens[1]
    assert any(ids[-1] == 0 for ids in tokens[1]), "nothing is compared where no text comes to an end"
    assert not any(special in text for text in texts[1] for special in (NEW_END, NEW_PAD, START))


def test_beams_go_on_when_the_likeliest_tokens_are_all_ends():
    """As many beams as asked for must find tokens that are no ends."""

    class Ending:
        vocab_size, positions, start_id, end_ids = 6, None, 0, frozenset({2, 3, 4})
        logits = torch.tensor([[0.0, -0.1, 9.0, 8.0, 7.0, -0.2]])

        class State:
            def __init__(self, rows):
                self.logits = Ending.logits.expand(rows, -1)

        def prefill(self, prompts):
            return self.State(len(prompts))

        def peek(self, state, ids):
            return None

        def commit(self, state, choice):
            pass

        def select(self, state, rows):
            return self.State(len(rows))

    assert generate(Ending(), BeamSearch(8, num_beams=2), [[0]]) == [[2]]
