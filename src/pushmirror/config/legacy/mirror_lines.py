"""runmirrors.mirror as lines that each name a mirror, with all that is said before them.

Guaranteed: a line that names no mirror we could wake keeps no other one from being woken, and is in the
warnings; indented lines count as the others do (archvsync.md, 26); all of a line's ssh options are kept, and
a line that names no key file has the configuration's (25). Words are split as bash's read does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pushmirror.config.delay import Wait
from pushmirror.config.explain import message
from pushmirror.config.legacy.names import free_name
from pushmirror.config.legacy.shared_variables import span
from pushmirror.config.legacy.values import MirrorLine, site_of
from pushmirror.config.model import PushKind

_NO_LINE = re.compile(r"\s*(#|$)", re.ASCII)
_WORD = re.compile(r"(?:\\.|[^\\ \t])+")  # a blank after a backslash is part of its word
_URL = re.compile(r"([a-z.+]+)://(?:([^@/]+)@)?([^/]+)(/.*)?")
_SCHEME = "ssh+ftpsync"
_DELAY_S = "600"
_KINDS = {kind.value: kind for kind in (PushKind.ALL, PushKind.STAGED, PushKind.MHOP)}
_PROTOCOLS = ("1", "2")
_ANY = "debian"  # of no meaning: whether a line makes a site does not depend on the archive


@dataclass(frozen=True, slots=True)
class MirrorLines:
    """The mirrors of a runmirrors.mirror, in its order."""

    lines: tuple[MirrorLine, ...]
    warnings: tuple[str, ...]
    ignored: tuple[str, ...] = ()  # of the warnings, those of lines that name no mirror we could wake


def parse_mirror_lines(text: str, *, key: str, archive: str) -> MirrorLines:
    """All mirrors of the text; `key` and `archive` (PUSHARCHIVE) are those of lines that name none."""
    return _Reader(key, archive).read(text)


class _NoMirrorError(Exception):
    """A line does not name a mirror that can be woken; says why."""


class _Reader:
    """One text being read."""

    def __init__(self, key: str, archive: str) -> None:
        self._key = key
        self._archive = archive
        self._lines: list[MirrorLine] = []
        self._warnings: list[str] = []
        self._ignored: list[str] = []
        self._delay: tuple[Wait, ...] = ()  # of the lines to come

    def read(self, text: str) -> MirrorLines:
        for number, words in _split(text):
            try:
                self._take(words, f"line {number}")
            except _NoMirrorError as exc:
                self._ignored.append(f"line {number} ({' '.join(words)}) is ignored: {exc}")
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
        told = " ".join(options)
        if told[0] not in _PROTOCOLS:
            raise _NoMirrorError(f"expected options of ssh, or 1 or 2 and a key file, found {told}")
        key, *others = [*told[2:].split(), *[""] * (not told[2:].split())]
        if others:
            self._warnings.append(f"{where} ({line.name}): {' '.join(others)} after the key file is left out")
        if told[0] == "1":
            self._warnings.append(f"{where} ({line.name}): OpenSSH has no protocol 1 any more")
        return replace(line, protocol=int(told[0]), key=key or self._key)

    def _free_name(self, told: str, where: str) -> str:
        """A name that its site and its log can have; the mirrors of two lines are two sites."""
        fitting = re.sub(r"[^A-Za-z0-9._-]", "_", told)[:90]
        fitting = fitting if fitting[:1].isalnum() else f"site{fitting}"
        taken = {line.name for line in self._lines}
        name = free_name(fitting, lambda one: one in taken)
        if name != told:
            why = "another line has its name" if fitting == told else "its name cannot be a file's"
            self._warnings.append(f"{where} ({told}): the mirror is called {name} here, for {why}")
        return name


def _split(text: str) -> Iterator[tuple[int, list[str]]]:
    """The words of each line that says something, with its number; one that ends in a backslash goes on."""
    begun, rest = 0, ""
    for number, line in _saying(text.splitlines()):
        begun, rest = begun or number, rest + line
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
    told = words[0] if words else _DELAY_S
    delay = span(told)
    if delay is None:
        raise _NoMirrorError(f"expected seconds, found {told}")
    return Wait(delay, until_stage1=words[1:2] == ["stage1"])


def _require_site(line: MirrorLine) -> None:
    try:
        site_of(line, _ANY, callback=False)
    except ValidationError as exc:
        raise _NoMirrorError("; ".join(_told(error) for error in exc.errors(include_url=False))) from exc


def _told(error: ErrorDetails) -> str:
    return f"{error['loc'][0]}: {message(error)}, found {error['input']!r}"
