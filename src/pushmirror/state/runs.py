"""Requests, runs and generations in the state database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, insert, select, update

from pushmirror.state.database import Database
from pushmirror.state.pushes import delete_preparation, start_generation
from pushmirror.state.records import Generation, Outcome, Request, Run, Stage
from pushmirror.state.tables import (
    fetch,
    fetch_first,
    fetch_one,
    generations,
    newest_surplus,
    requests,
    runs,
)


class RunStore:
    """The part of Store that a run needs."""

    _database: Database
    _now: Callable[[], datetime]

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
        """Store a request for a run. With an `answer` it needs no run, and has succeeded."""
        statement = insert(requests).values(
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
            return fetch(Request, db, statement.returning(requests))[0]

    def request(self, request_id: int) -> Request:
        """The request of this id; StateError if there is none."""
        with self._database.reading() as db:
            statement = select(requests).where(requests.c.id == request_id)
            return fetch_one(Request, db, statement, f"request {request_id}")

    def pending(self, archive: str) -> list[Request]:
        """Requests that no run serves yet and that have no answer, oldest first."""
        is_pending = requests.c.run_id.is_(None) & requests.c.exit_code.is_(None)
        with self._database.reading() as db:
            statement = select(requests).where(requests.c.archive == archive, is_pending)
            return fetch(Request, db, statement.order_by(requests.c.id))

    def latest_request(self, archive: str) -> Request | None:
        """The newest request, answered or not."""
        with self._database.reading() as db:
            statement = select(requests).where(requests.c.archive == archive)
            return fetch_first(Request, db, statement.order_by(requests.c.id.desc()).limit(1))

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
        """Store a run that starts now and serves these requests; StateError if another run serves one."""
        begin = insert(runs).values(
            archive=archive,
            stage=stage,
            strategy=strategy,
            trigger=trigger,
            started_at=self._now(),
            outcome=Outcome.RUNNING,
            log=log,
        )
        with self._database.writing() as db:
            run = fetch(Run, db, begin.returning(runs))[0]
            for number in request_ids:
                is_free = (requests.c.archive == archive) & requests.c.run_id.is_(None)
                take = update(requests).where(requests.c.id == number, is_free).values(run_id=run.id)
                fetch_one(Request, db, take.returning(requests), f"waiting request {number} for {archive}")
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
        """Store a run's result, and answer its requests with it; StateError unless it was running.

        Requests of an interrupted run get no answer: they wait for the next run. `strategy` and `why` are
        those that were used; empty: unchanged.
        """
        values = {
            "outcome": outcome,
            "exit_code": int(exit_code),  # a plain number: drivers may know IntEnum for something else
            "generation": generation,
            "message": message,
            "stats": dict(stats or {}),
            "ended_at": self._now(),
            **({"strategy": strategy, "why": why} if strategy else {}),
        }
        if outcome is Outcome.INTERRUPTED:
            answer: dict[str, object] = {"run_id": None}
        else:
            answer = {"exit_code": int(exit_code), "message": message}
        is_running = (runs.c.id == run_id) & (runs.c.outcome == Outcome.RUNNING)
        with self._database.writing() as db:
            end = update(runs).where(is_running).values(**values).returning(runs)
            run = fetch_one(Run, db, end, f"running run {run_id}")
            is_unanswered = (requests.c.run_id == run_id) & requests.c.exit_code.is_(None)
            db.execute(update(requests).where(is_unanswered).values(**answer))
        return run

    def recover(self, archive: str) -> list[Run]:
        """Mark the archive's unended runs as died; their requests wait again. Returns these runs.

        A preparation is then deleted: it is unknown what they have fetched since. To be called with the
        tree's lock: only then is such a run known to be dead.
        """
        is_running = (runs.c.archive == archive) & (runs.c.outcome == Outcome.RUNNING)
        died = {
            "outcome": Outcome.DIED,
            "ended_at": self._now(),
            "message": "its process disappeared",
        }
        with self._database.writing() as db:
            is_theirs = requests.c.run_id.in_(select(runs.c.id).where(is_running))
            db.execute(update(requests).where(is_theirs, requests.c.exit_code.is_(None)).values(run_id=None))
            found = fetch(Run, db, update(runs).where(is_running).values(**died).returning(runs))
            if found:
                delete_preparation(db, archive)
        return sorted(found, key=lambda run: run.id)

    def publish_generation(
        self, archive: str, digest: str, run_id: int | None, at: datetime, *, was_prepared: bool = False
    ) -> Generation:
        """Store the generation that is served from now on; the same digest changes nothing.

        What sites confirmed of this generation when it was served earlier counts no more, nor do answers that
        are still to come from that time. A preparation was for this generation, which then takes over what
        sites have confirmed of it, or is outdated: `was_prepared` says so where its name does not.
        """
        with self._database.writing() as db:
            served = fetch_first(Generation, db, _newest_generations(archive, 1))
            if served and served.digest == digest:
                return served
            is_served = (generations.c.archive == archive) & generations.c.replaced_at.is_(None)
            db.execute(update(generations).where(is_served).values(replaced_at=at))
            start_generation(db, archive, digest, was_prepared=was_prepared)
            publish = insert(generations).values(
                archive=archive, digest=digest, published_at=at, run_id=run_id
            )
            return fetch(Generation, db, publish.returning(generations))[0]

    def generations(self, archive: str, limit: int = 20) -> list[Generation]:
        """The archive's generations, newest first."""
        with self._database.reading() as db:
            return fetch(Generation, db, _newest_generations(archive, limit))

    def latest_generation(self, archive: str) -> Generation | None:
        """The generation being served."""
        return next(iter(self.generations(archive, 1)), None)

    def runs(self, archive: str | None = None, limit: int = 20, before_id: int | None = None) -> list[Run]:
        """Runs of one or all archives, newest first, from the one before `before_id` on."""
        newest = select(runs).order_by(runs.c.id.desc()).limit(limit)
        if archive is not None:
            newest = newest.where(runs.c.archive == archive)
        if before_id is not None:
            newest = newest.where(runs.c.id < before_id)
        with self._database.reading() as db:
            return fetch(Run, db, newest)

    def run(self, run_id: int) -> Run:
        """The run of this number; StateError if there is none."""
        with self._database.reading() as db:
            return fetch_one(Run, db, select(runs).where(runs.c.id == run_id), f"run {run_id}")

    def prune(self, archive: str, keep: int, *, keep_generations: int = 1000) -> list[Run]:
        """Delete ended runs but the newest `keep`, and their requests; returns these runs, newest first.

        Of requests that needed no run as many are kept. Of its generations the newest are kept too, and
        always the one being served.
        """
        of_archive = generations.c.archive == archive
        surplus_generations = (
            of_archive
            & (generations.c.id <= newest_surplus(generations, of_archive, keep_generations))
            & generations.c.replaced_at.is_not(None)
        )
        needed_no_run = requests.c.run_id.is_(None) & requests.c.exit_code.is_not(None)
        needed_no_run &= requests.c.archive == archive
        with self._database.writing() as db:
            db.execute(delete(generations).where(surplus_generations))
            surplus_runs = _surplus_runs(archive, keep)
            db.execute(delete(requests).where(requests.c.run_id.in_(select(runs.c.id).where(surplus_runs))))
            surplus = requests.c.id <= newest_surplus(requests, needed_no_run, keep)
            db.execute(delete(requests).where(needed_no_run, surplus))
            deleted = fetch(Run, db, delete(runs).where(surplus_runs).returning(runs))
        return sorted(deleted, key=lambda run: run.id, reverse=True)


def _newest_generations(archive: str, limit: int) -> Select[Any]:
    of_archive = select(generations).where(generations.c.archive == archive)
    return of_archive.order_by(generations.c.id.desc()).limit(limit)


def _surplus_runs(archive: str, keep: int) -> ColumnElement[bool]:
    has_ended = (runs.c.archive == archive) & (runs.c.outcome != Outcome.RUNNING)
    return has_ended & (runs.c.id <= newest_surplus(runs, has_ended, keep))
