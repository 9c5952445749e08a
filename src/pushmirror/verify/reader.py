"""Read a piece of the plan on the disk: every file in it once, and what else lies beside them.

Guaranteed: a link as the last component of a name is never followed, a name is opened only when its directory
says that it is a regular file, and nothing is written. Runs in processes of its own: hashing releases the
interpreter's lock, but small files are all system calls and Python, for which threads take turns.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from pushmirror.archive.layout import is_local
from pushmirror.archive.paths import name_of
from pushmirror.errors import Stopped
from pushmirror.system.files import mtime_of, new_hash
from pushmirror.system.process import die_with_parent
from pushmirror.verify.plan_lines import (
    Expected,
    LineKind,
    by_directory,
    fields_of,
    key_of,
    key_of_fields,
    parse,
)
from pushmirror.verify.throttle import Throttle

_CHUNK = 256 * 1024  # bytes
_SMALL = 5  # digits of the size of a file that is read at once
_SHA256 = 64  # digits
_TOGETHER = 64  # small files, after which a reader pays for them and looks whether it is to stop
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Problem(StrEnum):
    """What is wrong with a name."""

    MISSING = "missing"
    WRONG = "wrong"
    UNREADABLE = "unreadable"
    UPSTREAM = "upstream"  # upstream lacks it, too, or has it wrong: no error
    EXTRA = "extra"  # no error

    @property
    def is_error(self) -> bool:
        """Whether the error is ours and can be repaired."""
        return self not in {Problem.UPSTREAM, Problem.EXTRA}


@dataclass(frozen=True, slots=True)
class Finding:
    """A name with a problem."""

    path: str
    problem: Problem
    why: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a plan, and the part of the tree that it covers."""

    offset: int  # in the plan's file
    length: int
    files: int
    size: int  # bytes to read
    first: bytes  # key
    until: bytes = b""  # the key after the last; empty: to the end of the tree


@dataclass(slots=True)
class Seen:
    """The result of a piece."""

    findings: list[Finding] = field(default_factory=list)
    files: int = 0  # that were read, or had nothing to be read for
    size: int = 0  # bytes
    unhashed: int = 0  # of the files: nobody knows their SHA256


class Reader:
    """Reads one tree."""

    def __init__(self, tree: Path, keep: Callable[[int], None] = lambda _: None) -> None:
        """`keep` is called before so many bytes are read, and may wait."""
        self._tree = os.fspath(tree)
        self._keep = keep
        self._owed = 0  # bytes of small files that were read and not paid for
        self._flags = _OPEN | os.O_NOATIME  # a verify is no use of a file, and its time no news worth a write

    def piece(self, text: bytes, piece: Piece) -> Seen:
        """Verify everything that a piece covers."""
        seen = Seen()
        for directory, lines in by_directory(text):
            left = lines
            if key_of_fields(lines[0]) < piece.first:  # an interrupted verify has seen these
                left = [fields for fields in lines if key_of_fields(fields) >= piece.first]
            self._directory(directory, left, seen, piece)
        self._pay(seen)
        return seen

    def names(self, expected: Mapping[str, Expected]) -> list[Finding]:
        """Verify only these names."""
        seen = Seen()
        directories: dict[str, list[list[str]]] = {}
        for one in expected.values():
            directories.setdefault(one.directory, []).append(fields_of(one))
        for directory, group in directories.items():
            self._directory(directory, group, seen, None)
        self._pay(seen)
        return seen.findings

    def _pay(self, seen: Seen) -> None:
        """Small files are paid for together, after they were read."""
        owed, self._owed = self._owed, 0
        seen.size += owed
        self._keep(owed)

    def _directory(self, directory: str, lines: list[list[str]], seen: Seen, piece: Piece | None) -> None:
        self._keep(0)
        try:
            handle = os.open(f"{self._tree}/{directory}", _OPEN | os.O_DIRECTORY)
        except OSError as exc:
            seen.findings += _unseen(lines, exc)
            return
        try:
            with os.scandir(handle) as entries:
                here = {entry.name: entry for entry in entries}
            for one in map(parse, self._unless_right(lines, here, handle, seen)):
                if one.what is not LineKind.HERE and (found := self._name(one, here, handle, seen)):
                    seen.findings.append(found)
                    if piece is not None and one.name in here and _kind(here[one.name]) == "directory":
                        seen.findings += self._below(one.path)  # what is in the directory in its place
            if piece is not None:
                unknown = here.keys() - {fields[1] for fields in lines}
                seen.findings += self._extras(directory, sorted(unknown), here, piece)
        except OSError as exc:
            seen.findings += _unseen(lines, exc)
        finally:
            os.close(handle)

    def _unless_right(
        self, lines: list[list[str]], here: Mapping[str, os.DirEntry[str]], directory: int, seen: Seen
    ) -> list[list[str]]:
        """Read the small files of a directory, which are nearly all; returns what else is to be looked at.

        Whatever is not just as expected is left to `_name`, which finds out why.
        """
        left: list[list[str]] = []
        flags, owed, files = self._flags, self._owed, 0
        for fields in lines:
            _, name, what, digits, expected, _, _ = fields
            entry = here.get(name)
            if (
                what != LineKind.FILE
                or len(expected) != _SHA256
                or not 0 < len(digits) <= _SMALL
                or entry is None
                or not entry.is_file(follow_symlinks=False)
            ):
                left.append(fields)
                continue
            size = int(digits)
            try:
                handle = os.open(name, flags, dir_fd=directory)
                try:
                    data = os.read(handle, size + 1)
                finally:
                    os.close(handle)
            except OSError:
                left.append(fields)
                continue
            if len(data) != size or sha256(data).hexdigest() != expected:
                left.append(fields)
                continue
            files += 1
            owed += size
            if owed >= _CHUNK or files % _TOGETHER == 0:
                self._owed = owed
                self._pay(seen)
                owed = 0
        self._owed = owed
        seen.files += files
        return left

    def _name(
        self, one: Expected, here: Mapping[str, os.DirEntry[str]], handle: int, seen: Seen
    ) -> Finding | None:
        entry = here.get(one.name)
        if entry is None:
            return (
                None
                if one.what in _MAY_LACK
                else Finding(one.path, Problem.MISSING, f"expected a {_NOUNS[one.what]}")
            )
        found = _kind(entry)
        if found != _NOUNS[one.what]:
            if one.what is LineKind.IMPLIED:
                return None  # what is missing in it says so
            return Finding(one.path, Problem.WRONG, f"is a {found}, expected a {_NOUNS[one.what]}")
        try:
            return self._content(one, handle, seen)
        except FileNotFoundError:
            return Finding(one.path, Problem.MISSING, f"expected a {_NOUNS[one.what]}")
        except OSError as exc:
            return Finding(one.path, Problem.UNREADABLE, exc.strerror or str(exc))

    def _content(self, one: Expected, handle: int, seen: Seen) -> Finding | None:
        if one.is_file:
            return self._file(one, handle, seen)
        return _link(one, handle) if one.what is LineKind.LINK else None

    def _file(self, one: Expected, directory: int, seen: Seen) -> Finding | None:
        handle = self._open(one.name, directory)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                return Finding(one.path, Problem.WRONG, "is not a file, expected a file")
            seen.files += 1
            if one.size is not None and status.st_size != one.size:
                return Finding(one.path, Problem.WRONG, f"has {status.st_size} bytes, expected {one.size}")
            if one.disputed:
                return Finding(one.path, Problem.WRONG, f"indices list it with several hashes: {one.digest}")
            if one.digest:
                found = self._hash(handle, status.st_size, like=one.digest)
                seen.size += status.st_size
                if found != one.digest:
                    kind = name_of(found)
                    return Finding(one.path, Problem.WRONG, f"has {kind} {found}, expected {one.digest}")
            else:
                seen.unhashed += 1
            if not one.digest and one.mtime is not None and mtime_of(status) != one.mtime:
                times = f"was modified at {_date(mtime_of(status))}, expected {_date(one.mtime)}"
                return Finding(one.path, Problem.WRONG, f"{times}; its SHA256 is unknown")
            return None
        finally:
            os.close(handle)

    def _open(self, name: str, directory: int) -> int:
        try:
            return os.open(name, self._flags, dir_fd=directory)
        except OSError as exc:
            if exc.errno != errno.EPERM or self._flags == _OPEN:
                raise
        self._flags = _OPEN  # only the owner may leave the time as it is
        return os.open(name, self._flags, dir_fd=directory)

    def _hash(self, handle: int, size: int, *, like: str) -> str:
        keep, read = self._keep, os.read
        if size < _CHUNK:
            keep(size)
            data = read(handle, size + 1)  # a buffer that is too large costs more than a small file
            if len(data) == size:
                return new_hash(like, data).hexdigest()
            os.lseek(handle, 0, os.SEEK_SET)
        digest = new_hash(like)
        left = size
        while True:
            keep(min(_CHUNK, max(left, 0)))  # at the end there is nothing to pay for but the question
            data = read(handle, _CHUNK)
            if not data:
                return digest.hexdigest()
            digest.update(data)
            left -= len(data)

    def _extras(
        self, directory: str, names: Iterable[str], here: Mapping[str, os.DirEntry[str]], piece: Piece
    ) -> Iterator[Finding]:
        for name in names:
            path = f"{directory}/{name}" if directory else name
            key = key_of(path)
            if key < piece.first or (piece.until and key >= piece.until) or is_local(path):
                continue
            if _kind(here[name]) == "directory":
                yield from self._below(path)
            else:
                yield Finding(path, Problem.EXTRA)

    def _below(self, top: str) -> Iterator[Finding]:
        """Everything in a directory that is not expected; the directories themselves are not reported."""
        waiting = [top]
        while waiting:
            directory = waiting.pop()
            try:
                with os.scandir(f"{self._tree}/{directory}") as entries:
                    found = [(f"{directory}/{entry.name}", _kind(entry)) for entry in entries]
            except OSError as exc:
                yield Finding(directory, Problem.EXTRA, f"cannot be read: {exc.strerror}")
                continue
            for path, kind in found:
                if is_local(path):
                    continue
                if kind == "directory":
                    waiting.append(path)
                else:
                    yield Finding(path, Problem.EXTRA)


_NOUNS = {
    LineKind.FILE: "file",
    LineKind.OPTIONAL: "file",
    LineKind.LINK: "link",
    LineKind.DIRECTORY: "directory",
    LineKind.IMPLIED: "directory",
}


def _link(one: Expected, directory: int) -> Finding | None:
    target = os.readlink(one.name, dir_fd=directory)
    if target == one.target:
        return None
    return Finding(one.path, Problem.WRONG, f"points to {target}, expected {one.target}")


def _date(seconds: int) -> str:
    """For people; a file's time may be one that no calendar has."""
    with suppress(ValueError, OverflowError, OSError):
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return str(seconds)


_MAY_LACK = {LineKind.OPTIONAL, LineKind.IMPLIED, LineKind.HERE}


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_file(follow_symlinks=False):
        return "file"
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    return "link" if entry.is_symlink() else "device, pipe or socket"


def _unseen(lines: list[list[str]], exc: OSError) -> list[Finding]:
    """The findings for all names of a directory that cannot be read."""
    is_gone = exc.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}  # something else has its place
    problem = Problem.MISSING if is_gone else Problem.UNREADABLE
    return [
        Finding(
            one.path,
            problem,
            f"expected a {_NOUNS[one.what]}" if is_gone else f"its directory: {exc.strerror}",
        )
        for one in map(parse, lines)
        if one.what is not LineKind.HERE and not (is_gone and one.what in _MAY_LACK)
    ]


# -- in a process of its own -------------------------------------------------------------------------------

_reader: Reader
_plan: Path


def begin(tree: Path, plan: Path, pace: Throttle) -> None:
    """Set up this process as a reader; the plan need not exist yet."""
    global _reader, _plan  # noqa: PLW0603  a process of a pool has nowhere else to keep it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is for who started us
    die_with_parent()
    _reader = Reader(tree, pace.wait_for)
    _plan = plan


def warm_up() -> None:
    """Do nothing: a process that has answered this has started."""


def read_piece(piece: Piece) -> Seen | None:
    """Read one piece of the plan; None when it was stopped."""
    with suppress(Stopped), _plan.open("rb") as plan:
        return _reader.piece(os.pread(plan.fileno(), piece.length, piece.offset), piece)
    return None
