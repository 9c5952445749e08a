"""Rows as values: columns have the names of a record's fields."""

from __future__ import annotations

from dataclasses import fields
from typing import TypeVar

from sqlalchemy import Connection, Executable, RowMapping

from pushmirror.errors import StateError
from pushmirror.state.records import Generation, Preparation, Request, Run, Standing, Trigger

Record = TypeVar("Record", Request, Run, Generation, Preparation, Standing, Trigger)


def every(kind: type[Record], db: Connection, statement: Executable) -> list[Record]:
    """All that a statement gives."""
    return [record(kind, row) for row in db.execute(statement).mappings()]


def only(kind: type[Record], db: Connection, statement: Executable, what: str) -> Record:
    """The one that a statement gives; StateError says that there is no `what`."""
    found = every(kind, db, statement)
    if not found:
        raise StateError(f"there is no {what}")
    return found[0]


def record(kind: type[Record], row: RowMapping) -> Record:
    """A row as a value."""
    return kind(**{field.name: row[field.name] for field in fields(kind)})


def facts(of: Record) -> dict[str, object]:
    """A value as a row; not `asdict`, which would copy each of its times."""
    return {field.name: getattr(of, field.name) for field in fields(of)}
