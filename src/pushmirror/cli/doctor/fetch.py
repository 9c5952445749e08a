"""A small text from the web.

Guaranteed: http and https only, also after a redirect; an end in size, in redirects and in time, however
slowly a server drips; no cookies, no passwords. Proxies are those of the environment.
"""

from __future__ import annotations

import queue
import re
import threading
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

import pushmirror
from pushmirror.errors import PushmirrorError
from pushmirror.status.words import cut

MAX_BYTES = 64 * 1024
LIMIT_S = 15.0
_MOST_REDIRECTS = 5


class NotFetchedError(PushmirrorError):
    """An address could not be read."""


def fetch(url: str, *, limit_s: float = LIMIT_S) -> str:
    """The text at an address; NotFetchedError says in words why there is none."""
    answer: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer.put(_read(url, limit_s))
        except Exception as exc:  # noqa: BLE001 - whatever it is belongs to who waits for it
            answer.put(exc)

    # A time limit of a socket starts anew with every byte, and none bounds the name servers: only this does.
    threading.Thread(target=work, daemon=True).start()
    try:
        found = answer.get(timeout=limit_s)
    except queue.Empty:
        raise _translated(url, TimeoutError()) from None
    if isinstance(found, Exception):
        raise _translated(url, found) from found
    return found


class _FewRedirects(HTTPRedirectHandler):  # to http and https; for anything else there is no handler
    max_redirections = _MOST_REDIRECTS


def _read(url: str, limit_s: float) -> str:
    if "@" in urlsplit(url).netloc:
        raise URLError("a user or a password in an address is not used")  # nor given to a name server
    opener = OpenerDirector()  # urllib's own would read files, too
    for handler in (
        ProxyHandler(),
        UnknownHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        _FewRedirects(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    request = Request(url, headers={"User-Agent": f"pushmirror/{pushmirror.__version__}"})  # noqa: S310
    with opener.open(request, timeout=limit_s) as response:
        assert isinstance(response, HTTPResponse)
        data = response.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise URLError(f"it is longer than {MAX_BYTES // 1024} KiB")
    return data.decode("utf-8", "replace")


def _translated(url: str, exc: Exception) -> NotFetchedError:
    shown = re.sub(r"//[^/]*@", "//", url)  # without a password, if somebody put one there
    match exc:
        case HTTPError():
            with exc:  # it holds the connection
                why = f"HTTP {exc.code} {exc.reason}"
        case URLError():
            why = _said(exc.reason) if isinstance(exc.reason, OSError) else str(exc.reason)
        case OSError():
            why = _said(exc)
        case HTTPException() | ValueError():
            why = f"no answer as HTTP has it ({type(exc).__name__})"
        case _:
            raise exc
    return NotFetchedError(f"{shown}: {cut(' '.join(why.split()))}")


def _said(exc: OSError) -> str:
    return "no answer within the time allowed" if isinstance(exc, TimeoutError) else exc.strerror or str(exc)
