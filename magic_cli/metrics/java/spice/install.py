"""Brings the CoreNLP 3.6.0 jars that SPICE needs: from a folder or jar that is here, Maven, or the archive of 2015-12-09.

Of 385 MB only the 87 MB that SPICE loads are kept, each entry only if its SHA-256 is the known one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from magic_cli.data.paths import expanded
from magic_cli.errors import MagicError
from magic_cli.metrics.java.spice.download import download
from magic_cli.metrics.java.spice.jar_files import CORENLP_JARS, VARIABLE, fetched_folder, missing_jars, spice_folder

log = logging.getLogger(__name__)

ARCHIVE = "https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"
"""The one that pycocoevalcap's own downloader names."""
MAVEN = "maven"
_ARTIFACTS = ("edu.stanford.nlp:stanford-corenlp:3.6.0", "edu.stanford.nlp:stanford-corenlp:3.6.0:jar:models")
_MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:copy"
_MAVEN_SECONDS = 3600
_DIGESTS = Path(__file__).parents[1] / "jars" / "corenlp-3.6.0.sha256"


def fetch_spice(source: str | None = None) -> Path:
    """Put what SPICE needs of CoreNLP into the user's cache folder.

    Args:
        source: A folder with the CoreNLP jars or archive, one of them itself, the address of an archive, or ``maven``;
            None: Maven where ``mvn`` is installed, then the archive of ``ARCHIVE``.

    Returns:
        The folder with the two jars.

    Raises:
        MagicError: No source has them: for each one why not.
    """
    target = fetched_folder()
    if source is None and not missing_jars(target):
        try:
            _check(target)
            return target
        except MagicError as error:
            log.warning("%s; it is fetched anew", error)
    sources = [source] if source else [*([MAVEN] if shutil.which("mvn") else []), ARCHIVE]
    problems = []
    for one in sources:
        try:
            _fetch_from(one, target)
            return target
        except MagicError as error:
            problems.append(str(error))
            if one != sources[-1]:
                log.warning("%s; trying %s", error, sources[sources.index(one) + 1])
    offline = "" if source else f"; without network: put {' and '.join(CORENLP_JARS)} into a folder and name it with {VARIABLE}"
    raise MagicError(f"CoreNLP 3.6.0 could not be had: {'; '.join(problems)}{offline}")


def known_digests() -> dict[str, dict[str, str]]:
    """For each of the jars the SHA-256 of every entry that is kept."""
    digests: dict[str, dict[str, str]] = {}
    for line in _DIGESTS.read_text(encoding="ascii").splitlines():
        digest, _, name = line.partition("  ")
        if line.removeprefix("# ") in CORENLP_JARS:
            entries = digests.setdefault(line.removeprefix("# "), {})
        elif not line.startswith("#"):
            entries[name] = digest
    return digests


def _fetch_from(source: str, target: Path) -> None:
    try:
        spice_folder().mkdir(parents=True, exist_ok=True)
        # Not in the folder for temporary files, which may be small: the archive has 390 MB.
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=spice_folder()) as work:
            if source == MAVEN:
                _run_maven(Path(work))
                _copy_from(Path(work), target, Path(work))
            elif source.startswith(("http://", "https://")):
                archive = spice_folder() / source.rpartition("/")[2]
                if not archive.exists():
                    download(source, archive)
                try:
                    _copy_from(archive, target, Path(work))
                except MagicError:
                    archive.unlink()  # what is wrong with it stays wrong
                    raise
                archive.unlink()
            else:
                _copy_from(expanded(source), target, Path(work))
    except OSError as error:
        raise MagicError(f"{error.filename or spice_folder()}: cannot be read or written ({error.strerror})") from error


def _run_maven(folder: Path) -> None:
    for artifact in _ARTIFACTS:
        command = ["mvn", "-B", _MAVEN_COPY, f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), timeout=_MAVEN_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            reason = f"ends with status {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise MagicError(f"mvn {reason} for {artifact}; its messages are above") from error


def _copy_from(source: Path, target: Path, work: Path) -> None:
    """Write the two jars into ``target``, each known entry from whichever jar of ``source`` has it unchanged."""
    with _opened(_jars_of(source, work)) as jars:
        for name, digests in known_digests().items():
            _write_jar(jars, digests, target / name)


def _check(folder: Path) -> None:
    """Raises MagicError unless the jars in ``folder`` have every known entry unchanged."""
    with _opened([folder / jar for jar in CORENLP_JARS]) as jars:
        for digests in known_digests().values():
            for entry, digest in digests.items():
                _find(jars, entry, digest)


def _jars_of(source: Path, work: Path) -> list[Path]:
    """CoreNLP's jars in a folder, beside a jar, or in an archive, which are unpacked to ``work``."""
    if source.is_dir():
        jars = [jar for pattern in ("stanford-corenlp*.jar", "*/stanford-corenlp*.jar") for jar in sorted(source.glob(pattern))]
        archives = [] if jars else sorted(source.glob("stanford-corenlp*.zip"))
        if not jars and not archives:
            raise MagicError(f"{source}: neither {' and '.join(CORENLP_JARS)} nor an archive with them is there")
        return jars or _jars_of(archives[-1], work)
    if source.suffix != ".zip":
        return [source, *(jar for jar in sorted(source.parent.glob("stanford-corenlp*.jar")) if jar != source)]
    with _opened([source]) as (archive,):
        for entry in archive.infolist():
            if (name := entry.filename.rpartition("/")[2]) in CORENLP_JARS:
                with archive.open(entry) as packed, (work / name).open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    return [work / jar for jar in CORENLP_JARS]


@contextmanager
def _opened(files: Sequence[Path]) -> Iterator[list[ZipFile]]:
    """Jars or archives. Raises MagicError where one is not there or not whole, then or while it is read."""
    file = files[0]
    with ExitStack() as stack:
        try:
            jars = []
            for file in files:
                jars.append(stack.enter_context(ZipFile(file)))
            yield jars
        except FileNotFoundError as error:
            raise MagicError(f"{error.filename}: is not there") from error
        except (BadZipFile, EOFError, zlib.error) as error:
            raise MagicError(f"{file}: is no whole archive ({error})") from error


def _write_jar(jars: Sequence[ZipFile], digests: Mapping[str, str], jar: Path) -> None:
    jar.parent.mkdir(parents=True, exist_ok=True)
    handle, new = tempfile.mkstemp(dir=jar.parent, prefix=f"{jar.name}.")
    try:
        with os.fdopen(handle, "wb") as file, ZipFile(file, "w") as out:
            for entry, digest in digests.items():
                out.writestr(ZipInfo(entry), _find(jars, entry, digest), ZIP_STORED if entry.endswith(".gz") else ZIP_DEFLATED)
        os.chmod(new, 0o644)
        os.replace(new, jar)
    except BaseException:
        os.unlink(new)
        raise


def _find(jars: Sequence[ZipFile], entry: str, digest: str) -> bytes:
    """The entry from the first jar that has it with that SHA-256."""
    problem = f"{', '.join(str(jar.filename) for jar in jars)}: {entry} of CoreNLP 3.6.0 is missing"
    for jar in jars:
        if entry not in jar.NameToInfo:
            continue
        try:
            content = jar.read(entry)
        except (BadZipFile, EOFError, zlib.error) as error:
            problem = f"{jar.filename}: {entry} cannot be read ({error})"
            continue
        if (found := hashlib.sha256(content).hexdigest()) == digest:
            return content
        problem = f"{jar.filename}: {entry} is not that of CoreNLP 3.6.0 (SHA-256 {found[:12]}..., not {digest[:12]}...)"
    raise MagicError(problem)
