"""The store of requests, runs, generations and site states, in one SQL database.

Guaranteed: each method is one atomic transaction, also with other processes using the database; all raise
StateError if the database cannot be used. An open store has the
current schema, and no other database takes its place before it is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from pushmirror.errors import PushmirrorError, StateError, key_name
from pushmirror.state.backups import list_backups, make_private, shared_lock
from pushmirror.state.database import Database, SqliteDatabase, incomplete, sqlite_file
from pushmirror.state.pushes import PushStore
from pushmirror.state.runs import RunStore
from pushmirror.system import clock


class Store(RunStore, PushStore):
    """An open store; `closing` closes it. See `open_store`."""

    def __init__(self, database: Database, now: Callable[[], datetime], closing: ExitStack) -> None:
        self._database = database
        self._now = now
        self._closing = closing

    def close(self) -> None:
        """Close the database, and let others replace it."""
        self._closing.close()


def open_store(url: str, directory: Path, *, now: Callable[[], datetime] = clock.now) -> Store:
    """The store at an SQLAlchemy URL, its schema brought up to date under the lock of `directory`.

    Both are created if missing. Raises StateError, also if the database is missing and there are backups of
    it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        place = key_name("state.directory", "directory in [state]")
        raise StateError(
            f"the state directory {directory} cannot be made: {exc.strerror}",
            hint=f"name another one as {place}, or make it for this user",
        ) from exc
    with ExitStack() as closing, _state_errors(directory):
        database: Database
        if file := sqlite_file(url):
            database = SqliteDatabase(file)
            closing.enter_context(shared_lock(directory))
            _require_not_lost(database, directory)
        else:
            from pushmirror.state.postgres import PostgresDatabase

            make_private(directory)
            database = PostgresDatabase(url)
        closing.callback(database.close)
        database.migrate(directory)
        return Store(database, now, closing.pop_all())


@contextmanager
def _state_errors(directory: Path) -> Iterator[None]:
    """Translate errors of a broken disk, of a limit of ours and of a restore under way."""
    try:
        yield
    except StateError:
        raise
    except PushmirrorError as exc:
        raise StateError(str(exc), hint=exc.hint) from exc
    except OSError as exc:
        raise StateError(f"{exc.filename or directory} cannot be read or written: {exc.strerror}") from exc


def _require_not_lost(database: SqliteDatabase, directory: Path) -> None:
    """StateDamaged if SQLite would create a new database in the place of a lost one."""
    file = database.file
    if found := incomplete(file):
        is_cut_short = file.exists() and file.stat().st_size > 0
        if is_cut_short or list_backups(directory, clock.now()):
            raise database.damage(found)
