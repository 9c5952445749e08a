"""Preparations, site states and triggers in the state database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from pushmirror.state.database import Connection, Database
from pushmirror.state.records import Preparation, SiteState, Trigger
from pushmirror.state.rows import insertion, to_row


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
            newest = "SELECT digest FROM generations WHERE archive = :archive ORDER BY id DESC LIMIT 1"
            if [row["digest"] for row in db.execute(newest, archive=archive)] != [generation]:
                _revoke(db, archive, generation, "stage1", "sent_generation")
            delete_preparation(db, archive)
            row = to_row(prepared)
            db.execute(insertion("preparations", row), **row)
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
        states, stored = list(sent), []
        with self._database.writing() as db:
            for state in states:
                _put(db, state)
                values = {
                    "archive": state.archive,
                    "site": state.site,
                    "stage": state.sent_stage,
                    "generation": state.sent_generation,
                    "sent_at": state.sent_at,
                    "output": "",
                }
                stored += db.fetch(Trigger, f"{insertion('triggers', values)} RETURNING *", **values)
        return stored

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
        end = "UPDATE triggers SET ended_at = :now, exit_code = :exit_code, output = :output WHERE id = :id"
        find = "SELECT * FROM standings WHERE archive = :archive AND site = :site"
        with self._database.writing() as db:
            db.execute(end, now=self._now(), exit_code=exit_code, output=output, id=trigger.id)
            before = db.fetch_first(SiteState, find, archive=trigger.archive, site=trigger.site)
            if before is None:
                return None
            after = change(before)
            _put(db, after)
            return after

    def put_site_states(self, new: Iterable[SiteState]) -> None:
        """Store states of sites, in one transaction; earlier states of the same sites are replaced."""
        with self._database.writing() as db:
            for state in new:
                _put(db, state)

    def change_site_states(
        self, archive: str, change: Callable[[SiteState], SiteState], *, only: Collection[str] | None = None
    ) -> list[SiteState]:
        """Change states of sites, in one transaction and by what the store has at this moment.

        `only` names the sites; none: all. Sites without a state get none. Returns those that changed.
        """
        with self._database.writing() as db:
            chosen = [one for one in _site_states(db, archive) if only is None or one.site in only]
            changed = [after for before in chosen if (after := change(before)) != before]
            for after in changed:
                _put(db, after)
            return changed

    def triggers(
        self, *, archive: str | None = None, site: str | None = None, limit: int = 20
    ) -> list[Trigger]:
        """Triggers of one or all archives and sites, newest first."""
        values = {"archive": archive, "site": site}
        conditions = [f"{name} = :{name}" for name, value in values.items() if value is not None]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"SELECT * FROM triggers {where} ORDER BY id DESC LIMIT :limit"  # noqa: S608  conditions of ours
        with self._database.reading() as db:
            return db.fetch(Trigger, sql, limit=limit, **values)

    def forget_site(self, site: str) -> None:
        """Delete the states and triggers of a removed site."""
        with self._database.writing() as db:
            db.execute("DELETE FROM standings WHERE site = :site", site=site)
            db.execute("DELETE FROM triggers WHERE site = :site", site=site)

    def prune_triggers(self, archive: str, keep: int, *, keep_output: int | None = None) -> int:
        """Delete all triggers of an archive but the newest `keep`; returns how many.

        Of those that stay, only the newest `keep_output` keep their output (none: all).
        """
        surplus = """
            archive = :archive AND id <= (
                SELECT id FROM triggers WHERE archive = :archive ORDER BY id DESC LIMIT 1 OFFSET :keep
            )
        """
        with self._database.writing() as db:
            if keep_output is not None:
                empty = f"UPDATE triggers SET output = '' WHERE output != '' AND {surplus}"  # noqa: S608
                db.execute(empty, archive=archive, keep=keep_output)
            delete = f"DELETE FROM triggers WHERE {surplus} RETURNING id"  # noqa: S608
            return len(db.execute(delete, archive=archive, keep=keep))


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
    db.execute(f"UPDATE standings SET {', '.join(f'{column} = NULL' for column in revoked)}")  # noqa: S608
    db.execute("DELETE FROM preparations")


def delete_preparation(db: Connection, archive: str) -> None:
    """What was prepared has been published, or something else has."""
    db.execute("DELETE FROM preparations WHERE archive = :archive", archive=archive)


def _preparation(db: Connection, archive: str) -> Preparation | None:
    sql = "SELECT * FROM preparations WHERE archive = :archive"
    return db.fetch_first(Preparation, sql, archive=archive)


def _site_states(db: Connection, archive: str) -> list[SiteState]:
    sql = "SELECT * FROM standings WHERE archive = :archive ORDER BY site"
    return db.fetch(SiteState, sql, archive=archive)


def _put(db: Connection, state: SiteState) -> None:
    """Insert the state of a site, or replace the one it has."""
    row = to_row(state)
    values = ", ".join(f"{name} = excluded.{name}" for name in row if name not in {"archive", "site"})
    db.execute(f"{insertion('standings', row)} ON CONFLICT (archive, site) DO UPDATE SET {values}", **row)


def _revoke(db: Connection, archive: str, digest: str, *columns: str) -> None:
    """Remove confirmations of a generation: since then sites may have deleted its files."""
    _replace(db, archive, digest, None, *columns)


def _replace(db: Connection, archive: str, old: str, new: str | None, *columns: str) -> None:
    """Put `new` where a site has the generation `old`, in these columns."""
    for column in columns:
        sql = f"UPDATE standings SET {column} = :new WHERE archive = :archive AND {column} = :old"  # noqa: S608
        db.execute(sql, archive=archive, old=old, new=new)
