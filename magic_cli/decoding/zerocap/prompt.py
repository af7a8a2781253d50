"""What ZeroCap's language model reads before a caption, and the token that ends one."""

from __future__ import annotations

from collections.abc import Sequence

from magic_cli.decoding.protocols import Vocabulary
from magic_cli.errors import SettingsError

_OPENER = "<|endoftext|>"


def lead_tokens(model: Vocabulary, prompt: str, opening: Sequence[int]) -> list[int]:
    """What the model reads first: the method's own prompt, then the words of the run's.

    Raises:
        SettingsError: The prompt does not open with a token that opens a text.
    """
    openers = model.end_ids | {token for token in (model.start_id, model.begin_id) if token is not None}
    ids = model.encode(prompt)
    if prompt.startswith(_OPENER) and len(model.encode(_OPENER)) != 1:  # it has another name in this model
        ids = [model.begin_id, *model.encode(prompt.removeprefix(_OPENER))]
    if len(ids) < 2 or ids[0] not in openers:
        names = " or ".join(repr(text) for text in model.token_texts(sorted(openers)))
        raise SettingsError(f"decoding.prompt must open with {names} of this language model and go on with words, got {prompt!r}")
    return ids + [i for i in opening if i not in openers]


def end_token(model: Vocabulary, text: str) -> int:
    """The id of the token that ends a caption.

    Raises:
        SettingsError: It is not one token.
    """
    ids = model.encode(text)
    if len(ids) != 1:
        raise SettingsError(f"decoding.end_token must be one token of the language model, got {text!r}, which is {len(ids)}")
    return ids[0]
