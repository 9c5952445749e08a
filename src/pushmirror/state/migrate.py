"""Brings a database to the schema this program knows.

Guaranteed: several processes may open a new database at once, one of them makes it; a migration happens
whole or not at all. A database that is current costs one SELECT: alembic is imported only to change one.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect, select

from pushmirror.errors import StateError
from pushmirror.state.database import Database
from pushmirror.state.schema import alembic_version
from pushmirror.system.locks import locked

#: Every revision in `migrations/versions`, oldest first.
REVISIONS = ("0001", "0002", "0003")
_PATIENCE_S = 60.0  # with another process that migrates


def bring_up_to_date(database: Database, directory: Path) -> None:
    """Migrate the database when it is not current; raises StateError when it is newer than this program."""
    if revision(database) == REVISIONS[-1]:
        return
    with locked(directory, patience_s=_PATIENCE_S):
        found = revision(database)  # another process may have been faster
        if found == REVISIONS[-1]:
            return
        if found is not None and found not in REVISIONS:
            raise StateError(
                f"the state database has schema {found}, expected at most {REVISIONS[-1]}",
                hint="it was written by a newer pushmirror: install that one",
            )
        database.log_ahead()
        _migrate(database)


def revision(database: Database) -> str | None:
    """The schema a database has; none when it is new."""
    with database.reading() as db:
        if not inspect(db).has_table(alembic_version.name):
            return None
        found: str | None = db.scalar(select(alembic_version.c.version_num))
    return found


def _migrate(database: Database) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with database.writing() as db:
        config.attributes["connection"] = db
        command.upgrade(config, REVISIONS[-1])
