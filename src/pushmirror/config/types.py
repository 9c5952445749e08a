"""The types of single configuration values: names, hosts, durations, rates, words, password files.

A ValueError says what was expected; the caller adds the key and what was found. Guaranteed: a value is
well-formed, and no program can take it for an option; a password is never part of the configuration.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, Strict

from pushmirror.errors import UsageError
from pushmirror.system.files import is_private

# -- durations and rates ---

_SECONDS = {
    "s": 1,
    "sec": 1,
    "min": 60,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "day": 86400,
    "days": 86400,
    "w": 604800,
}
_SPANS = ((86400 * 2, 86400, "d"), (7200, 3600, "h"), (120, 60, "min"))
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII)
_KIB = {"": 1, "k": 1, "m": 1024, "g": 1024 * 1024}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b(?:/s)?)?", re.ASCII | re.IGNORECASE)
_FASTEST_KIB = 1000 * 1024**2  # more is a typing error, and may be more than rsync can represent
_LONGEST = timedelta(days=3650)  # longer is a typing error, and could overflow a clock


def parse_duration(value: object) -> timedelta:
    """A time span from `36h`, `10min`, `90s`, `1d`, or 0; never negative.

    Another number without a unit is refused as ambiguous.
    """
    expected = 'expected a duration such as "36h", "10min", "90s" or "1d"'
    if isinstance(value, timedelta):
        return _within_reason(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(expected)  # noqa: TRY004  what a validator may raise
    match = _DURATION.fullmatch(str(value).strip().lower())
    if not match:
        raise ValueError(expected)
    if not match[2]:
        if float(match[1]):
            raise ValueError('expected a duration with its unit: write a unit, such as "36h"')
        return timedelta()
    if match[2] not in _SECONDS:
        raise ValueError(expected)
    try:
        length = timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        length = timedelta.max
    return _within_reason(length)


def _within_reason(length: timedelta) -> timedelta:
    if length > _LONGEST:
        raise ValueError("expected a duration of at most ten years")
    return length


def span(length: timedelta | float) -> str:
    """A time span (seconds or timedelta) in its largest useful unit: `3 min`, `26 h`, `4 d`."""
    seconds = max(0, int(length.total_seconds() if isinstance(length, timedelta) else length))
    for least, unit, name in _SPANS:
        if seconds >= least:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def parse_rate(value: object) -> int:
    """KiB per second from a whole number of KiB/s or from `500K`, `20M`, `1G`; 0 means no limit."""
    expected = 'expected a rate in KiB/s such as 20480 or "20M", or 0 for no limit'
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(expected)  # noqa: TRY004  what a validator may raise
    match = _RATE.fullmatch(str(value).strip())
    if not match:
        raise ValueError(expected)
    rate = float(match[1]) * _KIB[match[2].lower()]
    if 0 < rate < 1:
        raise ValueError("expected a rate of at least 1 KiB/s, or 0 for no limit")
    if rate > _FASTEST_KIB:
        raise ValueError("expected a rate of at most 1000G, or 0 for no limit")
    return int(rate)


class WrongKey(ValueError):
    """A key of a section contradicts another key, or the section's purpose."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(f"{key}: {what}")
        self.key = key
        self.what = what


def _absolute(value: Path) -> Path:
    if not str(value).isprintable():
        raise ValueError("expected a path without control characters")
    try:
        path = Path(os.path.normpath(value.expanduser()))
    except RuntimeError as exc:
        raise ValueError("expected an absolute path; there is no such user's home") from exc
    if not path.is_absolute():
        raise ValueError("expected an absolute path")
    return path


def absolute(path: Path) -> Path:
    """The absolute path of a typed one, with ~ expanded; raises UsageError."""
    try:
        return path.expanduser().absolute()
    except RuntimeError as exc:
        raise UsageError(f"{path}: there is no such user's home", hint="name an absolute path") from exc


def matching(pattern: str, expected: str) -> AfterValidator:
    """A text that matches this pattern completely; else the error says what was expected."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


def one_or_many(value: object) -> object:
    """A single text as a list of one."""
    return [value] if isinstance(value, str | Path) else value


def _positive(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1):
        raise ValueError("expected a duration of at least one second")
    return value


Text = Annotated[str, matching(r"[^\x00-\x1f\x7f]*", "text on one line")]
Name = Annotated[str, matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", "letters, digits and . _ - only")]
Host = Annotated[str, matching(r"[A-Za-z0-9:][A-Za-z0-9.:_-]*", "a host name or address")]
User = Annotated[str, matching(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*", "a user name")]
Architecture = Annotated[str, matching(r"[a-z0-9][a-z0-9-]*", "an architecture such as amd64, or source")]
Pattern = Annotated[str, matching(r"[^\x00-\x1f\x7f]+", "an rsync pattern")]
Rule = Annotated[str, matching(r"[+-] [^\x00-\x1f\x7f]+", '"+ PATTERN" to include or "- PATTERN" to exclude')]
Word = Annotated[str, matching(r"[^\x00]+", "a non-empty word")]
Flag = Annotated[bool, Strict()]  # "yes", "off" and 1 are errors
Count = Annotated[int, Strict(), Field(ge=0)]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
Share = Annotated[float, Field(gt=0, le=1)]  # of a whole
Peer = Annotated[str, matching(r"[A-Za-z0-9.:*/_-]+", "a host name or pattern, an address, or a network")]
Option = Annotated[str, matching(r"[A-Za-z0-9*][A-Za-z0-9*-]*", "the name of an rsync option")]
Url = Annotated[str, matching(r"https?://[^\s]+", "an address that begins with https:// or http://")]
Proxy = Annotated[
    str, matching(r"([A-Za-z0-9._+-]+(:[^@\s]*)?@)?[A-Za-z0-9.-]+:\d{1,5}", "HOST:PORT of a web proxy")
]
Listening = Annotated[
    str,
    matching(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+):\d{1,5}", 'an address and a port, such as "[::]:873"'),
]
Duration = Annotated[timedelta, PlainValidator(parse_duration)]
Timeout = Annotated[Duration, AfterValidator(_positive)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


#: Options of rsync that would write into files which are served, or delete them.
_HARMFUL = ("--inplace", "--append", "--delete", "--remove-source-files", "--write-devices")


def _harmless(options: tuple[str, ...]) -> tuple[str, ...]:
    for option in options:
        if option.startswith(_HARMFUL):
            raise ValueError(f"{option} would change served files and is not allowed")
    return options


_WITH_VALUE = frozenset("BbcDEeFIiJLlmOoPpQRSWw")  # of ssh's options, ssh(1)


def _only_options(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words that are ssh options and their values: ssh would take any other for the host."""
    rest = iter(words)
    for word in rest:
        letters = word[1:]
        if not word.startswith("-") or not letters or letters.startswith("-"):
            raise ValueError(f'"{word}" is no option; expected such as ["-o", "ProxyJump=gate.example.org"]')
        first = next((n for n, letter in enumerate(letters) if letter in _WITH_VALUE), None)
        if first == len(letters) - 1 and next(rest, None) is None:
            raise ValueError(f"expected a value after {word}")
    return words


SshOptions = Annotated[tuple[Word, ...], AfterValidator(_only_options)]
RsyncOptions = Annotated[tuple[Word, ...], AfterValidator(_harmless)]
Rate = Annotated[int, PlainValidator(parse_rate)]  # KiB/s; 0: without a limit
Paths = Annotated[tuple[AbsolutePath, ...], BeforeValidator(one_or_many)]


# -- delays: "10min", or "10min or stage1", which ends early at stage 1 (DELAY of runmirrors) ---

_OR_STAGE1 = "or stage1"


@dataclass(frozen=True, slots=True)
class Wait:
    """A delay."""

    at_most: timedelta
    until_stage1: bool = False  # or until the staged sites have stage 1, whichever is first

    def __str__(self) -> str:
        limit = f"{self.at_most.total_seconds():.0f}s"
        return f"{limit} {_OR_STAGE1}" if self.until_stage1 else limit


def parse_delay(value: object) -> Wait:
    """Parse a delay; ValueError says what was expected."""
    if isinstance(value, Wait):
        return value
    text = value if isinstance(value, str) else ""
    duration = text.removesuffix(_OR_STAGE1)
    try:
        return Wait(parse_duration(duration.strip()), until_stage1=duration != text)
    except ValueError as exc:
        raise ValueError('expected a duration such as "10min", or "10min or stage1"') from exc


Delay = Annotated[Wait, PlainValidator(parse_delay)]


# -- password files ---


def what_is_wrong(file: Path) -> str | None:
    """Why a password file is unusable, as far as this user can see; empty: it is usable."""
    try:
        if not file.is_file():
            return f"{file} is {'not a file' if file.exists() else 'missing'}"
        if not is_private(file):
            mode = file.stat().st_mode & 0o777
            return f"{file} has mode {mode:04o}, expected one that only its owner can read: chmod 600 {file}"
        return None if _first_line(file) else f"{file} is empty, expected the password on its first line"
    except PermissionError:
        return None  # another user's; this user may still run `status`
    except (OSError, UnicodeDecodeError):
        return f"{file} cannot be read as text"


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        return lines.readline().rstrip("\r\n")


# -- mirror names: checkers fetch project/trace/NAME by the public name ---

_NOBODYS = {"localhost", "localhost.localdomain", "localhost.localnet"}


def own_name() -> str:
    """This host's full name, as of `hostname -f`; it may not be public."""
    short = socket.gethostname()
    try:
        found = socket.getaddrinfo(short, None, flags=socket.AI_CANONNAME)[0][3]
    except (OSError, UnicodeError):
        found = ""
    return next((name for name in (found, socket.getfqdn(), short) if is_public(name)), short)


def is_public(name: str) -> bool:
    """Whether a name can be a public host name."""
    return "." in name.strip(".") and name.casefold() not in _NOBODYS
