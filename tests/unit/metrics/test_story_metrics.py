"""Coherence and MAUVE against their slow twins, on tiny real models; what cannot run says why."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from magic_cli.errors import MagicError, SettingsError
from magic_cli.evaluation.models import MetricModels
from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.metrics.base import Corpus, MetricUnavailable
from magic_cli.metrics.clip_score import ClipScore
from magic_cli.metrics.coherence import Coherence, MiniLmCoherence, SimCseModel
from magic_cli.metrics.mauve import FeaturizerModel, Mauve
from magic_cli.models.text_encoders import load_last_token_encoder, load_pooled_encoder
from tests.model_folders import copy_with, with_nan, with_prefix, without
from tests.reference import stories as reference
from tests.tiny_models import CAPTIONS, randomise

HAS_MAUVE = importlib.util.find_spec("mauve") is not None
needs_mauve = pytest.mark.skipif(not HAS_MAUVE, reason="mauve-text is not installed")


def corpus(stories, titles=None, references=None, name="mine"):
    titles = titles or ["A dog"] * len(stories)
    references = references or [()] * len(stories)
    return Corpus(name, tuple(map(str, range(len(stories)))), tuple(stories), tuple(references), titles=tuple(titles))


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    """A tiny BERT with a pooler and a word-piece vocabulary of its own."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = sorted({word.strip(".,!?").lower() for caption in CAPTIONS for word in caption.split()})
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *filter(str.isalpha, words)])
    )
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    randomise(BertModel(config), seed=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def connected(metric):
    MetricModels(ScoringSettings(image_text_model=None)).connect([metric])
    return metric


def test_coherence_equals_its_slow_twin_on_texts_of_all_lengths(bert_folder):
    from transformers import AutoTokenizer, BertModel

    model, tokenizer = BertModel.from_pretrained(bert_folder).eval(), AutoTokenizer.from_pretrained(bert_folder)
    titles, stories = CAPTIONS[:12], [*CAPTIONS[12:22], " ".join(CAPTIONS[:4]), "..."]
    metric = connected(Coherence(model=SimCseModel(path=str(bert_folder))))
    [[score]] = metric.score([corpus(stories, titles)])
    wanted = reference.coherence(lambda text: reference.pooled(model, tokenizer, text), titles, stories)
    assert score.overall == pytest.approx(wanted, abs=1e-6) and score.per_item[-1] == 0
    assert len(set(score.per_item.round(4))) > 6
    facts = metric.facts()["model"]
    assert len(facts["files"]["model.safetensors"]) == 64 and facts["name"] is None


def test_coherence_by_minilm_has_a_name_of_its_own_and_prefers_what_fits(bert_folder, capsys):
    from transformers.utils import logging

    logging.enable_progress_bar()
    metric = connected(MiniLmCoherence())
    stories = ["The dog ran after the ball in the park.", "The bank raised its interest rates."]
    [[score]] = metric.score([corpus(stories, ["A dog at play"] * 2)])
    assert capsys.readouterr().err == "", "the library's bar of loading weights is none of magic's"
    assert score.measure.key == "coherence_minilm" and score.per_item[0] > score.per_item[1] + 0.2
    from magic_cli.models.embedded.backbones import TextBackbone

    backbone = TextBackbone()
    wanted = reference.coherence(lambda text: backbone.features([text])[0], ["A dog at play"] * 2, stories)
    assert score.overall == pytest.approx(wanted, abs=1e-6)
    assert metric.facts()["model"]["version"]


def test_model_without_trained_pooler_is_refused(bert_folder, tmp_path):
    from transformers import AutoTokenizer, BertModel

    BertModel.from_pretrained(bert_folder, add_pooling_layer=False).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(bert_folder).save_pretrained(tmp_path)
    with pytest.raises(MagicError, match="metrics.coherence.model: .* has no trained pooler"):
        load_pooled_encoder(SimCseModel(path=str(tmp_path)), device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (with_nan("encoder.layer.1.output.dense.weight"), "NaN or infinity in encoder.layer.1"),
        (without("encoder.layer.0."), "16 of the 39 weights of BertModel are not in its files: encoder.layer.0"),
        (with_prefix("backbone."), "begin with 'backbone.'"),
    ],
)
def test_text_model_with_other_weights_is_refused(bert_folder, tmp_path, change, line):
    folder = copy_with(bert_folder, tmp_path / "bert", change)
    for load, source in (
        (load_pooled_encoder, SimCseModel(path=str(folder))),
        (load_last_token_encoder, FeaturizerModel(path=str(folder))),
    ):
        with pytest.raises(MagicError, match=f"^{source.group}.path=.*{line}"):
            load(source, device=torch.device("cpu"))


def test_head_beside_the_body_is_left_over_by_intent_and_a_layer_is_not(bert_folder, tmp_path, capsys):
    head = {"cls.predictions.bias": torch.ones(3), "lm_head.weight": torch.ones(3)}
    load_pooled_encoder(
        SimCseModel(path=str(copy_with(bert_folder, tmp_path / "head", lambda weights: weights | head))),
        device=torch.device("cpu"),
    )
    assert capsys.readouterr().err == ""
    more = {"encoder.layer.2.output.dense.bias": torch.ones(32)}
    load_pooled_encoder(
        SimCseModel(path=str(copy_with(bert_folder, tmp_path / "more", lambda weights: weights | more))),
        device=torch.device("cpu"),
    )
    assert "are not used: encoder.layer.2.output.dense.bias" in capsys.readouterr().err


def test_missing_models_and_titles_say_what_to_do():
    with pytest.raises(MetricUnavailable, match="sup-simcse.*metrics.coherence.model.path=DIR, or measure coherence_minilm"):
        connected(Coherence()).score([corpus(["A dog ran."])])
    untitled = replace(corpus(["A dog ran."]), titles=())
    with pytest.raises(MetricUnavailable, match="coherence compares stories with their titles, and mine has none"):
        connected(Coherence()).score([untitled])
    with pytest.raises(SettingsError, match="metrics.coherence.model.path=/none: no such folder"):
        SimCseModel(path="/none")


@pytest.fixture(scope="module")
def told():
    """Forty written and forty human stories."""
    rng = np.random.default_rng(0)
    written = [" ".join(rng.choice(CAPTIONS[:20], size=rng.integers(1, 4))) for _ in range(39)] + [""]
    human = [" ".join(rng.choice(CAPTIONS[8:], size=3)) for _ in range(40)]
    return corpus(written, references=[(text,) for text in human])


@pytest.fixture
def mauve_metric(tiny_language_model_folder):
    return connected(Mauve(model=FeaturizerModel(path=str(tiny_language_model_folder)), num_buckets=6, max_text_length=24))


@needs_mauve
def test_mauve_equals_the_package_s_own_call_on_twin_features(mauve_metric, told, network_and_tokenizer):
    import mauve

    _, tokenizer = network_and_tokenizer
    network = network_and_tokenizer[0].transformer
    pairs = reference.cut_pairs(tokenizer, told.captions, [texts[0] for texts in told.references], 24)
    assert all(len(human) <= len(written) <= 24 for written, human in pairs) and any(len(w) == 24 for w, _ in pairs)
    human, written = mauve_metric._features(told, mauve_metric.encoder())
    assert np.allclose(written, [reference.last_state(network, ids) for ids, _ in pairs], atol=1e-4)
    assert np.allclose(human, [reference.last_state(network, ids) for _, ids in pairs], atol=1e-4)
    [[score, deviation]] = mauve_metric.score([told])
    own = [
        mauve.compute_mauve(p_features=human, q_features=written, num_buckets=6, seed=seed).mauve for seed in mauve_metric.seeds
    ]
    assert mauve_metric.of_features(human, written) == pytest.approx(own, abs=1e-9)
    assert score.overall == pytest.approx(sum(own) / 5, abs=1e-9)
    assert deviation.overall == pytest.approx((sum((x - sum(own) / 5) ** 2 for x in own) / 4) ** 0.5, abs=1e-9)
    assert 0 < score.overall < 1 and np.isnan(score.per_item).all()
    assert mauve_metric.facts()["version"] and mauve_metric.facts()["model"]["files"]["model.safetensors"]


@needs_mauve
def test_features_equal_those_of_the_package(mauve_metric, told):
    from mauve.utils import featurize_tokens_from_model

    encoder = mauve_metric.encoder()
    ids = encoder.token_ids(told.captions, 24)
    theirs = featurize_tokens_from_model(encoder._model, [torch.tensor([one]) for one in ids], batch_size=4)
    assert np.allclose(encoder.encode_ids(ids), theirs.numpy(), atol=1e-4)


@needs_mauve
def test_systems_without_human_stories_have_no_mauve_and_hinder_no_other(mauve_metric, told):
    alone = replace(told, references=((),) * 40, name="human")
    [[first, _], [second, deviation]] = mauve_metric.score([told, alone])
    assert first.overall > 0 and np.isnan(second.overall) and np.isnan(deviation.overall)
    with pytest.raises(MetricUnavailable, match="mauve compares stories with those that people wrote, and none are given"):
        mauve_metric.score([alone])
    with pytest.raises(MetricUnavailable, match="mine has 3 stories, and 10 are the fewest"):
        mauve_metric.score([corpus(["a", "b", "c"], references=[("a",)] * 3)])


@needs_mauve
def test_mauve_tells_of_titles_without_human_story(mauve_metric):
    texts, references = [f"story {i}" for i in range(12)], [("told",)] * 11 + [()]
    with pytest.raises(MetricUnavailable, match=r"has none for 1 of 12 titles \(first: 11\)"):
        mauve_metric.score([corpus(texts, references=references)])


@needs_mauve
def test_mauve_with_more_clusters_than_texts_says_so(mauve_metric, told):
    mauve_metric.num_buckets = 2 * len(told) + 1
    with pytest.raises(MetricUnavailable, match=rf"metrics.mauve.num_buckets={2 * len(told) + 1}: more clusters than texts"):
        mauve_metric.score([told])


def test_mauve_says_how_to_get_its_package(monkeypatch, mauve_metric, told):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MetricUnavailable, match="mauve-text, which is GPL-3 .* pip install mauve-text"):
        mauve_metric.score([told])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": [1, 2, 3, 4]}, "metrics.mauve.seeds must be at least 5 different numbers"),
        ({"seeds": [1, 1, 2, 3, 4, 5]}, "metrics.mauve.seeds"),
        ({"num_buckets": 1}, "metrics.mauve.num_buckets must be at least 2"),
        ({"explained_variance": 0}, "metrics.mauve.explained_variance"),
        ({"max_text_length": 0}, "metrics.mauve.max_text_length"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        Mauve(**values)


def test_scores_are_recorded_as_json(mauve_metric):
    json.dumps([mauve_metric.facts(), Coherence().facts(), ClipScore().facts()])
