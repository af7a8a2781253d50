"""Caption metrics as plainly as they can be written, pycocoevalcap's own scorers, and corpora of odd captions to try them on."""

import math
import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product

import numpy as np
from torch import Tensor

from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.metrics.base import Corpus, Tokenized

OTHER_SCRIPTS = [
    "一只猫 坐在 桌子 上", "кошка сидит на столе", "قطة تجلس على الطاولة", "बिल्ली मेज पर बैठी है", "un café près de l'église", "🐶 🐶 🎾",
    "a\xa0dog on\u3000grass", "ﬁsh İstanbul straße",
]  # fmt: skip
"""Also other white space than the blank, and letters whose lower case is longer."""


@cache
def coco_captions() -> list[list[str]]:
    """Captions of COCO's training images, lower case and without punctuation, image by image."""
    return [[plain(caption) for caption in captions] for captions in load_bundled_coco_captions().values()]


def plain(caption: str) -> str:
    """Words in lower case, one blank between them: near enough to the PTB tokenizer to compare scorers."""
    return " ".join(re.sub(r"[^\w\s']", " ", caption.lower()).split())


def make_corpus(seed: int, *, num_items: int = 50, name: str = "made") -> Corpus:
    """A corpus of real references, of one to seven an image, and captions of every kind: good, wrong, odd, empty, endless."""
    rng = random.Random(seed)
    captions, references = [], []
    for image in rng.sample(coco_captions(), num_items):
        kept = rng.sample(image, rng.randint(1, len(image))) + rng.choices(image, k=rng.choice([0, 0, 0, 1, 2]))
        if rng.random() < 0.1:
            kept[rng.randrange(len(kept))] = rng.choice(["", *OTHER_SCRIPTS])
        references.append(tuple(kept))
        captions.append(make_caption(rng, image))
    return corpus_of(captions, references, name=name)


def make_caption(rng: random.Random, image: Sequence[str]) -> str:
    """What a captioner might write for an image with these captions."""
    kind, words = rng.randrange(10), rng.choice(image).split()
    if kind < 4:
        return " ".join(word for word in words if rng.random() < 0.8)
    if kind < 6:
        return rng.choice(rng.choice(coco_captions()))
    if kind == 6:
        return rng.choice(["", "''", "`` ''", "a", "a a a a a a a a"])
    if kind == 7:
        return rng.choice([*OTHER_SCRIPTS, " ".join(words[:3]) + " " + rng.choice(OTHER_SCRIPTS)])
    if kind == 8:
        return " ".join(rng.choice(rng.choice(coco_captions())) for _ in range(12))  # more than 64 words
    return " ".join(rng.sample(words, len(words)) + words)


def corpus_of(captions: Sequence[str], references: Sequence[Sequence[str]], *, name: str = "made", **others) -> Corpus:
    """A corpus whose captions are their own tokens."""
    captions, references = tuple(captions), tuple(map(tuple, references))
    ids = tuple(f"image-{i}" for i in range(len(captions)))
    return Corpus(name, ids, captions, references, tokenized=Tokenized(captions, references), **others)


def stock(scorer: str, corpus: Corpus) -> tuple[list[float], np.ndarray]:
    """Overall values and values per item (measures, N) of pycocoevalcap's own ``bleu``, ``rouge_l`` or ``cider``."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    references = {i: list(texts) for i, texts in enumerate(corpus.tokenized.references)}
    captions = {i: [text] for i, text in enumerate(corpus.tokenized.captions)}
    if scorer == "bleu":
        overall, per_item = Bleu(4).compute_score(references, captions, verbose=0)
        return list(overall), np.array(per_item)
    overall, per_item = {"rouge_l": Rouge, "cider": Cider}[scorer]().compute_score(references, captions)
    return [float(overall)], np.array([per_item])


def longest_common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """By its definition, recursively."""

    @cache
    def length(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        return 1 + length(i + 1, j + 1) if a[i] == b[j] else max(length(i + 1, j), length(i, j + 1))

    return length(0, 0)


def repetition(texts: Sequence[str], n: int, *, last_ngram: bool) -> float:
    """rep-n, n-gram by n-gram."""
    distinct = total = 0
    for text in texts:
        words, seen = text.split(), []
        for start in range(len(words) - n + 1 if last_ngram else len(words) - n):
            ngram = words[start : start + n]
            total += 1
            if ngram not in seen:
                seen.append(ngram)
        distinct += len(seen)
    return 1 - distinct / total if total else 0.0


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of two vectors, number by number."""
    a, b = a.tolist(), b.tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def clip_score(model, image, caption: str, references: Sequence[str], *, prefix: str) -> tuple[float, float]:
    """CLIPScore and RefCLIPScore of one caption, encoded alone."""

    def encode(text: str) -> Tensor:
        return model.encode_texts([prefix + text])[0]

    text = encode(caption)
    match = 2.5 * max(cosine(model.encode_images([image])[0], text), 0)
    closest = max(max(cosine(text, encode(reference)) for reference in references), 0)
    return match, 2 / (1 / match + 1 / closest) if match > 0 and closest > 0 else 0.0


def exact_p_value(a: np.ndarray, b: np.ndarray, overall: Callable[[np.ndarray], float]) -> float:
    """Share of all 2^N ways of swapping the systems' items (N, S) that give a difference as large as the observed one."""
    observed, reached, ways = abs(overall(a) - overall(b)), 0, list(product([False, True], repeat=len(a)))
    for swap in ways:
        first = np.array([y if swapped else x for x, y, swapped in zip(a, b, swap, strict=True)])
        second = np.array([x if swapped else y for x, y, swapped in zip(a, b, swap, strict=True)])
        reached += abs(overall(first) - overall(second)) >= observed - 1e-12
    return reached / len(ways)
