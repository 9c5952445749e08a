"""Preparations, standings and triggers in the state database: what a hub knows of its sites."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from pushmirror.state.database import Database
from pushmirror.state.records import Preparation, Standing, Trigger
from pushmirror.state.tables import (
    fetch,
    fetch_first,
    generations,
    newest_surplus,
    preparations,
    standings,
    to_row,
    triggers,
    upsert,
)


class PushStore:
    """The part of Store that a push needs."""

    _database: Database
    _now: Callable[[], datetime]

    def prepare(self, archive: str, generation: str) -> Preparation:
        """Store what stage 1 has fetched for: a generation, or a name for one that is not known yet.

        Replaces the archive's earlier one. The same again changes nothing, its time included. Stage 1 of one
        that is new here begins anew, whatever sites confirmed of it in earlier times.
        """
        prepared = Preparation(archive, generation, self._now())
        with self._database.writing() as db:
            before = _preparation(db, archive)
            if before and before.generation == generation:
                return before
            served = select(generations.c.digest).where(generations.c.archive == archive)
            if generation != db.scalar(served.order_by(generations.c.id.desc()).limit(1)):
                _revoke(db, archive, generation, "stage1", "sent_generation")
            db.execute(upsert(preparations, db.dialect.name), to_row(prepared))
            return prepared

    def unprepare(self, archive: str) -> None:
        """Delete what was prepared: there is more by now than sites were woken for."""
        with self._database.writing() as db:
            delete_preparation(db, archive)

    def preparation(self, archive: str) -> Preparation | None:
        """What was prepared last and is not published yet."""
        with self._database.reading() as db:
            return _preparation(db, archive)

    def standings(self, archive: str) -> dict[str, Standing]:
        """Where each site is that was ever woken for the archive, by name of the site."""
        with self._database.reading() as db:
            return {standing.site: standing for standing in _standings(db, archive)}

    def send(self, sent: Iterable[Standing]) -> list[Trigger]:
        """Store, in one transaction, these standings and a trigger for each, from their sent_* fields.

        Returns the triggers in the order of the standings.
        """
        rows = list(sent)
        if not rows:
            return []
        new = [
            {
                "archive": standing.archive,
                "site": standing.site,
                "stage": standing.sent_stage,
                "generation": standing.sent_generation,
                "sent_at": standing.sent_at,
            }
            for standing in rows
        ]
        with self._database.writing() as db:
            _put(db, rows)
            stored = fetch(Trigger, db, insert(triggers).returning(triggers), new)
        # To ask the database for their order would be to insert them one by one: RETURNING has none.
        found = {(trigger.archive, trigger.site): trigger for trigger in stored}
        return [found[standing.archive, standing.site] for standing in rows]

    def answered(
        self,
        trigger: Trigger,
        change: Callable[[Standing], Standing],
        *,
        exit_code: int | None,
        output: str,
    ) -> Standing | None:
        """Store what a site answered to a trigger, and what that changes in where it is.

        `change` is given where the site is at this moment, whatever others have written meanwhile. Returns
        where it is now; None when it has been forgotten.
        """
        answer = {"ended_at": self._now(), "exit_code": exit_code, "output": output}
        is_site = (standings.c.archive == trigger.archive) & (standings.c.site == trigger.site)
        with self._database.writing() as db:
            db.execute(update(triggers).where(triggers.c.id == trigger.id).values(**answer))
            before = fetch_first(Standing, db, select(standings).where(is_site))
            if before is None:
                return None
            after = change(before)
            db.execute(update(standings).where(is_site).values(to_row(after)))
            return after

    def put_standings(self, new: Iterable[Standing]) -> None:
        """Store where sites are, in one transaction; earlier standings of the same sites are replaced."""
        with self._database.writing() as db:
            _put(db, list(new))

    def change_standings(
        self, archive: str, change: Callable[[Standing], Standing], *, only: Collection[str] | None = None
    ) -> list[Standing]:
        """Change where sites are, in one transaction and by what the store has at this moment.

        `only` names the sites; none: all. Sites without a standing get none. Returns those that changed.
        """
        with self._database.writing() as db:
            chosen = [one for one in _standings(db, archive) if only is None or one.site in only]
            changed = [after for before in chosen if (after := change(before)) != before]
            _put(db, changed)
            return changed

    def triggers(
        self, *, archive: str | None = None, site: str | None = None, limit: int = 20
    ) -> list[Trigger]:
        """Triggers of one or all archives and sites, newest first."""
        newest = select(triggers).order_by(triggers.c.id.desc()).limit(limit)
        if archive is not None:
            newest = newest.where(triggers.c.archive == archive)
        if site is not None:
            newest = newest.where(triggers.c.site == site)
        with self._database.reading() as db:
            return fetch(Trigger, db, newest)

    def forget_site(self, site: str) -> None:
        """Delete all that is known of a site that is gone: its standings and triggers."""
        with self._database.writing() as db:
            db.execute(delete(standings).where(standings.c.site == site))
            db.execute(delete(triggers).where(triggers.c.site == site))

    def prune_triggers(self, archive: str, keep: int, *, keep_output: int | None = None) -> int:
        """Delete all triggers of an archive but the newest `keep`; returns how many.

        Of those that stay, only the newest `keep_output` keep their output (none: all).
        """
        of_archive = triggers.c.archive == archive

        def surplus(kept: int) -> ColumnElement[bool]:
            return of_archive & (triggers.c.id <= newest_surplus(triggers, of_archive, kept))

        with self._database.writing() as db:
            if keep_output is not None:
                loud = surplus(keep_output) & (triggers.c.output != "")
                db.execute(update(triggers).where(loud).values(output=""))
            return db.execute(delete(triggers).where(surplus(keep))).rowcount


def begin_life(db: Connection, archive: str, digest: str, *, was_prepared: bool) -> None:
    """Another generation is served: what sites confirmed of it when it was served earlier counts no more.

    But for stage 1 when it was prepared: then nothing else was served in between.
    """
    prepared = _preparation(db, archive)
    if prepared and prepared.generation == digest:
        _revoke(db, archive, digest, "stage2")
    else:
        _revoke(db, archive, digest, "stage1", "stage2", "sent_generation")
    if prepared and was_prepared:
        _replace(db, archive, prepared.generation, digest, "stage1", "sent_generation", "tried")
    delete_preparation(db, archive)


def revoke_everything(db: Connection) -> None:
    """No site has confirmed anything, is being woken or waits after a failure, and nothing is prepared."""
    revoked = ("stage1", "stage2", "sent_stage", "sent_generation", "sent_at", "next_try_at")
    db.execute(update(standings).values(dict.fromkeys(revoked)))
    db.execute(delete(preparations))


def delete_preparation(db: Connection, archive: str) -> None:
    """What was prepared has been published, or something else has."""
    db.execute(delete(preparations).where(preparations.c.archive == archive))


def _preparation(db: Connection, archive: str) -> Preparation | None:
    return fetch_first(Preparation, db, select(preparations).where(preparations.c.archive == archive))


def _standings(db: Connection, archive: str) -> list[Standing]:
    of_archive = select(standings).where(standings.c.archive == archive)
    return fetch(Standing, db, of_archive.order_by(standings.c.site))


def _put(db: Connection, new: list[Standing]) -> None:
    if new:  # no rows at all would be one row of defaults to SQLAlchemy
        db.execute(upsert(standings, db.dialect.name), [to_row(standing) for standing in new])


def _revoke(db: Connection, archive: str, digest: str, *columns: str) -> None:
    """What sites confirmed of a generation does not count: since then they may have deleted anything."""
    _replace(db, archive, digest, None, *columns)


def _replace(db: Connection, archive: str, old: str, new: str | None, *columns: str) -> None:
    """Put `new` where a site's standing has the generation `old`, in these columns."""
    for column in columns:
        has_it = (standings.c.archive == archive) & (standings.c[column] == old)
        db.execute(update(standings).where(has_it).values({column: new}))
