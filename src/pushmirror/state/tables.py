"""The tables of the state database, for SQLite and PostgreSQL, and their rows as records.

Guaranteed: times are text of one width in UTC, so that they sort; a record's fields have their declared
types, whatever is in the row. `migrations/` changes old databases; a test compares the results.

    requests, runs, generations            runs.py
    preparations, site states, triggers    pushes.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Enum,
    Executable,
    ForeignKey,
    Index,
    Insert,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    RowMapping,
    ScalarSelect,
    String,
    Table,
    Text,
    TypeDecorator,
    select,
)
from sqlalchemy.dialects import sqlite

from pushmirror.errors import StateError
from pushmirror.state.records import (
    Generation,
    Outcome,
    Preparation,
    Request,
    Run,
    SiteState,
    Stage,
    Trigger,
)
from pushmirror.system.sqlite import MISREAD

_YEARS = range(1970, 9000)  # nothing that is added to one of these leaves the calendar
_EXIT_CODES = range(-255, 256)


class UnreadableRow(Exception):
    """A row is not what was written."""


class UtcTime(TypeDecorator[datetime]):
    """A time as text: SQLite has no type for it, and other databases would each return their own zone."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        try:
            return datetime.fromisoformat(value)
        except (TypeError, ValueError) as exc:
            raise ValueError(f"expected a time, found {value!r}") from exc


class UntrustedText(TypeDecorator[str]):
    """Text from another machine, without what a database refuses."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        # PostgreSQL refuses NUL, and every driver half a surrogate pair: UTF-8 has none.
        return None if value is None else value.replace("\0", "\ufffd").encode(errors="replace").decode()


def _enum(kind: type[StrEnum]) -> Enum:
    """As text: a new stage or outcome needs no migration."""
    return Enum(kind, native_enum=False, length=20, values_callable=lambda kinds: [str(one) for one in kinds])


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _text(name: str, *, key: str | None = None, nullable: bool = False) -> Column[str]:
    return Column(name, Text, key=key or name, nullable=nullable, default=None if nullable else "")


metadata = MetaData()

#: alembic's own table, hence not in `metadata`: the revision of the schema that a database has.
alembic_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

runs = Table(
    "runs",
    metadata,
    _id(),
    _text("archive"),
    Column("stage", _enum(Stage), nullable=False),
    _text("strategy"),
    _text("trigger_name", key="trigger"),  # "trigger" is a word of SQL
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("outcome", _enum(Outcome), nullable=False),
    Column("exit_code", Integer),
    _text("generation", nullable=True),
    _text("message"),
    Column("stats", JSON, nullable=False, default=dict),
    _text("log"),
    _text("why"),  # the strategy
    Index("runs_of_archive", "archive", "id"),
    sqlite_autoincrement=True,  # the id of a pruned run is never used again
)

requests = Table(
    "requests",
    metadata,
    _id(),
    _text("archive"),
    Column("stage", _enum(Stage), nullable=False),
    Column("mhop", Boolean, nullable=False),
    _text("trigger_name", key="trigger"),
    _text("client"),
    _text("words"),
    _text("generation", nullable=True),
    Column("arrived_at", UtcTime, nullable=False),
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
    _id(),
    _text("archive"),
    _text("digest"),
    Column("published_at", UtcTime, nullable=False),
    Column("replaced_at", UtcTime),
    Column("run_id", Integer),  # no foreign key: a generation outlives its pruned run
    Index("generations_of_archive", "archive", "id"),
    sqlite_autoincrement=True,
)

preparations = Table(
    "preparations",
    metadata,
    Column("archive", Text, primary_key=True),
    _text("generation"),
    Column("prepared_at", UtcTime, nullable=False),
)

site_states = Table(
    "standings",
    metadata,
    Column("archive", Text, primary_key=True),
    Column("site", Text, primary_key=True),
    _text("stage1", nullable=True),
    Column("stage1_at", UtcTime),
    _text("stage2", nullable=True),
    Column("stage2_at", UtcTime),
    Column("sent_stage", _enum(Stage)),
    _text("sent_generation", nullable=True),
    Column("sent_at", UtcTime),
    _text("tried", nullable=True),
    Column("attempts", Integer, nullable=False),
    Column("failing_since", UtcTime),
    Column("next_try_at", UtcTime),
    Column("exit_code", Integer),
    Column("last_words", UntrustedText, nullable=False),
    Column("reported", Boolean, nullable=False),
)

triggers = Table(
    "triggers",
    metadata,
    _id(),
    _text("archive"),
    _text("site"),
    Column("stage", _enum(Stage), nullable=False),
    _text("generation"),
    Column("sent_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("exit_code", Integer),
    Column("output", UntrustedText, nullable=False, default=""),
    Index("triggers_of_archive", "archive", "id"),
    Index("triggers_of_site", "site", "id"),
    Index("triggers_of_both", "archive", "site", "id"),
    sqlite_autoincrement=True,  # a late answer never meets a trigger with the id of a pruned one
)

#: What the rows of each table are read as; columns have the names of the record's fields.
RECORDS = {
    runs: Run,
    requests: Request,
    generations: Generation,
    preparations: Preparation,
    site_states: SiteState,
    triggers: Trigger,
}
Record = TypeVar("Record", Request, Run, Generation, Preparation, SiteState, Trigger)


def fetch(
    kind: type[Record],
    db: Connection,
    statement: Executable,
    parameters: Sequence[Mapping[str, object]] | None = None,
) -> list[Record]:
    """The rows of a statement as records; UnreadableRow if a row is not what was written."""
    return list(iterate(kind, db, statement, parameters))


def fetch_first(kind: type[Record], db: Connection, statement: Executable) -> Record | None:
    """Its first row, if there is one."""
    return next(iter(fetch(kind, db, statement)), None)


def fetch_one(kind: type[Record], db: Connection, statement: Executable, what: str) -> Record:
    """Its only row; StateError if there is no `what`."""
    found = fetch_first(kind, db, statement)
    if found is None:
        raise StateError(f"there is no {what}")
    return found


def iterate(
    kind: type[Record],
    db: Connection,
    statement: Executable,
    parameters: Sequence[Mapping[str, object]] | None = None,
) -> Iterator[Record]:
    """Its rows one by one."""
    try:
        for row in db.execute(statement, parameters).mappings():
            yield to_record(kind, row)
    except MISREAD as exc:
        raise UnreadableRow(f"a {kind.__name__.lower()} cannot be read: {exc}") from exc


def to_record(kind: type[Record], row: RowMapping) -> Record:
    """A row as a record; ValueError if it cannot be one."""
    values = {name: row[name] for name in _TYPES[kind]}
    for name, types in _TYPES[kind].items():
        if not (isinstance(value := values[name], types) and _is_possible(name, value)):
            expected = " or ".join(one.__name__ for one in types)
            raise ValueError(f"{name}: expected {expected}, found {value!r}")
    return kind(**values)


def _field_types(kind: type[object]) -> dict[str, tuple[type, ...]]:
    hints = get_type_hints(kind)
    found = {name: get_args(hint) if isinstance(hint, UnionType) else (hint,) for name, hint in hints.items()}
    return {name: tuple(get_origin(one) or one for one in found[name]) for name in found}


_TYPES = {kind: _field_types(kind) for kind in RECORDS.values()}


def _is_possible(name: str, value: Any) -> bool:
    """Whether a value of the right type is one that could have been written."""
    match value:
        case datetime():
            return value.tzinfo is not None and value.year in _YEARS
        case Mapping():
            return all(isinstance(one, int | float) and isfinite(one) for one in value.values())
        case int():
            return name != "exit_code" or value in _EXIT_CODES
    return name != "log" or "\0" not in value


def to_row(record: Record) -> dict[str, object]:
    """A record as a row; not `asdict`, which would copy each of its times."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def upsert(table: Table, dialect: str) -> Insert:
    """INSERT a row, or UPDATE the one that has its primary key."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # only who uses it waits for its import

        insert: Any = postgresql.insert(table)
    else:
        insert = sqlite.insert(table)
    values = {column.key: insert.excluded[column.key] for column in table.c if not column.primary_key}
    replacing: Insert = insert.on_conflict_do_update(index_elements=table.primary_key, set_=values)
    return replacing


def newest_surplus(table: Table, condition: ColumnElement[bool], keep: int) -> ScalarSelect[int]:
    """The id of the newest row beyond the `keep` newest; NULL, which equals nothing, if there is none."""
    surplus = select(table.c.id).where(condition).order_by(table.c.id.desc()).offset(keep).limit(1)
    return surplus.correlate(None).scalar_subquery()  # not the table's own rows that are being deleted
