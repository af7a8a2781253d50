"""A real headless Chromium, driven through chromedriver's HTTP interface (W3C WebDriver), without a library."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

_CHROMIUM = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_SECONDS_OF_A_CALL = 120
_UP, _DOWN = "\ue013", "\ue015"
PROGRAMS = ("chromium", "chromedriver")


def axe_core() -> Path | None:
    """The script of axe-core, which finds faults of contrast, labels and structure: of MAGIC_AXE, or of ``npm install axe-core``."""
    root = Path(__file__).resolve().parents[1]
    files = (Path(os.environ.get("MAGIC_AXE", "")), root / "node_modules" / "axe-core" / "axe.min.js")
    return next((file for file in files if file.is_file()), None)


class BrowserFault(Exception):
    """The browser cannot do what it is told; the message says what."""


def check(is_so: bool, what: str) -> None:
    """Say that something is as it should be, or end with what is not."""
    if not is_so:
        sys.exit(f"FAILED: {what}")
    print(f"ok: {what}", file=sys.stderr)


def missing() -> str | None:
    """Which program is not there; None: all are."""
    return next((program for program in PROGRAMS if shutil.which(program) is None), None)


class Browser:
    """One session of chromedriver."""

    def __init__(self, port: int, folder: Path, *, keeps_nothing: bool = False, size: tuple[int, int] = (1280, 1000)) -> None:
        """Start it.

        Args:
            port: Of chromedriver.
            folder: Of profile and downloads.
            keeps_nothing: Whether no page may keep anything, as some users want it.
            size: Of the window, in pixels.
        """
        self._root = f"http://127.0.0.1:{port}/session"
        preferences = {"download.default_directory": str(folder / "downloads"), "download.prompt_for_download": False}
        if keeps_nothing:
            preferences["profile.default_content_setting_values.cookies"] = 2  # blocks localStorage, too
        arguments = [*_CHROMIUM, f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"]
        options = {"args": arguments, "prefs": preferences, "perfLoggingPrefs": {"enableNetwork": True}}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        wanted["timeouts"] = {"script": 1000 * _SECONDS_OF_A_CALL}
        self._root += f"/{self._call('POST', '', {'capabilities': {'alwaysMatch': wanted}})['sessionId']}"

    def _call(self, method: str, path: str, body: dict | None = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_SECONDS_OF_A_CALL) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            fault = json.load(error)["value"]["message"].splitlines()[0]
            raise BrowserFault(f"chromedriver {method} {path}: {fault}") from None

    def open(self, page: Path | str) -> None:
        """A file, or an address."""
        self._call("POST", "/url", {"url": page if isinstance(page, str) else page.resolve().as_uri()})

    def reload(self) -> None:
        self._call("POST", "/refresh", {})

    def run(self, script: str, *args: object) -> object:
        """What a script returns that runs in the page; of a promise what it brings."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait(self, condition: str, seconds: float = 20) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            if time.monotonic() > deadline:
                raise BrowserFault(f"waited {seconds} s in vain for {condition}")
            time.sleep(0.03)

    def _find(self, selector: str) -> str:
        return self._call("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT]

    def click(self, selector: str) -> None:
        """A real click, which fails where a user could not click."""
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into a field, or set the file of an upload."""
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def enter(self, selector: str) -> None:
        """Go on in the page inside a frame."""
        self._call("POST", "/frame", {"id": {_ELEMENT: self._find(selector)}})

    def leave(self) -> None:
        """Go back to the page around the frame."""
        self._call("POST", "/frame/parent", {})

    def choose(self, selector: str, value: str) -> None:
        """An option of a list, by its value, with the arrow keys: chromedriver's click on an option fires no ``input`` event."""
        steps = self.run(
            "const [selector, value] = arguments, list = document.querySelector(selector); list.focus();"
            "return [...list.options].findIndex((option) => option.value === value) - list.selectedIndex",
            selector,
            value,
        )
        self.press((_DOWN if steps > 0 else _UP) * abs(steps))
        if self.run("return document.querySelector(arguments[0]).value", selector) != value:
            raise BrowserFault(f"{selector} does not take {value!r}")

    def press(self, keys: str) -> None:
        """Keys, one after the other, to whatever has the focus."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def resize(self, width: int, height: int) -> None:
        """The window; the narrowest that a headless Chromium takes is 500 pixels wide, for less see ``emulate``."""
        self._call("POST", "/window/rect", {"width": width, "height": height})

    def command(self, name: str, **parameters: object) -> object:
        """A command of Chromium's own protocol, such as ``Emulation.setDeviceMetricsOverride``."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def emulate(self, *, width: int, height: int, dark: bool = False) -> None:
        """A screen of this size, such as a phone's, and light or dark colours."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def console(self) -> list[str]:
        """What pages have logged since the last call: errors, warnings and refusals among them."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Addresses that pages have asked for since the last call, but for data that they hold, and Chromium's own first page."""
        entries = [json.loads(entry["message"])["message"] for entry in self._call("POST", "/se/log", {"type": "performance"})]
        sent = [entry["params"]["request"]["url"] for entry in entries if entry["method"] == "Network.requestWillBeSent"]
        return [address for address in sent if not address.startswith(("data:", "chrome:"))]

    def faults_of_access(self, axe: Path) -> list[str]:
        """What axe-core finds in the page as it stands: each fault with the first element that has it."""
        told = "found.violations.map((one) => `${one.id}: ${one.nodes[0].html} (${one.nodes[0].failureSummary})`)"
        return self.run(f"{axe.read_text(encoding='utf-8')}; return axe.run().then((found) => {told});")

    def screenshot(self, file: Path, *, largest: int | None = None) -> None:
        """The window as a PNG.

        Args:
            file: Its file, whose folder is made.
            largest: Bytes that it may have: of as few colours as that takes; None: all colours.
        """
        data = base64.b64decode(self._call("GET", "/screenshot"))
        if largest is not None:
            data = _with_few_colours(data, largest)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def quit(self) -> None:
        self._call("DELETE", "")


def _with_few_colours(picture: bytes, largest: int) -> bytes:
    """A PNG small enough for a repository."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        for colours in (256, 128, 64, 32, 16):
            stream = io.BytesIO()
            image.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
            if stream.tell() <= largest:
                break
    return stream.getvalue()


@contextlib.contextmanager
def browser(folder: Path, **options: object) -> Iterator[Browser]:
    """A fresh Chromium that saves downloads in ``folder/downloads``; options as those of ``Browser``.

    Raises:
        BrowserFault: It is not there, or does not start.
    """
    if (program := missing()) is not None:
        raise BrowserFault(f"no {program} on PATH; on Debian: apt-get install chromium chromium-driver")
    (folder / "downloads").mkdir(parents=True, exist_ok=True)
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        lines: Callable[[], Iterator[str]] = lambda: (line for line in driver.stdout if "successfully on port" in line)
        started = next(lines(), None)
        if started is None:
            raise BrowserFault("chromedriver did not start")
        session = Browser(int(started.rstrip(".\n").rpartition(" ")[2]), folder, **options)
        try:
            yield session
        finally:
            session.quit()
    finally:
        driver.terminate()
        driver.wait()
