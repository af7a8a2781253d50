"""The three losses: of the text, of the noise in latents, and of the distance to the text encoder; each is a sum.

MiniGPT-5 (arXiv 2310.02239): the total is ``a L_text + b L_LDM + c L_CAP`` of the means; the released code uses 0.01, 1 and 0.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from magic_cli.interleaved.adapters import Adapter
from magic_cli.interleaved.drawing import Drawing
from magic_cli.interleaved.mapper import VokenMapper
from magic_cli.interleaved.text_conditions import TextConditions
from magic_cli.interleaved.training.settings import LabelMask
from magic_cli.interleaved.vision import QFormerReader
from magic_cli.interleaved.vokens import NewRows, VokenIds, voken_features
from magic_cli.models.language.bodies import find_body
from magic_cli.training.simctg import IGNORED, token_loss


@dataclass
class VokenBatch:
    """A micro-batch of N sequences of length T, with M images that they read and I images that they answer with.

    Attributes:
        ids: (N, T) token ids, right-padded with 0; the id of the image slot where an image vector stands.
        labels: (N, T) the token to learn at each position; ``IGNORED`` where nothing is learnt.
        lengths: (N,) the length of each sequence.
        read: (M, 3, S, S) pixels of the images that are read, in order of position.
        drawn: (I, 3, S', S') pixels in [-1, 1] of the images that are drawn.
        rows: (I,) the sequence that each drawn image belongs to.
        captions: The captions of the drawn images; None for images without one.
    """

    ids: Tensor
    labels: Tensor
    lengths: Tensor
    read: Tensor
    drawn: Tensor
    rows: Tensor
    captions: list[str | None]

    def to(self, device: torch.device) -> VokenBatch:
        """The same batch on a device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return VokenBatch(**moved, captions=self.captions)


def label_mask(labels: Tensor, ids: VokenIds, mask: LabelMask) -> Tensor:
    """Labels (N, T) without the vokens in the middle, because only their beginning must be learnt.

    ``released``: the first and the last voken are learnt, because of a slice in the released code; ``first_only``: the first.
    """
    last = ids.vokens[-1] if mask is LabelMask.first_only else ids.vokens[-1] - 1
    hidden = (labels > ids.vokens[0]) & (labels <= last)
    return labels.masked_fill(hidden, IGNORED)


def min_snr_weights(snr: Tensor, most: float) -> Tensor:
    """Weights (B,) of the noise losses at these signal-to-noise ratios: min(SNR, most) / SNR (arXiv 2303.09556)."""
    return snr.clamp(max=most) / snr


@dataclass
class LossOptions:
    """How losses are computed.

    Attributes:
        drop: Share of the images whose vokens are blanked, for classifier-free guidance.
        min_snr: Ratios above it get less weight; None: all have equal weight.
        label_mask: Which vokens are learnt as text.
        with_captions: Whether the distance to the text encoder is a loss.
    """

    drop: float
    min_snr: float | None
    label_mask: LabelMask
    with_captions: bool


class VokenObjective(nn.Module):
    """The sums of the three losses over a micro-batch.

    Args:
        language_model: A frozen Hugging Face causal LM, with its adapter inside, if there is one.
        rows: The rows of the new tokens.
        reader: The vision encoder.
        mapper: Maps voken states to conditions.
        drawing: The diffusion model; gradients pass through it.
        options: How losses are computed.
        adapter: The adapter of the language model; None: there is none.
        texts: The diffusion model's own text encoder, if captions are used.
    """

    def __init__(
        self, parts: tuple[Any, QFormerReader, Drawing], rows: NewRows, mapper: VokenMapper, options: LossOptions, *,
        adapter: Adapter | None = None, texts: TextConditions | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.language_model, self.reader, self.drawing = parts
        self.rows, self.mapper, self.options, self.adapter, self.texts = rows, mapper, options, adapter, texts
        self._body = (find_body(self.language_model.eval()),)  # a tuple hides it from torch, which must not register it twice
        self.frozen = (self.reader, self.drawing, *(() if texts is None else (texts,)))

    def train(self, mode: bool = True) -> VokenObjective:
        """Set the mode of the trained parts only; the adapter of the language model may have dropout."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def forward(self, batch: VokenBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of the cross-entropy over learnt tokens, the noise loss over images, and their distance to the text encoder."""
        hidden = self.states(batch)
        labels = label_mask(batch.labels, self.rows.ids, self.options.label_mask)
        targets = labels[:, 1:]
        is_learnt = targets != IGNORED
        likelihood = token_loss(self.rows.logits(hidden[:, :-1][is_learnt]), targets[is_learnt])
        if not len(batch.rows):
            nothing = likelihood.new_zeros(())
            if torch.distributed.is_initialized():  # processes exchange gradients of all weights and would wait for missing ones
                nothing = nothing + 0 * sum(weight.sum() for weight in self.mapper.parameters() if weight.requires_grad)
            return likelihood, nothing, nothing
        features = self.features(hidden, batch)
        drop = self.options.drop if self.training else 0.0
        keep = torch.rand(len(features), device=features.device) >= drop
        conditions = self.mapper(features * keep.to(features)[:, None, None])
        return (
            likelihood,
            self.noise_loss(conditions, batch.drawn).sum(),
            self.caption_loss(conditions, batch.captions, keep.tolist()),
        )

    def states(self, batch: VokenBatch) -> Tensor:
        """Hidden states (N, T, H) of the last layer."""
        embedded = self.rows.embed(batch.ids)
        places = (batch.ids == self.rows.ids.slot).nonzero(as_tuple=True)
        if len(batch.read):
            with torch.no_grad():
                vectors = self.reader(batch.read).flatten(0, 1)  # (M q, D)
            embedded = embedded.index_put(places, vectors.to(embedded.dtype))
        mask = torch.arange(batch.ids.shape[1], device=batch.ids.device) < batch.lengths[:, None]
        embedded = embedded * mask[..., None]
        options = {}
        if self.adapter is not None and self.adapter.prefix_length:
            mask = nn.functional.pad(mask, (self.adapter.prefix_length, 0), value=True)
            options["past_key_values"] = self.adapter.prefix(len(embedded))
        return self._body[0](inputs_embeds=embedded, attention_mask=mask.long(), use_cache=False, **options).last_hidden_state

    def features(self, hidden: Tensor, batch: VokenBatch) -> Tensor:
        """States (I, n, H) that predict the vokens of the sequences with an image."""
        is_first = batch.labels[batch.rows] == self.rows.ids.vokens[0]
        return voken_features(hidden[batch.rows], is_first, len(self.rows.ids.vokens))

    def noise_loss(self, conditions: Tensor, drawn: Tensor) -> Tensor:
        """(I,) weighted mean squared error of the predicted noise, at random times."""
        from diffusers.training_utils import compute_snr

        with torch.no_grad():
            latents = self.drawing.encode(drawn).float()
        noising = self.drawing.noising
        noise = torch.randn_like(latents)
        times = torch.randint(0, noising.config.num_train_timesteps, (len(latents),), device=latents.device)
        seen = self.drawing.noise(noising.add_noise(latents, noise, times), times, conditions)
        errors = (seen.float() - noise).square().flatten(1).mean(dim=1)
        return (
            errors
            if self.options.min_snr is None
            else errors * min_snr_weights(compute_snr(noising, times), self.options.min_snr)
        )

    def caption_loss(self, conditions: Tensor, captions: Sequence[str | None], keep: Sequence[bool]) -> Tensor:
        """Sum over images of the mean squared distance to the text encoder's conditions for their captions; 0 if one is missing.

        If the vokens are blanked, the distance to the conditions of the empty text counts.
        """
        if self.texts is None or not self.options.with_captions or any(caption is None for caption in captions):
            return conditions.new_zeros(())
        with torch.no_grad():
            wanted = self.texts([caption if kept else "" for caption, kept in zip(captions, keep, strict=True)]).float()
        return (conditions.float() - wanted).square().flatten(1).mean(dim=1).sum()
