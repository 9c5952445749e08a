"""Replace a damaged state database by a backup.

    backup ──copy──▶ FILE.restoring ──migrated, checked, reset──▶ renamed to FILE
    FILE and its log ──▶ FILE.replaced-TIME

Guaranteed: nobody has the database open meanwhile, and nothing is deleted. A kill leaves the old database, or
none and the backups, and then every command says so. What happened after the backup is not in it, hence the
reset: each archive gets a request for a run, because a push that came since would be lost; and no site counts
as current, because since then it may have fetched and deleted anything, even if the same generation is
served.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pushmirror.errors import StateDamaged, StateError
from pushmirror.state.backups import (
    SUFFIXES,
    Backup,
    backup_directory,
    backup_name,
    copy_database,
    delete_database,
    exclusive_lock,
    list_backups,
    require_owner,
    sync_file,
)
from pushmirror.state.database import SqliteDatabase, find_damage
from pushmirror.state.pushes import reset_sites
from pushmirror.state.records import Stage
from pushmirror.state.store import Store
from pushmirror.system import clock
from pushmirror.system.files import sync_directory

_TRIGGER = "restore"


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore."""

    source: Path | None  # the backup; none: an empty database was made
    made_at: datetime | None  # of the backup
    kept_aside: tuple[Path, ...]  # the files of the former database, under their new names
    skipped: dict[str, str]  # newer backups that are damaged, and how
    archives: tuple[str, ...]  # that got a request for a run


def restore_backup(
    file: Path, state: Path, *, source: Path | None = None, empty: bool = False, archives: Iterable[str] = ()
) -> Restored:
    """Replace the database `file` by `source`, by the newest good backup, or with `empty` by an empty one.

    StateError if somebody has it open, StateDamaged if there is no backup that is good. `archives` are those
    of the configuration.
    """
    require_owner(state)
    now, work = clock.now(), file.with_name(f"{file.name}.restoring")
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(state))
            stack.callback(delete_database, work)
            skipped: dict[str, str] = {}
            candidates = [_backup_from(source)] if source else list_backups(state, now)
            taken = None
            if empty:
                _prepare(work, None, state)
            else:
                taken = _prepare_newest(work, candidates, state, skipped)
            names = _reset(work, archives)
            sync_file(work)
            aside = _put_aside(file, now)
            work.replace(file)
            sync_directory(file.parent)
            _move_damaged(backup_directory(state) / backup_name(now))
        except OSError as exc:
            raise StateError(
                f"{exc.filename or file} cannot be written: {exc.strerror}",
                hint="run this as the user who runs the mirror, with room on the disk",
            ) from exc
        return Restored(
            source=taken.file if taken else None,
            made_at=taken.made_at if taken else None,
            kept_aside=aside,
            skipped=skipped,
            archives=names,
        )


def _move_damaged(today: Path) -> None:
    """Rename a damaged backup of today, so that the next command can make a good one."""
    if today.exists() and find_damage(today):
        today.replace(today.with_name(f"{today.name}.damaged"))


def _prepare_newest(work: Path, candidates: list[Backup], state: Path, skipped: dict[str, str]) -> Backup:
    """Copy the first good backup to `work`, with the current schema; returns it."""
    for one in candidates:
        try:
            _prepare(work, one.file, state)
        except StateError as exc:
            skipped[str(one.file)] = exc.found if isinstance(exc, StateDamaged) else str(exc)
        else:
            return one
    why = "".join(f"; {Path(name).name}: {problem}" for name, problem in skipped.items())
    raise StateDamaged(
        f"there is no good backup{why or f' in {backup_directory(state)}'}",
        hint="pushmirror state restore FILE takes a backup of your own; --empty starts without history: "
        "trees stay as they are, and every site is pushed",
    )


def _backup_from(source: Path) -> Backup:
    try:
        status = source.stat()
    except OSError as exc:
        raise StateError(f"{source} cannot be read: {exc.strerror}") from exc
    return Backup(source, datetime.fromtimestamp(status.st_mtime, clock.now().tzinfo), status.st_size)


def _prepare(work: Path, source: Path | None, state: Path) -> None:
    """Copy the source, or nothing, to `work`, with the current schema; StateError if it is damaged."""
    raw = work.with_name(f"{work.name}.raw")  # to open the source itself would be to write to it
    delete_database(raw)
    try:
        if source is not None:
            for suffix in ("", "-wal"):
                if (one := source.with_name(source.name + suffix)).exists():
                    shutil.copy(one, raw.with_name(raw.name + suffix))
            _require_good(raw)
        database = SqliteDatabase(raw)
        try:
            database.migrate(state)
        finally:
            database.close()
        copy_database(raw, work)
    finally:
        delete_database(raw)
    _require_good(work)  # all of it: of an older schema only pages were checked


def _require_good(file: Path) -> None:
    if found := find_damage(file):
        raise StateDamaged(found, found=found)


def _reset(work: Path, archives: Iterable[str]) -> tuple[str, ...]:
    """Reset it as described above; returns the archives that got a request."""
    with ExitStack() as closing:
        database = SqliteDatabase(work)
        closing.callback(database.close)
        with database.writing() as db:
            reset_sites(db)
            known = db.execute("SELECT archive FROM runs UNION SELECT archive FROM generations")
            names = sorted({*(row["archive"] for row in known), *archives})
        store = Store(database, clock.now, ExitStack())
        for name in names:
            store.add_request(name, Stage.ALL, trigger=_TRIGGER)
        database.use_wal()  # last: until now all is in the one file
    return tuple(names)


def _put_aside(file: Path, now: datetime) -> tuple[Path, ...]:
    """Rename its files. The log last: a database without its log would look like a complete, older one."""
    aside = []
    for suffix in SUFFIXES:
        one = file.with_name(file.name + suffix)
        if one.exists():
            kept = file.with_name(f"{file.name}.replaced-{now:%Y%m%dT%H%M%SZ}{suffix}")
            one.rename(kept)
            aside.append(kept)
    return tuple(aside)
