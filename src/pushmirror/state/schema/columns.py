"""What columns are made of: the types that no database has, and those that are the same everywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import Column, Dialect, Enum, Integer, MetaData, Table, Text, TypeDecorator

metadata = MetaData()

#: Which revision of the schema a database has; alembic's own table, hence not in `metadata`.
alembic_version = Table("alembic_version", MetaData(), Column("version_num", Text))


class Time(TypeDecorator[datetime]):
    """A moment, as text: SQLite has no type for it, and the others would each give back their own zone."""

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


class Said(TypeDecorator[str]):
    """What somebody else said: any text, also what a database would refuse and stop us with."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        # PostgreSQL refuses NUL, and every driver half a surrogate pair: UTF-8 has none.
        return None if value is None else value.replace("\0", "\ufffd").encode(errors="replace").decode()


def one_of(kind: type[StrEnum]) -> Enum:
    """A value of an enumeration, as text: a new kind of stage or outcome needs no migration."""
    return Enum(kind, native_enum=False, length=20, values_callable=lambda kinds: [str(one) for one in kinds])


def number() -> Column[int]:
    """The number of a row, given by the database."""
    return Column("id", Integer, primary_key=True)


def text(name: str, *, key: str | None = None, nullable: bool = False) -> Column[str]:
    """A text, empty when nothing is said."""
    return Column(name, Text, key=key or name, nullable=nullable, default=None if nullable else "")
