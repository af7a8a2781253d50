"""Writes settings as ``name=value`` words in Hydra's override grammar, so that values arrive unchanged."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from magic_cli.data.json_text import HALF_CHARACTER
from magic_cli.errors import SettingsError

_READ_BY_MODELS = (
    "prompt", "title", "parts", "again", "template", "system", "queries", "start_token", "end_token", "forbidden_words", "stop_texts",
)  # fmt: skip
"""Settings that hold texts. Those that name files may hold any bytes."""
_PLAIN = re.compile(r"[\w.+-]+")


def quote(text: str) -> str:
    """Text as a quoted string of Hydra's override grammar, so that it arrives letter for letter.

    >>> print(quote("a b, c's [1] ${x}.jpg"))
    'a b, c\\'s [1] \\${x}.jpg'
    """
    # Hydra treats backslashes specially only before a quote, so only there they are doubled
    quoted, backslashes = [], 0
    for letter in text:
        if letter == "'":
            quoted.append("\\" * backslashes + "\\")
        quoted.append(letter)
        backslashes = backslashes + 1 if letter == "\\" else 0
    return "'" + "".join(quoted).replace("${", "\\${") + "\\" * backslashes + "'"


def with_quotes(word: str) -> str:
    """What to type in a shell instead of a ``name=value`` word that Hydra cannot read: texts with special letters in quotes.

    >>> print(with_quotes("rules.stop_texts=[a,b (c]"))
    'rules.stop_texts=[a,"b (c"]'
    """
    name, _, value = word.partition("=")
    is_list = value.startswith("[")
    parts = value.removeprefix("[").removesuffix("]").split(",") if is_list else [value]
    texts = ",".join(_with_quotes(part.strip().strip("\"'")) for part in parts if part.strip())
    return shlex.quote(f"{name}=[{texts}]" if is_list else f"{name}={texts}")


def _with_quotes(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return quote(text) if '"' in text or "\\" in text or "${" in text else f'"{text}"'


def refuse_other_bytes(name: str, value: str) -> None:
    """Refuse a text for models that holds bytes, or half characters, which UTF-8 does not have.

    Raises:
        SettingsError: It does.
    """
    if name.rpartition(".")[2] in _READ_BY_MODELS and HALF_CHARACTER.search(value):
        raise SettingsError(f"{name}={value}: some of its bytes are not UTF-8; type it in a terminal with UTF-8 as its encoding")


def override(name: str, value: Any) -> str:
    """A Python value as ``name=value``.

    >>> print(override("decoding.guides", ["image", "memory"]), override("prompt", None), override("run.trace", True))
    decoding.guides=['image','memory'] prompt=null run.trace=true

    Raises:
        SettingsError: A setting cannot have such a value.
    """
    word = _word(name, value)
    refuse_other_bytes(name, word)
    return f"{name}={word}"


def _word(name: str, value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # a numpy number
        value = value.item()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | os.PathLike):
        return quote(os.fspath(value))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{quote(str(key))}:{_word(name, one)}" for key, one in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return "[" + ",".join(_word(name, one) for one in value) + "]"
    raise SettingsError(f"{name}: a setting is a text, a number, true or false, or a list of them; got {type(value).__name__}")
