"""Models of the hub, or of a local folder, that turn texts into vectors for metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from magic_cli.errors import MagicError
from magic_cli.models.faults import refuse
from magic_cli.models.language.bodies import num_embeddings
from magic_cli.models.language.positions import longest_text
from magic_cli.models.loading import quiet_libraries
from magic_cli.models.reading import model_folder, reading, tell
from magic_cli.models.sources import describe_source, fetch
from magic_cli.models.tokenizers import beyond_faults, read_tokenizer
from magic_cli.models.weights import read_pretrained
from magic_cli.terminal.progress import progress

_BATCH = 32
_POOLER = r"(^|\.)pooler\."


class PooledEncoder:
    """Sentence embeddings from a model's pooler, as SimCSE's model card takes them."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(N, E) float32 pooled outputs; long texts are cut at what the model has positions for."""
        ids = self._tokenizer(list(texts), truncation=True, max_length=longest_text(self._model, self._tokenizer))["input_ids"]
        return _in_batches(ids, lambda batch, mask: self._model(input_ids=batch, attention_mask=mask).pooler_output, self._model)


class LastTokenEncoder:
    """A language model's last hidden state of a text's last token, as MAUVE takes it."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer

    def token_ids(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        """Token ids of each text, cut at ``max_length``; of an empty text the end-of-text token."""
        length = min(max_length, longest_text(self._model, self._tokenizer))
        found = self._tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
        return [list(ids) or [self._tokenizer.eos_token_id] for ids in found]

    @torch.inference_mode()
    def encode_ids(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """(N, H) float32."""

        def last(batch: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            states = self._model(input_ids=batch, attention_mask=mask, output_hidden_states=True).hidden_states[-1]  # (B, T, H)
            return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]

        return _in_batches(ids, last, self._model)


def load_pooled_encoder(source: Any, *, device: torch.device) -> tuple[PooledEncoder, dict[str, Any]]:
    """The encoder of an ``EncoderSource`` and its description for metrics.json.

    Raises:
        MagicError: It cannot be had, or has no trained pooler.
    """
    model, tokenizer, facts, lacking = _load(source, device=device)
    if lacking or getattr(model, "pooler", None) is None:
        raise MagicError(
            f"{source.group}: {source.source} has no trained pooler, so its pooled output means nothing; name a SimCSE model, or {source.instead}"
        )
    return PooledEncoder(model, tokenizer), facts


def load_last_token_encoder(source: Any, *, device: torch.device) -> tuple[LastTokenEncoder, dict[str, Any]]:
    """As ``load_pooled_encoder``, of a causal language model."""
    model, tokenizer, facts, _ = _load(source, device=device)
    return LastTokenEncoder(model, tokenizer), facts


def _load(source: Any, *, device: torch.device) -> tuple[Any, Any, dict[str, Any], tuple[str, ...]]:
    """The network of a metric's encoder, its tokenizer, its description for metrics.json, and the weights that its pooler lacks.

    Args:
        source: A ``metrics.encoders.EncoderSource``.
        device: Where it runs, in float32.

    Raises:
        MagicError: It cannot be had or read, weights are missing or no numbers, or the tokenizer is missing or not the model's.
    """
    from transformers import AutoModel, AutoTokenizer

    quiet_libraries()
    folder = (
        model_folder(source)
        if source.path
        else fetch(source.name, revision=source.revision, setting=source.group, instead=source.instead)
    )
    where = {"pretrained_model_name_or_path": folder}
    with reading(source):
        tokenizer, faults = read_tokenizer(folder, lambda: AutoTokenizer.from_pretrained(folder))
        model, fit, of_weights = read_pretrained(AutoModel, where, is_body=True, optional=_POOLER, dtype=torch.float32)
        refuse([*of_weights, *(faults or beyond_faults(tokenizer, num_embeddings(model)))])
    tell(source, fit.notes())
    return model.to(device), tokenizer, describe_source(source, folder) | fit.facts(), fit.lacking


def _in_batches(ids: Sequence[Sequence[int]], encode: Any, model: Any) -> np.ndarray:
    """Encode token id lists in batches of similar length; rows come back in their order."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    rows: dict[int, np.ndarray] = {}
    with progress(len(order), "texts", "text", leave=False) as bar:
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            width = max(len(ids[i]) for i in chosen)
            batch = torch.tensor(
                [[*ids[i], *[0] * (width - len(ids[i]))] for i in chosen], device=model.device
            )  # (B, T), right-padded
            mask = torch.tensor([[1] * len(ids[i]) + [0] * (width - len(ids[i])) for i in chosen], device=model.device)
            rows |= dict(zip(chosen, encode(batch, mask).float().cpu().numpy(), strict=True))
            bar.update(len(chosen))
    return np.stack([rows[i] for i in range(len(ids))])
