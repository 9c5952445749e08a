"""Translate runmirrors.conf and runmirrors.mirror to values: every variable of runmirrors.conf(5).

Guaranteed: an unusable value is replaced by the default, with a warning, so that sites are pushed in any
case; a line that names no usable mirror is a warning and does not affect the others; indented lines count
(archvsync.md, 26); all ssh options of a line are kept, and a line without a key file has the
configuration's (25). Words are split as bash's `read` does. Not the business of this module: whether the
key file exists.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pushmirror.archvsync_config.checked import Shared, number, span
from pushmirror.archvsync_config.places import PUSH_KIND, ScriptPaths, free_name
from pushmirror.archvsync_config.values import Mail, MirrorLine, Runmirrors, Variables, site_of
from pushmirror.config.model import Push, PushKind
from pushmirror.config.problems import message
from pushmirror.config.types import Wait

_NO_LINE = re.compile(r"\s*(#|$)", re.ASCII)
_WORD = re.compile(r"(?:\\.|[^\\ \t])+")  # a blank after a backslash belongs to its word
_URL = re.compile(r"([a-z.+]+)://(?:([^@/]+)@)?([^/]+)(/.*)?")
_SCHEME = "ssh+ftpsync"
_DELAY_S = "600"
_KINDS = {kind.value: kind for kind in (PushKind.ALL, PushKind.STAGED, PushKind.MHOP)}
_PROTOCOLS = ("1", "2")
_ANY = "debian"  # any: whether a line is usable does not depend on the archive


@dataclass(frozen=True, slots=True)
class MirrorLines:
    """The mirrors of a runmirrors.mirror, in the file's order."""

    lines: tuple[MirrorLine, ...]
    warnings: tuple[str, ...]
    ignored: tuple[str, ...] = ()  # the warnings of lines without a usable mirror


def parse_mirror_lines(text: str, *, key: str, archive: str) -> MirrorLines:
    """Parse the text; `key` and `archive` (PUSHARCHIVE) are the defaults of its lines."""
    return _LineReader(key, archive).read(text)


class _NoMirrorError(Exception):
    """A line names no mirror that can be pushed, and why."""


class _LineReader:
    """Reads one text."""

    def __init__(self, key: str, archive: str) -> None:
        self._key = key
        self._archive = archive
        self._lines: list[MirrorLine] = []
        self._warnings: list[str] = []
        self._ignored: list[str] = []
        self._delay: tuple[Wait, ...] = ()  # of the next lines

    def read(self, text: str) -> MirrorLines:
        for at, words in _split(text):
            try:
                self._take(words, f"line {at}")
            except _NoMirrorError as exc:
                self._ignored.append(f"line {at} ({' '.join(words)}) is ignored: {exc}")
                self._warnings.append(self._ignored[-1])
        return MirrorLines(tuple(self._lines), tuple(self._warnings), tuple(self._ignored))

    def _take(self, words: list[str], where: str) -> None:
        if words[0] == "DELAY":
            self._delay += (_wait(words[1:]),)
            return
        if words[0] not in _KINDS:
            raise _NoMirrorError(f"expected all, staged, mhop or DELAY, found {words[0]}")
        if len(words) < 3:
            raise _NoMirrorError("expected a name, a host and a user")
        line = self._located(_KINDS[words[0]], words[1], words[2], words[3:], where)
        line = replace(line, name=self._free_name(line.name, where))
        _require_site(line)
        self._lines.append(line)

    def _located(self, kind: PushKind, name: str, host: str, rest: list[str], where: str) -> MirrorLine:
        if match := _URL.fullmatch(host):
            scheme, user, host, path = match.groups()
            if scheme != _SCHEME:
                raise _NoMirrorError(f"expected an address of {_SCHEME}://, found {scheme}://")
            archive = self._archive if path is None else path.removeprefix("/")
            return MirrorLine(kind, name, host, user, archive, 2, self._key, delay=self._delay)
        user, options = (rest[0], rest[1:]) if rest else (None, [])
        line = MirrorLine(kind, name, host, user, self._archive, 2, self._key, delay=self._delay)
        return self._with_options(line, options, where) if options else line

    def _with_options(self, line: MirrorLine, options: list[str], where: str) -> MirrorLine:
        if options[0].startswith("-"):
            return replace(line, protocol=None, ssh_options=tuple(options))
        value = " ".join(options)
        if value[0] not in _PROTOCOLS:
            raise _NoMirrorError(f"expected options of ssh, or 1 or 2 and a key file, found {value}")
        key, *others = [*value[2:].split(), *[""] * (not value[2:].split())]
        if others:
            self._warnings.append(f"{where} ({line.name}): {' '.join(others)} after the key file is left out")
        if value[0] == "1":
            self._warnings.append(f"{where} ({line.name}): OpenSSH no longer has protocol 1")
        return replace(line, protocol=int(value[0]), key=key or self._key)

    def _free_name(self, value: str, where: str) -> str:
        """A free name for the site and its log; the mirrors of two lines are two sites."""
        fitting = re.sub(r"[^A-Za-z0-9._-]", "_", value)[:90]
        fitting = fitting if fitting[:1].isalnum() else f"site{fitting}"
        taken = {line.name for line in self._lines}
        name = free_name(fitting, lambda one: one in taken)
        if name != value:
            why = "another line has its name" if fitting == value else "its name is not a valid file name"
            self._warnings.append(f"{where} ({value}): the mirror is called {name} here, for {why}")
        return name


def _split(text: str) -> Iterator[tuple[int, list[str]]]:
    """The number and words of each line, without blank ones and comments; a backslash continues it."""
    begun, rest = 0, ""
    for at, line in _saying(text.splitlines()):
        begun, rest = begun or at, rest + line
        if _is_continued(rest):
            rest = rest[:-1]
            continue
        yield begun, [re.sub(r"\\(.)", r"\1", word) for word in _WORD.findall(rest)]
        begun, rest = 0, ""


def _saying(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    return ((n, line.rstrip("\r")) for n, line in enumerate(lines, start=1) if not _NO_LINE.match(line))


def _is_continued(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _wait(words: list[str]) -> Wait:
    value = words[0] if words else _DELAY_S
    delay = span(value)
    if delay is None:
        raise _NoMirrorError(f"expected seconds, found {value}")
    return Wait(delay, until_stage1=words[1:2] == ["stage1"])


def _require_site(line: MirrorLine) -> None:
    try:
        site_of(line, _ANY, callback=False)
    except ValidationError as exc:
        raise _NoMirrorError("; ".join(_told(error) for error in exc.errors(include_url=False))) from exc


def _told(error: ErrorDetails) -> str:
    return f"{error['loc'][0]}: {message(error)}, found {error['input']!r}"


KEY = ".ssh/pushmirror"
SSH_OPTIONS = "-o StrictHostKeyChecking=no"
PUSH_DELAY = 600  # seconds
_KEPT_LOGS = 14
_HOOKS = 3
_LEAST, _MOST = timedelta(seconds=1), timedelta(days=365)  # the longest deadline of ours


def read_runmirrors(
    variables: Variables,
    *,
    name: str,
    archive_option: str,
    places: ScriptPaths,
    mirror_text: str,
    home: Path,
) -> Runmirrors:
    """The settings of the variables and of the mirror file's text.

    `name` is that of configuration and logs (runmirrors-security), `archive_option` the command's argument of
    `-a`, or its only word.
    """
    return _Reader(variables, name, archive_option, places, home).read(mirror_text)


@dataclass
class _Reader:
    """Reads one configuration."""

    variables: Variables
    name: str
    archive_option: str
    places: ScriptPaths
    home: Path

    def __post_init__(self) -> None:
        self.get = self.variables.get
        self.shared = Shared(self.variables, self.home, self.home)
        self.warnings: list[str] = [*self.shared.warnings(_HOOKS)]

    def read(self, mirror_text: str) -> Runmirrors:
        key = self._key()
        archive = self.get("PUSHARCHIVE", self.archive_option)
        mirrors = parse_mirror_lines(mirror_text, key=str(key), archive=archive)
        deadline = min(timedelta(seconds=self._number("PUSHDELAY", PUSH_DELAY)), _MOST)
        return Runmirrors(
            name=self.name,
            archive=archive,
            lines=mirrors.lines,
            key=key,
            ssh_options=tuple(self.get("SSH_OPTS", SSH_OPTIONS).split()),
            callback=bool(self.get("PUSHCB")),
            push=Push(key=key, deadline=max(deadline, _LEAST)),
            mail=Mail(self.shared.mailed()),
            logs=self.shared.logs(self.name, self.places.logs, self._number("LOGROTATE", _KEPT_LOGS)),
            hooks=self.shared.hooks(_HOOKS),
            warnings=tuple(self.warnings),
            mirror_warnings=mirrors.warnings,
            ignored=mirrors.ignored,
            kind=self.get("PUSHKIND", PUSH_KIND),
        )

    def _key(self) -> Path:
        value = self.get("KEYFILE", KEY)
        if not value.isprintable():
            self.warnings.append(f"KEYFILE: expected a path without control characters; {KEY} is used")
            value = KEY
        return Path(os.path.realpath(self.home / value))

    def _number(self, variable: str, default: int) -> int:
        value = self.get(variable, str(default))
        found = number(value)
        if found is not None:
            return found
        self.warnings.append(f"{variable}: expected a number, found {value!r}; {default} is used")
        return default
