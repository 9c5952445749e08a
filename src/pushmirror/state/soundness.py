"""Whether an SQLite state database can be read to the last row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from pushmirror.errors import StateDamaged, StateError
from pushmirror.state.database import Database, url_of
from pushmirror.state.files import lack_of
from pushmirror.state.migrate import REVISIONS, revision
from pushmirror.state.records import Generation, Preparation, Request, Run, Standing, Trigger
from pushmirror.state.schema import metadata, push, runs
from pushmirror.state.sql.rows import each

_KINDS = {
    runs.runs: Run,
    runs.requests: Request,
    runs.generations: Generation,
    push.preparations: Preparation,
    push.standings: Standing,
    push.triggers: Trigger,
}


def problem_of(file: Path) -> str:
    """What is wrong with a database, in one line; empty if nothing is.

    Looked at are its pages and indices, its tables and columns, and each value of each row. One of an older
    schema has its tables changed when it is opened: of that only pages and indices are looked at.
    """
    if lack := lack_of(file):
        return lack
    database = Database(url_of(file))
    try:
        with database.reading() as db:
            said = db.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if said != "ok":
                return str(said).replace("\n", ": ")
        if (found := revision(database)) is None:
            return "it has no tables"
        if found == REVISIONS[-1]:
            with database.reading() as db:
                return next(_missing(db), "") or _unreadable(db)
    except StateError as exc:
        return exc.found if isinstance(exc, StateDamaged) else str(exc)
    finally:
        database.close()
    return ""


def _missing(db: Connection) -> Iterator[str]:
    for table in metadata.sorted_tables:
        if not inspect(db).has_table(table.name):
            yield f"table {table.name} is missing"
            continue
        there = {column["name"] for column in inspect(db).get_columns(table.name)}
        yield from (
            f"column {table.name}.{column.name} is missing" for column in table.c if column.name not in there
        )


def _unreadable(db: Connection) -> str:
    for table, kind in _KINDS.items():
        for _ in each(kind, db, select(table)):
            pass
    return ""
