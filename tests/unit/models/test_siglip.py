"""SigLIP: a text tower that is not causal and wants exactly 64 lower-case tokens."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessorPil, SiglipModel

from magic_cli.decoding.magic import MagicSearch
from magic_cli.models.faults import ModelFault
from magic_cli.models.image_text.huggingface_clip import load_huggingface
from magic_cli.models.image_text.image_text_model import PlainTexts
from magic_cli.models.work_counter import WorkCounter
from tests.decoding import Guidance, generate
from tests.model_folders import copy_with, without
from tests.tiny_models import CAPTIONS, randomise

LENGTH = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny SigLIP with a Unigram tokenizer trained on lower-case captions, as ``save_pretrained`` writes them."""
    folder = tmp_path_factory.mktemp("siglip")
    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False)
    unigram.train_from_iterator([caption.lower() for caption in CAPTIONS * 3], trainer)
    unigram.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=unigram, unk_token="<unk>", eos_token="</s>", pad_token="</s>", model_max_length=LENGTH
    )
    tokenizer.save_pretrained(folder)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = SiglipConfig(
        text_config={**layers, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH, "projection_size": 32},
        vision_config={**layers, "image_size": 32, "patch_size": 16},
    )
    model = randomise(SiglipModel(config), seed=6)
    model.logit_scale.data.fill_(4.7)
    model.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def siglip(folder):
    return load_huggingface(folder, family="siglip", device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter())


def own_features(siglip, rows):
    with torch.inference_mode():
        return siglip.model.get_text_features(input_ids=torch.tensor(rows)).pooler_output


def test_plain_path_is_taken_when_tower_is_not_causal(siglip):
    assert siglip.text_tower is None
    assert isinstance(siglip.open_texts(3), PlainTexts)
    assert siglip.logit_scale == pytest.approx(109.947, abs=1e-2)


def test_text_is_padded_to_64_tokens_when_short(siglip):
    ids = siglip.tokenizer("a red bus")["input_ids"]
    assert len(ids) < LENGTH
    padded = own_features(siglip, [ids + [siglip.tokenizer.pad_token_id] * (LENGTH - len(ids))])
    assert torch.allclose(siglip.encode_texts(["a red bus"]), padded, atol=1e-5)
    assert not torch.allclose(siglip.encode_texts(["a red bus"]), own_features(siglip, [ids]), atol=1e-2)


def test_text_is_cut_at_64_tokens_when_long(siglip):
    text = "a red bus driving down a street " * 30
    assert len(siglip.tokenizer(text)["input_ids"]) > LENGTH
    cut = siglip.tokenizer(text, truncation=True, max_length=LENGTH)["input_ids"]
    assert torch.allclose(siglip.encode_texts([text]), own_features(siglip, [cut]), atol=1e-5)


def test_capitals_make_no_difference_when_text_is_encoded(siglip):
    assert torch.equal(siglip.encode_texts(["A Red BUS"]), siglip.encode_texts(["a red bus"]))


def test_features_do_not_depend_on_the_batch_when_texts_differ_in_length(siglip):
    texts = [*CAPTIONS[:4], "", "a " * 90]
    alone = torch.cat([siglip.encode_texts([text]) for text in texts])
    assert torch.allclose(siglip.encode_texts(texts), alone, atol=1e-5)
    session = siglip.open_texts(2)
    assert torch.allclose(session.encode([texts[:3], texts[3:]]).flatten(0, 1), alone, atol=1e-5)


def test_captions_are_steered_when_siglip_is_the_guide(siglip, language_model, images):
    features = siglip.encode_images(images)
    assert features.shape == (6, 32) and torch.isfinite(features).all()
    prompts, method = [[language_model.start_id]] * 6, MagicSearch(10, k=5, alpha=0.1, beta=2.0)
    together = generate(language_model, method, prompts, guidance=Guidance(siglip, features))
    alone = [generate(language_model, method, prompts[:1], guidance=Guidance(siglip, features[i : i + 1]))[0] for i in range(6)]
    assert together == alone
    assert len({tuple(ids) for ids in together}) > 2


def test_folder_with_other_weights_is_refused(folder, tmp_path):
    options = {"family": "siglip", "device": torch.device("cpu"), "dtype": torch.float32, "work": WorkCounter()}
    broken = copy_with(folder, tmp_path / "siglip", without("text_model.head."))
    with pytest.raises(
        ModelFault, match="2 of the .* weights of SiglipModel are not in its files: text_model.head.weight, text_model.head.bias"
    ):
        load_huggingface(broken, **options)
    assert load_huggingface(folder, **options).fit.notes() == []
