"""Preparations, standings and triggers, in an SQL database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from sqlalchemy import Connection, Executable

from pushmirror.state.records import Generation, Preparation, Standing, Trigger
from pushmirror.state.schema import push as tables
from pushmirror.state.schema.rows import put
from pushmirror.state.schema.runs import newest_generations
from pushmirror.state.sql.memory import Memory
from pushmirror.state.sql.rows import every, facts, record


class PushMemory(Memory):
    """The part of a Store that a hub needs to push."""

    def prepare(self, archive: str, generation: str) -> Preparation:
        prepared = Preparation(archive, generation, self._now())
        with self._database.writing() as db:
            before = every(Preparation, db, tables.prepared(archive))
            if before and before[0].generation == generation:
                return before[0]
            if generation not in (
                one.digest for one in every(Generation, db, newest_generations(archive, 1))
            ):
                _execute(db, tables.unconfirmed(archive, generation, "stage1", "sent_generation"))
            db.execute(put(tables.preparations, db.dialect.name), facts(prepared))
            return prepared

    def unprepare(self, archive: str) -> None:
        with self._database.writing() as db:
            db.execute(tables.unprepared(archive))

    def preparation(self, archive: str) -> Preparation | None:
        with self._database.reading() as db:
            return next(iter(every(Preparation, db, tables.prepared(archive))), None)

    def standings(self, archive: str) -> dict[str, Standing]:
        with self._database.reading() as db:
            return {
                standing.site: standing for standing in every(Standing, db, tables.all_standings(archive))
            }

    def send(self, standings: Iterable[Standing]) -> list[Trigger]:
        sent = list(standings)
        with self._database.writing() as db:
            _put(db, sent)
            return _new_triggers(db, sent)

    def answered(
        self,
        trigger: Trigger,
        change: Callable[[Standing], Standing],
        *,
        exit_code: int | None,
        output: str,
    ) -> Standing | None:
        said = tables.answered(trigger.id, ended_at=self._now(), exit_code=exit_code, output=output)
        with self._database.writing() as db:
            db.execute(said)
            found = every(Standing, db, tables.one_standing(trigger.archive, trigger.site))
            if not found:
                return None
            after = change(found[0])
            db.execute(tables.moved(after.archive, after.site, facts(after)))
            return after

    def put_standings(self, standings: Iterable[Standing]) -> None:
        with self._database.writing() as db:
            _put(db, list(standings))

    def change_standings(
        self, archive: str, change: Callable[[Standing], Standing], *, only: Collection[str] | None = None
    ) -> list[Standing]:
        with self._database.writing() as db:
            found = every(Standing, db, tables.all_standings(archive))
            chosen = [one for one in found if only is None or one.site in only]
            changed = [after for before in chosen if (after := change(before)) != before]
            _put(db, changed)
            return changed

    def triggers(
        self, *, archive: str | None = None, site: str | None = None, limit: int = 20
    ) -> list[Trigger]:
        with self._database.reading() as db:
            return every(Trigger, db, tables.newest_triggers(archive, site, limit))

    def forget_site(self, site: str) -> None:
        with self._database.writing() as db:
            for forgotten in tables.forgotten_site(site):
                db.execute(forgotten)

    def prune_triggers(self, archive: str, keep: int, *, keep_output: int | None = None) -> int:
        with self._database.writing() as db:
            if keep_output is not None:
                db.execute(tables.quieted_triggers(archive, keep_output))
            return db.execute(tables.forgotten_triggers(archive, keep)).rowcount


def begin_again(db: Connection, archive: str, digest: str, *, was_prepared: bool) -> None:
    """Another generation is served: what sites have confirmed of it earlier counts no more.

    But for stage 1 when it was prepared: then nothing else was served in between.
    """
    prepared = next(iter(every(Preparation, db, tables.prepared(archive))), None)
    if prepared and prepared.generation == digest:
        _execute(db, tables.unconfirmed(archive, digest, "stage2"))
    else:
        _execute(db, tables.unconfirmed(archive, digest, "stage1", "stage2", "sent_generation"))
    if prepared and was_prepared:
        _execute(db, tables.renamed(archive, prepared.generation, digest))
    db.execute(tables.unprepared(archive))


def _execute(db: Connection, statements: Iterable[Executable]) -> None:
    for statement in statements:
        db.execute(statement)


def _put(db: Connection, standings: list[Standing]) -> None:
    if standings:  # no rows at all would be one row of defaults to SQLAlchemy
        db.execute(put(tables.standings, db.dialect.name), [facts(standing) for standing in standings])


def _new_triggers(db: Connection, standings: list[Standing]) -> list[Trigger]:
    """A trigger for each, in their order."""
    if not standings:
        return []
    new = db.execute(tables.new_triggers(), [_sent(standing) for standing in standings]).mappings()
    found = {(trigger.archive, trigger.site): trigger for trigger in (record(Trigger, row) for row in new)}
    # To ask the database for their order would be to insert them one by one: RETURNING has none.
    return [found[standing.archive, standing.site] for standing in standings]


def _sent(standing: Standing) -> dict[str, object]:
    return {
        "archive": standing.archive,
        "site": standing.site,
        "stage": standing.sent_stage,
        "generation": standing.sent_generation,
        "sent_at": standing.sent_at,
    }
