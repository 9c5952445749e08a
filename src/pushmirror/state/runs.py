"""Requests, runs and generations in the state database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from pushmirror.state.database import Connection, Database
from pushmirror.state.pushes import delete_preparation, start_generation
from pushmirror.state.records import Generation, Outcome, Request, Run, Stage
from pushmirror.state.rows import insertion


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
        values = {
            "archive": archive,
            "stage": stage,
            "mhop": mhop,
            "trigger_name": trigger,
            "client": client,
            "words": words,
            "generation": generation,
            "arrived_at": self._now(),
            "exit_code": None if answer is None else 0,
            "message": answer or "",
        }
        with self._database.writing() as db:
            return db.fetch(Request, f"{insertion('requests', values)} RETURNING *", **values)[0]

    def request(self, request_id: int) -> Request:
        """The request of this id; StateError if there is none."""
        with self._database.reading() as db:
            sql = "SELECT * FROM requests WHERE id = :id"
            return db.fetch_one(Request, f"request {request_id}", sql, id=request_id)

    def pending(self, archive: str) -> list[Request]:
        """Requests that no run serves yet and that have no answer, oldest first."""
        sql = """
            SELECT * FROM requests
            WHERE archive = :archive AND run_id IS NULL AND exit_code IS NULL
            ORDER BY id
        """
        with self._database.reading() as db:
            return db.fetch(Request, sql, archive=archive)

    def latest_request(self, archive: str) -> Request | None:
        """The newest request, answered or not."""
        with self._database.reading() as db:
            sql = "SELECT * FROM requests WHERE archive = :archive ORDER BY id DESC LIMIT 1"
            return db.fetch_first(Request, sql, archive=archive)

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
        values = {
            "archive": archive,
            "stage": stage,
            "strategy": strategy,
            "trigger_name": trigger,
            "started_at": self._now(),
            "outcome": Outcome.RUNNING,
            "message": "",
            "stats": {},
            "log": log,
            "why": "",
        }
        take = """
            UPDATE requests SET run_id = :run
            WHERE id = :id AND archive = :archive AND run_id IS NULL
            RETURNING *
        """
        with self._database.writing() as db:
            run = db.fetch(Run, f"{insertion('runs', values)} RETURNING *", **values)[0]
            for number in request_ids:
                what = f"waiting request {number} for {archive}"
                db.fetch_one(Request, what, take, run=run.id, id=number, archive=archive)
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
        end = """
            UPDATE runs
            SET outcome = :outcome, exit_code = :exit_code, generation = :generation, message = :message,
                stats = :stats, ended_at = :ended_at,
                strategy = CASE WHEN :strategy = '' THEN strategy ELSE :strategy END,
                why = CASE WHEN :strategy = '' THEN why ELSE :why END
            WHERE id = :id AND outcome = :running
            RETURNING *
        """
        if outcome is Outcome.INTERRUPTED:
            answer = "UPDATE requests SET run_id = NULL WHERE run_id = :run AND exit_code IS NULL"
        else:
            answer = """
                UPDATE requests SET exit_code = :exit_code, message = :message
                WHERE run_id = :run AND exit_code IS NULL
            """
        result = {"exit_code": exit_code, "message": message}
        with self._database.writing() as db:
            run = db.fetch_one(
                Run,
                f"running run {run_id}",
                end,
                id=run_id,
                running=Outcome.RUNNING,
                outcome=outcome,
                generation=generation,
                stats=stats or {},
                ended_at=self._now(),
                strategy=strategy,
                why=why,
                **result,
            )
            db.execute(answer, run=run_id, **result)
        return run

    def recover(self, archive: str) -> list[Run]:
        """Mark the archive's unended runs as died; their requests wait again. Returns these runs.

        A preparation is then deleted: it is unknown what they have fetched since. To be called with the
        tree's lock: only then is such a run known to be dead.
        """
        release = """
            UPDATE requests SET run_id = NULL
            WHERE exit_code IS NULL
                AND run_id IN (SELECT id FROM runs WHERE archive = :archive AND outcome = :running)
        """
        end = """
            UPDATE runs SET outcome = :died, ended_at = :now, message = 'its process disappeared'
            WHERE archive = :archive AND outcome = :running
            RETURNING *
        """
        which = {"archive": archive, "running": Outcome.RUNNING}
        with self._database.writing() as db:
            db.execute(release, **which)
            found = db.fetch(Run, end, died=Outcome.DIED, now=self._now(), **which)
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
            served = next(iter(_newest_generations(db, archive, 1)), None)
            if served and served.digest == digest:
                return served
            replace = """
                UPDATE generations SET replaced_at = :at WHERE archive = :archive AND replaced_at IS NULL
            """
            db.execute(replace, at=at, archive=archive)
            start_generation(db, archive, digest, was_prepared=was_prepared)
            values = {"archive": archive, "digest": digest, "published_at": at, "run_id": run_id}
            return db.fetch(Generation, f"{insertion('generations', values)} RETURNING *", **values)[0]

    def generations(self, archive: str, limit: int = 20) -> list[Generation]:
        """The archive's generations, newest first."""
        with self._database.reading() as db:
            return _newest_generations(db, archive, limit)

    def latest_generation(self, archive: str) -> Generation | None:
        """The generation being served."""
        return next(iter(self.generations(archive, 1)), None)

    def runs(self, archive: str | None = None, limit: int = 20, before_id: int | None = None) -> list[Run]:
        """Runs of one or all archives, newest first, from the one before `before_id` on."""
        values = {"archive": archive, "before": before_id}
        conditions = [
            condition
            for name, condition in (("archive", "archive = :archive"), ("before", "id < :before"))
            if values[name] is not None
        ]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"SELECT * FROM runs {where} ORDER BY id DESC LIMIT :limit"  # noqa: S608  conditions of ours
        with self._database.reading() as db:
            return db.fetch(Run, sql, limit=limit, **values)

    def run(self, run_id: int) -> Run:
        """The run of this number; StateError if there is none."""
        with self._database.reading() as db:
            return db.fetch_one(Run, f"run {run_id}", "SELECT * FROM runs WHERE id = :id", id=run_id)

    def prune(self, archive: str, keep: int, *, keep_generations: int = 1000) -> list[Run]:
        """Delete ended runs but the newest `keep`, and their requests; returns these runs, newest first.

        Of requests that needed no run as many are kept. Of its generations the newest are kept too, and
        always the one being served.
        """
        with self._database.writing() as db:
            db.execute(_DELETE_GENERATIONS, archive=archive, keep=keep_generations)
            kept = {"archive": archive, "keep": keep, "running": Outcome.RUNNING}
            db.execute(f"DELETE FROM requests WHERE run_id IN (SELECT id FROM runs WHERE {_SURPLUS})", **kept)  # noqa: S608
            db.execute(_DELETE_REQUESTS_WITHOUT_RUN, archive=archive, keep=keep)
            deleted = db.fetch(Run, f"DELETE FROM runs WHERE {_SURPLUS} RETURNING *", **kept)  # noqa: S608
        return sorted(deleted, key=lambda run: run.id, reverse=True)


#: Surplus: not newer than the newest row beyond those to be kept; if there is none it is NULL, so no row is.
_SURPLUS = """
    archive = :archive AND outcome != :running AND id <= (
        SELECT id FROM runs WHERE archive = :archive AND outcome != :running
        ORDER BY id DESC LIMIT 1 OFFSET :keep
    )
"""
_DELETE_GENERATIONS = """
    DELETE FROM generations
    WHERE archive = :archive AND replaced_at IS NOT NULL AND id <= (
        SELECT id FROM generations WHERE archive = :archive ORDER BY id DESC LIMIT 1 OFFSET :keep
    )
"""
_DELETE_REQUESTS_WITHOUT_RUN = """
    DELETE FROM requests
    WHERE archive = :archive AND run_id IS NULL AND exit_code IS NOT NULL AND id <= (
        SELECT id FROM requests WHERE archive = :archive AND run_id IS NULL AND exit_code IS NOT NULL
        ORDER BY id DESC LIMIT 1 OFFSET :keep
    )
"""


def _newest_generations(db: Connection, archive: str, limit: int) -> list[Generation]:
    sql = "SELECT * FROM generations WHERE archive = :archive ORDER BY id DESC LIMIT :limit"
    return db.fetch(Generation, sql, archive=archive, limit=limit)
