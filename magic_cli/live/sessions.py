"""The files of visitors: their photo and the runs of their last request, deleted when they leave."""

from __future__ import annotations

import fcntl
import hashlib
import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

_PREFIX, _LOCK, _RUNS = "magic-live-", ".lock", "runs-"
_TRIES, _SECONDS_BETWEEN = 50, 0.1


@dataclass
class Session:
    """One visitor.

    Attributes:
        folder: All files of the visitor.
        photo: The photo that was dropped last; None: there is none.
        stop: Set when what is being written is no longer needed.
    """

    folder: Path
    photo: Path | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def take(self, upload: Path) -> Path:
        """Move an uploaded photo here; it replaces the one before."""
        self.drop_photo()
        self.photo = self.folder / "photo" / upload.name
        self.photo.parent.mkdir(parents=True)
        shutil.move(upload, self.photo)
        return self.photo

    def drop_photo(self) -> None:
        """Delete the photo and everything that was written about it."""
        self.begin()
        self.photo = None
        shutil.rmtree(self.folder / "photo", ignore_errors=True)

    def begin(self) -> Path:
        """Stop what is being written and delete earlier runs; returns an empty folder for new ones, where no stopping run writes a last file."""
        self.stop.set()
        self.stop = threading.Event()
        for earlier in self.folder.glob(f"{_RUNS}*"):
            _delete(earlier)
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=_RUNS, dir=self.folder))


class Workplace:
    """A temporary folder with a subfolder for each visitor; deleted when the page is closed.

    Folders left behind by a killed page are deleted when the next one starts.

    Attributes:
        folder: The folder; uploads arrive here, too.
    """

    def __init__(self) -> None:
        for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            _delete_unless_used(left)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = (self.folder / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._sessions: dict[str, Session] = {}
        self._pages: dict[str, Path] = {}

    def session(self, name: str) -> Session:
        """A visitor, new or known. The browser chose the name, so it is never used in a path."""
        if name not in self._sessions:
            digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:24]
            self._sessions[name] = Session(self.folder / "visitors" / digest)
        return self._sessions[name]

    def publish(self, page: Path) -> str:
        """Let the browser open a page; returns its name, which nobody can guess."""
        self._pages = {name: file for name, file in self._pages.items() if file.is_file()}
        name = secrets.token_urlsafe()
        self._pages[name] = page
        return name

    def page(self, name: str) -> Path | None:
        """The file of a page; None: there is none, or it was deleted."""
        file = self._pages.get(name)
        return file if file is not None and file.is_file() else None

    def leave(self, name: str) -> None:
        """Delete the files of a visitor who closed the page."""
        session = self._sessions.pop(name, None)
        if session is not None:
            session.stop.set()
            _delete(session.folder)

    def close(self) -> None:
        """Delete the files of all visitors."""
        for name in list(self._sessions):
            self.leave(name)
        _delete(self.folder)
        self._lock.close()


def _delete(folder: Path) -> None:
    """Delete a folder, even if a stopping run still writes a last file into it."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_SECONDS_BETWEEN)


def _delete_unless_used(folder: Path) -> None:
    try:
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # in use, owned by another user, or just being made
