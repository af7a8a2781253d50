"""What visitors leave on the disk while they are there: their photo and the runs of their last wish, gone when they go."""

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

_PREFIX, _LOCK = "magic-live-", ".lock"
_TRIES, _SECONDS_BETWEEN = 50, 0.1


@dataclass
class Session:
    """One visitor.

    Attributes:
        folder: All that is kept of them.
        photo: What they dropped last; None: nothing.
        stop: Set when what is being written is wanted no more.
    """

    folder: Path
    photo: Path | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def take(self, upload: Path) -> Path:
        """Move an upload here, in place of the photo before it."""
        self.drop_photo()
        self.photo = self.folder / "photo" / upload.name
        self.photo.parent.mkdir(parents=True)
        shutil.move(upload, self.photo)
        return self.photo

    def drop_photo(self) -> None:
        """Delete the photo, and what was written about it."""
        self.begin()
        self.photo = None
        shutil.rmtree(self.folder / "photo", ignore_errors=True)

    def begin(self) -> Path:
        """Stop what is being written, delete what was; returns an empty folder for what comes now."""
        self.stop.set()
        self.stop = threading.Event()
        shutil.rmtree(self.folder / "runs", ignore_errors=True)
        runs = self.folder / "runs"
        runs.mkdir(parents=True)
        return runs


class Workplace:
    """A temporary folder with a folder for each visitor; deleted when the page is closed.

    What a page left behind that was killed is deleted when the next one opens.

    Attributes:
        folder: Where uploads arrive, too.
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
        """A visitor, who may be new; the browser chose the name, which is no part of a path."""
        if name not in self._sessions:
            digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:24]
            self._sessions[name] = Session(self.folder / "visitors" / digest)
        return self._sessions[name]

    def publish(self, page: Path) -> str:
        """Let the browser see a page; returns the name by which it asks for it, which nobody can guess."""
        self._pages = {name: file for name, file in self._pages.items() if file.is_file()}
        name = secrets.token_urlsafe()
        self._pages[name] = page
        return name

    def page(self, name: str) -> Path | None:
        """The file of a page; None: there is none, or it is gone."""
        file = self._pages.get(name)
        return file if file is not None and file.is_file() else None

    def leave(self, name: str) -> None:
        """A visitor has closed the page."""
        session = self._sessions.pop(name, None)
        if session is not None:
            session.stop.set()
            _delete(session.folder)

    def close(self) -> None:
        """Everybody leaves."""
        for name in list(self._sessions):
            self.leave(name)
        _delete(self.folder)
        self._lock.close()


def _delete(folder: Path) -> None:
    """Delete a folder in which a caption that is being stopped may write a last file."""
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
        return  # in use, of another user, or about to be made
