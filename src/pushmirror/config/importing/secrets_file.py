"""Reads the secrets file of rsync's daemon: users and their passwords.

Guaranteed: what rsync takes for a user's password is taken here, the first of several; a password is in no
repr, warning or error. Groups (`@group:password`) have no counterpart.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.config.legacy.texts import decoded, is_utf8
from pushmirror.errors import ConfigError

_AS_ROOT = "run this as root, or as the user whom the daemon belongs to"
_HINTS = {errno.EACCES: _AS_ROOT, errno.EPERM: _AS_ROOT}
LONGEST = 200  # characters of a password, as our own files may have


@dataclass(frozen=True, slots=True)
class Secrets:
    """One file."""

    file: Path
    passwords: Mapping[str, str] = field(repr=False)  # by user, in their order
    warnings: tuple[str, ...] = ()


def read_secrets(file: Path) -> Secrets:
    """Read a secrets file; ConfigError when this user cannot.

    One that is not there lets nobody log in, as for rsync; that is a warning.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return Secrets(file, {}, (f"{file} is not there: nobody can log in who would be in it",))
    except OSError as exc:
        raise ConfigError(
            f"{file}: the passwords of the rsync daemon cannot be read: {exc.strerror}",
            hint=_HINTS.get(exc.errno or 0, "correct `secrets file` in rsyncd.conf, or import without it"),
        ) from exc
    passwords: dict[str, str] = {}
    warnings: list[str] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        user, colon, password = decoded(line).rstrip("\r").partition(":")
        if wrong := _wrong_bytes(line) or _wrong(user, colon, password, passwords):
            warnings.append(f"{file}:{number}: {wrong}")
        else:
            passwords[user] = password
    return Secrets(file, passwords, tuple(warnings))


def _wrong_bytes(line: bytes) -> str:
    """A password is its bytes: as UTF-8 it would be another one."""
    if is_utf8(line):
        return ""
    return (
        "the line is not in UTF-8, and is left out; give a new password: pushmirror site add, or site rotate"
    )


def _wrong(user: str, colon: str, password: str, known: Mapping[str, str]) -> str:
    """Why a line cannot be taken over; nothing of it that may be a password is repeated."""
    if not colon:
        return "expected USER:PASSWORD; the line is left out"
    if user.startswith("@"):
        return f"{user} is a group, which has no counterpart: add a site for each who logs in by it"
    if user in known:
        return f"{user} is there already; rsync takes the first line, and so do we"
    if not 1 <= len(password) <= LONGEST or not password.isprintable():
        return (
            f"the password of {user} has not 1 to {LONGEST} printable characters; give a new one: "
            "pushmirror site rotate"
        )
    return ""
