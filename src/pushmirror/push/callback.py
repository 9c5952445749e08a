"""Callbacks: after a run, ssh to the host whose trigger had the word sync:callback, as ftpsync does.

    site ── ssh HUB "callback:ITS-HOST-NAME" ──▶ hub

Guaranteed: its result changes nothing but the log. Not the business of this module: whether the run
succeeded.
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
_TIMEOUT_S = 120.0  # limit of the whole; the other end only stores a time
_OPTIONS = ("BatchMode=yes", "ServerAliveInterval=45", "ConnectTimeout=45", "PasswordAuthentication=no")


def callback_argv(callback: Callback, hostname: str) -> list[str]:
    """The command line of ftpsync, word by word (archvsync.md, 4)."""
    options = [word for option in _OPTIONS for word in ("-o", option)]
    login = ["-i", str(callback.key), f"-ouser {callback.user}"]
    return ["ssh", "-n", *options, *login, callback.host, f"{WORD}{hostname}"]


def call_back(callback: Callback, *, hostname: str) -> bool:
    """Call the host back as `hostname`; returns whether that succeeded."""
    _log.info("calling back %s", callback.host)
    try:
        process.run(callback_argv(callback, hostname), timeout_s=_TIMEOUT_S).check()
    except PushmirrorError as exc:
        _log.warning("callback to %s failed: %s", callback.host, exc)
        return False
    return True


def note(state: Path, site: str, at: datetime) -> None:
    """Store the time of a site's last callback, and nothing else that the holder of its key may send."""
    keep_to_owner(state)
    directory = state / _CALLS
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / site, f"{at.isoformat(timespec='seconds')}\n".encode(), durable=False)


def last_call(state: Path, site: str) -> datetime | None:
    """The time of a site's last callback; None if there was none."""
    with suppress(OSError, ValueError):
        return datetime.fromisoformat((state / _CALLS / site).read_text("utf-8").strip())
    return None


def caller(words: Iterable[str]) -> str | None:
    """The host name in a callback; None: the words are a trigger's."""
    words = list(words)
    if any(word.startswith("sync:") for word in words):
        return None
    found = (word.removeprefix(WORD) for word in words if word.startswith(WORD))
    return next(found, None)


def site_that_called(sites: Mapping[str, Site], name: str) -> Site | None:
    """The site of this name or host; ftpsync sends its host name, usually without the domain."""
    for site in sites.values():
        if name in {site.name, site.host, site.trace}:
            return site
    short = [site for site in sites.values() if name == site.host.partition(".")[0]]
    return short[0] if len(short) == 1 else None
