"""Calling back: who asked for it with sync:callback is told by ssh that we are done, as by ftpsync.

    site ── ssh HUB "callback:ITS-HOST-NAME" ──▶ hub

Guaranteed: whatever comes of it changes nothing but the log. Not the business of this module: whether the
run that it is told of went well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pushmirror.config.model import Callback, Site
from pushmirror.errors import PushmirrorError
from pushmirror.system import process
from pushmirror.system.files import write_atomically
from pushmirror.system.owned_directory import keep_to_owner

WORD = "callback:"  # what the word that is sent begins with
_CALLS = "callbacks"  # directory below that of the state; a file for each site, the time in it
_log = logging.getLogger(__name__)
_TIMEOUT_S = 120.0  # of it all; the other end has nothing to do but note it
_OPTIONS = ("BatchMode=yes", "ServerAliveInterval=45", "ConnectTimeout=45", "PasswordAuthentication=no")


def callback_argv(callback: Callback, hostname: str) -> list[str]:
    """The command line, word by word that of ftpsync (archvsync.md, 4)."""
    options = [word for option in _OPTIONS for word in ("-o", option)]
    login = ["-i", str(callback.key), f"-ouser {callback.user}"]
    return ["ssh", "-n", *options, *login, callback.host, f"{WORD}{hostname}"]


def call_back(callback: Callback, *, hostname: str) -> bool:
    """Tell the host that we, `hostname`, are done; returns whether it took that well."""
    _log.info("calling back %s", callback.host)
    try:
        process.run(callback_argv(callback, hostname), timeout_s=_TIMEOUT_S).check()
    except PushmirrorError as exc:
        _log.warning("callback to %s failed: %s", callback.host, exc)
        return False
    return True


def note(state: Path, site: str, at: datetime) -> None:
    """Remember when a site called last; whoever holds its key can make us remember no more than that."""
    keep_to_owner(state)
    directory = state / _CALLS
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / site, f"{at.isoformat(timespec='seconds')}\n".encode(), durable=False)


def last_call(state: Path, site: str) -> datetime | None:
    """When a site called last; none if it never did."""
    with suppress(OSError, ValueError):
        return datetime.fromisoformat((state / _CALLS / site).read_text("utf-8").strip())
    return None


def caller(words: Iterable[str]) -> str | None:
    """The name that a call back from a site gives; none: the words that came are those of a push."""
    words = list(words)
    if any(word.startswith("sync:") for word in words):
        return None
    found = (word.removeprefix(WORD) for word in words if word.startswith(WORD))
    return next(found, None)


def site_that_called(sites: Mapping[str, Site], name: str) -> Site | None:
    """The site of this name or host; ftpsync gives its own host name, mostly without the domain."""
    for site in sites.values():
        if name in {site.name, site.host, site.trace}:
            return site
    short = [site for site in sites.values() if name == site.host.partition(".")[0]]
    return short[0] if len(short) == 1 else None
