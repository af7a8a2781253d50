"""Downloads that resume: what has arrived is kept in a ``.part`` file until the rest has."""

from __future__ import annotations

import http.client
import logging
import re
import urllib.error
import urllib.request
from pathlib import Path

from magic_cli.errors import MagicError
from magic_cli.terminal.progress import progress

log = logging.getLogger(__name__)

_PIECE_BYTES = 1 << 20
_SILENCE_SECONDS = 60.0
_TRIES = 4


def download(url: str, file: Path) -> None:
    """Download ``url`` to ``file``; goes on from ``file``.part if that is there.

    Raises:
        MagicError: The server cannot be reached or refuses, the connection broke off several times, or there is no room.
            What has arrived is kept, so that the same call goes on from there.
    """
    part = file.with_name(f"{file.name}.part")
    problem = ""
    for _ in range(_TRIES):
        try:
            if _fetch_rest(url, part):
                part.replace(file)
                return
            problem = "the connection broke off"
        except urllib.error.HTTPError as error:
            raise MagicError(f"{url}: the server answers {error.code} {error.reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = str(getattr(error, "reason", error))
        except OSError as error:
            raise MagicError(f"{part}: cannot be written ({error.strerror}); free some space there") from error
        log.info("%s: %s", url, problem)
    kept = f"; {part.stat().st_size / 1e6:.1f} MB have arrived: the same command goes on from there" if part.exists() else ""
    raise MagicError(f"{url}: {problem}{kept}")


def _fetch_rest(url: str, part: Path) -> bool:
    """Append what ``part`` lacks; returns whether it is complete now."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "magic", **({"Range": f"bytes={have}-"} if have else {})})
    try:
        response = urllib.request.urlopen(request, timeout=_SILENCE_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if whole and int(whole[1]) == have:
            return True
        part.unlink()  # another file's beginning
        return False
    with response:
        is_rest = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if is_rest and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            return False
        start = have if is_rest else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with (
            part.open("ab" if is_rest else "wb") as out,
            progress(total, part.stem, "B", done=start) as bar,
        ):
            while piece := response.read(_PIECE_BYTES):
                out.write(piece)
                bar.update(len(piece))
    return total is None or part.stat().st_size == total
