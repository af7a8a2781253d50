"""Makes METEOR's paraphrase table small before METEOR loads it, which else takes longer than 5,000 captions do.

Of its 5.3 million entries only those can match whose words all stand in the texts, in that order. ``magic.FilterPhrases``
picks them in one pass over the file; METEOR's answers stay the same to the last digit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from magic_cli.metrics.java.runtime import Java, JavaFailed, JavaProgram, no_room, run_java, tool_file

_RUN = re.compile(r"[a-z0-9]+")
TABLE, _VOCABULARY, _KEPT = "meteor/data/paraphrase-en.gz", "vocabulary", "phrases.gz"
_OPTIONS = ("-Xmx256M", "-XX:+UseSerialGC")


def filter_phrases(texts: Iterable[str], folder: Path, *, java: Java, timeout: float) -> Path:
    """Write the entries that can match these texts into ``folder``.

    Args:
        texts: After the PTB tokenizer, captions and references.
        folder: An existing folder.
        java: What runs the filter.
        timeout: Seconds it may take.

    Returns:
        The small table.

    Raises:
        MetricUnavailable: pycocoevalcap is not there.
        JavaFailed: The table is damaged, or there is no room for the small one.
    """
    try:
        (folder / _VOCABULARY).write_text("".join(f"{words}\n" for words in sorted(vocabulary(texts))), encoding="ascii")
    except OSError as error:
        raise no_room("METEOR", error) from error
    arguments = (str(tool_file(TABLE)), str(folder / _VOCABULARY), str(folder / _KEPT))
    try:
        run_java(java, JavaProgram("METEOR's paraphrase table", "magic.FilterPhrases", (), arguments, _OPTIONS), timeout=timeout)
    except JavaFailed as error:
        if error.stopped or "No space left" in error.said:
            raise
        raise JavaFailed(f"{error}; pip install --force-reinstall pycocoevalcap==1.2") from error
    return folder / _KEPT


def vocabulary(texts: Iterable[str]) -> set[str]:
    """Every run of ASCII letters and digits in the texts, and every two that follow each other in one text.

    METEOR's own normalisation only moves and drops other characters. Where it might turn an accented letter into a plain
    one, both readings count.

    >>> sorted(vocabulary(["a t-shirt"]))
    ['a', 'a t', 'shirt', 't', 't shirt']
    """
    found: set[str] = set()
    for text in texts:
        readings = {text.lower()}
        if not text.isascii():
            readings.add("".join(c for c in unicodedata.normalize("NFKD", text).lower() if not unicodedata.combining(c)))
        for reading in readings:
            runs = _RUN.findall(reading)
            found.update(runs)
            found.update(map(" ".join, pairwise(runs)))
    return found
