"""Whose turn it is to push an archive: one process at a time, and whoever comes second leaves word.

lock free? ──yes──▶ push ──▶ let go ──▶ asked meanwhile? ──yes──▶ again
    └──no──▶ leave word ──▶ still taken? ──yes──▶ go home: its holder looks after letting go

Who comes second for some sites only names them: the holder then has them wait for nobody else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time_ns

from pushmirror.system import locks
from pushmirror.system.locks import is_held
from pushmirror.system.owned_directory import state_errors

_HURRIED = "hurried"  # a directory with an empty file for each site that was named


class PushLock:
    """The right to push one archive, from one state directory."""

    def __init__(self, state: Path, archive: str) -> None:
        self._state = state
        self._directory = state / "push" / archive

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Have it until the end of the block; False while another process has it."""
        with state_errors(self._state):
            self._directory.mkdir(parents=True, exist_ok=True)
        with locks.locked(self._directory, wait=False) as held:
            yield held

    def is_taken(self) -> bool | None:
        """Whether some process has it; None where that cannot be seen. Never takes it itself."""
        return is_held(self._directory)

    def is_left_to_another(self) -> bool:
        """Whether another process pushes, and was asked to serve us, too."""
        if not self.is_taken():
            return False
        self.leave_word()
        return self.is_taken() is True  # else it may have let go before it could see that

    def leave_word(self) -> None:
        """Ask whoever has the turn to look once more when it lets go."""
        file, now = self._directory / "asked", time_ns()  # the file system's own clock ticks slowly
        with state_errors(self._state, file):
            file.touch()
            os.utime(file, ns=(now, now))

    def hurry(self, sites: Iterable[str]) -> None:
        """Ask whoever has the turn not to let these sites wait for others."""
        for site in sites:
            file = self._directory / _HURRIED / site
            with state_errors(self._state, file):
                file.parent.mkdir(exist_ok=True)
                file.touch()

    def take_hurried(self) -> frozenset[str]:
        """The sites that were named since the last look; to be called by who has the turn."""
        directory = self._directory / _HURRIED
        try:
            names = [one.name for one in directory.iterdir()]
        except FileNotFoundError:
            return frozenset()
        for name in names:
            with state_errors(self._state, directory / name):
                (directory / name).unlink(missing_ok=True)
        return frozenset(names)

    def last_asked(self) -> int:
        """When somebody left word last, or 0."""
        try:
            return (self._directory / "asked").stat().st_mtime_ns
        except FileNotFoundError:
            return 0
