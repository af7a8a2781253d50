"""The loop of ZeroCap over one image: shift the context, choose tokens, keep the best beams."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from magic_cli.decoding.protocols import ContextModel
from magic_cli.decoding.request import Request
from magic_cli.decoding.rules import MinimumLength, apply_rules
from magic_cli.decoding.text import until_end
from magic_cli.decoding.zerocap.prompt import end_token, lead_tokens
from magic_cli.decoding.zerocap.settings import ZeroCapSettings
from magic_cli.decoding.zerocap.shifting import Shifted, Steps, fuse, image_targets, make_less_likely, shift
from magic_cli.decoding.zerocap.text_cosines import TextCosines
from magic_cli.errors import MagicError, refuse_nan

_TRACED = 10  # likeliest tokens of a row that the trace holds


@dataclass
class _Beam:
    """A text in the making."""

    generated: list[int]
    log_p: float
    """Of all its tokens together."""
    stopped: bool
    parent: int
    """Row that it continues; of a stopped beam without meaning."""

    @property
    def average(self) -> float:
        return self.log_p / len(self.generated)


class ZeroCapSearch:
    """One caption in the making.

    Args:
        method: Settings.
        request: What ``generate`` was asked for.
        index: Which of its prompts this is.
    """

    def __init__(self, method: ZeroCapSettings, request: Request, index: int) -> None:
        self.method, self.request, self.index = method, request, index
        self.prompt = request.prompts[index]
        if not hasattr(request.model, "read_context"):
            raise MagicError(f"language_model: {type(request.model).__name__} offers no context that decoding=zerocap can shift")
        if self.prompt.vectors:
            raise MagicError(
                "decoding=zerocap reads no prompts with vectors (images) in them; use decoding=magic, nucleus or another method"
            )
        self.model = cast("ContextModel", request.model)
        self.lead = lead_tokens(self.model, method.prompt, self.prompt.ids)
        self.end = end_token(self.model, method.end_token)
        # "." is no end token of the model
        self.rules = [rule.and_for(self.end) if isinstance(rule, MinimumLength) else rule for rule in request.options.rules]
        self.cosines: TextCosines | None = None
        if method.needs_image:
            guide = request.image_guide("decoding=zerocap")
            self.cosines = TextCosines(guide.scorer, guide.vectors[index], reuse=method.text_cache)

    @property
    def _by_image(self) -> TextCosines:
        if self.cosines is None:
            raise TypeError(f"{type(self.method).__name__}: asks the image, but does not say needs_image")
        return self.cosines

    def run(self) -> list[int]:
        """Generated token ids: up to the end token, or as many as there is room for."""
        beams = [_Beam([], 0.0, stopped=False, parent=0)]
        for step in range(self.request.room(self.method.decoding_len, self.index)):
            running = [beam for beam in beams if not beam.stopped]
            shifted = self._shift([beam.generated for beam in running])
            log_p = self._log_p(shifted, [beam.generated for beam in running], step)
            beams = self._grow(beams, log_p)
            self._report(step, beams, log_p, shifted)
            parents = [beam.parent for beam in beams if not beam.stopped]
            if not parents:
                break
            if self.cosines is not None:
                self.cosines.select(parents)
        return self._best(beams)

    def _shift(self, texts: list[list[int]]) -> Shifted:
        """The scores of what follows each of R texts, on their shifted context."""
        method, model = self.method, self.model
        ids = torch.tensor([[*self.lead, *text] for text in texts])
        last, context = ids[:, -1], model.read_context(ids[:, :-1])
        return shift(
            lambda moved: model.logits_on_context(last, moved),
            context,
            (lambda log_p: self._targets(texts, log_p)) if method.shifts else None,
            Steps(method.num_iterations, method.clip_scale, method.ce_scale, method.step_size, method.grad_norm_factor),
        )

    def _targets(self, texts: list[list[int]], log_p: Tensor) -> Tensor:
        """The image's distribution over the likeliest next tokens, (R, V)."""
        refuse_nan("language_model", bool(log_p.isnan().any()))
        ids = log_p.topk(self.method.num_texts, dim=-1).indices
        cosines = self._by_image.of_tokens(ids, self.model.vocab_size, lambda row, tokens: self._texts(texts[row], tokens))
        return image_targets(cosines, ids, self.model.vocab_size, temperature=self.method.clip_loss_temperature)

    def _texts(self, generated: list[int], tokens: list[int]) -> list[str]:
        """The texts that tokens make: prompt, text so far and token, as far as the first end-of-text."""
        return self.model.decode([[*self.lead[1:], *until_end([*generated, token], self.model.end_ids)] for token in tokens])

    def _log_p(self, shifted: Shifted, texts: list[list[int]], step: int) -> Tensor:
        """Log probabilities (R, V) after all filters."""
        method, logits = self.method, shifted.logits
        refuse_nan("language_model", bool(logits.isnan().any()))
        if method.repetition_penalty != 1 and method.repetition_window:
            repeated = torch.zeros_like(logits, dtype=torch.bool)
            for row, text in enumerate(texts):
                repeated[row, [*self.lead, *text][-method.repetition_window :]] = True
            logits = make_less_likely(logits, repeated, method.repetition_penalty)
        is_end = torch.arange(logits.shape[1], device=logits.device)[None] == self.end
        forbidden = forbidden_tokens(self.model).to(logits.device)[None] & ~is_end
        logits = make_less_likely(logits, is_end, method.first_end_factor if step == 0 else 1 / method.end_factor)
        logits = make_less_likely(logits, forbidden, method.forbidden_factor)
        logits = apply_rules(self.rules, logits, [self.prompt.ids] * len(texts), texts)
        return fuse(logits, shifted.log_p0, method.fusion_factor)

    def _grow(self, beams: list[_Beam], log_p: Tensor) -> list[_Beam]:
        """The best texts by length-averaged log p, of the stopped ones and of all continuations of the others."""
        running = [beam for beam in beams if not beam.stopped]
        pool = [beam for beam in beams if beam.stopped]
        best = log_p.topk(min(self.method.num_beams, log_p.shape[1]), dim=-1)
        for row, (beam, gains, tokens) in enumerate(zip(running, best.values.tolist(), best.indices.tolist(), strict=True)):
            for gain, token in zip(gains, tokens, strict=True):
                if gain == -math.inf:  # a rule forbids it
                    continue
                generated = [*beam.generated, token]
                stopped = token == self.end or self.request.text_format.is_settled(generated)
                pool.append(_Beam(generated, beam.log_p + gain, stopped, parent=row))
        return sorted(pool, key=lambda beam: -beam.average)[: self.method.num_beams]

    def _best(self, beams: list[_Beam]) -> list[int]:
        """Of several beams the one that fits the image best."""
        if len(beams) == 1:
            return beams[0].generated
        fits = self._by_image.of_texts([self.request.text_format.cut([], beam.generated) for beam in beams]).tolist()
        return beams[fits.index(max(fits))].generated

    def _report(self, step: int, beams: list[_Beam], log_p: Tensor, shifted: Shifted) -> None:
        if self.request.options.on_step is None:
            return
        best = log_p.topk(min(_TRACED, log_p.shape[1]), dim=-1)
        for row, beam in enumerate(beams):
            if len(beam.generated) != step + 1:
                continue  # it had stopped before
            allowed = int(best.values[beam.parent].isfinite().sum())
            self.request.options.on_step(
                self.index,
                step,
                {
                    "choice": beam.generated[-1],
                    "row": row,
                    "parent": beam.parent,
                    "average_log_p": beam.average,
                    "token_ids": best.indices[beam.parent, :allowed].tolist(),
                    "p": best.values[beam.parent, :allowed].exp().tolist(),
                    "image_loss": [losses["image_loss"][beam.parent] for losses in shifted.losses],
                    "divergence": [losses["divergence"][beam.parent] for losses in shifted.losses],
                },
            )


_forbidden: WeakKeyDictionary[ContextModel, Tensor] = WeakKeyDictionary()


def forbidden_tokens(model: ContextModel) -> Tensor:
    """(V,) bool: tokens that are not of letters and digits alone (a leading space aside), or have a capital letter."""
    if model not in _forbidden:
        words = [text.strip() for text in model.token_texts(range(model.vocab_size))]
        _forbidden[model] = torch.tensor([not word.isalnum() or word != word.lower() for word in words])
    return _forbidden[model]
