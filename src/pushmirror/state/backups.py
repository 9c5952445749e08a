"""Daily backups of the SQLite state database, and the locks under which it may be replaced.

    STATE/state.sqlite                      with -wal and -shm beside it while it is open
    STATE/backups/state-20261130.sqlite     whole and checked before it has this name; the day is UTC's
    STATE/backups/new/                      where one is made; its lock: one process makes one

Guaranteed: a backup is replaced, and older ones are deleted, only for one that was checked. A process that
has the database open holds a shared lock of STATE/backups, so that it is not replaced meanwhile. Restoring:
restore.py.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pushmirror.errors import PushmirrorError, StateError
from pushmirror.state.database import SqliteDatabase, find_damage, sqlite_file
from pushmirror.system import clock
from pushmirror.system.files import sync_directory
from pushmirror.system.locks import holder_of, locked
from pushmirror.system.owned_directory import keep_to_owner
from pushmirror.system.sqlite import is_damage

KEPT = 7  # the number of backups
SUFFIXES = ("", "-wal", "-shm", "-journal")  # of the files that are one database
_NAME = re.compile(r"state-(\d{8})\.sqlite")
_PATIENCE_S = 60.0  # with another process that makes or restores a backup
_BUSY_S = 30.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup."""

    file: Path
    made_at: datetime
    size: int  # bytes


def backup_directory(state: Path) -> Path:
    """The backup directory of a state directory."""
    return state / "backups"


def backup_name(day: datetime) -> str:
    """The name of a day's backup."""
    return f"state-{day:%Y%m%d}.sqlite"


def list_backups(state: Path, now: datetime) -> list[Backup]:
    """The backups, newest first; last those that a wrong clock has dated later than tomorrow."""
    found = []
    with suppress(FileNotFoundError):
        for file in backup_directory(state).iterdir():
            if _NAME.fullmatch(file.name):
                status = file.stat()
                made_at = datetime.fromtimestamp(status.st_mtime, UTC)
                found.append(Backup(file, made_at, status.st_size))
    limit = backup_name(now + timedelta(days=1))
    return sorted(found, key=lambda one: (one.file.name <= limit, one.file.name), reverse=True)


def back_up_daily(url: str, state: Path) -> None:
    """Make today's backup if there is none: at the end of each command. Errors are only logged."""
    file = sqlite_file(url)
    if file is None:
        return
    try:
        if (backup_directory(state) / backup_name(clock.now())).exists():
            return
        if state.stat().st_uid != os.geteuid():
            return  # a backup of root's would be in its owner's way
        with _backup_lock(state, wait=False) as is_free:
            if is_free:
                _write_backup(file, state, clock.now())
    except (PushmirrorError, OSError) as exc:
        why = exc.with_hint if isinstance(exc, PushmirrorError) else exc
        _log.warning("the state database was not backed up: %s", why)


def back_up(file: Path, state: Path) -> Backup:
    """Make today's backup now, replacing an earlier one.

    Raises StateError, or StateDamaged if the database is not worth keeping.
    """
    require_owner(state)
    try:
        with _backup_lock(state, wait=True):
            return _write_backup(file, state, clock.now())
    except OSError as exc:
        raise StateError(
            f"no backup could be made in {backup_directory(state)}: {exc.strerror}",
            hint="see that there is room, and that it belongs to the user who runs pushmirror",
        ) from exc


def copy_database(file: Path, to: Path) -> None:
    """Copy a database into one file, with its mode and no log beside it; raises StateError.

    Each transaction that others commit meanwhile is wholly in it or not at all.
    """
    delete_database(to)
    try:
        with (
            closing(
                sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_S)
            ) as source,
            closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.DatabaseError as exc:
        if is_damage(exc):
            raise SqliteDatabase(file).damage(str(exc)) from exc
        raise StateError(f"the state database {file} cannot be copied to {to}: {exc}") from exc
    to.chmod(file.stat().st_mode & 0o777)


def delete_database(file: Path) -> None:
    """Delete all files of a database."""
    for suffix in SUFFIXES:
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def sync_file(file: Path) -> None:
    """Flush a file to disk."""
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_owner(state: Path) -> None:
    """StateError unless we own the state directory: another user's files in it would cause errors."""
    owner = state.stat().st_uid
    if owner != os.geteuid():
        raise StateError(
            f"{state} belongs to user ID {owner}, this process runs as user ID {os.geteuid()}",
            hint="run this as that user, who runs the mirror",
        )


def make_private(state: Path) -> None:
    """Make the state directory safe: only its owner can change it, and no link leads out.

    To be called before anything is written to it; raises StateError.
    """
    for suffix in SUFFIXES:
        file = state / f"state.sqlite{suffix}"
        if file.is_symlink():
            raise StateError(
                f"{file} is a link, expected a file",
                hint="move it away; to have the database elsewhere, name it as `database` in [state]",
            )
    keep_to_owner(state)


@contextmanager
def shared_lock(state: Path) -> Iterator[None]:
    """Hold the lock against replacing the database; raises StateError."""
    make_private(state)
    directory = backup_directory(state)
    with suppress(OSError):  # who cannot write here has a look at most
        if state.stat().st_uid == os.geteuid():  # root's would be in its owner's way
            directory.mkdir(exist_ok=True)
    if not directory.is_dir():
        yield
        return
    with locked(directory, patience_s=_PATIENCE_S, shared=True):
        yield


@contextmanager
def exclusive_lock(state: Path) -> Iterator[None]:
    """Hold the lock against opening the database; StateError if it is open."""
    make_private(state)
    directory = backup_directory(state)
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory, wait=False) as is_free:
        if not is_free:
            raise StateError(
                f"the state database is in use by {holder_of(directory)}",
                hint="end that first (systemctl stop pushmirror), or let it end; then try again",
            )
        yield


@contextmanager
def _backup_lock(state: Path, *, wait: bool) -> Iterator[bool]:
    work = backup_directory(state) / "new"
    work.mkdir(parents=True, exist_ok=True)
    with (
        shared_lock(state),
        locked(work, wait=False, patience_s=_PATIENCE_S if wait else None) as is_free,
    ):
        yield is_free


def _write_backup(file: Path, state: Path, now: datetime) -> Backup:
    directory = backup_directory(state)
    copy, made = directory / "new" / backup_name(now), directory / backup_name(now)
    try:
        copy_database(file, copy)
        if found := find_damage(copy):
            raise SqliteDatabase(file).damage(found)
        sync_file(copy)
        copy.replace(made)
    finally:
        for left in copy.parent.iterdir():  # also what a killed process left
            left.unlink()
    sync_directory(directory)
    for old in list_backups(state, now)[KEPT:]:
        if old.file.name < made.name:
            old.file.unlink()
    return next(one for one in list_backups(state, now) if one.file == made)
