"""Check what the public sees at a site: fetch its trace over the web, and compare it with ours.

Guaranteed of a fetch: http and https only, also after a redirect; bounded in size, redirects and time,
however slowly a server sends; no cookies, no passwords; proxies of the environment. Not the business of
this module: whether the site can be pushed.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPException, HTTPResponse
from pathlib import Path
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
from pushmirror.archive.generation import short
from pushmirror.archive.trace import archive_serial, parse_trace
from pushmirror.checks.finding import Finding, ok, warning
from pushmirror.config.model import Archive, Config, Site
from pushmirror.config.types import span
from pushmirror.errors import PushmirrorError
from pushmirror.status.words import ago, cut

MAX_BYTES = 64 * 1024
LIMIT_S = 15.0
_MOST_REDIRECTS = 5


class NotFetchedError(PushmirrorError):
    """An address could not be read."""


def fetch(url: str, *, limit_s: float = LIMIT_S) -> str:
    """The text at an address; NotFetchedError has the reason if there is none."""
    answer: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer.put(_read(url, limit_s))
        except Exception as exc:  # noqa: BLE001 - whatever it is belongs to who waits for it
            answer.put(exc)

    # A socket's time limit begins again with every byte, and none limits name servers; this does.
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
        raise URLError("the URL must not contain a user or password")  # and not sent to a name server
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
        raise URLError(f"longer than {MAX_BYTES // 1024} KiB")
    return data.decode("utf-8", "replace")


def _translated(url: str, exc: Exception) -> NotFetchedError:
    shown = re.sub(r"//[^/]*@", "//", url)  # without a password
    match exc:
        case HTTPError():
            with exc:  # it has the connection
                why = f"HTTP {exc.code} {exc.reason}"
        case URLError():
            why = _said(exc.reason) if isinstance(exc.reason, OSError) else str(exc.reason)
        case OSError():
            why = _said(exc)
        case HTTPException() | ValueError():
            why = f"invalid HTTP response ({type(exc).__name__})"
        case _:
            raise exc
    return NotFetchedError(f"{shown}: {cut(' '.join(why.split()))}")


def _said(exc: OSError) -> str:
    return "no answer in time" if isinstance(exc, TimeoutError) else exc.strerror or str(exc)


_DIRECTORY = "project/trace"
_SLACK = timedelta(minutes=5)  # between two clocks


@dataclass(frozen=True, slots=True)
class PublicTrace:
    """A mirror's state as of its trace."""

    finished: datetime | None  # None: it is no trace
    serial: str  # of the archive, from its origin; empty: unknown
    generation: str  # only pushmirror writes it; else empty


def of_site(site: Site, config: Config, now: datetime) -> Iterator[Finding]:
    """One finding for each archive with a public trace at a site, and one for a wrong clock."""
    for name, url in addresses(site).items():
        subject = f"trace of {site.name} for {name}"
        try:
            shown = read(fetch(url))
        except NotFetchedError as exc:
            yield warning(
                subject, str(exc), "check `url` and `trace` in the site's file; a new site has none yet"
            )
            continue
        yield judge(subject, shown, ours(config.archives[name], config.mirror.name), now)
        yield from judge_clock(f"clock of {site.name}", shown, now)


def addresses(site: Site) -> dict[str, str]:
    """The addresses of a site's traces, by archive."""
    if not site.url:
        return {}
    names = site.archives
    if "{archive}" not in site.url:  # then it is the address of one
        names = (site.main_archive or names[0],)
    end = f"/{_DIRECTORY}/{site.trace or site.name}"
    return {name: site.url.replace("{archive}", name).rstrip("/") + end for name in names}


def read(text: str) -> PublicTrace:
    """Parse a trace."""
    facts = parse_trace(text)
    return PublicTrace(facts.date, archive_serial(text) or "", facts.fields.get("Generation", ""))


def ours(archive: Archive, mirror: str) -> PublicTrace:
    """Our own state: the origin's serial, and our trace's generation."""
    own, master = (_local(archive.path / _DIRECTORY / name) for name in (mirror, "master"))
    shown = read(own)
    return PublicTrace(shown.finished, archive_serial(master) or shown.serial, shown.generation)


def _local(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def judge(subject: str, shown: PublicTrace, own: PublicTrace, now: datetime) -> Finding:
    """The finding about a site's trace compared with ours."""
    if shown.finished is None:
        return warning(subject, "the file is not a trace", "check `url` and `trace` in the site's file")
    age = f"of {ago(shown.finished, now)}"
    if shown.generation and own.generation:
        theirs, wanted, what = short(shown.generation), short(own.generation), "generation"
    else:
        theirs, wanted, what = shown.serial, own.serial, "archive serial"
    if not theirs or not wanted:
        return ok(subject, f"{age}; it has no archive serial or date to compare")
    if theirs == wanted:
        return ok(subject, f"{age}, {what} {theirs}: the same as ours")
    where = "ahead of" if _is_newer(theirs, wanted, what) else "behind" if what != "generation" else "not"
    return warning(
        subject,
        f"{age}, {what} {theirs}: {where} ours, {wanted}",
        "see `pushmirror status` for what the site is doing",
    )


def _is_newer(theirs: str, wanted: str, what: str) -> bool:
    """Whether a serial is newer: serials are growing numbers, generations have no order."""
    comparable = what != "generation" and theirs.isdecimal() and wanted.isdecimal()
    return comparable and int(theirs[:20]) > int(wanted[:20])


def judge_clock(subject: str, shown: PublicTrace, now: datetime) -> Iterator[Finding]:
    """The finding about a trace from the future: one of the two clocks is wrong."""
    if shown.finished and shown.finished > now + _SLACK:
        ahead = span(shown.finished - now)
        yield warning(
            subject, f"its trace is {ahead} in the future", "one of the two clocks is wrong: set it"
        )
