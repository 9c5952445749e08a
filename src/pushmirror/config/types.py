"""What one value of the configuration may be: names, hosts, durations, words; each with what is expected.

Guaranteed of every one: it is well-formed by itself, and none can be taken for an option by a program that
it is handed to.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, Strict

from pushmirror.config.values import parse_duration, parse_rate
from pushmirror.errors import UsageError


class WrongKey(ValueError):
    """One key of a section does not go with another, or with what the section is for."""

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
    """A path as it was typed, from the current directory and with ~ for a home; raises UsageError."""
    try:
        return path.expanduser().absolute()
    except RuntimeError as exc:
        raise UsageError(f"{path}: there is no such user's home", hint="name an absolute path") from exc


def matching(pattern: str, expected: str) -> AfterValidator:
    """A text that has this form as a whole; else the error says what was expected."""
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
Rule = Annotated[
    str, matching(r"[+-] [^\x00-\x1f\x7f]+", '"+ PATTERN" to include or "- PATTERN" to leave out')
]
Word = Annotated[str, matching(r"[^\x00]+", "a word that is not empty")]
Flag = Annotated[bool, Strict()]  # "yes", "off" and 1 are mistakes
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
            raise ValueError(f"{option} would change files that are served; pushmirror does without it")
    return options


_WITH_VALUE = frozenset("BbcDEeFIiJLlmOoPpQRSWw")  # of ssh's options, ssh(1)


def _only_options(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words that ssh takes for options and their values: any other one would be its host."""
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
