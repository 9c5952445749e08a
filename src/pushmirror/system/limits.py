"""What the kernel lets this process have."""

from __future__ import annotations

import resource
from contextlib import suppress


def allow_many_files() -> None:
    """As many open files as this user may have: each site that is being pushed takes one (getrlimit(2))."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
