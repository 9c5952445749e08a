"""How damage to an SQLite file shows, and what becomes of one that can be made anew.

A byte that flips on a disk need not break a page: a text is no text any more, a number is none, a table has
another name. Whoever reads such a file translates what comes of it, and puts the file aside.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

_log = logging.getLogger(__name__)
#: What fails where rows are not what was written.
MISREAD = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError, zlib.error)
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
}
_NO_CODE = 0  # Python's own complaint, of a text that is none; or ours, of a version


def code_of(exc: sqlite3.DatabaseError) -> int:
    """SQLite's primary code; 0 where the complaint is not SQLite's."""
    return int(getattr(exc, "sqlite_errorcode", _NO_CODE)) & 0xFF


def is_damage(exc: sqlite3.DatabaseError) -> bool:
    """Whether an error tells of the file: not of the disk, another process, permissions or our mistakes."""
    if isinstance(exc, sqlite3.ProgrammingError) or _is_of_a_trigger(exc):
        return False
    return code_of(exc) in _DAMAGE | {_NO_CODE}


def _is_of_a_trigger(exc: sqlite3.DatabaseError) -> bool:
    """We have no triggers: one that refuses a row is an operator's, and no damage."""
    return getattr(exc, "sqlite_errorcode", _NO_CODE) == sqlite3.SQLITE_CONSTRAINT_TRIGGER


def put_aside(path: Path) -> None:
    """Keep a damaged file as FILE.damaged, for a report, so that a new one can begin in its place."""
    kept = path.with_name(f"{path.name}.damaged")
    path.replace(kept)
    _log.warning(
        "%s was damaged and is rebuilt; the damaged file is kept as %s for a report", path, kept.name
    )
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def open_or_begin_anew(path: Path, opened: Callable[[Path], sqlite3.Connection]) -> sqlite3.Connection:
    """What `opened` returns; where the file is damaged, it is put aside and `opened` called again."""
    try:
        return opened(path)
    except sqlite3.DatabaseError as exc:
        if not is_damage(exc):
            raise
        put_aside(path)
        return opened(path)


class _OnFile(Protocol):
    _file: Any  # whose block `advised` translates what fails in it


_Self = TypeVar("_Self", bound=_OnFile)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def reads(method: Callable[Concatenate[_Self, _P], _T]) -> Callable[Concatenate[_Self, _P], _T]:
    """A method that makes something of the file's rows: what it cannot understand is damage."""

    @wraps(method)
    def reading(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with self._file.advised():
            return method(self, *args, **kwargs)

    return reading


def reads_on(
    method: Callable[Concatenate[_Self, _P], Iterator[_T]],
) -> Callable[Concatenate[_Self, _P], Iterator[_T]]:
    """The same of one that does so while its results are taken."""

    @wraps(method)
    def reading(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> Iterator[_T]:
        with self._file.advised():
            yield from method(self, *args, **kwargs)

    return reading
