"""Backups of the SQLite state database: one a day, the newest KEPT of them.

    STATE/backups/state-20261130.sqlite     whole and checked before it has this name; the day is UTC's
    STATE/backups/new/                      where one is made; its lock: one process makes one

Guaranteed: a backup is never replaced, and no older one deleted, but for one that was checked. Not here: how
one is put back (restore.py).
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from pushmirror.errors import PushmirrorError, StateError
from pushmirror.state.database import damaged, sqlite_file, url_of
from pushmirror.state.files import Backup, backups_of, directory_of, in_use, name_of, remove, require_owner
from pushmirror.state.soundness import problem_of
from pushmirror.system import clock
from pushmirror.system.files import sync_directory
from pushmirror.system.locks import locked
from pushmirror.system.rebuildable import is_damage

KEPT = 7  # the number of backups
_PATIENCE_S = 60.0  # with another process that makes one
_BUSY_S = 30.0
_log = logging.getLogger(__name__)


def back_up_daily(url: str, state: Path) -> None:
    """Make today's backup if there is none: at the end of whatever is done. Trouble is only logged."""
    file = sqlite_file(url)
    if file is None:
        return
    try:
        if (directory_of(state) / name_of(clock.now())).exists():
            return
        if state.stat().st_uid != os.geteuid():
            return  # root's would be in its owner's way
        with _making(state, wait=False) as is_free:
            if is_free:
                _make(file, state, clock.now())
    except (PushmirrorError, OSError) as exc:
        hint = f"; {exc.hint}" if isinstance(exc, PushmirrorError) and exc.hint else ""
        _log.warning("the state database was not backed up: %s%s", exc, hint)


def back_up(file: Path, state: Path) -> Backup:
    """Make today's backup now, also in the place of an earlier one.

    StateError if that cannot be done, StateDamaged if there is nothing worth keeping.
    """
    require_owner(state)
    try:
        with _making(state, wait=True):
            return _make(file, state, clock.now())
    except OSError as exc:
        raise StateError(
            f"no backup could be made in {directory_of(state)}: {exc.strerror}",
            hint="see that there is room, and that it belongs to the user who runs pushmirror",
        ) from exc


def copy_of(file: Path, to: Path) -> None:
    """Have all of a database in one file, with its mode and no log beside it; raises StateError.

    What is written to it meanwhile is in it or not, transaction by transaction.
    """
    remove(to)
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
            raise damaged(url_of(file), str(exc)) from exc
        raise StateError(f"the state database {file} cannot be copied to {to}: {exc}") from exc
    to.chmod(file.stat().st_mode & 0o777)


def make_durable(file: Path) -> None:
    """Have its content on the disk."""
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _making(state: Path, *, wait: bool) -> Iterator[bool]:
    work = directory_of(state) / "new"
    work.mkdir(parents=True, exist_ok=True)
    with (
        in_use(state),
        locked(work, wait=False, patience_s=_PATIENCE_S if wait else None) as is_free,
    ):
        yield is_free


def _make(file: Path, state: Path, now: datetime) -> Backup:
    directory = directory_of(state)
    copy, made = directory / "new" / name_of(now), directory / name_of(now)
    try:
        copy_of(file, copy)
        if found := problem_of(copy):
            raise damaged(url_of(file), found)
        make_durable(copy)
        copy.replace(made)
    finally:
        for left in copy.parent.iterdir():  # also what a killed process left
            left.unlink()
    sync_directory(directory)
    for old in backups_of(state, now)[KEPT:]:
        if old.file.name < made.name:
            old.file.unlink()
    return next(one for one in backups_of(state, now) if one.file == made)
