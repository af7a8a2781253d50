"""Stanford's PTB tokenizer (CoreNLP 3.4.1) as the COCO caption evaluation uses it, in one JVM for all texts of a call.

Each text (all references of a corpus, or all its captions, in their order) is one file with a caption a line, as in
pycocoevalcap: the lexer looks past line ends, so that another order or other neighbours could give other tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from magic_cli.metrics.base import Corpus, Tokenized
from magic_cli.metrics.java.runtime import (
    Java,
    JavaFailed,
    JavaProgram,
    find_java,
    no_room,
    run_java,
    temporary_folder,
    tool_file,
)
from magic_cli.metrics.text import collapsed
from magic_cli.terminal.wording import counted

_PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""Tokens that the COCO evaluation drops. Brackets come out in lower case and so are kept."""

_OPTIONS = ("-Xmx1G", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # it runs about a second: start fast
_OUTPUT, _SEPARATOR, _LIST = "/dev/stdout", "separator", "list"


_JAR = "tokenizer/stanford-corenlp-3.4.1.jar"


def require_tokenizer(java_home: str | None) -> None:
    """Make sure that the tokenizer can run.

    Raises:
        MetricUnavailable: There is no Java, or no tokenizer.
    """
    find_java(java_home)
    tool_file(_JAR)


def tokenize(corpora: Sequence[Corpus], *, java_home: str | None = None, timeout: float = 600.0) -> list[Corpus]:
    """The corpora with ``tokenized`` filled in; equal texts are tokenized once.

    Args:
        java_home: Folder of a Java installation; None: see ``find_java``.
        timeout: Seconds for all of them.

    Raises:
        MetricUnavailable: There is no Java, or no tokenizer.
        JavaFailed: The tokenizer failed, or took too long, or there is no room for temporary files.
    """
    jobs = [(corpus, tuple(chain.from_iterable(corpus.references))) for corpus in corpora]
    texts = list(dict.fromkeys(text for corpus, references in jobs for text in (references, corpus.captions)))
    tokens = dict(zip(texts, tokenize_texts(texts, java=find_java(java_home), timeout=timeout), strict=True))
    tokenized = []
    for corpus, references in jobs:
        lines = iter(tokens[references])
        grouped = tuple(tuple(next(lines) for _ in group) for group in corpus.references)
        tokenized.append(replace(corpus, tokenized=Tokenized(captions=tokens[corpus.captions], references=grouped)))
    return tokenized


def tokenize_texts(texts: Sequence[tuple[str, ...]], *, java: Java, timeout: float) -> list[tuple[str, ...]]:
    """Tokens of each line of several texts, joined by single spaces, punctuation left out; empty where nothing remains.

    Raises:
        MetricUnavailable, JavaFailed: As ``tokenize``.
    """
    if not texts:
        return []
    jar = tool_file(_JAR)
    arguments = ("-preserveLines", "-lowerCase", "-ioFileList", _LIST)
    program = JavaProgram("PTB tokenizer", "edu.stanford.nlp.process.PTBTokenizer", (jar,), arguments, _OPTIONS)
    with temporary_folder(program.name) as folder:
        try:
            _write_texts(folder, texts)
        except OSError as error:
            raise no_room(program.name, error) from error
        output = run_java(java, program, timeout=timeout, cwd=folder).decode(errors="replace")
    lines = output.split("\n")
    expected = sum(max(1, len(text)) for text in texts)
    if lines.pop() or len(lines) != expected:
        raise JavaFailed(
            f"{program.name}: gave {counted(len(lines), 'line')} for {counted(expected, 'caption')}; please report this with them"
        )
    kept = iter([" ".join(token for token in line.rstrip().split(" ") if token not in _PUNCTUATION) for line in lines])
    return [tuple(next(kept) for _ in text or [""])[: len(text)] for text in texts]


def _write_texts(folder: Path, texts: Sequence[tuple[str, ...]]) -> None:
    """One file for each text, without a last line end, and a list of what goes where.

    All output goes to one pipe, for the tokenizer does not notice when an output file cannot be written to its end.
    After each text comes a file with nothing but a line end, so that the output's lines are the texts' lines.
    """
    (folder / _SEPARATOR).write_text("\n", encoding="ascii")
    pairs = []
    for number, text in enumerate(texts):
        (folder / f"text-{number}").write_text("\n".join(map(collapsed, text)), encoding="utf-8", newline="\n")
        pairs += [f"text-{number} {_OUTPUT}", f"{_SEPARATOR} {_OUTPUT}"]
    (folder / _LIST).write_text("\n".join(pairs) + "\n", encoding="ascii")
