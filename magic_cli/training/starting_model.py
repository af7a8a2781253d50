"""The model that training starts from: a trained one or a fresh one, with special tokens as in the paper's models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from magic_cli.data.paths import expanded
from magic_cli.data.training_files import TextForm
from magic_cli.errors import MagicError, SettingsError
from magic_cli.models.faults import ModelFault
from magic_cli.models.language.bodies import num_embeddings
from magic_cli.models.language.positions import usable_positions
from magic_cli.models.language.tokens import DEFAULT_START_TOKEN
from magic_cli.models.loading import quiet_libraries, read_causal_model, refuse_unfit
from magic_cli.models.tokenizers import num_ids, read_tokenizer
from magic_cli.training.settings import FinetuneSettings, FreshModel

TOKENIZER_FILE = "tokenizer.json"
PAD_TOKEN, END_TOKEN = "<-pad->", "<|endoftext|>"


def begin(settings: FinetuneSettings, texts: Sequence[str], kept: Path) -> tuple[Any, Any, dict[str, Any]]:
    """Model in float32, tokenizer, and their source for the manifest.

    Args:
        settings: Settings of the command.
        texts: Training texts, from which a fresh tokenizer learns.
        kept: Folder of the tokenizer: an earlier start of this run may have stored one there, else this start does.

    Raises:
        MagicError: They cannot be loaded, or do not fit the settings.
    """
    torch.manual_seed(settings.run.seed)  # for fresh weights, and the rows of added tokens
    if settings.fresh.layers is None:
        model, tokenizer, source = read_causal_model(settings.language_model, dtype=torch.float32, resizes=True)
        refuse_unfit(settings.language_model, model)
    else:
        quiet_libraries()
        tokenizer = _tokenizer_of(settings.fresh, texts, kept)
        model, source = None, {"fresh": True}
    if tokenizer.eos_token_id is None:
        raise MagicError("language_model: the tokenizer has no end-of-text token; set eos_token in its tokenizer_config.json")
    if settings.dataset.form is TextForm.caption:
        _add_tokens(tokenizer, settings.language_model.start_token)
    model = _fresh_model(settings.fresh, tokenizer) if model is None else model
    if num_ids(tokenizer) > num_embeddings(model):
        model.resize_token_embeddings(num_ids(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    _set_dropout(model, settings.optimizer.dropout)
    _check_positions(model, settings)
    return model, tokenizer, source


def start_id(tokenizer: Any, start_token: str | None) -> int:
    """Id of the token that begins a caption."""
    return tokenizer.convert_tokens_to_ids(start_token or DEFAULT_START_TOKEN)


def _add_tokens(tokenizer: Any, start_token: str | None) -> None:
    """Add start and pad token in this order, as in the paper's models (GPT-2: 50257 and 50258)."""
    vocabulary = tokenizer.get_vocab()
    if start_token is not None and start_token not in vocabulary:
        raise SettingsError(
            f"language_model.start_token={start_token!r} is not in the tokenizer's vocabulary; name one of its tokens, or set null to "
            f"add {DEFAULT_START_TOKEN}"
        )
    missing = [token for token in (start_token or DEFAULT_START_TOKEN, PAD_TOKEN) if token not in vocabulary]
    tokenizer.add_tokens(missing)
    tokenizer.pad_token = PAD_TOKEN


def _tokenizer_of(fresh: FreshModel, texts: Sequence[str], kept: Path) -> Any:
    """A given tokenizer, that of an earlier start, or a byte-level BPE of the texts; its token 0 is end-of-text."""
    from transformers import AutoTokenizer, GPT2TokenizerFast  # type: ignore[attr-defined]  # transformers makes this name at run time

    if fresh.tokenizer:
        folder = expanded(fresh.tokenizer)
        tokenizer, faults = read_tokenizer(folder, lambda: AutoTokenizer.from_pretrained(folder))
        if faults:
            raise ModelFault(faults, f"fresh.tokenizer={fresh.tokenizer}")
        return tokenizer
    if (kept / TOKENIZER_FILE).is_file():
        return GPT2TokenizerFast.from_pretrained(kept)
    from tokenizers import ByteLevelBPETokenizer, Tokenizer

    bpe = ByteLevelBPETokenizer()
    size = fresh.vocab_size - 2  # start and pad token are added later
    bpe.train_from_iterator(texts, vocab_size=size, min_frequency=2, special_tokens=[END_TOKEN], show_progress=False)
    return GPT2TokenizerFast(
        tokenizer_object=Tokenizer.from_str(bpe.to_str()), bos_token=END_TOKEN, eos_token=END_TOKEN, unk_token=END_TOKEN,
        model_max_length=fresh.positions,
    )  # fmt: skip


def _fresh_model(fresh: FreshModel, tokenizer: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    assert fresh.layers is not None  # else the language model is adapted
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=fresh.positions, n_embd=fresh.width, n_layer=fresh.layers, n_head=fresh.heads,
        resid_pdrop=fresh.dropout, embd_pdrop=fresh.dropout, attn_pdrop=fresh.dropout, bos_token_id=end, eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def _set_dropout(model: Any, dropout: float | None) -> None:
    """Set every dropout of the model, including those that are a plain number in an attention module."""
    if dropout is None:
        return
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = dropout


def _check_positions(model: Any, settings: FinetuneSettings) -> None:
    limit = usable_positions(model)
    needed = settings.run.max_length + (1 if settings.dataset.form is TextForm.caption else 0)  # the last token is never an input
    if limit is not None and needed > limit:
        raise SettingsError(
            f"run.max_length must be at most {limit - needed + settings.run.max_length} with this model's {limit} positions, got {settings.run.max_length}"
        )
