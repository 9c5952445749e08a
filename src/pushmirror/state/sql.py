"""The store in an SQL database: plain statements that SQLite and PostgreSQL read alike.

Guaranteed: one transaction a method; an opened store has the current schema. Times are kept as text of
one width in UTC, so they sort as they are. Not here: how a database is reached (`database.py`), how the
schema came to be (`migrations/`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pushmirror.errors import StateError
from pushmirror.state.database import Connection, Database, open_database
from pushmirror.state.records import Generation, Outcome, Request, Run, Stage
from pushmirror.state.schema import bring_up_to_date
from pushmirror.system import clock


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
    database = open_database(url)
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
        with self._database.writing() as db:
            (row,) = db.rows(
                "INSERT INTO requests"
                " (archive, stage, mhop, trigger_name, client, words, generation, arrived_at, message)"
                " VALUES (:archive, :stage, :mhop, :trigger, :client, :words, :generation, :at, '')"
                " RETURNING *",
                archive=archive,
                stage=stage.value,
                mhop=int(mhop),
                trigger=trigger,
                client=client,
                words=words,
                generation=generation,
                at=_text(self._now()),
            )
        return _request(row)

    def request(self, request_id: int) -> Request:
        with self._database.reading() as db:
            rows = db.rows("SELECT * FROM requests WHERE id = :id", id=request_id)
        return _request(_only(rows, f"request {request_id}"))

    def pending(self, archive: str) -> list[Request]:
        with self._database.reading() as db:
            rows = db.rows(
                "SELECT * FROM requests WHERE archive = :archive AND run_id IS NULL AND exit_code IS NULL"
                " ORDER BY id",
                archive=archive,
            )
        return [_request(row) for row in rows]

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
        with self._database.writing() as db:
            (row,) = db.rows(
                "INSERT INTO runs"
                " (archive, stage, strategy, trigger_name, started_at, outcome, message, stats, log)"
                " VALUES (:archive, :stage, :strategy, :trigger, :at, :outcome, '', '{}', :log)"
                " RETURNING *",
                archive=archive,
                stage=stage.value,
                strategy=strategy,
                trigger=trigger,
                at=_text(self._now()),
                outcome=Outcome.RUNNING.value,
                log=log,
            )
            for request_id in request_ids:
                _assign(db, request_id, archive, row["id"])
        return _run(row)

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
        with self._database.writing() as db:
            rows = db.rows(
                "UPDATE runs SET outcome = :outcome, exit_code = :exit_code, generation = :generation,"
                " message = :message, stats = :stats, ended_at = :at WHERE id = :id AND outcome = 'running'"
                " RETURNING *",
                outcome=outcome.value,
                exit_code=int(exit_code),
                generation=generation,
                message=message,
                stats=json.dumps(dict(stats or {})),
                at=_text(self._now()),
                id=run_id,
            )
            run = _run(_only(rows, f"running run {run_id}"))
            db.do(
                "UPDATE requests SET exit_code = :exit_code, message = :message"
                " WHERE run_id = :id AND exit_code IS NULL",
                exit_code=int(exit_code),
                message=message,
                id=run_id,
            )
        return run

    def recover(self, archive: str) -> list[Run]:
        with self._database.writing() as db:
            rows = db.rows(
                "UPDATE runs SET outcome = 'died', ended_at = :at, message = :message"
                " WHERE archive = :archive AND outcome = 'running' RETURNING *",
                at=_text(self._now()),
                message="its process ended without saying how",
                archive=archive,
            )
            for row in rows:
                db.do(
                    "UPDATE requests SET run_id = NULL WHERE run_id = :id AND exit_code IS NULL", id=row["id"]
                )
        return sorted(map(_run, rows), key=lambda run: run.id)

    def publish_generation(self, archive: str, digest: str, run_id: int | None, at: datetime) -> Generation:
        with self._database.writing() as db:
            served = _generations(db, archive, 1)
            if served and served[0].digest == digest:
                return served[0]
            db.do(
                "UPDATE generations SET replaced_at = :at WHERE archive = :archive AND replaced_at IS NULL",
                at=_text(at),
                archive=archive,
            )
            (row,) = db.rows(
                "INSERT INTO generations (archive, digest, published_at, run_id)"
                " VALUES (:archive, :digest, :at, :run_id) RETURNING *",
                archive=archive,
                digest=digest,
                at=_text(at),
                run_id=run_id,
            )
        return _generation(row)

    def generations(self, archive: str, limit: int = 20) -> list[Generation]:
        with self._database.reading() as db:
            return _generations(db, archive, limit)

    def latest_generation(self, archive: str) -> Generation | None:
        return next(iter(self.generations(archive, 1)), None)

    def runs(self, archive: str | None = None, limit: int = 20, before_id: int | None = None) -> list[Run]:
        which = ["1 = 1"]
        facts: dict[str, object] = {"limit": limit}
        if archive is not None:
            which.append("archive = :archive")
            facts["archive"] = archive
        if before_id is not None:
            which.append("id < :before_id")
            facts["before_id"] = before_id
        statement = f"SELECT * FROM runs WHERE {' AND '.join(which)} ORDER BY id DESC LIMIT :limit"  # noqa: S608  constants
        with self._database.reading() as db:
            return [_run(row) for row in db.rows(statement, **facts)]

    def run(self, run_id: int) -> Run:
        with self._database.reading() as db:
            rows = db.rows("SELECT * FROM runs WHERE id = :id", id=run_id)
        return _run(_only(rows, f"run {run_id}"))

    def prune(self, archive: str, keep: int) -> list[Run]:
        with self._database.writing() as db:
            ended = db.rows(
                "SELECT * FROM runs WHERE archive = :archive AND outcome <> 'running' ORDER BY id DESC",
                archive=archive,
            )
            for row in ended[keep:]:
                db.do("DELETE FROM requests WHERE run_id = :id", id=row["id"])
                db.do("DELETE FROM runs WHERE id = :id", id=row["id"])
        return [_run(row) for row in ended[keep:]]

    def close(self) -> None:
        self._database.close()


Row = Mapping[str, Any]


def _assign(db: Connection, request_id: int, archive: str, run_id: int) -> None:
    rows = db.rows(
        "UPDATE requests SET run_id = :run_id WHERE id = :id AND archive = :archive AND run_id IS NULL"
        " RETURNING id",
        run_id=run_id,
        id=request_id,
        archive=archive,
    )
    _only(rows, f"waiting request {request_id} for {archive}")


def _only(rows: list[Row], what: str) -> Row:
    if not rows:
        raise StateError(f"there is no {what}")
    return rows[0]


def _generations(db: Connection, archive: str, limit: int) -> list[Generation]:
    rows = db.rows(
        "SELECT * FROM generations WHERE archive = :archive ORDER BY id DESC LIMIT :limit",
        archive=archive,
        limit=limit,
    )
    return [_generation(row) for row in rows]


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _time_or_none(text: str | None) -> datetime | None:
    return None if text is None else _time(text)


def _request(row: Row) -> Request:
    return Request(
        id=row["id"],
        archive=row["archive"],
        stage=Stage(row["stage"]),
        mhop=bool(row["mhop"]),
        trigger=row["trigger_name"],
        client=row["client"],
        words=row["words"],
        generation=row["generation"],
        arrived_at=_time(row["arrived_at"]),
        run_id=row["run_id"],
        exit_code=row["exit_code"],
        message=row["message"],
    )


def _run(row: Row) -> Run:
    return Run(
        id=row["id"],
        archive=row["archive"],
        stage=Stage(row["stage"]),
        strategy=row["strategy"],
        trigger=row["trigger_name"],
        started_at=_time(row["started_at"]),
        ended_at=_time_or_none(row["ended_at"]),
        outcome=Outcome(row["outcome"]),
        exit_code=row["exit_code"],
        generation=row["generation"],
        message=row["message"],
        stats=json.loads(row["stats"]),
        log=row["log"],
    )


def _generation(row: Row) -> Generation:
    return Generation(
        archive=row["archive"],
        digest=row["digest"],
        published_at=_time(row["published_at"]),
        replaced_at=_time_or_none(row["replaced_at"]),
        run_id=row["run_id"],
    )
