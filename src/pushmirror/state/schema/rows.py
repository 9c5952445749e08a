"""Statements that know no table."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Insert, ScalarSelect, Select, Table, insert, select
from sqlalchemy.dialects import sqlite

Rows = Select[Any]


def new(table: Table, **facts: object) -> Insert:
    """A new row; gives it back."""
    return insert(table).values(**facts).returning(table)


def one(table: Table, row_id: int) -> Rows:
    """The row of that number."""
    return select(table).where(table.c.id == row_id)


def put(table: Table, dialect: str) -> Insert:
    """A row in the place of the one with its key, if there is one."""
    row = _upsert(dialect, table)
    facts = {column.key: row.excluded[column.key] for column in table.c if not column.primary_key}
    replaced: Insert = row.on_conflict_do_update(index_elements=table.primary_key, set_=facts)
    return replaced


def first_beyond(keep: int, table: Table, which: ColumnElement[bool]) -> ScalarSelect[int]:
    """The number of the newest row that is too many; NULL, to which nothing compares, when none is."""
    beyond = select(table.c.id).where(which).order_by(table.c.id.desc()).offset(keep).limit(1)
    return beyond.correlate(None).scalar_subquery()  # its own look at the table that rows are deleted from


def _upsert(dialect: str, table: Table) -> Any:
    """An INSERT with ON CONFLICT: both databases say it alike, SQLAlchemy has it for each of its own."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # only who uses it waits for its import

        return postgresql.insert(table)
    return sqlite.insert(table)
