"""Rows of the state database as records, and back.

Guaranteed: times are text of one width in UTC, so that they sort; a record's fields have their declared
types, whatever is in the row; no text has what a database refuses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pushmirror.state.records import Generation, Preparation, Request, Run, SiteState, Trigger
from pushmirror.system.sqlite import MISREAD

#: The records by the name of their table.
RECORDS = {
    "runs": Run,
    "requests": Request,
    "generations": Generation,
    "preparations": Preparation,
    "standings": SiteState,
    "triggers": Trigger,
}
Record = TypeVar("Record", Request, Run, Generation, Preparation, SiteState, Trigger)
Row = Mapping[str, Any]
_COLUMNS = {"trigger": "trigger_name"}  # "trigger" is a word of SQL; other columns are named as the field
_YEARS = range(1970, 9000)  # nothing that is added to one of these leaves the calendar
_EXIT_CODES = range(-255, 256)


class UnreadableRow(Exception):
    """What is in the database is not what was written."""


def to_record(kind: type[Record], row: Row) -> Record:
    """A row as a record; UnreadableRow if it cannot be one."""
    columns = ((name, _COLUMNS.get(name, name), types) for name, types in _TYPES[kind])
    try:
        return kind(**{name: _value(name, row[column], types) for name, column, types in columns})
    except (KeyError, ValueError) as exc:
        raise UnreadableRow(f"a {kind.__name__.lower()} cannot be read: {exc}") from exc


def to_row(record: Record) -> dict[str, object]:
    """A record as values by column; not `asdict`, which would copy each of its times."""
    return {_COLUMNS.get(field.name, field.name): getattr(record, field.name) for field in fields(record)}


def to_column(value: object) -> object:
    """A field's value as a database takes it: PostgreSQL refuses NUL, every driver half a surrogate pair."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        case str():
            return value.replace("\0", "\ufffd").encode(errors="replace").decode()
        case Mapping():
            return json.dumps(value)
        case bool():
            return value
        case int():
            return int(value)  # drivers may know an IntEnum for something else
    return value


def insertion(table: str, columns: Iterable[str]) -> str:
    """The statement that inserts a row with a value for each of these columns."""
    names = tuple(columns)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"  # noqa: S608


def _value(name: str, stored: Any, types: tuple[type, ...]) -> Any:
    with suppress(*MISREAD):
        value = stored if stored is None else _decoded(stored, types[0])
        if isinstance(value, types) and _is_possible(name, value):
            return value
    expected = " or ".join(one.__name__ for one in types if one is not NoneType)
    raise ValueError(f"{name}: expected {expected}, found {stored!r}")


def _decoded(stored: Any, kind: type) -> object:
    """The value of a column whose field has this type; where a database lacks it, it keeps number or text."""
    if kind is bool and not isinstance(stored, bool):
        return {0: False, 1: True}[stored]
    if kind is Mapping and isinstance(stored, str):
        return json.loads(stored)
    if kind is datetime:
        return datetime.fromisoformat(stored)
    if issubclass(kind, StrEnum):
        return kind(stored)
    return stored


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


def _field_types(kind: type[object]) -> list[tuple[str, tuple[type, ...]]]:
    """The fields of a record, and the types that a value of each may have; NoneType is the last."""
    hints = get_type_hints(kind).items()
    types = [(name, get_args(hint) if isinstance(hint, UnionType) else (hint,)) for name, hint in hints]
    return [(name, tuple(get_origin(one) or one for one in found)) for name, found in types]


_TYPES = {kind: _field_types(kind) for kind in RECORDS.values()}
