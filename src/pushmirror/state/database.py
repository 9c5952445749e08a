"""The state database: connections, transactions, the revision of its schema.

    Database ── SqliteDatabase     here, by sqlite3 alone: a command must not wait for larger libraries
             └─ PostgresDatabase   postgres.py, by SQLAlchemy

Guaranteed:
- A transaction is committed when its block ends well, else undone. A write takes SQLite's lock when it
  begins, not half-way, where it could no longer wait for another writer. Foreign keys are checked.
- An error of the database is a StateError with advice, or a StateDamaged where its content is to blame.
- Several processes may open a new or old database at once: one of them migrates it, wholly or not at all.
"""

from __future__ import annotations

import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from pushmirror.errors import StateDamaged, StateError
from pushmirror.state.rows import RECORDS, Record, Row, UnreadableRow, to_column, to_record
from pushmirror.system.locks import locked
from pushmirror.system.sqlite import is_damage

REVISIONS = ("0001", "0002", "0003")  # those in migrations/versions, oldest first
SQLITE_URL = "sqlite:///"  # followed by the path of the file
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


class Connection(ABC):
    """A connection with an open transaction; `:name` in a statement is the value of that name."""

    @abstractmethod
    def execute(self, sql: str, /, **values: object) -> list[Row]:
        """Execute a statement; returns its rows."""

    def fetch(self, kind: type[Record], sql: str, /, **values: object) -> list[Record]:
        """The rows of a statement as records; UnreadableRow if a row is not what was written."""
        return [to_record(kind, row) for row in self.execute(sql, **values)]

    def fetch_first(self, kind: type[Record], sql: str, /, **values: object) -> Record | None:
        """Its first row, if there is one."""
        return next(iter(self.fetch(kind, sql, **values)), None)

    def fetch_one(self, kind: type[Record], what: str, sql: str, /, **values: object) -> Record:
        """Its only row; StateError if there is no `what`."""
        found = self.fetch_first(kind, sql, **values)
        if found is None:
            raise StateError(f"there is no {what}")
        return found


class Database(ABC):
    """A state database of any kind; all methods raise StateError."""

    restore_hint: ClassVar[str]

    def __init__(self, name: str) -> None:
        """`name` is what messages call it, without passwords."""
        self.name = name

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that may write, also the schema."""

    @abstractmethod
    def close(self) -> None:
        """Close its connections."""

    @abstractmethod
    def tables(self) -> set[str]:
        """The names of its tables."""

    @abstractmethod
    def create(self) -> None:
        """Create the current schema in an empty database."""

    @abstractmethod
    def upgrade(self) -> None:
        """Bring an older schema up to date."""

    def revision(self) -> str | None:
        """Its schema, one of REVISIONS; None if it is new.

        Raises StateError if it is newer than this program, StateDamaged if no pushmirror has written it.
        """
        tables = self.tables()
        if "alembic_version" not in tables:
            if left := RECORDS.keys() & tables:
                raise self.damage(f"table alembic_version is missing beside {min(left)}")
            return None
        with self.reading() as db:
            rows = db.execute("SELECT version_num FROM alembic_version")
        found = rows[0]["version_num"] if rows else None
        if isinstance(found, str) and found in REVISIONS:
            return found
        if isinstance(found, str) and _REVISION.fullmatch(found) and found > REVISIONS[-1]:
            raise StateError(
                f"the state database has schema {found}, expected at most {REVISIONS[-1]}",
                hint="it was written by a newer pushmirror: install that one",
            )
        raise self.damage(f"its schema is {found!r}, expected {REVISIONS[-1]}")

    def migrate(self, directory: Path) -> None:
        """Create the schema or bring it up to date, under the lock of `directory`; raises as `revision`."""
        if self.revision() == REVISIONS[-1]:
            return
        with locked(directory, patience_s=_MIGRATION_S):
            found = self.revision()  # again: another process may have been faster
            if found is None:
                self.create()
            elif found != REVISIONS[-1]:
                self.upgrade()

    def damage(self, found: str) -> StateDamaged:
        """The error of a damaged database; `found` is shown in printable characters."""
        words = "".join(one if one.isprintable() else "?" for one in found)[:_LONGEST]
        message = f"the state database {self.name} is damaged: {words}"
        return StateDamaged(message, hint=self.restore_hint, found=words)


class _SqliteConnection(Connection):
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, /, **values: object) -> list[Row]:
        columns = {name: to_column(value) for name, value in values.items()}
        with closing(self._connection.cursor()) as cursor:  # one left open would keep the file open, too
            return [dict(row) for row in cursor.execute(sql, columns)]


class SqliteDatabase(Database):
    """The database in a file. A transaction has a connection of its own, also in another thread."""

    restore_hint = _RESTORE

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        self.file = file
        self._idle: list[sqlite3.Connection] = []

    def reading(self) -> AbstractContextManager[Connection]:
        return self._transaction("BEGIN")

    def writing(self) -> AbstractContextManager[Connection]:
        return self._transaction("BEGIN IMMEDIATE")

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def tables(self) -> set[str]:
        with self.reading() as db:
            return {row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def create(self) -> None:
        self.use_wal()
        with self.writing() as db:
            for statement in _schema():
                db.execute(statement)

    def upgrade(self) -> None:
        from pushmirror.state.schema import upgrade_sqlite

        self.use_wal()
        with self._errors(), self._connected() as connection:
            upgrade_sqlite(connection, REVISIONS[-1])

    def use_wal(self) -> None:
        """Use SQLite's write-ahead log: readers and the writer then do not wait for each other."""
        with self._errors(), self._connected() as connection:
            connection.execute("PRAGMA journal_mode = WAL")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        with self._errors(), self._connected() as connection:
            connection.execute(begin)
            yield _SqliteConnection(connection)
            connection.execute("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection for the block, which ends no transaction of its own; what is left open is undone."""
        connection = self._idle.pop() if self._idle else connect(self.file)
        try:
            yield connection
        finally:
            with suppress(sqlite3.Error, ValueError):  # the error that is under way matters more
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            self._idle.append(connection)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UnreadableRow as exc:
            raise self.damage(str(exc)) from exc
        except sqlite3.DatabaseError as exc:
            message = str(exc).strip().partition("\n")[0]
            if is_damage(exc):
                raise self.damage(message) from exc
            raise StateError(f"the state database {self.name}: {message}", hint=advice(message)) from exc
        except UnicodeDecodeError as exc:  # of a name in the schema, or of a message of SQLite with one
            raise self.damage(f"{exc.object!r} is no text") from exc


def connect(file: Path) -> sqlite3.Connection:
    """Open an SQLite database, also for other threads. BEGIN is left to us: Python's sqlite3 says it late."""
    connection = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; none of any other."""
    return Path(url.removeprefix(SQLITE_URL)) if url.startswith(SQLITE_URL) else None


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
    database = SqliteDatabase(file)
    try:
        with database.reading() as db:
            for row in db.execute("PRAGMA integrity_check(1)"):
                if row["integrity_check"] != "ok":
                    return str(row["integrity_check"]).replace("\n", ": ")
        if (revision := database.revision()) is None:
            return "it has no tables"
        if revision == REVISIONS[-1]:
            with database.reading() as db:
                if missing := next(_missing(db), ""):
                    return missing
                for table, kind in RECORDS.items():
                    db.fetch(kind, f"SELECT * FROM {table}")  # noqa: S608  a name of ours
    except StateError as exc:
        return exc.found if isinstance(exc, StateDamaged) else str(exc)
    finally:
        database.close()
    return ""


def advice(message: str) -> str | None:
    """What to do about a database's error."""
    return next((todo for words, todo in _ADVICE.items() if words in message.lower()), None)


def _schema() -> Iterable[str]:
    """The statements that create the current schema."""
    text = Path(__file__).with_name("schema.sql").read_text("utf-8")
    statements = (part.strip() for part in text.split(";\n"))
    return [one for one in statements if one] + [f"INSERT INTO alembic_version VALUES ('{REVISIONS[-1]}')"]  # noqa: S608


def _missing(db: Connection) -> Iterator[str]:
    """Tables and columns that are not there."""
    model = sqlite3.connect(":memory:")
    for statement in _schema():
        model.execute(statement)
    for table in RECORDS:
        expected = [row[1] for row in model.execute(f"PRAGMA table_info({table})")]
        there = {row["name"] for row in db.execute(f"PRAGMA table_info({table})")}
        if not there:
            yield f"table {table} is missing"
            continue
        yield from (f"column {table}.{name} is missing" for name in expected if name not in there)
    model.close()
