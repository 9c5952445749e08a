"""SQLite files that hold nothing which could not be made anew: how damage shows, and what becomes of them.

A byte that flips on a disk need not break a page: a text is no text any more, a number is none, a table has
another name. Whoever reads such a file translates what comes of it, and puts the file aside.
"""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

#: What fails where rows are not what was written.
MISREAD = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError, zlib.error)
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT}
_NO_CODE = 0  # Python's own complaint, of a text that is none; or ours, of a version


def code_of(exc: sqlite3.DatabaseError) -> int:
    """SQLite's primary code; 0 where the complaint is not SQLite's."""
    return int(getattr(exc, "sqlite_errorcode", _NO_CODE)) & 0xFF


def is_damage(exc: sqlite3.DatabaseError) -> bool:
    """Whether an error tells of the file, and not of the disk, of another process or of permissions."""
    return code_of(exc) in _DAMAGE | {_NO_CODE}


def put_aside(path: Path) -> None:
    """Keep a damaged file as FILE.damaged, for a report, so that a new one can begin in its place."""
    path.replace(path.with_name(f"{path.name}.damaged"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
