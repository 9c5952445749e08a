"""Requests, runs and generations: what a mirror was asked for, did and serves."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Delete,
    Executable,
    ForeignKey,
    Index,
    Integer,
    Table,
    Update,
    delete,
    select,
    update,
)

from pushmirror.state.records import Outcome, Stage
from pushmirror.state.schema.columns import Time, metadata, number, one_of, text
from pushmirror.state.schema.rows import Rows, first_beyond

runs = Table(
    "runs",
    metadata,
    number(),
    text("archive"),
    Column("stage", one_of(Stage), nullable=False),
    text("strategy"),
    text("trigger_name", key="trigger"),  # "trigger" is a word of SQL
    Column("started_at", Time, nullable=False),
    Column("ended_at", Time),
    Column("outcome", one_of(Outcome), nullable=False),
    Column("exit_code", Integer),
    text("generation", nullable=True),
    text("message"),
    Column("stats", JSON, nullable=False, default=dict),
    text("log"),
    text("why"),  # the strategy
    Index("runs_of_archive", "archive", "id"),
    sqlite_autoincrement=True,  # the number of a pruned run is never given to another
)

requests = Table(
    "requests",
    metadata,
    number(),
    text("archive"),
    Column("stage", one_of(Stage), nullable=False),
    Column("mhop", Boolean, nullable=False),
    text("trigger_name", key="trigger"),
    text("client"),
    text("words"),
    text("generation", nullable=True),
    Column("arrived_at", Time, nullable=False),
    Column("run_id", ForeignKey("runs.id")),
    Column("exit_code", Integer),
    text("message"),
    Index("requests_of_run", "run_id"),
    Index("requests_of_archive", "archive", "run_id"),
    sqlite_autoincrement=True,
)

generations = Table(
    "generations",
    metadata,
    number(),
    text("archive"),
    text("digest"),
    Column("published_at", Time, nullable=False),
    Column("replaced_at", Time),
    Column("run_id", Integer),  # no foreign key: a generation outlives its pruned run
    Index("generations_of_archive", "archive", "id"),
    sqlite_autoincrement=True,
)


def waiting(archive: str) -> Rows:
    """Requests that no run serves yet, oldest first."""
    no_run = requests.c.run_id.is_(None) & requests.c.exit_code.is_(None)
    return select(requests).where(requests.c.archive == archive, no_run).order_by(requests.c.id)


def newest_request(archive: str) -> Rows:
    """What was asked for last."""
    return select(requests).where(requests.c.archive == archive).order_by(requests.c.id.desc()).limit(1)


def served_by(run_id: int, request_id: int, archive: str) -> Update:
    """A waiting request waits no longer; gives it back, unless another run was faster."""
    free = (requests.c.id == request_id) & (requests.c.archive == archive) & requests.c.run_id.is_(None)
    return update(requests).where(free).values(run_id=run_id).returning(requests)


def answered(run_id: int, exit_code: int, message: str) -> Update:
    """The requests of a run that ended have their answer."""
    owed = (requests.c.run_id == run_id) & requests.c.exit_code.is_(None)
    return update(requests).where(owed).values(exit_code=exit_code, message=message)


def waiting_again(run_id: int) -> Update:
    """The requests of a run that will not answer them wait again."""
    owed = (requests.c.run_id == run_id) & requests.c.exit_code.is_(None)
    return update(requests).where(owed).values(run_id=None)


def all_waiting_again(archive: str) -> Update:
    """The requests of running runs wait again."""
    theirs = requests.c.run_id.in_(select(runs.c.id).where(_running(archive)))
    return update(requests).where(theirs, requests.c.exit_code.is_(None)).values(run_id=None)


def ended(run_id: int, **facts: object) -> Update:
    """A running run ends; gives it back."""
    running = (runs.c.id == run_id) & (runs.c.outcome == Outcome.RUNNING)
    return update(runs).where(running).values(**facts).returning(runs)


def died(archive: str, at: datetime, message: str) -> Update:
    """Running runs end without having said how; gives them back."""
    change = update(runs).where(_running(archive))
    return change.values(outcome=Outcome.DIED, ended_at=at, message=message).returning(runs)


def newest_runs(archive: str | None, limit: int, before_id: int | None) -> Rows:
    """Runs, newest first."""
    newest = select(runs).order_by(runs.c.id.desc()).limit(limit)
    if archive is not None:
        newest = newest.where(runs.c.archive == archive)
    return newest if before_id is None else newest.where(runs.c.id < before_id)


def newest_generations(archive: str, limit: int) -> Rows:
    """Generations, newest first."""
    newest = select(generations).order_by(generations.c.id.desc()).limit(limit)
    return newest.where(generations.c.archive == archive)


def known_archives() -> Rows:
    """The names of archives for which something ran or was published."""
    return select(runs.c.archive).union(select(generations.c.archive)).subquery().select()


def replaced(archive: str, at: datetime) -> Update:
    """What was served until now is no longer."""
    served = (generations.c.archive == archive) & generations.c.replaced_at.is_(None)
    return update(generations).where(served).values(replaced_at=at)


def forgotten_requests(archive: str, keep: int) -> Delete:
    """Requests of all ended runs but the newest go; to be said before `forgotten_runs`."""
    return delete(requests).where(requests.c.run_id.in_(select(runs.c.id).where(_old_runs(archive, keep))))


def forgotten_without_run(archive: str, keep: int) -> Delete:
    """Requests that needed no run go, but the newest."""
    settled = (
        (requests.c.archive == archive) & requests.c.run_id.is_(None) & requests.c.exit_code.is_not(None)
    )
    return delete(requests).where(settled, requests.c.id <= first_beyond(keep, requests, settled))


def forgotten_runs(archive: str, keep: int) -> Executable:
    """All ended runs but the newest go; gives them back."""
    return delete(runs).where(_old_runs(archive, keep)).returning(runs)


def forgotten_generations(archive: str, keep: int) -> Delete:
    """All generations but the newest go, and never the one being served."""
    all_of_it = generations.c.archive == archive
    too_many = generations.c.id <= first_beyond(keep, generations, all_of_it)
    return delete(generations).where(all_of_it, too_many, generations.c.replaced_at.is_not(None))


def _running(archive: str) -> ColumnElement[bool]:
    return (runs.c.archive == archive) & (runs.c.outcome == Outcome.RUNNING)


def _old_runs(archive: str, keep: int) -> ColumnElement[bool]:
    ended = (runs.c.archive == archive) & (runs.c.outcome != Outcome.RUNNING)
    return ended & (runs.c.id <= first_beyond(keep, runs, ended))
