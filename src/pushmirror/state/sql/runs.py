"""Requests, runs and generations, in an SQL database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from pushmirror.state.records import Generation, Outcome, Request, Run, Stage
from pushmirror.state.schema import runs as tables
from pushmirror.state.schema.push import unprepared
from pushmirror.state.schema.rows import new, one
from pushmirror.state.sql.memory import Memory
from pushmirror.state.sql.push import begin_again
from pushmirror.state.sql.rows import every, only, record


class RunMemory(Memory):
    """The part of a Store that a mirror needs to sync."""

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
        answer: str | None = None,
    ) -> Request:
        request = new(
            tables.requests,
            archive=archive,
            stage=stage,
            mhop=mhop,
            trigger=trigger,
            client=client,
            words=words,
            generation=generation,
            arrived_at=self._now(),
            exit_code=None if answer is None else 0,
            message=answer or "",
        )
        with self._database.writing() as db:
            return record(Request, db.execute(request).mappings().one())

    def request(self, request_id: int) -> Request:
        with self._database.reading() as db:
            return only(Request, db, one(tables.requests, request_id), f"request {request_id}")

    def pending(self, archive: str) -> list[Request]:
        with self._database.reading() as db:
            return every(Request, db, tables.waiting(archive))

    def latest_request(self, archive: str) -> Request | None:
        with self._database.reading() as db:
            return next(iter(every(Request, db, tables.newest_request(archive))), None)

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
        begun = new(
            tables.runs,
            archive=archive,
            stage=stage,
            strategy=strategy,
            trigger=trigger,
            started_at=self._now(),
            outcome=Outcome.RUNNING,
            log=log,
        )
        with self._database.writing() as db:
            run = record(Run, db.execute(begun).mappings().one())
            for number in request_ids:
                served = tables.served_by(run.id, number, archive)
                only(Request, db, served, f"waiting request {number} for {archive}")
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
        strategy: str = "",
        why: str = "",
    ) -> Run:
        ended = tables.ended(
            run_id,
            outcome=outcome,
            exit_code=int(exit_code),  # a plain number: drivers may know IntEnum for something else
            generation=generation,
            message=message,
            stats=dict(stats or {}),
            ended_at=self._now(),
            **_taken(strategy, why),
        )
        with self._database.writing() as db:
            run = only(Run, db, ended, f"running run {run_id}")
            db.execute(tables.answered(run_id, int(exit_code), message))
        return run

    def interrupt_run(
        self,
        run_id: int,
        *,
        exit_code: int,
        generation: str | None = None,
        message: str = "",
        stats: Mapping[str, int | float] | None = None,
        strategy: str = "",
        why: str = "",
    ) -> Run:
        interrupted = tables.ended(
            run_id,
            outcome=Outcome.INTERRUPTED,
            exit_code=int(exit_code),
            generation=generation,
            message=message,
            stats=dict(stats or {}),
            ended_at=self._now(),
            **_taken(strategy, why),
        )
        with self._database.writing() as db:
            run = only(Run, db, interrupted, f"running run {run_id}")
            db.execute(tables.waiting_again(run_id))
        return run

    def recover(self, archive: str) -> list[Run]:
        with self._database.writing() as db:
            db.execute(tables.all_waiting_again(archive))
            died = tables.died(archive, self._now(), "its process ended without saying how")
            found = sorted(every(Run, db, died), key=lambda run: run.id)
            if found:
                db.execute(unprepared(archive))
            return found

    def publish_generation(
        self, archive: str, digest: str, run_id: int | None, at: datetime, *, was_prepared: bool = False
    ) -> Generation:
        published = new(tables.generations, archive=archive, digest=digest, published_at=at, run_id=run_id)
        with self._database.writing() as db:
            served = every(Generation, db, tables.newest_generations(archive, 1))
            if served and served[0].digest == digest:
                return served[0]
            db.execute(tables.replaced(archive, at))
            begin_again(db, archive, digest, was_prepared=was_prepared)
            return record(Generation, db.execute(published).mappings().one())

    def generations(self, archive: str, limit: int = 20) -> list[Generation]:
        with self._database.reading() as db:
            return every(Generation, db, tables.newest_generations(archive, limit))

    def latest_generation(self, archive: str) -> Generation | None:
        return next(iter(self.generations(archive, 1)), None)

    def runs(self, archive: str | None = None, limit: int = 20, before_id: int | None = None) -> list[Run]:
        with self._database.reading() as db:
            return every(Run, db, tables.newest_runs(archive, limit, before_id))

    def run(self, run_id: int) -> Run:
        with self._database.reading() as db:
            return only(Run, db, one(tables.runs, run_id), f"run {run_id}")

    def prune(self, archive: str, keep: int, *, keep_generations: int = 1000) -> list[Run]:
        with self._database.writing() as db:
            db.execute(tables.forgotten_generations(archive, keep_generations))
            db.execute(tables.forgotten_requests(archive, keep))
            db.execute(tables.forgotten_without_run(archive, keep))
            forgotten = every(Run, db, tables.forgotten_runs(archive, keep))
        return sorted(forgotten, key=lambda run: run.id, reverse=True)


def _taken(strategy: str, why: str) -> dict[str, str]:
    """The strategy that was taken, if the run came so far."""
    return {"strategy": strategy, "why": why} if strategy else {}
