"""Locks of directories by flock(2): released when the holder ends.

No pid files (the cause of archvsync's bugs 16 and 17).
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
_LOOK_S = 0.05  # between two tries with a limit
_LONGEST_ARGV = 120  # characters of a holder's command line


@contextmanager
def locked(
    directory: Path, *, wait: bool = True, patience_s: float | None = None, shared: bool = False
) -> Iterator[bool]:
    """Hold the lock of a directory; yields False at once if `wait` is off and another process holds it.

    With `patience_s`, waits no longer than that, then raises PushmirrorError with the holder. `shared` locks
    do not exclude each other.

    The lock is on the directory itself, so it needs no file, works for every user who can read the
    directory, and two configurations that name the same tree exclude each other too.
    """
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise PushmirrorError(f"cannot lock {directory}: {exc.strerror}") from exc
    try:
        if patience_s is None:
            yield _acquire(handle, directory, wait=wait, shared=shared)
        else:
            _acquire_within(handle, directory, patience_s, shared=shared)
            yield True
    finally:
        os.close(handle)


def _acquire_within(handle: int, directory: Path, patience_s: float, *, shared: bool) -> None:
    until = time.monotonic() + patience_s
    while not _acquire(handle, directory, wait=False, shared=shared):
        if time.monotonic() >= until:
            raise PushmirrorError(
                f"{directory} is locked by {holder_of(directory)} (waited {patience_s:g} s)",
                hint="if that process is stopped or hangs, continue or end it; then try again",
            )
        time.sleep(_LOOK_S)


def _acquire(handle: int, directory: Path, *, wait: bool, shared: bool) -> bool:
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno in {errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP}:
            raise PushmirrorError(
                f"the file system of {directory} does not support locks ({exc.strerror})",
                hint="use a local file system, or mount it with support for flock",
            ) from exc
        raise PushmirrorError(f"cannot lock {directory}: {exc.strerror}") from exc
    return True


def holder_of(directory: Path) -> str:
    """The holder of a directory's lock, as far as /proc/locks (proc(5)) shows it; for messages only."""
    try:
        rows = [line.split() for line in _LOCKS.read_text("ascii", "replace").splitlines()]
        wanted = f":{directory.stat().st_ino}"
        pid = next(row[4] for row in rows if row[1:2] == ["FLOCK"] and row[5].endswith(wanted))
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").replace("\0", " ")
    except (OSError, StopIteration, IndexError):  # not visible, or gone by now
        return "another process"
    return f"process {pid} ({' '.join(argv.split())[:_LONGEST_ARGV]})"


def is_held(directory: Path, locks: Path = _LOCKS) -> bool | None:
    """Whether a process holds a directory's lock; None if unknown.

    Does not try to take it, as a try could make another process give up.

    Source: proc(5), /proc/locks. A process in another container's process namespace is not seen there.
    """
    try:
        status = directory.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fields = [line.split() for line in locks.read_text("ascii", "replace").splitlines()]
    except OSError:
        return None
    places = {one[5] for one in fields if len(one) > 5 and one[1] == "FLOCK"}
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    if f"{device}:{status.st_ino}" in places:
        return True
    # A file system of several volumes (btrfs) shows another device here than stat(2) does.
    return None if any(place.endswith(f":{status.st_ino}") for place in places) else False
