"""Exclusive use of a directory by one process, on the kernel's word (flock): gone when the holder is.

No pid file is ever asked who is alive (archvsync's bugs 16 and 17 came from there).
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pushmirror.errors import PushmirrorError


@contextmanager
def locked(directory: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a directory; yields False at once if `wait` is off and another process holds it.

    The lock is on the directory itself, so it needs no file, works for every user who can read the
    directory, and two configurations that name the same tree exclude each other too.
    """
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise PushmirrorError(f"cannot lock {directory}: {exc.strerror}") from exc
    try:
        yield _acquire(handle, directory, wait=wait)
    finally:
        os.close(handle)


def _acquire(handle: int, directory: Path, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno in {errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP}:
            raise PushmirrorError(
                f"the file system of {directory} has no locks ({exc.strerror})",
                hint="keep the tree on a local file system, or mount it with support for flock",
            ) from exc
        raise PushmirrorError(f"cannot lock {directory}: {exc.strerror}") from exc
    return True
