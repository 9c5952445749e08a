"""How a database is reached: SQLite by Python's own module, any other by SQLAlchemy.

Importing SQLAlchemy alone takes longer than a whole `receive` may before it reaches its work, so SQLite,
the default, goes without. Both understand the same statements with `:name` parameters. A write takes
SQLite's lock when it begins, not half-way, where waiting for another writer would no longer be possible.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from pushmirror.errors import StateError

if TYPE_CHECKING:
    import sqlalchemy

_BUSY_S = 30.0  # how long to wait for other processes' transactions; ours take milliseconds
_SQLITE = "sqlite:///"

#: What SQLite says, and what to do about it.
_ADVICE = {
    "locked": "another process has it for long; see who with `fuser`, and keep it on a local file system",
    "full": "the disk is full: free some space, nothing is lost",
    "disk i/o": "look at the kernel's log: the disk or its file system has errors, or is full",
    "malformed": "restore the file from a backup, or move it away: a new one starts with an empty history",
    "not a database": "move the file away: a new one starts with an empty history",
    "readonly": "run pushmirror as the owner of the state directory, on a file system mounted for writing",
    "unable to open": "see that the state directory exists and belongs to the user who runs pushmirror",
}


class Connection(Protocol):
    """Inside a transaction."""

    def rows(self, statement: str, /, **facts: object) -> list[Mapping[str, Any]]:
        """Execute a statement and return all of its rows."""

    def do(self, statement: str, /, **facts: object) -> None:
        """Execute a statement that returns no rows."""


class Database(Protocol):
    """Gives transactions: committed when the block ends well, else undone."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that may write."""

    def has_table(self, name: str) -> bool:
        """Whether there is such a table."""

    def migration_engine(self) -> sqlalchemy.Engine:
        """What alembic needs: an engine whose changes of the schema are part of its transactions."""

    def close(self) -> None:
        """Let go of it."""


def open_database(url: str) -> Database:
    """The database at an SQLAlchemy URL; raises StateError."""
    return SqliteDatabase(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else SqlalchemyDatabase(url)


class SqliteDatabase:
    """An SQLite file. Threads take turns: each transaction has the one connection to itself."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._turn = threading.RLock()
        with self._translated():
            # isolation_level None: BEGIN and COMMIT are said by us, also around changes of the schema
            self._connection = sqlite3.connect(
                file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA foreign_keys = ON")

    def reading(self) -> AbstractContextManager[Connection]:
        return self._transaction("BEGIN")

    def writing(self) -> AbstractContextManager[Connection]:
        return self._transaction("BEGIN IMMEDIATE")

    def log_ahead(self) -> None:
        """Switch to the write-ahead log for good: readers and the writer no longer wait for each other."""
        with self._turn, self._translated():
            self._connection.execute("PRAGMA journal_mode = WAL")

    def has_table(self, name: str) -> bool:
        with self.reading() as db:
            return bool(
                db.rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name", name=name)
            )

    def migration_engine(self) -> sqlalchemy.Engine:
        from sqlalchemy import URL, create_engine, event, pool

        engine = create_engine(
            URL.create("sqlite", database=self._file),
            poolclass=pool.NullPool,
            connect_args={"timeout": _BUSY_S},
        )
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", _begin_immediate)
        return engine

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        with self._turn, self._translated():
            self._connection.execute(begin)
            try:
                yield _SqliteConnection(self._connection)
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise StateError(f"the state database {self._file}: {exc}", hint=advice(str(exc))) from exc


class _SqliteConnection:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, /, **facts: object) -> list[Mapping[str, Any]]:
        return [dict(row) for row in self._connection.execute(statement, facts).fetchall()]

    def do(self, statement: str, /, **facts: object) -> None:
        self._connection.execute(statement, facts)


class SqlalchemyDatabase:
    """Any database that SQLAlchemy has a driver for."""

    def __init__(self, url: str) -> None:
        import sqlalchemy
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError

        try:
            self._engine = sqlalchemy.create_engine(url, pool_pre_ping=True)
        except (ArgumentError, NoSuchModuleError, ValueError) as exc:
            raise StateError(  # the URL may hold a password: it is not repeated
                "state.database is no database URL, expected one such as postgresql+psycopg://user@host/name"
            ) from exc
        except ImportError as exc:
            raise StateError(
                f"the Python module {exc.name} for state.database is not installed",
                hint="install it beside pushmirror, or leave out state.database to use SQLite",
            ) from exc

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._translated(), self._engine.begin() as connection:
            yield _SqlalchemyConnection(connection)

    reading = writing

    def has_table(self, name: str) -> bool:
        from sqlalchemy import inspect

        with self._translated():
            return inspect(self._engine).has_table(name)

    def migration_engine(self) -> sqlalchemy.Engine:
        return self._engine

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except SQLAlchemyError as exc:
            said = str(getattr(exc, "orig", None) or exc).strip().partition("\n")[0]
            raise StateError(f"the state database {self._engine.url!r}: {said}", hint=advice(said)) from exc


class _SqlalchemyConnection:
    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, /, **facts: object) -> list[Mapping[str, Any]]:
        from sqlalchemy import text

        return [dict(row) for row in self._connection.execute(text(statement), facts).mappings()]

    def do(self, statement: str, /, **facts: object) -> None:
        from sqlalchemy import text

        self._connection.execute(text(statement), facts)


def _leave_transactions_to_us(connection: sqlite3.Connection, _: object) -> None:
    """Python's sqlite3 would commit before each CREATE TABLE, and a kill leave half a schema."""
    connection.isolation_level = None


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def advice(said: str) -> str | None:
    """What to do about an error, from what the database said."""
    return next((todo for words, todo in _ADVICE.items() if words in said.lower()), None)
