"""S-BERT: how near the meaning of an answer is to that of the true one (Reimers and Gurevych 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from magic_cli.metrics.answers import AnswerTextMetric
from magic_cli.metrics.base import Measure
from magic_cli.metrics.encoders import EncoderMetric
from magic_cli.metrics.image_text import cosines


@dataclass
class SentenceBert(AnswerTextMetric, EncoderMetric):
    """Mean cosine of the embeddings of text and true text by all-MiniLM-L6-v2, the model of MiniGPT-5's released code."""

    name: ClassVar[str] = "sentence_bert"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("sentence_bert", "S-BERT", -1.0, 1.0, scale=1.0, digits=3),)

    def score_texts(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Sequence[float]]:
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        vectors = self.encoder().encode(texts)
        place = {text: i for i, text in enumerate(texts)}
        written, true = (vectors[[place[pair[side]] for pair in pairs]] for side in (0, 1))
        return cosines(written, true)[:, None].tolist()

    def facts(self) -> dict[str, Any]:
        return {"similarity": "cosine", "empty_texts": 0.0, "model": self.model_facts()}
