"""A small file system of its own, that can be full, or not to be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pushmirror.lab.services import wait_until
from pushmirror.system import process

_SIZE, _INODES = 1024 * 1024 * 1024, 1_000_000  # far more than is ever needed
_BUSY_S = 3.0  # until nobody has a file open for writing


class Disk:
    """A mounted tmpfs."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def leave(self, space: int) -> None:
        """So many bytes are left."""
        about = os.statvfs(self.top)
        used = (about.f_blocks - about.f_bfree) * about.f_frsize
        self._remount(f"size={used + space}")

    def leave_inodes(self, number: int) -> None:
        """So many files can be made."""
        about = os.statvfs(self.top)
        self._remount(f"nr_inodes={about.f_files - about.f_ffree + number}")

    def become_read_only(self) -> bool:
        """Whether that worked: not while somebody has a file open for writing."""
        return wait_until(lambda: self._remount("ro"), limit_s=_BUSY_S)

    def recover(self) -> None:
        """Have all of it again."""
        assert self._remount(f"rw,size={_SIZE},nr_inodes={_INODES}"), f"{self.top} cannot be mounted again"

    def _remount(self, options: str) -> bool:
        return process.run(["mount", "-o", f"remount,{options}", str(self.top)]).exit_code == 0


@contextmanager
def mounted(top: Path) -> Iterator[Disk | None]:
    """One for the block; None where nothing can be mounted, which takes root and the right to."""
    top.mkdir()
    options = f"size={_SIZE},nr_inodes={_INODES},mode=755"
    if process.run(["mount", "-t", "tmpfs", "-o", options, "none", str(top)]).exit_code != 0:
        yield None
        return
    try:
        yield Disk(top)
    finally:
        process.run(["umount", "-l", str(top)]).check()
