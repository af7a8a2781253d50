"""How well the texts of many candidate tokens fit one image: what ZeroCap asks at every gradient step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from magic_cli.decoding import scoring
from magic_cli.decoding.protocols import ImageTextScorer
from magic_cli.errors import refuse_nan


class TextCosines:
    """Cosines of one image with texts that are each a row's text and one more token.

    Args:
        scorer: The image-text model.
        image: (E,) its feature of the image.
        reuse: Encode only what is new in a text, and each token's text once for as long as the rows' texts stay the same.
    """

    def __init__(self, scorer: ImageTextScorer, image: Tensor, *, reuse: bool = True) -> None:
        self.image, self.reuse = image, reuse
        self.session = scorer.open_texts(1) if reuse else scorer.open_texts(1, reuse=False)
        self._known: Tensor | None = None

    def select(self, rows: Sequence[int]) -> None:
        """Go on with the texts of ``rows``, in that order, repetitions allowed, each a token longer."""
        self.session.select(torch.tensor(rows, device=self.image.device))
        self._known = None

    def of_tokens(self, ids: Tensor, vocab_size: int, texts_of: Callable[[int, list[int]], list[str]]) -> Tensor:
        """Cosines (R, N) of the texts that the tokens ``ids`` (R, N) make; ``texts_of(row, tokens)`` are their texts.

        Raises:
            MagicError: The image-text model gives NaN.
        """
        if not self.reuse:
            return self._encode([texts_of(row, tokens) for row, tokens in enumerate(ids.tolist())])
        if self._known is None:
            self._known = torch.full((len(ids), vocab_size), torch.nan, device=self.image.device)
        is_new = self._known.gather(1, ids).isnan()
        new = [row_ids[flags].tolist() for row_ids, flags in zip(ids, is_new, strict=True)]
        width = max(map(len, new))
        if width:
            # a row with fewer goes on with a text that it has anyway, which costs nothing more
            padded = [
                [*tokens, *[(tokens or row_ids.tolist())[0]] * (width - len(tokens))]
                for tokens, row_ids in zip(new, ids, strict=True)
            ]
            cosines = self._encode([texts_of(row, tokens) for row, tokens in enumerate(padded)])
            self._known = self._known.scatter(1, torch.tensor(padded, device=ids.device), cosines)
        return self._known.gather(1, ids)

    def of_texts(self, texts: list[str]) -> Tensor:
        """Cosines (N) of whole texts."""
        self.select([0])
        return self._encode([texts])[0]

    def _encode(self, texts: list[list[str]]) -> Tensor:
        cosines = scoring.scaled_cosine(self.image.expand(len(texts), -1), self.session.encode(texts), 1.0)
        refuse_nan("image_text_model", not bool(cosines.isfinite().all()))
        return cosines
