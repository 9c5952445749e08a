"""Read rsyncd.conf as rsync's daemon does, with inheritance and included files, and its secrets files.

Guaranteed: parameter names are compared as rsync does, without case and blanks; a module inherits the global
numbers and switches above it, and global texts from anywhere; `&include` and `&merge` are followed within
bounds; every parameter has its file and line. Of several passwords of a user the first counts, as for rsync;
no password is in a repr, warning or error. Not the business of this module: what a parameter means to us
(importing/rsyncd_modules.py).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.archvsync_config.variables import decoded, is_utf8, read_text
from pushmirror.errors import ConfigError

_MOST_FILES = 200
_DEEPEST = 10  # levels of included files
_VARIABLE = re.compile(r"%[A-Z][^%]*%")  # rsync replaces it by a variable of its environment
_DIRECTIVE = re.compile(r"&\s*(include|merge)\b\s*=?\s*(.*)", re.IGNORECASE)
#: Numbers and switches: a module inherits those above it. A text is looked up at the end.
_NO_TEXTS = {
    *("maxconnections", "timeout", "readonly", "writeonly", "list", "usechroot", "ignoreerrors"),
    *("ignorenonreadable", "strictmodes", "transferlogging", "mungesymlinks", "numericids", "maxverbosity"),
    *("reverselookup", "forwardlookup", "opennoatime", "fakesuper", "syslogfacility"),
}
_ENDING = {"include": ".conf", "merge": ".inc"}  # of the files that count in a directory


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line that sets a parameter."""

    name: str  # as it was written
    value: str  # empty if rsync takes a part of it from its environment
    place: str  # FILE:LINE
    variable: str = ""  # of rsync's environment: %NAME%


Parameters = Mapping[str, Parameter]  # by `key`


@dataclass(frozen=True, slots=True)
class Module:
    """A section, with what it inherits."""

    name: str
    parameters: Parameters
    place: str

    def get(self, key: str) -> str:
        """A parameter's value; empty if it is not set."""
        found = self.parameters.get(key)
        return found.value if found else ""


@dataclass(frozen=True, slots=True)
class Rsyncd:
    """A whole rsyncd.conf."""

    file: Path
    files: tuple[Path, ...]  # all that were read
    settings: Parameters  # outside of modules, as they are at the end
    modules: tuple[Module, ...]
    warnings: tuple[str, ...] = ()


def key(name: str) -> str:
    """A parameter's name as rsync compares it, without blanks and case."""
    return "".join(name.split()).casefold()


def read_rsyncd(file: Path) -> Rsyncd:
    """Read an rsyncd.conf and the files that it includes.

    Raises ConfigError if rsync would refuse the file, too, or if it cannot be read.
    """
    reading = _Reading()
    reading.take(file, depth=0)
    late = {name: one for name, one in reading.defaults.items() if name not in _NO_TEXTS}
    modules = tuple(
        Module(one.name, {**late, **one.parameters}, one.place) for one in reading.sections.values()
    )
    return Rsyncd(file, tuple(reading.files), reading.defaults, modules, tuple(reading.warnings))


@dataclass
class _Section:
    name: str
    parameters: dict[str, Parameter]
    place: str


class _Reading:
    """What was read so far; `section` is the module that parameters belong to, None: to all."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        self.defaults: dict[str, Parameter] = {}
        self.sections: dict[str, _Section] = {}
        self.warnings: list[str] = []
        self.section: _Section | None = None

    def take(self, file: Path, depth: int) -> None:
        if len(self.files) >= _MOST_FILES or depth > _DEEPEST:
            raise ConfigError(f"{file}: expected at most {_MOST_FILES} files, {_DEEPEST} deep")
        self.files.append(file)
        for number, line in _lines(read_text(file, self.warnings)):
            place = f"{file}:{number}"
            if "\0" in line:
                self.warnings.append(f"{place}: the line contains a NUL and was ignored")
            elif line.startswith("["):
                self._begin(line, place)
            elif line.startswith("&"):
                self._follow(line, place, depth)
            elif "=" in line:
                self._set(line, place)
            else:
                self.warnings.append(f'{place}: "{line[:60]}" is not a parameter; rsync ignores it, too')

    def _begin(self, line: str, place: str) -> None:
        name = " ".join(line[1:].partition("]")[0].split())
        if not name or "/" in name or "]" not in line:
            raise ConfigError(f"{place}: expected a module's name in brackets, without a slash")
        if key(name) == "global":
            self.section = None
            return
        fresh = _Section(name, dict(self.defaults), place)
        self.section = self.sections.setdefault(name.casefold(), fresh)

    def _set(self, line: str, place: str) -> None:
        name, _, value = (part.strip() for part in line.partition("="))
        parameter = Parameter(name, value, place)
        if found := _VARIABLE.search(value):
            self.warnings.append(
                f"{place}: {name} has {found[0]}, an environment variable; write its value instead"
            )
            parameter = Parameter(name, "", place, variable=found[0])
        if self.section is None:
            self.defaults[key(name)] = parameter
        else:
            self.section.parameters[key(name)] = parameter

    def _follow(self, line: str, place: str, depth: int) -> None:
        match = _DIRECTIVE.fullmatch(line)
        if not match or not match[2]:
            raise ConfigError(f"{place}: expected &include FILE or &merge FILE")
        kind, included = match[1].lower(), Path(match[2])
        if not included.is_absolute():
            self.warnings.append(
                f"{place}: {included} is not an absolute path and was not read; give its path, too"
            )
            return
        before = dict(self.defaults)
        for file in _taken_in(included, _ENDING[kind], place):
            if kind == "include":
                self.section, self.defaults = None, dict(before)
            self.take(file, depth + 1)
        if kind == "include":
            self.section, self.defaults = None, before


def _taken_in(included: Path, ending: str, place: str) -> list[Path]:
    if not included.is_dir():
        return [included]
    try:
        names = sorted(included.iterdir(), key=lambda one: one.name)
    except OSError as exc:
        raise ConfigError(f"{place}: {included} cannot be read: {exc.strerror}") from exc
    return [one for one in names if one.name.endswith(ending) and not one.name.startswith(".")]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines without blank ones and comments, continued ones joined, with the number of their first."""
    begun, number = "", 0
    for this, line in enumerate(text.split("\n"), 1):
        number = number if begun else this
        if not begun and line.lstrip().startswith("#"):  # a comment does not go on in the next line
            continue
        if line.rstrip().endswith("\\"):
            begun += line.rstrip()[:-1]
            continue
        whole, begun = (begun + line).strip(), ""
        if whole:
            yield number, whole
    if begun.strip():
        yield number, begun.strip()


_AS_ROOT = "run this as root, or as the user who runs the daemon"
_HINTS = {errno.EACCES: _AS_ROOT, errno.EPERM: _AS_ROOT}
LONGEST = 200  # characters of a password, as our own files may have


@dataclass(frozen=True, slots=True)
class Secrets:
    """One file."""

    file: Path
    passwords: Mapping[str, str] = field(repr=False)  # by user, in their order
    warnings: tuple[str, ...] = ()


def read_secrets(file: Path) -> Secrets:
    """Read a secrets file; ConfigError if it cannot be read.

    A missing file is a warning: nobody can log in, as with rsync.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return Secrets(file, {}, (f"{file} does not exist: its users cannot log in",))
    except OSError as exc:
        raise ConfigError(
            f"{file}: cannot read the passwords of the rsync daemon: {exc.strerror}",
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
    """Whether a password is not UTF-8: our file would have other bytes."""
    if is_utf8(line):
        return ""
    return "the line is not UTF-8 and is left out; create a new password: pushmirror site add or site rotate"


def _wrong(user: str, colon: str, password: str, known: Mapping[str, str]) -> str:
    """Why a line cannot be imported, without anything that may be a password."""
    if not colon:
        return "expected USER:PASSWORD; the line is left out"
    if user.startswith("@"):
        return f"{user} is a group, which has no counterpart: add a site for each of its users"
    if user in known:
        return f"{user} is already defined; the first line counts, as for rsync"
    if not 1 <= len(password) <= LONGEST or not password.isprintable():
        return (
            f"the password of {user} has not 1 to {LONGEST} printable characters; create a new one: "
            "pushmirror site rotate"
        )
    return ""
