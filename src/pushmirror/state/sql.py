"""The store in an SQL database.

Guaranteed: one transaction a method; an opened store has the current schema. Not here: what is said to the
tables (`schema.py`), how a database is reached (`database.py`) and how its tables came to be (`migrate.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Executable, RowMapping

from pushmirror.errors import StateError
from pushmirror.state import schema
from pushmirror.state.database import Database
from pushmirror.state.migrate import bring_up_to_date
from pushmirror.state.records import Generation, Outcome, Request, Run, Stage
from pushmirror.system import clock

Record = TypeVar("Record", Request, Run, Generation)


def open_store(url: str, directory: Path, *, now: Callable[[], datetime] = clock.now) -> SqlStore:
    """The store at an SQLAlchemy URL, its schema brought up to date under the lock of `directory`.

    Both are made when they do not exist yet. Raises StateError.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StateError(
            f"the state directory {directory} cannot be made: {exc.strerror}",
            hint="name another one as directory in [state], or make it for this user",
        ) from exc
    database = Database(url)
    try:
        bring_up_to_date(database, directory)
    except BaseException:
        database.close()
        raise
    return SqlStore(database, now)


class SqlStore:
    """A Store in any SQL database."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def add_request(
        self,
        archive: str,
        stage: Stage,
        *,
        mhop: bool = False,
        trigger: str,
        client: str = "",
        words: str = "",
        generation: str | None = None,
    ) -> Request:
        request = schema.new(
            schema.requests,
            archive=archive,
            stage=stage,
            mhop=mhop,
            trigger=trigger,
            client=client,
            words=words,
            generation=generation,
            arrived_at=self._now(),
        )
        with self._database.writing() as db:
            return _record(Request, db.execute(request).mappings().one())

    def request(self, request_id: int) -> Request:
        with self._database.reading() as db:
            return _only(Request, db, schema.one(schema.requests, request_id), f"request {request_id}")

    def pending(self, archive: str) -> list[Request]:
        with self._database.reading() as db:
            return _all(Request, db, schema.waiting(archive))

    def begin_run(
        self,
        archive: str,
        stage: Stage,
        *,
        strategy: str,
        trigger: str,
        log: str = "",
        request_ids: Iterable[int] = (),
    ) -> Run:
        begun = schema.new(
            schema.runs,
            archive=archive,
            stage=stage,
            strategy=strategy,
            trigger=trigger,
            started_at=self._now(),
            outcome=Outcome.RUNNING,
            log=log,
        )
        with self._database.writing() as db:
            run = _record(Run, db.execute(begun).mappings().one())
            for number in request_ids:
                served = schema.served_by(run.id, number, archive)
                _only(Request, db, served, f"waiting request {number} for {archive}")
        return run

    def end_run(
        self,
        run_id: int,
        *,
        outcome: Outcome,
        exit_code: int,
        generation: str | None = None,
        message: str = "",
        stats: Mapping[str, int | float] | None = None,
    ) -> Run:
        ended = schema.ended(
            run_id,
            outcome=outcome,
            exit_code=int(exit_code),  # a plain number: drivers may know IntEnum for something else
            generation=generation,
            message=message,
            stats=dict(stats or {}),
            ended_at=self._now(),
        )
        with self._database.writing() as db:
            run = _only(Run, db, ended, f"running run {run_id}")
            db.execute(schema.answered(run_id, int(exit_code), message))
        return run

    def interrupt_run(
        self,
        run_id: int,
        *,
        exit_code: int,
        generation: str | None = None,
        message: str = "",
        stats: Mapping[str, int | float] | None = None,
    ) -> Run:
        interrupted = schema.ended(
            run_id,
            outcome=Outcome.INTERRUPTED,
            exit_code=int(exit_code),
            generation=generation,
            message=message,
            stats=dict(stats or {}),
            ended_at=self._now(),
        )
        with self._database.writing() as db:
            run = _only(Run, db, interrupted, f"running run {run_id}")
            db.execute(schema.waiting_again(run_id))
        return run

    def recover(self, archive: str) -> list[Run]:
        with self._database.writing() as db:
            db.execute(schema.all_waiting_again(archive))
            died = schema.died(archive, self._now(), "its process ended without saying how")
            return sorted(_all(Run, db, died), key=lambda run: run.id)

    def publish_generation(self, archive: str, digest: str, run_id: int | None, at: datetime) -> Generation:
        published = schema.new(
            schema.generations, archive=archive, digest=digest, published_at=at, run_id=run_id
        )
        with self._database.writing() as db:
            served = _all(Generation, db, schema.newest_generations(archive, 1))
            if served and served[0].digest == digest:
                return served[0]
            db.execute(schema.replaced(archive, at))
            return _record(Generation, db.execute(published).mappings().one())

    def generations(self, archive: str, limit: int = 20) -> list[Generation]:
        with self._database.reading() as db:
            return _all(Generation, db, schema.newest_generations(archive, limit))

    def latest_generation(self, archive: str) -> Generation | None:
        return next(iter(self.generations(archive, 1)), None)

    def runs(self, archive: str | None = None, limit: int = 20, before_id: int | None = None) -> list[Run]:
        with self._database.reading() as db:
            return _all(Run, db, schema.newest_runs(archive, limit, before_id))

    def run(self, run_id: int) -> Run:
        with self._database.reading() as db:
            return _only(Run, db, schema.one(schema.runs, run_id), f"run {run_id}")

    def prune(self, archive: str, keep: int, *, keep_generations: int = 1000) -> list[Run]:
        with self._database.writing() as db:
            db.execute(schema.forgotten_generations(archive, keep_generations))
            db.execute(schema.forgotten_requests(archive, keep))
            forgotten = _all(Run, db, schema.forgotten_runs(archive, keep))
        return sorted(forgotten, key=lambda run: run.id, reverse=True)

    def close(self) -> None:
        self._database.close()


def _all(kind: type[Record], db: Connection, statement: Executable) -> list[Record]:
    return [_record(kind, row) for row in db.execute(statement).mappings()]


def _only(kind: type[Record], db: Connection, statement: Executable, what: str) -> Record:
    found = _all(kind, db, statement)
    if not found:
        raise StateError(f"there is no {what}")
    return found[0]


def _record(kind: type[Record], row: RowMapping) -> Record:
    """A row as a value: columns have the names of its fields."""
    return kind(**{field.name: row[field.name] for field in fields(kind)})
