"""The state database in PostgreSQL, or another that SQLAlchemy knows: for several hubs on one state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import sqlalchemy
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from pushmirror.errors import StateError
from pushmirror.state import schema
from pushmirror.state.database import REVISIONS, SQLITE_URL, Connection, Database, advice
from pushmirror.state.rows import Row, UnreadableRow, to_column


class _Connection(Connection):
    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, /, **values: object) -> list[Row]:
        columns = {name: to_column(value) for name, value in values.items()}
        result = self._connection.execute(text(sql), columns)
        return [dict(row) for row in result.mappings()] if result.returns_rows else []


class PostgresDatabase(Database):
    """The database at an SQLAlchemy URL; raises StateError."""

    restore_hint = "restore it from a backup of yours"

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)  # its query part may hold a password too
        super().__init__(self._engine.url.set(query={}).render_as_string(hide_password=True))

    def reading(self) -> AbstractContextManager[Connection]:
        return self._transaction()

    def writing(self) -> AbstractContextManager[Connection]:
        return self._transaction()

    def close(self) -> None:
        self._engine.dispose()

    def tables(self) -> set[str]:
        with self._connected() as db:
            return {*inspect(db).get_table_names()}

    def create(self) -> None:
        with self._connected() as db:
            schema.create(db, REVISIONS[-1])

    def upgrade(self) -> None:
        with self._connected() as db:
            schema.upgrade(db, REVISIONS[-1])

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._connected() as db:
            yield _Connection(db)

    @contextmanager
    def _connected(self) -> Iterator[sqlalchemy.Connection]:
        """A connection with a transaction, which is committed when the block ends well."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except UnreadableRow as exc:
            raise self.damage(str(exc)) from exc
        except SQLAlchemyError as exc:
            message = str(getattr(exc, "orig", None) or exc).strip().partition("\n")[0]
            raise StateError(f"the state database {self.name}: {message}", hint=advice(message)) from exc


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            raise StateError(
                f"state.database names an SQLite database in another form than {SQLITE_URL}/path"
            )
        return create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ValueError) as exc:
        raise StateError(  # the URL may hold a password: it is not repeated
            "state.database is no database URL, expected one such as postgresql+psycopg://user@host/name"
        ) from exc
    except ImportError as exc:
        raise StateError(
            f"the Python module {exc.name} for state.database is not installed",
            hint="install it beside pushmirror, or leave out state.database to use SQLite",
        ) from exc
