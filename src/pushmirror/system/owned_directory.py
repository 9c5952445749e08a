"""Make a state directory safe: only its owner can change it, and no link in it leads elsewhere.

    a directory that is a link, or another user's    StateError
    any other link below it                          is removed: pushmirror creates none
    files that others may write                      lose that mode bit

Guaranteed: who has looked may go on by path, for nobody but the owner (and root) can exchange anything there.
The directory itself is the operator's: it may be reached through links, and a link at its top that leads to a
file is left alone. Not the business of this module: what is in it.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pushmirror.errors import StateError

_log = logging.getLogger(__name__)
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def state_errors(directory: Path, what: Path | None = None) -> Iterator[None]:
    """Translate an OSError of the block to a StateError about `what`; None: about the path that failed."""
    try:
        yield
    except OSError as exc:
        raise StateError(
            f"{what or exc.filename or directory} cannot be written: {exc.strerror}",
            hint=f"{directory} and all below it have to belong to the user who runs pushmirror",
        ) from exc


def keep_to_owner(directory: Path) -> None:
    """Do all of that, if we are the owner or root. Raises StateError."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # there is none, or it is not for us to see
        return
    try:
        owner = os.fstat(handle).st_uid
        if os.geteuid() in {0, owner}:
            _look(handle, directory, frozenset((0, owner)), is_top=True)
    finally:
        os.close(handle)


def _look(handle: int, place: Path, owners: frozenset[int], *, is_top: bool = False) -> None:
    with os.scandir(handle) as entries:
        for entry in entries:
            if entry.is_symlink():
                _judge_link(handle, place / entry.name, may_stay=is_top)
            elif entry.is_dir(follow_symlinks=False):
                _look_below(handle, place / entry.name, owners)
            else:
                _look_at_file(handle, entry)


def _look_at_file(handle: int, entry: os.DirEntry[str]) -> None:
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except FileNotFoundError:  # another process has been faster
        return
    if mode & _OTHERS_WRITE and stat.S_ISREG(mode):
        _take_from_others(handle, entry.name)


def _judge_link(handle: int, place: Path, *, may_stay: bool) -> None:
    """What leads to nothing at the top may have been a directory: it is for the operator to say."""
    try:
        mode = os.stat(place.name, dir_fd=handle).st_mode
    except OSError:
        mode = 0
    if stat.S_ISDIR(mode) or (may_stay and not stat.S_ISREG(mode)):
        raise StateError(
            f"{place} is a link, expected a file or directory of pushmirror",
            hint="move it away; to have it on another disk, mount that there",
        )
    if not may_stay:
        _log.warning("removed the link %s: pushmirror creates no links here", place)
        with suppress(OSError):
            os.unlink(place.name, dir_fd=handle)


def _look_below(handle: int, place: Path, owners: frozenset[int]) -> None:
    try:
        below = os.open(place.name, _DIRECTORY, dir_fd=handle)
    except OSError:  # gone by now, or not for us to read: then it is not for us to write
        return
    try:
        found = os.fstat(below)
        if found.st_uid not in owners:
            owner = os.fstat(handle).st_uid
            raise StateError(
                f"{place} belongs to user {found.st_uid}, expected user {owner}",
                hint=f"check who created it; then: chown -R {owner} {place}",
            )
        if found.st_mode & _OTHERS_WRITE and os.geteuid() in {0, found.st_uid}:
            os.fchmod(below, stat.S_IMODE(found.st_mode) & ~_OTHERS_WRITE)
        _look(below, place, owners)
    finally:
        os.close(below)


def _take_from_others(handle: int, name: str) -> None:
    with suppress(OSError):
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle)
        try:
            found = os.fstat(file)
            if os.geteuid() in {0, found.st_uid}:
                os.fchmod(file, stat.S_IMODE(found.st_mode) & ~_OTHERS_WRITE)
        finally:
            os.close(file)
