"""The tables of the state database, for SQLite and PostgreSQL, by SQLAlchemy and alembic.

Only what creates or changes tables imports this module: its imports take 0.1 s. `migrations/` changes old
databases and `schema.sql` creates SQLite's; a test compares both with the tables here.

    requests, runs, generations            runs.py
    preparations, site states, triggers    pushes.py
"""

from __future__ import annotations

import sqlite3
from enum import StrEnum
from pathlib import Path

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    StaticPool,
    String,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.exc import DBAPIError

from pushmirror.state.records import Outcome, Stage
from pushmirror.state.rows import UnreadableRow


def _enum(kind: type[StrEnum]) -> Enum:
    """As text: a new stage or outcome needs no migration."""
    return Enum(kind, native_enum=False, length=20, values_callable=lambda kinds: [str(one) for one in kinds])


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> Column[str]:
    """As text: SQLite has no type for it, and other databases would each return their own zone."""
    return Column(name, Text, nullable=nullable)


metadata = MetaData()

#: alembic's own table, hence not in `metadata`: the revision of the schema that a database has.
alembic_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

Table(
    "runs",
    metadata,
    _id(),
    _text("archive"),
    Column("stage", _enum(Stage), nullable=False),
    _text("strategy"),
    _text("trigger_name"),  # "trigger" is a word of SQL
    _time("started_at"),
    _time("ended_at", nullable=True),
    Column("outcome", _enum(Outcome), nullable=False),
    Column("exit_code", Integer),
    _text("generation", nullable=True),
    _text("message"),
    Column("stats", JSON, nullable=False),
    _text("log"),
    _text("why"),  # the strategy
    Index("runs_of_archive", "archive", "id"),
    sqlite_autoincrement=True,  # the id of a pruned run is never used again
)

Table(
    "requests",
    metadata,
    _id(),
    _text("archive"),
    Column("stage", _enum(Stage), nullable=False),
    Column("mhop", Boolean, nullable=False),
    _text("trigger_name"),
    _text("client"),
    _text("words"),
    _text("generation", nullable=True),
    _time("arrived_at"),
    Column("run_id", ForeignKey("runs.id")),
    Column("exit_code", Integer),
    _text("message"),
    Index("requests_of_run", "run_id"),
    Index("requests_of_archive", "archive", "run_id"),
    sqlite_autoincrement=True,
)

Table(
    "generations",
    metadata,
    _id(),
    _text("archive"),
    _text("digest"),
    _time("published_at"),
    _time("replaced_at", nullable=True),
    Column("run_id", Integer),  # no foreign key: a generation outlives its pruned run
    Index("generations_of_archive", "archive", "id"),
    sqlite_autoincrement=True,
)

Table(
    "preparations",
    metadata,
    Column("archive", Text, primary_key=True),
    _text("generation"),
    _time("prepared_at"),
)

Table(
    "standings",  # site states
    metadata,
    Column("archive", Text, primary_key=True),
    Column("site", Text, primary_key=True),
    _text("stage1", nullable=True),
    _time("stage1_at", nullable=True),
    _text("stage2", nullable=True),
    _time("stage2_at", nullable=True),
    Column("sent_stage", _enum(Stage)),
    _text("sent_generation", nullable=True),
    _time("sent_at", nullable=True),
    _text("tried", nullable=True),
    Column("attempts", Integer, nullable=False),
    _time("failing_since", nullable=True),
    _time("next_try_at", nullable=True),
    Column("exit_code", Integer),
    _text("last_words"),
    Column("reported", Boolean, nullable=False),
)

Table(
    "triggers",
    metadata,
    _id(),
    _text("archive"),
    _text("site"),
    Column("stage", _enum(Stage), nullable=False),
    _text("generation"),
    _time("sent_at"),
    _time("ended_at", nullable=True),
    Column("exit_code", Integer),
    _text("output"),
    Index("triggers_of_archive", "archive", "id"),
    Index("triggers_of_site", "site", "id"),
    Index("triggers_of_both", "archive", "site", "id"),
    sqlite_autoincrement=True,  # a late answer never meets a trigger with the id of a pruned one
)


def create(db: Connection, revision: str) -> None:
    """Create the tables in an empty database."""
    metadata.create_all(db, checkfirst=False)
    alembic_version.create(db)
    db.execute(alembic_version.insert().values(version_num=revision))


def upgrade(db: Connection, revision: str) -> None:
    """Bring an old database to this revision, in the transaction of its connection; raises UnreadableRow."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    scripts = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", scripts.replace("%", "%%"))
    config.attributes["connection"] = db
    try:
        command.upgrade(config, revision)
    except CommandError as exc:  # such as two revisions in one database
        raise UnreadableRow(str(exc)) from exc


def upgrade_sqlite(connection: sqlite3.Connection, revision: str) -> None:
    """The same for SQLite, in a transaction of its own; raises sqlite3.Error, too."""
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    event.listen(engine, "begin", lambda db: db.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as db:
            upgrade(db, revision)
    except DBAPIError as exc:
        raise (exc.orig or exc) from exc
