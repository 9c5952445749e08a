"""Preparations, site states and triggers in the state database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from pushmirror.state.database import Database
from pushmirror.state.records import Preparation, SiteState, Trigger
from pushmirror.state.tables import (
    fetch,
    fetch_first,
    generations,
    newest_surplus,
    preparations,
    site_states,
    to_row,
    triggers,
    upsert,
)


class PushStore:
    """The part of Store that a push needs."""

    _database: Database
    _now: Callable[[], datetime]

    def prepare(self, archive: str, generation: str) -> Preparation:
        """Store what stage 1 has fetched for: a generation, or a name for an unknown one.

        Replaces the archive's earlier preparation; the same one changes nothing, also not its time. For a
        new one earlier confirmations of stage 1 no longer count.
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
        """Delete the preparation: there is more by now than sites were pushed for."""
        with self._database.writing() as db:
            delete_preparation(db, archive)

    def preparation(self, archive: str) -> Preparation | None:
        """The preparation that is not published yet."""
        with self._database.reading() as db:
            return _preparation(db, archive)

    def site_states(self, archive: str) -> dict[str, SiteState]:
        """The state of each site that was ever pushed the archive, by name of the site."""
        with self._database.reading() as db:
            return {site_state.site: site_state for site_state in _site_states(db, archive)}

    def add_triggers(self, sent: Iterable[SiteState]) -> list[Trigger]:
        """Store, in one transaction, these site states and a trigger for each, from their sent_* fields.

        Returns the triggers in the order of the site states.
        """
        rows = list(sent)
        if not rows:
            return []
        new = [
            {
                "archive": site_state.archive,
                "site": site_state.site,
                "stage": site_state.sent_stage,
                "generation": site_state.sent_generation,
                "sent_at": site_state.sent_at,
            }
            for site_state in rows
        ]
        with self._database.writing() as db:
            _put(db, rows)
            stored = fetch(Trigger, db, insert(triggers).returning(triggers), new)
        # To ask the database for their order would be to insert them one by one: RETURNING has none.
        found = {(trigger.archive, trigger.site): trigger for trigger in stored}
        return [found[site_state.archive, site_state.site] for site_state in rows]

    def record_answer(
        self,
        trigger: Trigger,
        change: Callable[[SiteState], SiteState],
        *,
        exit_code: int | None,
        output: str,
    ) -> SiteState | None:
        """Store what a site answered to a trigger, and its state after that.

        `change` gets the site's state at this moment, whatever others have written meanwhile. Returns the new
        state; None when the site has been forgotten.
        """
        answer = {"ended_at": self._now(), "exit_code": exit_code, "output": output}
        is_site = (site_states.c.archive == trigger.archive) & (site_states.c.site == trigger.site)
        with self._database.writing() as db:
            db.execute(update(triggers).where(triggers.c.id == trigger.id).values(**answer))
            before = fetch_first(SiteState, db, select(site_states).where(is_site))
            if before is None:
                return None
            after = change(before)
            db.execute(update(site_states).where(is_site).values(to_row(after)))
            return after

    def put_site_states(self, new: Iterable[SiteState]) -> None:
        """Store states of sites, in one transaction; earlier states of the same sites are replaced."""
        with self._database.writing() as db:
            _put(db, list(new))

    def change_site_states(
        self, archive: str, change: Callable[[SiteState], SiteState], *, only: Collection[str] | None = None
    ) -> list[SiteState]:
        """Change states of sites, in one transaction and by what the store has at this moment.

        `only` names the sites; none: all. Sites without a state get none. Returns those that changed.
        """
        with self._database.writing() as db:
            chosen = [one for one in _site_states(db, archive) if only is None or one.site in only]
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
        """Delete the states and triggers of a removed site."""
        with self._database.writing() as db:
            db.execute(delete(site_states).where(site_states.c.site == site))
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


def start_generation(db: Connection, archive: str, digest: str, *, was_prepared: bool) -> None:
    """Begin another generation: confirmations from an earlier time when it was served no longer count.

    Except stage 1 of a prepared one: then nothing else was served in between.
    """
    prepared = _preparation(db, archive)
    if prepared and prepared.generation == digest:
        _revoke(db, archive, digest, "stage2")
    else:
        _revoke(db, archive, digest, "stage1", "stage2", "sent_generation")
    if prepared and was_prepared:
        _replace(db, archive, prepared.generation, digest, "stage1", "sent_generation", "tried")
    delete_preparation(db, archive)


def reset_sites(db: Connection) -> None:
    """Nothing is prepared, and no site has confirmations, a trigger in flight or a back-off."""
    revoked = ("stage1", "stage2", "sent_stage", "sent_generation", "sent_at", "next_try_at")
    db.execute(update(site_states).values(dict.fromkeys(revoked)))
    db.execute(delete(preparations))


def delete_preparation(db: Connection, archive: str) -> None:
    """What was prepared has been published, or something else has."""
    db.execute(delete(preparations).where(preparations.c.archive == archive))


def _preparation(db: Connection, archive: str) -> Preparation | None:
    return fetch_first(Preparation, db, select(preparations).where(preparations.c.archive == archive))


def _site_states(db: Connection, archive: str) -> list[SiteState]:
    of_archive = select(site_states).where(site_states.c.archive == archive)
    return fetch(SiteState, db, of_archive.order_by(site_states.c.site))


def _put(db: Connection, new: list[SiteState]) -> None:
    if new:  # no rows at all would be one row of defaults to SQLAlchemy
        db.execute(upsert(site_states, db.dialect.name), [to_row(site_state) for site_state in new])


def _revoke(db: Connection, archive: str, digest: str, *columns: str) -> None:
    """Remove confirmations of a generation: since then sites may have deleted its files."""
    _replace(db, archive, digest, None, *columns)


def _replace(db: Connection, archive: str, old: str, new: str | None, *columns: str) -> None:
    """Put `new` where a site has the generation `old`, in these columns."""
    for column in columns:
        has_it = (site_states.c.archive == archive) & (site_states.c[column] == old)
        db.execute(update(site_states).where(has_it).values({column: new}))
