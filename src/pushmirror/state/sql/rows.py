"""Rows as values: columns have the names of a record's fields.

Guaranteed: a value has the types that its record says, else it is a StateDamaged, whatever a disk made of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from math import isfinite
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from sqlalchemy import Connection, Executable, RowMapping

from pushmirror.errors import StateError
from pushmirror.state.database import damaged
from pushmirror.state.records import Generation, Preparation, Request, Run, Standing, Trigger
from pushmirror.system.rebuildable import MISREAD

_YEARS = range(1970, 9000)  # nothing that is counted on from there leaves the calendar
_CODES = range(-255, 256)
Record = TypeVar("Record", Request, Run, Generation, Preparation, Standing, Trigger)


def every(kind: type[Record], db: Connection, statement: Executable) -> list[Record]:
    """All that a statement gives; StateDamaged if a row is not what was written."""
    return list(each(kind, db, statement))


def each(kind: type[Record], db: Connection, statement: Executable) -> Iterator[Record]:
    """The same, one by one."""
    try:
        for row in db.execute(statement).mappings():
            yield record(kind, row)
    except MISREAD as exc:
        raise damaged(db.engine.url, f"a {kind.__name__.lower()} cannot be read: {exc}") from exc


def only(kind: type[Record], db: Connection, statement: Executable, what: str) -> Record:
    """The one that a statement gives; StateError says that there is no `what`."""
    found = every(kind, db, statement)
    if not found:
        raise StateError(f"there is no {what}")
    return found[0]


def record(kind: type[Record], row: RowMapping) -> Record:
    """A row as a value; ValueError if it cannot be."""
    values = {name: row[name] for name in _TYPES[kind]}
    for name, types in _TYPES[kind].items():
        if not (isinstance(value := values[name], types) and _is_possible(name, value)):
            wanted = " or ".join(one.__name__ for one in types)
            raise ValueError(f"{name}: expected {wanted}, found {value!r}")
    return kind(**values)


def _types(kind: type[object]) -> dict[str, tuple[type, ...]]:
    hints = get_type_hints(kind)
    found = {name: get_args(hint) if isinstance(hint, UnionType) else (hint,) for name, hint in hints.items()}
    return {name: tuple(get_origin(one) or one for one in found[name]) for name in found}


#: What each field of a record may hold.
_TYPES = {kind: _types(kind) for kind in (Request, Run, Generation, Preparation, Standing, Trigger)}


def _is_possible(name: str, value: Any) -> bool:
    """Whether a value of the right type is one that could have been written."""
    match value:
        case datetime():
            return value.tzinfo is not None and value.year in _YEARS
        case Mapping():
            return all(isinstance(one, int | float) and isfinite(one) for one in value.values())
        case int():
            return name != "exit_code" or value in _CODES
    return name != "log" or "\0" not in value


def facts(of: Record) -> dict[str, object]:
    """A value as a row; not `asdict`, which would copy each of its times."""
    return {field.name: getattr(of, field.name) for field in fields(of)}
