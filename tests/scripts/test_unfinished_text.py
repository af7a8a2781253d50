"""Unfinished captions that the embedded models are trained on."""

import random

from unfinished_text import NextWords, draw_prefixes


def test_prefixes_begin_the_caption_and_only_the_last_may_cut_a_word():
    caption = "A brown dog jumps over the fence"
    rng = random.Random(3)
    for _ in range(50):
        *whole, cut = draw_prefixes(caption, 4, rng)
        assert all(f"{caption} ".startswith(f"{text} ") for text in whole)
        assert len(whole) == 3 and cut and caption.startswith(cut)


def test_prefix_of_a_single_letter_is_itself():
    assert draw_prefixes("A", 2, random.Random(0)) == ["A", "A"]


def test_next_words_share_the_text_before_and_differ_in_the_last_word():
    captions = ["a dog runs fast", "a cat sleeps", "a bird sings", "a dog barks"]
    next_words = NextWords(captions, random.Random(0))
    for _ in range(30):
        texts = [text.split() for text in next_words.draw("a dog runs fast", 3)]
        assert texts[0] == ["a", "dog", "runs", "fast"][: len(texts[0])]
        assert len({tuple(text[:-1]) for text in texts}) == 1
        assert texts[1][-1] != texts[0][-1]  # the third may run out of words in so small a corpus


def test_next_words_end_when_the_vocabulary_has_no_other_word():
    assert NextWords(["a"], random.Random(0)).draw("a", 3) == ["a", "a", "a"]
