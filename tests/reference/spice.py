"""SPICE as pycocoevalcap runs it, and captions to compare it with ours on."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from magic_cli.metrics.base import Corpus, Tokenized
from magic_cli.metrics.java.runtime import find_java, tool_file
from magic_cli.metrics.java.spice.jar_files import CORENLP_JARS

ODD_CAPTIONS = (
    "", "'", "a", "-lrb- -rrb-", "the the the", "cats", "一只猫 坐在 桌子 上", "кошка сидит на столе", "قطة تجلس على الطاولة", "🐶 🐶 🎾",
    'a sign that says " hello \\ world "', "two big red dogs and three small white cats sit on a wooden table 's edge",
    " ".join(["acaptionofwordsthataretoolongforlmdb" * 2] * 9),
)  # fmt: skip
"""Tokenized: empty, nearly empty, other scripts, characters that JSON escapes, more than the 511 bytes of a key in LMDB."""


def released_corpus(file: Path, images: slice) -> Corpus:
    """Some images of a released MAGIC file; plain lower case words in place of the PTB tokenizer's."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        records = json.load(lines)[images]
    return corpus_of([record["prediction"] for record in records], [record["captions"] for record in records])


def odd_corpus(file: Path) -> Corpus:
    """Each odd caption against real references, as one of several references, as the only one, and against itself."""
    real = released_corpus(file, slice(0, 2)).tokenized.references
    captions, references = [], []
    for odd in ODD_CAPTIONS:
        captions += [odd, real[1][0], real[1][1], odd]
        references += [real[0], [*real[1][2:], odd], [odd], [odd]]
    return corpus_of(captions, references, are_tokens=True)


def corpus_of(captions: Sequence[str], references: Sequence[Sequence[str]], are_tokens: bool = False) -> Corpus:
    """A corpus whose ids are numbers."""
    clean = str if are_tokens else lambda text: " ".join(text.lower().replace(".", " ").replace(",", " ").split())
    tokens = Tokenized(tuple(map(clean, captions)), tuple(tuple(map(clean, group)) for group in references))
    ids = tuple(map(str, range(len(captions))))
    return Corpus("tested", ids, tuple(captions), tuple(map(tuple, references)), tokenized=tokens)


def stock_spice(corpus: Corpus, folder: Path, lib: Path) -> tuple[float, list[dict[str, dict[str, float]]]]:
    """Overall score and scores of each item by pycocoevalcap's own class, on Rhino as the script engine that Java lacks.

    The class runs its jar where it lies and writes beside it, so it is copied to ``folder``.
    """
    package, original = folder / "stock_spice", tool_file("spice/spice-1.0.jar").parent
    (package / "lib").mkdir(parents=True)
    shutil.copy(original / "spice-1.0.jar", package)  # Java would look for its libraries where a link leads
    for file in ("spice.py", "get_stanford_models.py", *(f"lib/{jar.name}" for jar in original.glob("lib/*.jar"))):
        (package / file).symlink_to(original / file)
    for jar in CORENLP_JARS:
        (package / "lib" / jar).symlink_to(lib / jar)
    # `java -jar` looks only where the manifest says: Rhino takes the places of libraries for other systems.
    for place, rhino in zip(("lmdbjni-osx64-0.4.6.jar", "lmdbjni-win64-0.4.6.jar"), sorted(lib.glob("rhino*.jar")), strict=True):
        (package / "lib" / place).unlink()
        (package / "lib" / place).symlink_to(rhino)
    (package / "__init__.py").touch()
    items = list(zip(corpus.tokenized.captions, corpus.tokenized.references, strict=True))
    (folder / "items.json").write_text(json.dumps(items))
    script = (
        "import json; from stock_spice.spice import Spice; items = json.load(open('items.json'));"
        "refs = {i: group for i, (_, group) in enumerate(items)}; texts = {i: [text] for i, (text, _) in enumerate(items)};"
        "answer = Spice().compute_score(refs, texts);"
        "json.dump(answer, open('answer.json', 'w'))"
    )
    opened = ["lang", "math", "util", "util.concurrent", "net", "text", "io", "lang.reflect"]
    options = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in opened]
    path = f"{find_java().path.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "JDK_JAVA_OPTIONS": " ".join(options), "PATH": path}
    subprocess.run([sys.executable, "-c", script], cwd=folder, env=environment, check=True, timeout=900)
    overall, scores = json.loads((folder / "answer.json").read_text())
    return overall, scores
