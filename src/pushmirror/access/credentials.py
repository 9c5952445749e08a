"""The passwords of one site, in its file `sites.d/NAME.secret`, and their rotation.

    add ─▶ NAME ──rotate──▶ NAME until T, NAME+2 ──rotate──▶ NAME+2 until T', NAME+3 ──▶ …
                              └── after T: removed

rsync checks only one password of a user, so the old and the new one belong to different users (ADR 4). The
file is TOML, may be edited by hand, and only its owner may read it. Guaranteed: no value of the file is in an
error message, because a password may be on the wrong line. Not the business of this module: who may read
what (access/rsyncd_conf.py).
"""

from __future__ import annotations

import errno
import re
import secrets
import tomllib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import tomlkit
from pydantic import AfterValidator, ValidationError

from pushmirror.config import model
from pushmirror.config.problems import unknown_key
from pushmirror.errors import ConfigError, PushmirrorError
from pushmirror.system.files import is_private

SUFFIX = ".secret"
_BYTES = 32  # of randomness in a password
_LONGEST = 200  # characters; rsync reads lines of 1023 bytes
_PASSWORD = re.compile(rf"[^\x00-\x1f\x7f]{{1,{_LONGEST}}}")
_OF_THE_FILE = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP)  # and not of the whole machine
_PLACE = re.compile(r" \(at [a-z0-9, ]+\)$")  # of a mistake, at the end of what tomllib says of it
_EXPECTED = {
    "user": "expected text in quotes",
    "password": f"expected 1 to {_LONGEST} characters on one line, in quotes",
    "until": "expected a time with its time zone, such as 2026-01-31T12:00:00Z",
}

_HEAD = """\
# Logins of the site {name} at our rsync daemon; the newest is last. `pushmirror site rotate {name}` adds
# one and sets "until" of the one before: the time when it expires. A login without "until" does not expire.
# Users are {name}, {name}+2, {name}+3 and so on, because rsync allows only one password for each user.
# After a manual change run `pushmirror site show {name}`, which also updates the daemon's files.
"""


def _password(text: str) -> str:
    if not _PASSWORD.fullmatch(text):
        raise ValueError(_EXPECTED["password"])
    return text


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(_EXPECTED["until"])
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError(_EXPECTED["until"]) from exc


class Login(model.Values):
    """A user of the daemon and its password."""

    user: str  # of rsync
    password: Annotated[str, AfterValidator(_password)]
    until: Annotated[datetime, AfterValidator(_in_utc)] | None = None  # when it stops to work

    def __repr__(self) -> str:  # a password must not get into a traceback
        return f"Login({self.user!r}, until={self.until})"

    __str__ = __repr__


def new_password() -> str:
    """A random password of letters, digits, - and _."""
    return secrets.token_urlsafe(_BYTES)


def first(name: str, password: str) -> tuple[Login, ...]:
    """The login of a new site."""
    return (Login(user=name, password=password),)


def rotated(
    logins: Sequence[Login], name: str, password: str, *, now: datetime, grace: timedelta
) -> tuple[Login, ...]:
    """The logins with a new one; the others end when the grace is over, or earlier as before."""
    end = now + grace
    old = [login.model_copy(update={"until": min(login.until or end, end)}) for login in logins]
    number = max((_number(login.user, name) for login in logins), default=0) + 1
    user = name if number == 1 else f"{name}+{number}"
    return *valid(old, now), Login(user=user, password=password)


def valid(logins: Sequence[Login], now: datetime) -> tuple[Login, ...]:
    """The logins that are valid now."""
    return tuple(login for login in logins if login.until is None or login.until > now)


def current(logins: Sequence[Login], now: datetime) -> Login | None:
    """The login for the site's operator: the newest valid one."""
    working = valid(logins, now)
    return working[-1] if working else None


def render(name: str, logins: Sequence[Login], text: str = "") -> str:
    """The text of a site's file; comments and other keys of the present one are kept."""
    document = tomlkit.parse(text) if text else tomlkit.parse(f"{_HEAD.format(name=name)}\n")
    tables = document.setdefault("login", tomlkit.aot())
    wanted = {login.user: login for login in logins}
    for index in reversed(range(len(tables))):
        login = wanted.pop(tables[index]["user"], None)
        if login is None:
            del tables[index]
        elif login.until:
            tables[index]["until"] = login.until
    for login in wanted.values():  # in their order
        tables.append(tomlkit.item(login.model_dump(exclude_none=True)))
    return tomlkit.dumps(document)


def parse(text: str, name: str, file: Path) -> tuple[Login, ...]:
    """Parse a site's file; ConfigError names every problem."""
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:  # also of a number or a depth that Python has no room for
        place = _PLACE.search(str(exc))
        raise ConfigError(f"{file}: not valid TOML{place[0] if place else ''}") from None
    problems: list[str] = []
    if tables.keys() - {"login"} or not isinstance(tables.get("login", []), list):
        problems.append("expected sections [[login]] only, each with user and password")
    else:
        logins = list(_logins(tables.get("login", []), problems))
        problems += _wrong_users(logins, name)
    if problems:
        raise ConfigError("\n".join(f"{file}: {problem}" for problem in problems))
    return tuple(logins)


def read(file: Path, name: str) -> tuple[Login, ...]:
    """Read the logins of a site; none if there is no file.

    Raises ConfigError if this file is unusable, PushmirrorError if no file can be read now.
    """
    try:
        text = file.read_text("utf-8")
        private = is_private(file)
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file}: expected text in UTF-8") from exc
    except OSError as exc:
        error = ConfigError if exc.errno in _OF_THE_FILE else PushmirrorError
        raise error(
            f"{file}: cannot read the passwords of {name}: {exc.strerror}",
            hint="run this as the user who owns the file",
        ) from exc
    if not private:
        raise ConfigError(
            f"{file}: others can read it, expected mode 0600",
            hint=f"chmod 600 {file}, and a new password: pushmirror site rotate {name} --grace 0",
        )
    return parse(text, name, file)


def _logins(tables: Sequence[object], problems: list[str]) -> Iterator[Login]:
    for number, table in enumerate(tables, 1):
        if not isinstance(table, dict):
            problems.append(f"login {number}: expected a section [[login]]")
            continue
        try:
            yield Login.model_validate(table)
        except ValidationError as exc:
            problems += (f"login {number}{words}" for words in _mistakes(exc))


def _mistakes(error: ValidationError) -> Iterator[str]:
    for details in error.errors(include_url=False, include_input=False):
        key = str(details["loc"][0])
        if details["type"] == "missing":
            yield f".{key}: this key is missing"
        elif details["type"] == "extra_forbidden":  # it is not repeated either
            yield f": {unknown_key(key, Login.model_fields)}"
        else:
            yield f".{key}: {_EXPECTED[key]}"


def _wrong_users(logins: Sequence[Login], name: str) -> Iterator[str]:
    """Problems of users: they must be the site's own and unique, so that rsync finds the right password."""
    for number, login in enumerate(logins, 1):
        if not _number(login.user, name):
            yield f"login {number}.user: expected {name} or {name}+2, {name}+3 …"
    if len({login.user for login in logins}) < len(logins):
        yield "expected each user once: rsync uses only a user's first password"


def _number(user: str, name: str) -> int:
    """The number of a site's user, from 1; 0: not one of the site's."""
    if user == name:
        return 1
    match = re.fullmatch(r"([2-9]|[1-9]\d{1,8})", user.removeprefix(f"{name}+"), re.ASCII)
    return int(match[1]) if match and user.startswith(f"{name}+") else 0
