"""Where SPICE and the Stanford CoreNLP 3.6.0 that it parses with are on this machine.

SPICE comes with the pycocoevalcap wheel; CoreNLP does not, for its models are large (and it is under the GPL).
"""

from __future__ import annotations

import os
from pathlib import Path

from magic_cli.data.paths import expanded, user_cache
from magic_cli.metrics.base import MetricUnavailable
from magic_cli.metrics.java.runtime import tool_file

CODE_JAR, MODELS_JAR = "stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"
CORENLP_JARS = (CODE_JAR, MODELS_JAR)
VARIABLE = "MAGIC_SPICE_LIB"

_HOW = f"run `magic doctor --fetch spice`, or name the folder that holds them with --spice-lib or {VARIABLE}"


def spice_folder() -> Path:
    """Where this user's SPICE files are kept."""
    return user_cache("spice")


def fetched_folder() -> Path:
    """Where ``magic doctor --fetch spice`` puts the CoreNLP jars."""
    return spice_folder() / "corenlp-3.6.0"


def find_corenlp(lib: str | None = None) -> Path:
    """The folder with the CoreNLP jars: ``lib``, else MAGIC_SPICE_LIB, else what was fetched, else pycocoevalcap's own.

    Raises:
        MetricUnavailable: They are not there; says how to get them.
    """
    for name, named in (("metrics.spice.lib", lib), (VARIABLE, os.environ.get(VARIABLE))):
        if named:
            folder = expanded(named).absolute()
            if missing := missing_jars(folder):
                raise MetricUnavailable(f"{name}={named}: no {' and no '.join(missing)} there; {_HOW}")
            return folder
    for folder in (fetched_folder(), tool_file("spice/spice-1.0.jar").with_name("lib")):
        if not missing_jars(folder):
            return folder
    raise MetricUnavailable(f"the CoreNLP 3.6.0 jars that SPICE needs are not here; {_HOW}")


def missing_jars(folder: Path) -> list[str]:
    """Names of the CoreNLP jars that a folder lacks."""
    return [jar for jar in CORENLP_JARS if not (folder / jar).is_file()]


def class_path(corenlp: Path) -> tuple[Path, ...]:
    """SPICE, its libraries and CoreNLP from the folder ``corenlp``.

    Raises:
        MetricUnavailable: The package pycocoevalcap is not there or not complete.
    """
    spice = tool_file("spice/spice-1.0.jar")
    libraries = [jar for jar in sorted(spice.with_name("lib").glob("*.jar")) if jar.name not in CORENLP_JARS]
    # CoreNLP first: SPICE's manifest would take the jars in pycocoevalcap's own folder.
    return (*(corenlp / jar for jar in CORENLP_JARS), spice, *libraries)
