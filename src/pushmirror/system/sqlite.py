"""SQLite files: which errors mean damage, and files that are rebuilt when they are damaged.

A flipped byte need not break a page: a text is no longer UTF-8, a number is none, a table has another name.
So errors while rows are read count as damage, too.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from pushmirror.errors import Damaged, StateError

_log = logging.getLogger(__name__)
BUSY_S = 30.0  # how long to wait for another process; our transactions take milliseconds
#: Errors of code that reads rows which are not what was written.
MISREAD = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError, zlib.error)
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
}
_NO_CODE = 0  # an error of Python's, such as of a text that is not UTF-8, or ours, of a version
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process has locked it for too long; find it with `fuser`",
    sqlite3.SQLITE_FULL: "the disk is full: free some space, nothing is lost",
    sqlite3.SQLITE_READONLY: "run pushmirror as the owner of the state directory",
    sqlite3.SQLITE_CANTOPEN: "make sure that the state directory belongs to the user who runs pushmirror",
    sqlite3.SQLITE_IOERR: "check the kernel's log: the disk or its file system has errors",
}


def code_of(exc: sqlite3.DatabaseError) -> int:
    """SQLite's primary error code; 0 if the error is not SQLite's."""
    return int(getattr(exc, "sqlite_errorcode", _NO_CODE)) & 0xFF


def is_damage(exc: sqlite3.DatabaseError) -> bool:
    """Whether the file is damaged; not if the disk, another process, permissions or our code is at fault."""
    if isinstance(exc, sqlite3.ProgrammingError) or _is_of_a_trigger(exc):
        return False
    return code_of(exc) in _DAMAGE | {_NO_CODE}


def _is_of_a_trigger(exc: sqlite3.DatabaseError) -> bool:
    """We have no triggers: one that refuses a row is an operator's."""
    return getattr(exc, "sqlite_errorcode", _NO_CODE) == sqlite3.SQLITE_CONSTRAINT_TRIGGER


def put_aside(path: Path) -> None:
    """Rename a damaged file to FILE.damaged, for a report."""
    kept = path.with_name(f"{path.name}.damaged")
    path.replace(kept)
    _log.warning(
        "%s was damaged and is rebuilt; the damaged file is kept as %s for a report", path, kept.name
    )
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def version(connection: sqlite3.Connection) -> int:
    """The version of its schema; 0 in an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def require_version(connection: sqlite3.Connection, expected: int) -> None:
    """DatabaseError, which is_damage, if the schema has another version."""
    if version(connection) != expected:
        raise sqlite3.DatabaseError(f"unknown version {version(connection)}")


class RebuildableFile:
    """An open SQLite file whose content can be rebuilt; a damaged one is replaced at the next opening."""

    def __init__(self, path: Path, name: str, *, source: str) -> None:
        """`name` is what messages call it, `source` what it is rebuilt from."""
        self.path = path
        self._name = name
        self._source = source

    def open_or_begin_anew(self, opened: Callable[[Path], sqlite3.Connection]) -> sqlite3.Connection:
        """What `opened` returns; if the file is damaged, it is put aside and `opened` called again."""
        with self.advised():
            try:
                return opened(self.path)
            except sqlite3.DatabaseError as exc:
                if not is_damage(exc):
                    raise
                put_aside(self.path)
                return opened(self.path)

    @contextmanager
    def advised(self) -> Iterator[None]:
        """Translate SQLite's errors in the block, also those of reading rows, to StateErrors with a hint."""
        try:
            yield
        except sqlite3.DatabaseError as exc:
            if is_damage(exc):
                raise self.damaged(exc) from exc
            advice = _ADVICE.get(code_of(exc), "check that the file can be read and written")
            raise StateError(f"{self._name} {self.path} cannot be used: {exc}", hint=advice) from exc
        except MISREAD as exc:
            raise self.damaged(exc) from exc

    def damaged(self, exc: Exception) -> StateError:
        """The error of a damaged file, which is put aside."""
        with suppress(OSError):
            put_aside(self.path)
        return Damaged(
            f"{self._name} {self.path} is damaged: {exc}",
            hint=f"try again: it is rebuilt from {self._source}",
        )


class _OnFile(Protocol):
    _file: Any  # a RebuildableFile


_Self = TypeVar("_Self", bound=_OnFile)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def reads(method: Callable[Concatenate[_Self, _P], _T]) -> Callable[Concatenate[_Self, _P], _T]:
    """Decorates a method that reads the file's rows: an error of reading them is damage."""

    @wraps(method)
    def reading(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with self._file.advised():
            return method(self, *args, **kwargs)

    return reading


def reads_on(
    method: Callable[Concatenate[_Self, _P], Iterator[_T]],
) -> Callable[Concatenate[_Self, _P], Iterator[_T]]:
    """The same for a generator."""

    @wraps(method)
    def reading(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> Iterator[_T]:
        with self._file.advised():
            yield from method(self, *args, **kwargs)

    return reading
