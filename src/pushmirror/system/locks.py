"""Exclusive use of a directory by one process, on the kernel's word (flock): gone when the holder is.

No pid file is ever asked who is alive (archvsync's bugs 16 and 17 came from there).
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pushmirror.errors import PushmirrorError

_LOCKS = Path("/proc/locks")
_LOOK_S = 0.05  # between two tries of who does not wait for ever
_LONGEST_ARGV = 120  # characters of a holder's command line


@contextmanager
def locked(directory: Path, *, wait: bool = True, patience_s: float | None = None) -> Iterator[bool]:
    """Hold the lock of a directory; yields False at once if `wait` is off and another process holds it.

    With `patience_s`, waits no longer than that; then PushmirrorError says who holds it.

    The lock is on the directory itself, so it needs no file, works for every user who can read the
    directory, and two configurations that name the same tree exclude each other too.
    """
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise PushmirrorError(f"cannot lock {directory}: {exc.strerror}") from exc
    try:
        if patience_s is None:
            yield _acquire(handle, directory, wait=wait)
        else:
            _acquire_within(handle, directory, patience_s)
            yield True
    finally:
        os.close(handle)


def _acquire_within(handle: int, directory: Path, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while not _acquire(handle, directory, wait=False):
        if time.monotonic() >= until:
            raise PushmirrorError(
                f"{directory} is locked by {_holder(handle)}, and was so for {patience_s:g} s",
                hint="if that process is stopped or hangs, let it go on or end it; then try again",
            )
        time.sleep(_LOOK_S)


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


def _holder(handle: int) -> str:
    """Who holds the lock, as far as /proc/locks (see proc(5)) shows it; for a message, never to decide by."""
    try:
        rows = [line.split() for line in _LOCKS.read_text("ascii", "replace").splitlines()]
        wanted = f":{os.fstat(handle).st_ino}"
        pid = next(row[4] for row in rows if row[1:2] == ["FLOCK"] and row[5].endswith(wanted))
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").replace("\0", " ")
    except (OSError, StopIteration, IndexError):  # not for us to see, or gone by now
        return "another process"
    return f"process {pid} ({' '.join(argv.split())[:_LONGEST_ARGV]})"
