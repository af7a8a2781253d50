"""Best of N: a sampled method writes N texts, the image-text model takes the one that fits the image best."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from magic_cli.decoding.magic import ClipText
from magic_cli.decoding.method import DecodingMethod, WholeTexts, require
from magic_cli.decoding.protocols import Vocabulary
from magic_cli.decoding.request import Request, Written
from magic_cli.errors import SettingsError, refuse_nan

if TYPE_CHECKING:
    from magic_cli.decoding.guides import ImageGuide


@dataclass
class Rerank(DecodingMethod, WholeTexts):
    """Best of N.

    Attributes:
        base: The sampled method that writes the candidates; ``decoding_len`` of both is the same.
        num: Candidates, 1 to 1000; of equal texts only the first counts.
        clip_text: Text that is scored against the image, as much of it as is returned.
    """

    base: Any
    num: int = 16
    clip_text: ClipText = ClipText.prefix_and_generated

    def __post_init__(self) -> None:
        super().__post_init__()
        require("num", self.num, at_least=1, limit=1000)
        if not isinstance(self.base, DecodingMethod):
            raise SettingsError(f"decoding.base must be a sampled method (top_k, nucleus, typical), got {self.base!r}")
        if not self.base.is_sampled or isinstance(self.base, WholeTexts):
            raise SettingsError(
                f"decoding.base={type(self.base).__name__}: must be a sampled method, others would write {self.num} times the "
                "same text; set --base to top_k, nucleus or typical"
            )
        if self.base.decoding_len != self.decoding_len:
            raise SettingsError(
                f"decoding.base.decoding_len must be decoding.decoding_len={self.decoding_len}, got {self.base.decoding_len}; "
                "set only the latter"
            )

    def check(self, model: Vocabulary, prompts: Sequence[Sequence[int]]) -> None:
        super().check(model, prompts)
        try:
            self.base.check(model, prompts)
        except SettingsError as error:  # as the user has to type it
            raise SettingsError(str(error).replace("decoding.", "decoding.base.", 1)) from error

    @property
    def num_candidates(self) -> int:
        return self.base.num_candidates

    @property
    def needs_image(self) -> bool:
        return True

    @property
    def is_sampled(self) -> bool:
        return True

    def write(self, request: Request) -> list[Written]:
        from magic_cli.decoding.generate import generate

        guide, count = request.image_guide("decoding=rerank"), len(request.prompts)
        seeds = [candidate_seed(request.seed(index), number) for index in range(count) for number in range(self.num)]
        options = replace(request.options, seeds=seeds, on_step=None, with_hidden=False, memory=None)
        prompts = [prompt for prompt in request.prompts for _ in range(self.num)]
        ids = [one.ids for one in generate(request.model, self.base, prompts, options=options)]
        return [Written(self._choose(request, guide, index, ids[index * self.num :][: self.num])) for index in range(count)]

    def _choose(self, request: Request, guide: ImageGuide, index: int, candidates: list[list[int]]) -> list[int]:
        """The candidate that fits its image best; if two are equal, the first one.

        The trace gets one line a candidate: ``choice`` is the number of the one that was taken, ``same_as`` the first with
        the same text.
        """
        from magic_cli.decoding import scoring

        lead = request.prompts[index].words if self.clip_text is ClipText.prefix_and_generated else []
        texts = [request.text_format.cut(lead, ids) for ids in candidates]
        places = {text: place for place, text in reversed(list(enumerate(texts)))}  # the first of equal texts
        distinct = sorted(places, key=places.__getitem__)
        features = guide.scorer.open_texts(1).encode([distinct])
        cosines = scoring.scaled_cosine(guide.vectors[index, None], features, 1.0)[0]
        refuse_nan("image_text_model", not bool(cosines.isfinite().all()))
        scores = cosines.tolist()
        best = places[distinct[scores.index(max(scores))]]
        if request.options.on_step is not None:
            score_of = dict(zip(distinct, scores, strict=True))
            for number, (text, ids) in enumerate(zip(texts, candidates, strict=True)):
                request.options.on_step(
                    index,
                    number,
                    {
                        "choice": best,
                        "candidate": number,
                        "same_as": places[text],
                        "text": text,
                        "cosine": score_of[text],
                        "token_ids": ids,
                    },
                )
        return candidates[best]


def candidate_seed(seed: int, number: int) -> int:
    """Seed of one candidate of an item, in [0, 2**63): depends on nothing but the item's seed and the candidate's number.

    >>> candidate_seed(7, 0) == candidate_seed(7, 0) != candidate_seed(7, 1)
    True
    """
    digest = hashlib.sha256(f"{seed}\0candidate\0{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
