"""The files of an SQLite state database and of its backups: where they are, and who may exchange them.

    STATE/state.sqlite                      with -wal and -shm beside it while it is open
    STATE/backups/state-20261130.sqlite     of that day (UTC)

Guaranteed: who has the database open holds a shared lock of STATE/backups, so that nothing takes its place
meanwhile. Not here: how a backup is made (backups.py) and put back (restore.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pushmirror.errors import StateError
from pushmirror.system.locks import holder_of, locked
from pushmirror.system.own_directory import keep_to_owner

SUFFIXES = ("", "-wal", "-shm", "-journal")  # of the files that are one database
_NAME = re.compile(r"state-(\d{8})\.sqlite")
_NO_HEADER = 512  # bytes: SQLite takes what is shorter for a new database
_PATIENCE_S = 60.0  # with who puts a backup in its place


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup."""

    file: Path
    made_at: datetime
    size: int  # bytes


def directory_of(state: Path) -> Path:
    """Where a state directory's backups are."""
    return state / "backups"


def backups_of(state: Path, now: datetime) -> list[Backup]:
    """The backups, newest first; at the end those that a wrong clock has dated later than tomorrow."""
    found = []
    with suppress(FileNotFoundError):
        for file in directory_of(state).iterdir():
            if _NAME.fullmatch(file.name):
                status = file.stat()
                made_at = datetime.fromtimestamp(status.st_mtime, UTC)
                found.append(Backup(file, made_at, status.st_size))
    limit = name_of(now + timedelta(days=1))
    return sorted(found, key=lambda one: (one.file.name <= limit, one.file.name), reverse=True)


def lack_of(file: Path) -> str:
    """Whether there is no database, or only the beginning of one; empty if there is more."""
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        return "it is missing"
    return "" if size >= _NO_HEADER else f"it has {size} bytes: the rest is missing"


def remove(file: Path) -> None:
    """Delete a database."""
    for suffix in SUFFIXES:
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def name_of(day: datetime) -> str:
    """The name of a day's backup."""
    return f"state-{day:%Y%m%d}.sqlite"


def require_owner(state: Path) -> None:
    """StateError unless we are who owns the state directory: what another user leaves there is in the way."""
    owner = state.stat().st_uid
    if owner != os.geteuid():
        raise StateError(
            f"{state} belongs to the user with the number {owner}, this is {os.geteuid()}",
            hint="run this as that user, who runs the mirror",
        )


def keep_private(state: Path) -> None:
    """Have a state directory in which nobody but its owner changes anything, and no link leads out.

    To be called before anything is written to it; StateError where it cannot be used so.
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
def in_use(state: Path) -> Iterator[None]:
    """Nobody else puts another database in the place of this one before the block ends; StateError."""
    keep_private(state)
    directory = directory_of(state)
    with suppress(OSError):  # who cannot write here has a look at most
        if state.stat().st_uid == os.geteuid():  # root's would be in its owner's way
            directory.mkdir(exist_ok=True)
    if not directory.is_dir():
        yield
        return
    with locked(directory, patience_s=_PATIENCE_S, shared=True):
        yield


@contextmanager
def exclusively(state: Path) -> Iterator[None]:
    """Nobody has the database of a state directory open before the block ends; StateError if somebody has."""
    keep_private(state)
    directory = directory_of(state)
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory, wait=False) as is_free:
        if not is_free:
            raise StateError(
                f"the state database is in use by {holder_of(directory)}",
                hint="end that first (systemctl stop pushmirror), or let it end; then try again",
            )
        yield
