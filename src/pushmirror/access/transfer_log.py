"""Read logins from the rsync daemon's log: the last ones, and refused ones with the reason.

Guaranteed: a bounded part is read; a missing or unreadable log gives nothing. Not the business of this
module: rotated logs. Source of the lines: rsync's clientserver.c; times are local.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pushmirror.access import credentials, daemon_files
from pushmirror.config.model import Config
from pushmirror.errors import PushmirrorError

_TAIL = 4 * 1024**2  # bytes of the log's end that are read
_SLACK = timedelta(seconds=2)  # the log has whole seconds
_LINE = re.compile(
    r"(?P<at>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[\d+\] "
    r"(?:rsync \w+ (?P<module>\S+) from (?P<user>[^@\s]+)@\S* \((?P<address>[^)\s]*)\)"
    r"|auth failed on module (?P<refused>\S+) from \S* \((?P<by>[^)\s]*)\) for (?P<whom>\S+): (?P<why>.*))"
)
_WORDS = {"no matching rule": "the module does not allow this user, or the user does not exist"}


@dataclass(frozen=True, slots=True)
class SeenLogin:
    """A login at our rsync daemon."""

    at: datetime
    user: str
    module: str
    address: str
    refused: str = ""  # rsync's reason; empty: it was accepted


def logins(log: Path) -> Iterator[SeenLogin]:
    """The logins at the end of a log, oldest first."""
    for line in _tail(log).split(b"\n"):
        if b"] rsync " not in line and b"auth failed on module " not in line:
            continue
        found = _LINE.match(line.decode("utf-8", "replace"))
        if found is None:
            continue
        try:
            at = datetime.strptime(found["at"], "%Y/%m/%d %H:%M:%S").astimezone(UTC)
        except (ValueError, OverflowError):
            continue
        if found["user"]:
            yield SeenLogin(at, found["user"], found["module"].strip("/"), found["address"])
        elif found["whom"]:
            yield SeenLogin(at, found["whom"], found["refused"], found["by"], found["why"])


def last_logins(config: Config) -> dict[str, SeenLogin]:
    """The last accepted login of each user."""
    seen = logins(daemon_files.places(config).log)
    return {one.user: one for one in seen if not one.refused}


def refused(config: Config, site: str, since: datetime) -> str:
    """Why our daemon refused a site's logins since then; empty: it did not."""
    users, last = _users_of(config, site), None
    for one in logins(daemon_files.places(config).log):
        if (
            one.refused
            and one.at >= since - _SLACK
            and (one.user in users or _is_named_after(one.user, site))
        ):
            last = one
    if last is None:
        return ""
    why = _WORDS.get(last.refused, last.refused)
    return f"our rsync daemon refused its login {last.user} to {last.module} at {last.at:%H:%M:%S} UTC: {why}"


def _users_of(config: Config, site: str) -> set[str]:
    """A site's users, expired ones included."""
    try:
        return {login.user for login in credentials.read(daemon_files.secret_file(config, site), site)}
    except PushmirrorError:  # told of where passwords are looked at
        return set()


def _is_named_after(user: str, site: str) -> bool:
    """Whether a user's name is of the form that `site add` and `site rotate` give to a site."""
    name, _, number = user.rpartition("+")
    return user == site or (name == site and number.isdigit())


def _tail(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            return file.read(_TAIL)
    except OSError:
        return b""
