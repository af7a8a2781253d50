"""What SPICE's failures mean, and what the user can do about them."""

from __future__ import annotations

from pathlib import Path

from magic_cli.metrics.java.process import most_telling_line
from magic_cli.metrics.java.runtime import JavaFailed
from magic_cli.metrics.java.spice.cache import CacheUnusable, SpiceCache

_CACHE_WORDS = ("lmdbjni", "org.nustaq", "LmdbTupleDB")
"""LMDB, the serialiser of what is kept there, and SPICE's class that uses both, as stack traces name them."""
_DAMAGE_WORDS = ("MDB_INVALID", "MDB_CORRUPTED", "MDB_PAGE_NOTFOUND", "MDB_VERSION_MISMATCH", "MDB_PANIC", "org.nustaq")
_CRASH_SIGNALS = ("SIGABRT", "SIGBUS", "SIGSEGV")
"""How native code ends a JVM; LMDB is the only such code here. It does so where the disk is full or its file is cut short."""


def explain(error: JavaFailed, *, memory: str, corenlp: Path, longest: int, cache: SpiceCache | None) -> Exception:
    """The error to raise in place of ``error``; a cache whose parses turn out to be damaged loses them.

    Args:
        memory: The JVM's largest heap.
        corenlp: Folder with the CoreNLP jars.
        longest: Words of the longest caption.
        cache: What SPICE used.

    Returns:
        CacheUnusable: The fault is the cache's: without it SPICE would run.
        JavaFailed: Anything else.
    """
    said = error.said
    if error.stopped:
        return error
    if "java.lang.OutOfMemoryError" in said:
        remedy = "raise metrics.spice.memory, lower metrics.spice.threads, or shorten long captions"
        return JavaFailed(f"SPICE: {memory} of memory are not enough (the longest caption has {longest} words); {remedy}")
    problem = str(error).split("; it said: ")[0]
    is_crash = "# Problematic frame:" in said or any(signal in problem for signal in _CRASH_SIGNALS)
    if cache and (is_crash or any(word in said for word in _CACHE_WORDS)):
        if "UnsatisfiedLinkError" in said or "Could not initialize class org.fusesource" in said:
            return CacheUnusable("its native library does not load on this machine", everywhere=True)
        if is_crash or any(word in said for word in _DAMAGE_WORDS):
            cache.forget_parses()
        return CacheUnusable(_reason(said) if "# Problematic frame:" in said or not is_crash else f"{problem}; is its disk full?")
    if "edu.stanford.nlp" in said and ("NoClassDefFound" in said or "Unable to " in said or "Error while loading" in said):
        return JavaFailed(f"SPICE: {_reason(said)}; the jars in {corenlp} seem damaged: run `magic doctor --fetch spice`")
    if "SIGKILL" in problem:
        return JavaFailed(f"{problem}; lower metrics.spice.memory, which is {memory}")
    if "took longer" in problem:
        return JavaFailed(f"{problem}; what is parsed so far is kept; raise metrics.spice.timeout, or run it again")
    return JavaFailed(f"{problem}; it said: {_reason(said)}")


def _reason(said: str) -> str:
    """The line of SPICE's error stream that tells most. Its own lines say only that it could not do something."""
    if "# Problematic frame:" in said:
        return f"Java crashed in {said.partition('# Problematic frame:')[2].splitlines()[1].strip('# ')}"
    return most_telling_line("\n".join(line for line in said.splitlines() if not line.startswith("Error: Could not")))
