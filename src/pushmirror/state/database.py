"""How a database is reached: an SQLAlchemy engine, and what SQLite needs besides.

Guaranteed: a transaction is committed when its block ends well, else undone; what goes wrong is a
StateError with advice, a StateDamaged where the file itself is to blame. A write takes SQLite's lock when it
begins, not half-way, where waiting for another writer would no longer be possible. Foreign keys are checked.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from pushmirror.errors import StateDamaged, StateError
from pushmirror.system.rebuildable import is_damage

_BUSY_S = 30.0  # how long to wait for other processes' transactions; ours take milliseconds

#: What a database says, and what to do about it.
_ADVICE = {
    "locked": "another process has it for long; see who with `fuser`, and keep it on a local file system",
    "full": "the disk is full: free some space, nothing is lost",
    "disk i/o": "look at the kernel's log: the disk or its file system has errors, or is full",
    "readonly": "run pushmirror as the owner of the state directory, on a file system mounted for writing",
    "unable to open": "see that the state directory exists and belongs to the user who runs pushmirror",
}
_RESTORE = (
    "pushmirror state restore puts the newest good backup in its place, and keeps this one aside; "
    "pushmirror state check lists the backups"
)
_LONGEST = 200  # characters of what was found, which may be anything


class Database:
    """The database at an SQLAlchemy URL; raises StateError."""

    def __init__(self, url: str | URL) -> None:
        self._engine = _engine(url)

    def damaged(self, found: str) -> StateDamaged:
        """The error that says so."""
        return damaged(self._engine.url, found)

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads."""
        return self._transaction("BEGIN")

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that may write, also the schema."""
        return self._transaction("BEGIN IMMEDIATE")

    def log_ahead(self) -> None:
        """Give SQLite its write-ahead log, for good: readers and the writer do not wait for each other."""
        if _is_sqlite(self._engine):
            with self._transaction(None) as db:
                db.exec_driver_sql("PRAGMA journal_mode = WAL")

    def close(self) -> None:
        """Let go of it."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, sqlite_begin: str | None) -> Iterator[Connection]:
        engine = self._engine.execution_options(sqlite_begin=sqlite_begin)
        try:
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as exc:
            orig = getattr(exc, "orig", None)
            said = str(orig or exc).strip().partition("\n")[0]
            if isinstance(orig, sqlite3.DatabaseError) and is_damage(orig):
                raise damaged(engine.url, said) from exc
            raise StateError(f"the state database {_name(engine.url)}: {said}", hint=advice(said)) from exc
        except UnicodeDecodeError as exc:  # of a name in the schema, or in what SQLite says about one
            raise damaged(engine.url, f"{exc.object!r} is no text") from exc


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; none of any other, or of one in memory."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in {None, "", ":memory:"}
    return Path(str(parsed.database)) if is_file else None


def url_of(file: Path) -> URL:
    """The URL of an SQLite database in this file."""
    return URL.create("sqlite", database=str(file))


def damaged(url: URL, found: str) -> StateDamaged:
    """The error of a database whose content is not what was written: what was found, in printable words."""
    words = "".join(one if one.isprintable() else "?" for one in found)[:_LONGEST]
    hint = _RESTORE if url.get_backend_name() == "sqlite" else "restore it from a backup of yours"
    return StateDamaged(f"the state database {_name(url)} is damaged: {words}", hint=hint, found=words)


def _engine(url: str | URL) -> Engine:
    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        engine = create_engine(
            parsed, connect_args={"timeout": _BUSY_S} if sqlite else {}, pool_pre_ping=not sqlite
        )
    except (ArgumentError, NoSuchModuleError, ValueError) as exc:
        raise StateError(  # the URL may hold a password: it is not repeated
            "state.database is no database URL, expected one such as postgresql+psycopg://user@host/name"
        ) from exc
    except ImportError as exc:
        raise StateError(
            f"the Python module {exc.name} for state.database is not installed",
            hint="install it beside pushmirror, or leave out state.database to use SQLite",
        ) from exc
    if _is_sqlite(engine):
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    """Leave BEGIN to us: Python's sqlite3 says it late, and a kill could leave half a migration."""
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get("sqlite_begin")
    if statement:
        connection.exec_driver_sql(statement)


def _name(url: URL) -> str:
    """The database as a message may name it: its query part may hold a password too."""
    if url.get_backend_name() == "sqlite":
        return url.database or "in memory"
    return url.set(query={}).render_as_string(hide_password=True)


def advice(said: str) -> str | None:
    """What to do about an error, from what the database said."""
    return next((todo for words, todo in _ADVICE.items() if words in said.lower()), None)
