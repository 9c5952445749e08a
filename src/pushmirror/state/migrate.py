"""Brings a database to the schema this program knows.

Guaranteed: several processes may open a new database at once, one of them makes it; a migration happens
whole or not at all. A database that is current costs one SELECT: alembic is imported only to change one.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import inspect, select

from pushmirror.errors import StateError
from pushmirror.state.database import Database
from pushmirror.state.schema import alembic_version, metadata
from pushmirror.system.locks import locked

#: Every revision in `migrations/versions`, oldest first.
REVISIONS = ("0001", "0002", "0003")
_REVISION = re.compile(r"[0-9]{4}")
_PATIENCE_S = 60.0  # with another process that migrates


def bring_up_to_date(database: Database, directory: Path) -> None:
    """Migrate the database when it is not current; raises StateError as `revision`."""
    if revision(database) == REVISIONS[-1]:
        return
    with locked(directory, patience_s=_PATIENCE_S):
        if revision(database) == REVISIONS[-1]:  # another process may have been faster
            return
        database.log_ahead()
        _migrate(database)


def revision(database: Database) -> str | None:
    """The schema a database has, one of REVISIONS; none when it is new.

    StateError when it is newer than this program, StateDamaged when nobody can have written it.
    """
    with database.reading() as db:
        if not inspect(db).has_table(alembic_version.name):
            if left := metadata.tables.keys() & {*inspect(db).get_table_names()}:
                raise database.damaged(f"table {alembic_version.name} is missing beside {min(left)}")
            return None
        found: object = db.scalar(select(alembic_version.c.version_num))
    if isinstance(found, str) and found in REVISIONS:
        return found
    if isinstance(found, str) and _REVISION.fullmatch(found) and found > REVISIONS[-1]:
        raise StateError(
            f"the state database has schema {found}, expected at most {REVISIONS[-1]}",
            hint="it was written by a newer pushmirror: install that one",
        )
    raise database.damaged(f"its schema is {found!r}, expected {REVISIONS[-1]}")


def _migrate(database: Database) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with database.writing() as db:
        config.attributes["connection"] = db
        try:
            command.upgrade(config, REVISIONS[-1])
        except CommandError as exc:  # such as two stamps in one database
            raise database.damaged(str(exc)) from exc
