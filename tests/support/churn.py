"""An archive that never rests: what a mirror must live with when every one of its runs comes too late."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from pushmirror.lab.archive import LabArchive
from support.damage import set_broken

_LIMIT_S = 600.0  # one that was forgotten ends by itself


def flipping(archive: LabArchive, codename: str) -> Iterator[str]:
    """Updates, after every other of which a suite is broken."""
    while True:
        for is_broken, step in ((True, "broken"), (False, "mended")):
            set_broken(archive, codename, is_broken)
            archive.update()
            yield step


class Churn:
    """Updates an archive, as `LabArchive.update` does, from entry to exit of its block.

    `steps` are gone through first: those of `flipping` or `release_day`. The last update is complete when
    the block has been left; one that failed raises there.
    """

    def __init__(self, archive: LabArchive, *, every_s: float = 0.7, steps: Iterable[str] = ()) -> None:
        self.updates = 0  # so far
        self._archive = archive
        self._steps = iter(steps)
        self._every_s = every_s
        self._enough = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._work: Future[None] | None = None

    def __enter__(self) -> Self:
        self._work = self._thread.submit(self._update)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self._thread.shutdown()
        if self._work and exc is None:
            self._work.result()

    def _update(self) -> None:
        started = time.monotonic()
        while not self._enough.is_set() and time.monotonic() < started + _LIMIT_S:
            if next(self._steps, None) is None:
                self._archive.update()
            self.updates += 1
            due = started + self.updates * self._every_s
            self._enough.wait(max(0.0, due - time.monotonic()))
