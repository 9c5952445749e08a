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


# What the kernel, and Python, let this process have.


def allow_many_files() -> None:
    """As many open files as this user may have: each site that is being pushed takes one (getrlimit(2))."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def allow_deep_directories() -> None:
    """A path may name 2048 directories, and what walks or removes them calls itself for each (shutil, os).

    Python would end that with a RecursionError before the thousandth: one such directory of upstream's, and
    no run would ever end well again.
    """
    sys.setrecursionlimit(max(_CALLS, sys.getrecursionlimit()))


_CALLS = 10_000  # a few for each directory; 2048 of them take a tenth of a stack
