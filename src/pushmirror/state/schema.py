"""The tables, and every statement that is said to them, for whatever database SQLAlchemy speaks to.

Guaranteed: times are kept as text of one width in UTC, so they sort as they are; every statement about
runs and requests names its archive or its row. Not here: what belongs into one transaction (`sql.py`), how
a database comes to have these tables (`migrate.py`; a test compares the two).
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Delete,
    Dialect,
    Enum,
    Executable,
    ForeignKey,
    Index,
    Insert,
    Integer,
    MetaData,
    ScalarSelect,
    Select,
    Table,
    Text,
    TypeDecorator,
    Update,
    delete,
    insert,
    select,
    update,
)

from pushmirror.state.records import Outcome, Stage


class Time(TypeDecorator[datetime]):
    """A moment, as text: SQLite has no type for it, and the others would each give back their own zone."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else datetime.fromisoformat(value)


def _one_of(kind: type[StrEnum]) -> Enum:
    """A value of an enumeration, as text: a new kind of stage or outcome needs no migration."""
    return Enum(kind, native_enum=False, length=20, values_callable=lambda kinds: [str(one) for one in kinds])


def _text(name: str, *, key: str | None = None, nullable: bool = False) -> Column[str]:
    return Column(name, Text, key=key or name, nullable=nullable, default=None if nullable else "")


metadata = MetaData()

#: Which revision of the schema a database has; alembic's own table, hence not in `metadata`.
alembic_version = Table("alembic_version", MetaData(), Column("version_num", Text))

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("archive"),
    Column("stage", _one_of(Stage), nullable=False),
    _text("strategy"),
    _text("trigger_name", key="trigger"),  # "trigger" is a word of SQL
    Column("started_at", Time, nullable=False),
    Column("ended_at", Time),
    Column("outcome", _one_of(Outcome), nullable=False),
    Column("exit_code", Integer),
    _text("generation", nullable=True),
    _text("message"),
    Column("stats", JSON, nullable=False, default=dict),
    _text("log"),
    Index("runs_of_archive", "archive", "id"),
    sqlite_autoincrement=True,  # the number of a pruned run is never given to another
)

requests = Table(
    "requests",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("archive"),
    Column("stage", _one_of(Stage), nullable=False),
    Column("mhop", Boolean, nullable=False),
    _text("trigger_name", key="trigger"),
    _text("client"),
    _text("words"),
    _text("generation", nullable=True),
    Column("arrived_at", Time, nullable=False),
    Column("run_id", ForeignKey("runs.id")),
    Column("exit_code", Integer),
    _text("message"),
    Index("requests_of_run", "run_id"),
    Index("requests_of_archive", "archive", "run_id"),
    sqlite_autoincrement=True,
)

generations = Table(
    "generations",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("archive"),
    _text("digest"),
    Column("published_at", Time, nullable=False),
    Column("replaced_at", Time),
    Column("run_id", Integer),  # no foreign key: a generation outlives its pruned run
    Index("generations_of_archive", "archive", "id"),
    sqlite_autoincrement=True,
)

Rows = Select[Any]


def new(table: Table, **facts: object) -> Insert:
    """A new row; gives it back."""
    return insert(table).values(**facts).returning(table)


def one(table: Table, row_id: int) -> Rows:
    """The row of that number."""
    return select(table).where(table.c.id == row_id)


def waiting(archive: str) -> Rows:
    """Requests that no run serves yet, oldest first."""
    no_run = requests.c.run_id.is_(None) & requests.c.exit_code.is_(None)
    return select(requests).where(requests.c.archive == archive, no_run).order_by(requests.c.id)


def served_by(run_id: int, request_id: int, archive: str) -> Update:
    """A waiting request waits no longer; gives it back, unless another run was faster."""
    free = (requests.c.id == request_id) & (requests.c.archive == archive) & requests.c.run_id.is_(None)
    return update(requests).where(free).values(run_id=run_id).returning(requests)


def answered(run_id: int, exit_code: int, message: str) -> Update:
    """The requests of a run that ended have their answer."""
    owed = (requests.c.run_id == run_id) & requests.c.exit_code.is_(None)
    return update(requests).where(owed).values(exit_code=exit_code, message=message)


def waiting_again(run_id: int) -> Update:
    """The requests of a run that will not answer them wait again."""
    owed = (requests.c.run_id == run_id) & requests.c.exit_code.is_(None)
    return update(requests).where(owed).values(run_id=None)


def all_waiting_again(archive: str) -> Update:
    """The requests of running runs wait again."""
    theirs = requests.c.run_id.in_(select(runs.c.id).where(_running(archive)))
    return update(requests).where(theirs, requests.c.exit_code.is_(None)).values(run_id=None)


def ended(run_id: int, **facts: object) -> Update:
    """A running run ends; gives it back."""
    running = (runs.c.id == run_id) & (runs.c.outcome == Outcome.RUNNING)
    return update(runs).where(running).values(**facts).returning(runs)


def died(archive: str, at: datetime, message: str) -> Update:
    """Running runs end without having said how; gives them back."""
    change = update(runs).where(_running(archive))
    return change.values(outcome=Outcome.DIED, ended_at=at, message=message).returning(runs)


def newest_runs(archive: str | None, limit: int, before_id: int | None) -> Rows:
    """Runs, newest first."""
    newest = select(runs).order_by(runs.c.id.desc()).limit(limit)
    if archive is not None:
        newest = newest.where(runs.c.archive == archive)
    return newest if before_id is None else newest.where(runs.c.id < before_id)


def newest_generations(archive: str, limit: int) -> Rows:
    """Generations, newest first."""
    newest = select(generations).order_by(generations.c.id.desc()).limit(limit)
    return newest.where(generations.c.archive == archive)


def replaced(archive: str, at: datetime) -> Update:
    """What was served until now is no longer."""
    served = (generations.c.archive == archive) & generations.c.replaced_at.is_(None)
    return update(generations).where(served).values(replaced_at=at)


def forgotten_requests(archive: str, keep: int) -> Delete:
    """Requests of all ended runs but the newest go; to be said before `forgotten_runs`."""
    return delete(requests).where(requests.c.run_id.in_(select(runs.c.id).where(_old_runs(archive, keep))))


def forgotten_runs(archive: str, keep: int) -> Executable:
    """All ended runs but the newest go; gives them back."""
    return delete(runs).where(_old_runs(archive, keep)).returning(runs)


def forgotten_generations(archive: str, keep: int) -> Delete:
    """All generations but the newest go, and never the one being served."""
    all_of_it = generations.c.archive == archive
    too_many = generations.c.id <= _first_beyond(keep, generations, all_of_it)
    return delete(generations).where(all_of_it, too_many, generations.c.replaced_at.is_not(None))


def _running(archive: str) -> ColumnElement[bool]:
    return (runs.c.archive == archive) & (runs.c.outcome == Outcome.RUNNING)


def _old_runs(archive: str, keep: int) -> ColumnElement[bool]:
    ended = (runs.c.archive == archive) & (runs.c.outcome != Outcome.RUNNING)
    return ended & (runs.c.id <= _first_beyond(keep, runs, ended))


def _first_beyond(keep: int, table: Table, which: ColumnElement[bool]) -> ScalarSelect[int]:
    """The number of the newest row that is too many; NULL, to which nothing compares, when none is."""
    beyond = select(table.c.id).where(which).order_by(table.c.id.desc()).offset(keep).limit(1)
    return beyond.correlate(None).scalar_subquery()  # its own look at the table that rows are deleted from
