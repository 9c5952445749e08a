"""The push lock: one process pushes an archive; a second one leaves a request with the holder.

    lock free? ──yes──▶ push ──▶ release ──▶ a request meanwhile? ──yes──▶ again
        └──no──▶ leave a request ──▶ still locked? ──yes──▶ return: the holder looks after releasing

A request for some sites names them: the holder then lets them wait for no others.
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

_HURRIED = "hurried"  # a directory with an empty file for each named site


class PushLock:
    """The right to push one archive, from one state directory."""

    def __init__(self, state: Path, archive: str) -> None:
        self._state = state
        self._directory = state / "push" / archive

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Hold it in the block; False if another process has it."""
        with state_errors(self._state):
            self._directory.mkdir(parents=True, exist_ok=True)
        with locks.locked(self._directory, wait=False) as held:
            yield held

    def is_taken(self) -> bool | None:
        """Whether a process has it; None if that is unknown. Does not take it."""
        return is_held(self._directory)

    def is_left_to_another(self) -> bool:
        """Whether another process pushes, and has our request."""
        if not self.is_taken():
            return False
        self.request_rerun()
        return self.is_taken() is True  # else it may have released before it could see the request

    def request_rerun(self) -> None:
        """Leave a request: the holder pushes again after it has released the lock."""
        file, now = self._directory / "asked", time_ns()  # file system time stamps are coarse
        with state_errors(self._state, file):
            file.touch()
            os.utime(file, ns=(now, now))

    def request_hurry(self, sites: Iterable[str]) -> None:
        """Leave a request that these sites wait for no others."""
        for site in sites:
            file = self._directory / _HURRIED / site
            with state_errors(self._state, file):
                file.parent.mkdir(exist_ok=True)
                file.touch()

    def take_hurried(self) -> frozenset[str]:
        """The sites of such requests since the last call; for the holder."""
        directory = self._directory / _HURRIED
        try:
            names = [one.name for one in directory.iterdir()]
        except FileNotFoundError:
            return frozenset()
        for name in names:
            with state_errors(self._state, directory / name):
                (directory / name).unlink(missing_ok=True)
        return frozenset(names)

    def last_request(self) -> int:
        """The time of the last request, or 0."""
        try:
            return (self._directory / "asked").stat().st_mtime_ns
        except FileNotFoundError:
            return 0
