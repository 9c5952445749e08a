"""The store in an SQL database.

Guaranteed: one transaction a method; an opened store has the current schema, and no other database takes its
place before it is closed. Not here: what is said to the tables (`state/schema`), how a database is reached
(`database.py`), how its tables came to be (`migrate.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from pushmirror.errors import PushmirrorError, StateError
from pushmirror.state.database import Database, damaged, sqlite_file, url_of
from pushmirror.state.files import backups_of, in_use, keep_private, lack_of
from pushmirror.state.migrate import bring_up_to_date
from pushmirror.state.sql.push import PushMemory
from pushmirror.state.sql.runs import RunMemory
from pushmirror.system import clock


def open_store(url: str, directory: Path, *, now: Callable[[], datetime] = clock.now) -> SqlStore:
    """The store at an SQLAlchemy URL, its schema brought up to date under the lock of `directory`.

    Both are made when they do not exist yet. Raises StateError, also when a database is gone of which there
    are backups: to begin with an empty one would be to forget.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StateError(
            f"the state directory {directory} cannot be made: {exc.strerror}",
            hint="name another one as directory in [state], or make it for this user",
        ) from exc
    with ExitStack() as closing, _told(directory):
        file = sqlite_file(url)
        if file is None:
            keep_private(directory)
        else:
            closing.enter_context(in_use(directory))
            _require_whole(file, directory)
        database = Database(url)
        closing.callback(database.close)
        bring_up_to_date(database, directory)
        return SqlStore(database, now, closing.pop_all())


@contextmanager
def _told(directory: Path) -> Iterator[None]:
    """Translate what a broken disk, a limit of ours or a restore under way makes of a look at the files."""
    try:
        yield
    except StateError:
        raise
    except PushmirrorError as exc:
        raise StateError(str(exc), hint=exc.hint) from exc
    except OSError as exc:
        raise StateError(f"{exc.filename or directory} cannot be read or written: {exc.strerror}") from exc


def _require_whole(file: Path, directory: Path) -> None:
    """StateDamaged where SQLite would begin a new database in the place of one that was lost."""
    if lack := lack_of(file):
        is_cut_short = file.exists() and file.stat().st_size > 0
        if is_cut_short or backups_of(directory, clock.now()):
            raise damaged(url_of(file), lack)


class SqlStore(RunMemory, PushMemory):
    """A Store in an SQL database; `closing` lets go of it."""

    def __init__(self, database: Database, now: Callable[[], datetime], closing: ExitStack) -> None:
        super().__init__(database, now)
        self._closing = closing

    def close(self) -> None:
        self._closing.close()
