"""The store in an SQL database.

Guaranteed: one transaction a method; an opened store has the current schema. Not here: what is said to
the tables (`state/schema`), how a database is reached (`database.py`), how its tables came to be
(`migrate.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pushmirror.errors import StateError
from pushmirror.state.database import Database
from pushmirror.state.migrate import bring_up_to_date
from pushmirror.state.sql.push import PushMemory
from pushmirror.state.sql.runs import RunMemory
from pushmirror.system import clock


def open_store(url: str, directory: Path, *, now: Callable[[], datetime] = clock.now) -> SqlStore:
    """The store at an SQLAlchemy URL, its schema brought up to date under the lock of `directory`.

    Both are made when they do not exist yet. Raises StateError.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StateError(
            f"the state directory {directory} cannot be made: {exc.strerror}",
            hint="name another one as directory in [state], or make it for this user",
        ) from exc
    database = Database(url)
    try:
        bring_up_to_date(database, directory)
    except BaseException:
        database.close()
        raise
    return SqlStore(database, now)


class SqlStore(RunMemory, PushMemory):
    """A Store in an SQL database."""
