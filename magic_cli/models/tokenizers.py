"""Whether a tokenizer is there, and is the model's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from magic_cli.errors import MagicError
from magic_cli.models.faults import Fault, some

_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "*.spm", "spiece.model", "sentencepiece*",
          "*.tiktoken", "tekken.json")  # fmt: skip
"""Any of these makes a tokenizer, if the library can read it."""


def read_tokenizer(place: Path, read: Callable[[], Any]) -> tuple[Any, list[Fault]]:
    """The tokenizer that ``read`` gives, and whether it is one.

    If there is none, libraries raise all kinds of errors, or make a tokenizer that knows no words.

    Args:
        place: Folder or file that it is read from.
        read: Reads it.
    """
    try:
        tokenizer = read()
    except Exception:  # each library and format raises its own
        if place.is_file() or any(True for pattern in _FILES for _ in place.glob(pattern)):
            raise
        return None, [_no_tokenizer(place)]
    return tokenizer, [] if _knows_words(tokenizer) else [_no_tokenizer(place)]


def _no_tokenizer(place: Path) -> Fault:
    return Fault(
        "tokenizer",
        f"no tokenizer in {place}",
        "copy its files there (tokenizer.json and tokenizer_config.json), or write them with tokenizer.save_pretrained",
    )


def _knows_words(tokenizer: Any) -> bool:
    """Whether it has any token that was not added by hand."""
    return bool(set(tokenizer.get_vocab()) - _added(tokenizer) - set(tokenizer.all_special_tokens))


def _added(tokenizer: Any) -> set[str]:
    """Tokens that were added by hand."""
    try:
        return set(tokenizer.get_added_vocab())
    except NotImplementedError:  # Mistral's own, to which none can be added
        return set()


def num_ids(tokenizer: Any) -> int:
    """How many embeddings a model needs for its ids, which may have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def tokens_beyond(tokenizer: Any, num_embeddings: int) -> list[str]:
    """Tokens whose ids the model has no embeddings for, in the order of their ids."""
    beyond = [(i, token) for token, i in tokenizer.get_vocab().items() if i >= num_embeddings]
    return [token for _, token in sorted(beyond)]


def beyond_faults(tokenizer: Any, num_embeddings: int, used: Collection[str | None] | None = None) -> list[Fault]:
    """Whether the tokenizer makes ids that the model cannot embed.

    Args:
        tokenizer: The tokenizer.
        num_embeddings: Ids that the model has embeddings for.
        used: If given, tokens that were added by hand may lack an embedding, except these. Some published models have such tokens
            (Gemma 3's image token); a text that holds one is refused when it is encoded.
    """
    beyond = tokens_beyond(tokenizer, num_embeddings)
    if used is not None:
        may_be = _added(tokenizer) - set(used)
        beyond = [token for token in beyond if token not in may_be]
    return [_beyond(beyond, num_embeddings)] if beyond else []


def _beyond(tokens: Sequence[str], num_embeddings: int) -> Fault:
    return Fault(
        "tokenizer",
        f"the model has {num_embeddings} embeddings, and none for its tokenizer's {some([repr(token) for token in tokens])}",
        "give it its own tokenizer; or, if tokens were added, call model.resize_token_embeddings(len(tokenizer)), train it, and save both",
    )


def require_embeddable(tokenizer: Any, ids: Sequence[int], num_embeddings: int, setting: str) -> None:
    """Refuse a text with a token that the model has no embedding for.

    Raises:
        MagicError: It has one.
    """
    beyond = [i for i in ids if i >= num_embeddings]
    if beyond:
        fault = _beyond(tokenizer.convert_ids_to_tokens(sorted(set(beyond))), num_embeddings)
        raise MagicError(f"{setting}: a text cannot be read: {fault.text}; {fault.remedy}, or leave the token out of the text")
