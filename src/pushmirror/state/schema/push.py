"""Preparations, standings and triggers: what a hub knows of its sites."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import (
    Boolean,
    Column,
    Delete,
    Executable,
    Index,
    Integer,
    Table,
    Text,
    Update,
    delete,
    insert,
    select,
    update,
)

from pushmirror.state.records import Stage
from pushmirror.state.schema.columns import Said, Time, metadata, number, one_of, text
from pushmirror.state.schema.rows import Rows, first_beyond

preparations = Table(
    "preparations",
    metadata,
    Column("archive", Text, primary_key=True),
    text("generation"),
    Column("prepared_at", Time, nullable=False),
)

standings = Table(
    "standings",
    metadata,
    Column("archive", Text, primary_key=True),
    Column("site", Text, primary_key=True),
    text("stage1", nullable=True),
    Column("stage1_at", Time),
    text("stage2", nullable=True),
    Column("stage2_at", Time),
    Column("sent_stage", one_of(Stage)),
    text("sent_generation", nullable=True),
    Column("sent_at", Time),
    text("tried", nullable=True),
    Column("attempts", Integer, nullable=False),
    Column("failing_since", Time),
    Column("next_try_at", Time),
    Column("exit_code", Integer),
    Column("last_words", Said, nullable=False),
    Column("reported", Boolean, nullable=False),
)

triggers = Table(
    "triggers",
    metadata,
    number(),
    text("archive"),
    text("site"),
    Column("stage", one_of(Stage), nullable=False),
    text("generation"),
    Column("sent_at", Time, nullable=False),
    Column("ended_at", Time),
    Column("exit_code", Integer),
    Column("output", Said, nullable=False, default=""),
    Index("triggers_of_archive", "archive", "id"),
    Index("triggers_of_site", "site", "id"),
    Index("triggers_of_both", "archive", "site", "id"),
    sqlite_autoincrement=True,  # a late answer never meets a trigger that took the number of a pruned one
)


def prepared(archive: str) -> Rows:
    """What was prepared last."""
    return select(preparations).where(preparations.c.archive == archive)


def unprepared(archive: str) -> Delete:
    """Nothing is prepared any more: it has been published, or something else has."""
    return delete(preparations).where(preparations.c.archive == archive)


def renamed(archive: str, prepared: str, digest: str) -> list[Update]:
    """What sites have confirmed, or are sent, of a preparation is of this generation."""
    of_it = standings.c.archive == archive
    return [
        update(standings).where(of_it, standings.c[column] == prepared).values({column: digest})
        for column in ("stage1", "sent_generation", "tried")
    ]


def unconfirmed(archive: str, digest: str, *columns: str) -> list[Update]:
    """Confirmations of a generation that was served before, by columns, do not count when it comes back.

    In between a site may have got, and deleted, anything.
    """
    of_it = standings.c.archive == archive
    return [
        update(standings).where(of_it, standings.c[column] == digest).values({column: None})
        for column in columns
    ]


def all_anew() -> tuple[Update, Delete]:
    """No site has confirmed anything, is under way or rests, and nothing is prepared, of all archives."""
    forgotten = ("stage1", "stage2", "sent_stage", "sent_generation", "sent_at", "next_try_at")
    return update(standings).values(dict.fromkeys(forgotten)), delete(preparations)


def all_standings(archive: str) -> Rows:
    """Where the sites are, by name."""
    return select(standings).where(standings.c.archive == archive).order_by(standings.c.site)


def one_standing(archive: str, site: str) -> Rows:
    """Where one site is."""
    return select(standings).where(standings.c.archive == archive, standings.c.site == site)


def moved(archive: str, site: str, facts: Mapping[str, object]) -> Update:
    """A site is elsewhere now, unless it has been forgotten."""
    its = (standings.c.archive == archive) & (standings.c.site == site)
    return update(standings).where(its).values(facts)


def answered(trigger_id: int, **facts: object) -> Update:
    """A trigger has its answer, unless it has been forgotten."""
    return update(triggers).where(triggers.c.id == trigger_id).values(**facts)


def new_triggers() -> Executable:
    """Triggers are sent; gives them back, in no order."""
    return insert(triggers).returning(triggers)


def newest_triggers(archive: str | None, site: str | None, limit: int) -> Rows:
    """Triggers, newest first."""
    newest = select(triggers).order_by(triggers.c.id.desc()).limit(limit)
    if archive is not None:
        newest = newest.where(triggers.c.archive == archive)
    return newest if site is None else newest.where(triggers.c.site == site)


def forgotten_site(site: str) -> tuple[Delete, Delete]:
    """All that is known of a site goes."""
    return delete(standings).where(standings.c.site == site), delete(triggers).where(triggers.c.site == site)


def forgotten_triggers(archive: str, keep: int) -> Delete:
    """All triggers of an archive but the newest go."""
    of_it = triggers.c.archive == archive
    return delete(triggers).where(of_it, triggers.c.id <= first_beyond(keep, triggers, of_it))


def quieted_triggers(archive: str, keep: int) -> Update:
    """What was said to all triggers of an archive but the newest goes."""
    old = (triggers.c.archive == archive) & (
        triggers.c.id <= first_beyond(keep, triggers, triggers.c.archive == archive)
    )
    return update(triggers).where(old, triggers.c.output != "").values(output="")
