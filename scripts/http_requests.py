"""One polite request for a small file: what came, where it has moved, or why it did not come, and whether it may come later."""

from __future__ import annotations

import email.utils
import functools
import http.client
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
_REDIRECTS = {301, 302, 303, 307, 308}
_URL_LETTERS = "%/:=&?~#+!$,;'@()*[]"


@dataclass(frozen=True)
class Limits:
    """How much is asked for at a time. All times in seconds."""

    user_agent: str
    """Who asks, and how to reach them."""
    workers: int = 32
    """Requests at a time, over all hosts."""
    per_host: int = 2
    """Requests at a time to one host."""
    delay: float = 0.25
    """Least time between the starts of two requests to one host."""
    timeout: float = 20.0
    """For one request, from the start to the last byte, and for each silence within."""
    max_bytes: int = 20_000_000
    attempts: int = 3
    """For one file, where a failure is temporary."""
    backoff: float = 2.0
    """Before the second attempt; doubled before each further one."""
    longest_wait: float = 120.0
    """A host that asks for more patience (Retry-After) is asked for nothing any more."""
    window: int = 4000
    """Files that are considered at a time."""


@dataclass(frozen=True)
class Failed:
    """Why a file did not come."""

    reason: str
    temporary: bool = False
    """Another attempt may succeed."""
    wait: float | None = None
    """How long the host asks to wait."""
    answered: bool = True
    """Whether the host said anything."""


@dataclass(frozen=True)
class Moved:
    """The file is elsewhere."""

    url: str


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    """One for all requests: reading the certificates takes time."""
    return urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=ssl.create_default_context()))


def fetch(url: str, limits: Limits) -> bytes | Moved | Failed:
    """One request."""
    if urllib.parse.urlsplit(url).scheme.lower() not in ("http", "https"):
        return Failed("not an http or https address")
    deadline = time.monotonic() + limits.timeout
    headers = {"User-Agent": limits.user_agent, "Accept": "image/*"}
    try:
        request = urllib.request.Request(urllib.parse.quote(url, safe=_URL_LETTERS), headers=headers)
        with _opener().open(request, timeout=limits.timeout) as answer:
            return _read(answer, limits, deadline)
    except urllib.error.HTTPError as error:
        with error:
            return _refusal(url, error)
    except TimeoutError:
        return Failed(f"no answer within {limits.timeout:g} s", temporary=True, answered=False)
    except urllib.error.URLError as error:
        return _no_connection(error.reason, limits)
    except (OSError, http.client.IncompleteRead, http.client.RemoteDisconnected) as error:
        return Failed(f"the connection broke ({type(error).__name__})", temporary=True, answered=False)
    except (http.client.HTTPException, ValueError) as error:
        return Failed(f"no sound address or answer ({type(error).__name__}: {str(error)[:80]})")


def _read(answer: http.client.HTTPResponse, limits: Limits, deadline: float) -> bytes | Failed:
    robots = (answer.headers.get("X-Robots-Tag") or "").lower()
    if any(word in robots for word in ("noai", "noimageai")):
        return Failed(f"the site does not want it used (X-Robots-Tag: {robots[:40]})")
    expected = answer.headers.get("Content-Length") or ""
    too_large = Failed(f"larger than {limits.max_bytes} bytes")
    if expected.isdigit() and int(expected) > limits.max_bytes:
        return too_large
    parts, size = [], 0
    while part := answer.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > limits.max_bytes:
            return too_large
        if time.monotonic() > deadline:
            return Failed(f"not complete within {limits.timeout:g} s", temporary=True)
    if expected.isdigit() and size < int(expected):
        return Failed(f"the connection broke at {size} of {expected} bytes", temporary=True)
    return b"".join(parts)


def _refusal(url: str, error: urllib.error.HTTPError) -> Moved | Failed:
    target = error.headers.get("Location")
    if error.code in _REDIRECTS and target:
        try:
            return Moved(urllib.parse.urljoin(url, target))
        except ValueError:
            return Failed(f"HTTP {error.code} to what is no address")
    asked = retry_after_seconds(error.headers.get("Retry-After")) if error.code in (429, 503) else None
    return Failed(f"HTTP {error.code}", temporary=error.code in _TEMPORARY, wait=asked)


def retry_after_seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header, which may also be a date; None if it is neither.

    >>> retry_after_seconds("120")
    120.0
    """
    if not retry_after:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def _no_connection(reason: Any, limits: Limits) -> Failed:
    if isinstance(reason, TimeoutError):
        return Failed(f"no answer within {limits.timeout:g} s", temporary=True, answered=False)
    if isinstance(reason, socket.gaierror):
        return Failed(
            "no such host" if reason.errno == socket.EAI_NONAME else "the host's name cannot be resolved",
            temporary=True,
            answered=False,
        )
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Failed("the host's certificate is not valid")
    return Failed(f"no connection ({getattr(reason, 'strerror', None) or reason})", temporary=True, answered=False)
