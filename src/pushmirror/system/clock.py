"""The time of day, always aware and in UTC, and waiting."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """The current time."""
    return datetime.now(UTC)


def sleep(duration: timedelta) -> None:
    """Wait; a signal ends it early with the exception of its handler."""
    time.sleep(duration.total_seconds())


# -- limits of this process ---


def allow_many_files() -> None:
    """Raise the limit of open files to the hard one (getrlimit(2)): each site that is pushed needs one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def allow_deep_directories() -> None:
    """Raise the recursion limit: a path may have 2048 directories, and shutil and os recurse into each.

    Else one such directory of upstream's would end every run with a RecursionError.
    """
    sys.setrecursionlimit(max(_CALLS, sys.getrecursionlimit()))


_CALLS = 10_000  # a few for each directory; 2048 of them take a tenth of a stack
