"""Whether somebody holds a lock, without taking it: who tries for a moment could send its next taker home."""

from __future__ import annotations

import os
from pathlib import Path

_LOCKS = Path("/proc/locks")


def is_held(directory: Path, locks: Path = _LOCKS) -> bool | None:
    """Whether a process holds the lock of a directory (`locks.locked`); None where that cannot be seen.

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
