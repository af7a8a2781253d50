"""BLEU by words and by characters, ROUGE's F and S-BERT of answers: against twins, and numbers of the libraries that papers took."""

import random

import numpy as np
import pytest

from magic_cli.data.answers import Answer
from magic_cli.metrics.base import MetricUnavailable
from magic_cli.metrics.rouge_f import RougeF, rouge_f
from magic_cli.metrics.sentence_bert import SentenceBert
from magic_cli.metrics.sentence_bleu import BleuCharacters, BleuWords, sentence_bleu, words
from tests.reference import answers as reference
from tests.reference.answers import corpus_of_answers
from tests.reference.metrics import coco_captions, corpus_of

# nltk 3.10.4: sentence_bleu([reference], text, [(1.0,), (0.5, 0.5)]) of whole texts, then of text.split()
NLTK = [
    ("a dog runs over the grass", "my sister arrived early with food", (0.6060606060606061, 0.27524094128159016), (0, 0)),
    ("thanks sam !", "thanks a lot sam", (0.6875, 0.6422616289332564), (0.5, 0)),
    ("abc", "abc", (1, 1), (1, 0)),
    ("so nice", "so", (0.0820849986238988, 0.0820849986238988), (0.36787944117144233, 0)),
    (
        "it is a beauty",
        "it is a beauty indeed my friend",
        (0.45161290322580644, 0.44237871188743116),
        (0.5714285714285714, 0.5345224838248488),
    ),
    ("ab", "ba", (1, 0), (0, 0)),
    ("aaaa", "aa", (0.36787944117144233, 0.36787944117144233), (0, 0)),
]
# rouge 1.0.1: Rouge().get_scores(text, reference)[0]["rouge-l"]["f"]
ROUGE = [
    ("a dog runs over the grass", "the dog runs on the grass", 0.7272727223140496), ("it is. it is not", "it is not . so it is", 0.8571428522448981),
    ("Thanks Sam! :star:", "Thanks Sam", 0.39999999520000007), ("a a a b", "a b b", 0.999999995), ("x . y . z", "z . y . x", 0.999999995),
    ("no match", "at all", 0.0), ("a b c d", "d c b a", 0.24999999500000009), (" . hello", "hello there.", 0.4999999950000001), ("...a", "a", 0.999999995),
]  # fmt: skip
TEXT_METRICS = [BleuWords(), BleuCharacters(), RougeF()]


def test_characters_and_words_give_nltks_numbers():
    for true, text, characters, by_words in NLTK:
        for order in (1, 2):
            assert sentence_bleu(true, text, order) == pytest.approx(characters[order - 1], abs=1e-12)
            assert sentence_bleu(true.split(), text.split(), order) == pytest.approx(by_words[order - 1], abs=1e-12)


def test_unrelated_sentences_score_by_characters_and_not_by_words():
    [characters] = BleuCharacters().score(
        [corpus_of_answers([Answer("my sister arrived early with food", true_text="a dog runs over the grass")])]
    )
    [by_words] = BleuWords().score(
        [corpus_of_answers([Answer("my sister arrived early with food", true_text="a dog runs over the grass")])]
    )
    assert [score.overall for score in characters] == pytest.approx([0.6060606, 0.2752409], abs=1e-6)
    assert [score.overall for score in by_words] == [0, 0]


@pytest.mark.parametrize("split", [str, words])
def test_bleu_equals_twin_on_real_captions(split):
    rng = random.Random(1)
    captions = [caption for texts in coco_captions() for caption in texts][:3000]
    for _ in range(80):
        true, text = rng.sample(captions, 2)
        for order in (1, 2):
            assert sentence_bleu(split(true), split(text), order) == pytest.approx(
                reference.sentence_bleu(split(true), split(text), order), abs=1e-12
            )


def test_rouge_gives_the_packages_numbers():
    for text, true, expected in ROUGE:
        assert rouge_f(text, true) == pytest.approx(expected, abs=1e-12)
    assert rouge_f("...", "a") == rouge_f("a", "...") == 0.0  # the package ends with an error


def test_rouge_equals_twin_on_shuffled_sentences():
    rng = random.Random(2)
    for _ in range(300):
        true, text = (
            ". ".join(" ".join(rng.choices(["a", "b", "c", "d", "e"], k=rng.randint(1, 5))) for _ in range(rng.randint(1, 3)))
            for _ in range(2)
        )
        assert rouge_f(text, true) == pytest.approx(reference.rouge_f(text, true), abs=1e-12)


@pytest.mark.parametrize("metric", TEXT_METRICS, ids=lambda metric: metric.name)
def test_steps_are_averaged_over_dialogues_then_dialogues(metric):
    good, bad, empty = (
        Answer("so nice . really", true_text="so nice . really"),
        Answer("xyz", true_text="so"),
        Answer("...", true_text="so nice ###"),
    )
    unscored = Answer("spurious", true_text=None)
    [scores] = metric.score([corpus_of_answers([good, bad, empty, unscored], [good], [unscored])])
    assert scores[0].per_item[:2] == pytest.approx([1 / 3, 1], abs=1e-6) and np.isnan(scores[0].per_item[2])
    assert scores[0].overall == pytest.approx(2 / 3, abs=1e-6)
    assert scores[0].resample(np.array([[1.0, 1, 1], [2, 0, 5], [0, 0, 3]])) == pytest.approx([2 / 3, 1 / 3, 0], abs=1e-6)
    assert all(score.measure.low <= score.overall <= score.measure.high for score in scores)


class Letters:
    """Turns texts into counts of letters."""

    def encode(self, texts):
        return np.array(
            [[text.count(letter) + 0.1 for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=np.float32
        )


def test_sentence_bert_is_the_cosine_of_texts():
    metric = SentenceBert()
    metric.connect(lambda: (Letters(), {"name": "letters"}))
    [[scores]] = metric.score(
        [corpus_of_answers([Answer("abc", true_text="cba"), Answer("", true_text="a")], [Answer("zzz", true_text="aaa")])]
    )
    a, b = Letters().encode(["zzz", "aaa"])
    assert scores.per_item == pytest.approx([0.5, a @ b / np.sqrt(a @ a * (b @ b))], abs=1e-6) and metric.facts()["model"] == {
        "name": "letters"
    }


@pytest.mark.parametrize("metric", [*TEXT_METRICS, SentenceBert()], ids=lambda metric: metric.name)
def test_captions_and_answers_without_truth_are_refused_in_one_line(metric):
    with pytest.raises(
        MetricUnavailable,
        match=f"{metric.name} compares the answers of `magic interleave` with the true ones, and made holds captions",
    ):
        metric.score([corpus_of(["a"], [["b"]])])
    with pytest.raises(MetricUnavailable, match="compares texts with true ones, and no step of made has them"):
        metric.score([corpus_of_answers([Answer("a")])])
