"""The state database: SQLAlchemy engine, transactions, schema, and SQLite's settings.

Guaranteed:
- A transaction is committed when its block ends well, else undone. A write takes SQLite's lock when it
  begins, not half-way, where it could no longer wait for another writer. Foreign keys are checked.
- An error of the database is a StateError with advice, or a StateDamaged where its content is to blame.
- Several processes may open a new or old database at once: one of them migrates it, wholly or not at all.
  alembic is imported only for an old one; a new one gets the current schema, a current one is only read.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from pushmirror.errors import StateDamaged, StateError
from pushmirror.state.tables import RECORDS, UnreadableRow, alembic_version, iterate, metadata
from pushmirror.system.locks import locked
from pushmirror.system.sqlite import is_damage

REVISIONS = ("0001", "0002", "0003")  # those in migrations/versions, oldest first
_REVISION = re.compile(r"[0-9]{4}")
_BUSY_S = 30.0  # how long to wait for other processes' transactions; ours take milliseconds
_MIGRATION_S = 60.0  # how long to wait for another process that migrates
_LONGEST = 200  # characters of a description of damage, which may be anything
_SMALLEST = 512  # bytes: SQLite takes a shorter file for a new database

#: Words in a database's error, and what to do about it.
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


class Database:
    """The database at an SQLAlchemy URL; raises StateError."""

    def __init__(self, url: str | URL) -> None:
        self._engine = _engine(url)

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads."""
        return self._transaction("BEGIN")

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that may write, also the schema."""
        return self._transaction("BEGIN IMMEDIATE")

    def revision(self) -> str | None:
        """Its schema, one of REVISIONS; None if it is new.

        Raises StateError if it is newer than this program, StateDamaged if no pushmirror has written it.
        """
        with self.reading() as db:
            if not inspect(db).has_table(alembic_version.name):
                if left := metadata.tables.keys() & {*inspect(db).get_table_names()}:
                    raise damage_error(db.engine.url, f"table alembic_version is missing beside {min(left)}")
                return None
            found: object = db.scalar(select(alembic_version.c.version_num))
        if isinstance(found, str) and found in REVISIONS:
            return found
        if isinstance(found, str) and _REVISION.fullmatch(found) and found > REVISIONS[-1]:
            raise StateError(
                f"the state database has schema {found}, expected at most {REVISIONS[-1]}",
                hint="it was written by a newer pushmirror: install that one",
            )
        raise damage_error(self._engine.url, f"its schema is {found!r}, expected {REVISIONS[-1]}")

    def migrate(self, directory: Path) -> None:
        """Create the schema or bring it up to date, under the lock of `directory`; raises as `revision`."""
        if self.revision() == REVISIONS[-1]:
            return
        with locked(directory, patience_s=_MIGRATION_S):
            found = self.revision()  # again: another process may have been faster
            if found is None:
                self.use_wal()
                self._create()
            elif found != REVISIONS[-1]:
                self.use_wal()
                self._run_migrations()

    def use_wal(self) -> None:
        """Use SQLite's write-ahead log: readers and the writer then do not wait for each other."""
        if _is_sqlite(self._engine):
            with self._transaction(None) as db:
                db.exec_driver_sql("PRAGMA journal_mode = WAL")

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    def _create(self) -> None:
        """Create the current schema in an empty database, without alembic, whose import takes long."""
        with self.writing() as db:
            metadata.create_all(db, checkfirst=False)
            alembic_version.create(db)
            db.execute(alembic_version.insert().values(version_num=REVISIONS[-1]))

    def _run_migrations(self) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        scripts = str(Path(__file__).parent / "migrations")
        config.set_main_option("script_location", scripts.replace("%", "%%"))
        with self.writing() as db:
            config.attributes["connection"] = db
            try:
                command.upgrade(config, REVISIONS[-1])
            except CommandError as exc:  # such as two revisions in one database
                raise damage_error(db.engine.url, str(exc)) from exc

    @contextmanager
    def _transaction(self, sqlite_begin: str | None) -> Iterator[Connection]:
        engine = self._engine.execution_options(sqlite_begin=sqlite_begin)
        try:
            with engine.begin() as connection:
                yield connection
        except UnreadableRow as exc:
            raise damage_error(engine.url, str(exc)) from exc
        except SQLAlchemyError as exc:
            orig = getattr(exc, "orig", None)
            message = str(orig or exc).strip().partition("\n")[0]
            if isinstance(orig, sqlite3.DatabaseError) and is_damage(orig):
                raise damage_error(engine.url, message) from exc
            raise StateError(
                f"the state database {_name(engine.url)}: {message}", hint=advice(message)
            ) from exc
        except UnicodeDecodeError as exc:  # of a name in the schema, or of a message of SQLite with one
            raise damage_error(engine.url, f"{exc.object!r} is no text") from exc


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; none of any other, or of one in memory."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in {None, "", ":memory:"}
    return Path(str(parsed.database)) if is_file else None


def sqlite_url(file: Path) -> URL:
    """The URL of the SQLite database in a file."""
    return URL.create("sqlite", database=str(file))


def incomplete(file: Path) -> str:
    """Why a file cannot be an SQLite database; empty if it can."""
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        return "it is missing"
    return "" if size >= _SMALLEST else f"it has {size} bytes: the rest is missing"


def find_damage(file: Path) -> str:
    """The damage of an SQLite state database, in one line; empty if there is none.

    Checks its pages and indices, its tables and columns, and each value of each row. A database with an older
    schema has its tables changed when it is opened: of that only pages and indices are checked.
    """
    if found := incomplete(file):
        return found
    database = Database(sqlite_url(file))
    try:
        with database.reading() as db:
            answer = db.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if answer != "ok":
                return str(answer).replace("\n", ": ")
        if (revision := database.revision()) is None:
            return "it has no tables"
        if revision == REVISIONS[-1]:
            with database.reading() as db:
                if missing := next(_missing(db), ""):
                    return missing
                for table, kind in RECORDS.items():
                    for _ in iterate(kind, db, select(table)):
                        pass
    except StateError as exc:
        return exc.found if isinstance(exc, StateDamaged) else str(exc)
    finally:
        database.close()
    return ""


def damage_error(url: URL, found: str) -> StateDamaged:
    """The error of a damaged database; `found` is shown in printable characters."""
    words = "".join(one if one.isprintable() else "?" for one in found)[:_LONGEST]
    hint = _RESTORE if url.get_backend_name() == "sqlite" else "restore it from a backup of yours"
    return StateDamaged(f"the state database {_name(url)} is damaged: {words}", hint=hint, found=words)


def advice(message: str) -> str | None:
    """What to do about a database's error."""
    return next((todo for words, todo in _ADVICE.items() if words in message.lower()), None)


def _missing(db: Connection) -> Iterator[str]:
    """Tables and columns that are not there."""
    for table in metadata.sorted_tables:
        if not inspect(db).has_table(table.name):
            yield f"table {table.name} is missing"
            continue
        there = {column["name"] for column in inspect(db).get_columns(table.name)}
        yield from (
            f"column {table.name}.{column.name} is missing" for column in table.c if column.name not in there
        )


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
