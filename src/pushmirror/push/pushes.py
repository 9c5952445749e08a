"""Pushes of this machine: one at a time for each archive, whoever asks, and none is lost.

    asked ──▶ lock free? ──yes──▶ Pusher ──over──▶ lock let go ──▶ asked meanwhile, or news? ──yes──▶ again
                 └──no──▶ leave word ─────────────────────────────────────────┘

Guaranteed: who finds the lock taken leaves word and may go home, for its holder looks for that once more
after it has let go, and then pushes every site. Pushes of different archives do not know of each other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic, time_ns

from pushmirror.config.model import Config
from pushmirror.errors import StateError
from pushmirror.push.current import CurrentWire
from pushmirror.push.decide import Goal, decide
from pushmirror.push.engine import Over, Pusher, aim_of, chosen, decided, finished, settled
from pushmirror.push.watch import View, Watch
from pushmirror.state.records import Standing
from pushmirror.state.store import Store
from pushmirror.system import clock, limits, locks

_MOST_AGAIN = 100  # times that news are served after the lock was let go
_LOOK_S = 0.2  # between two looks at what another process does


def patient(patience: timedelta) -> Over:
    """A push is over when all is done, or when retries have gone on for this long."""
    until = monotonic() + patience.total_seconds()
    return lambda decision: finished(decision) or (settled(decision) and monotonic() >= until)


class Pushes:
    """The pushes of one configuration's archives."""

    def __init__(self, config: Callable[[], Config], store: Store, watch: Watch) -> None:
        self._config = config
        self._store = store
        self._watch = watch

    async def push(self, archive: str, over: Over = settled, *, only: frozenset[str] = frozenset()) -> bool:
        """Push an archive's sites until it is over; False when another process is doing it, ours included.

        `only` names the sites to push, empty: all.
        """
        if await self._push(archive, over, only):
            return True
        self._leave_word(archive)
        return await self._push(archive, over, only)  # its holder may have let go before it could see that

    async def _push(self, archive: str, over: Over, only: frozenset[str]) -> bool:
        for _ in range(_MOST_AGAIN):
            with self.lock(archive) as held:
                if not held:
                    return False
                asked, pusher = self._last_asked(archive), self.pusher(archive, only)
                await pusher.run(over)
            if self._last_asked(archive) != asked:
                only = frozenset()  # who asked has gone home, and meant every site
            elif aim_of(self._store, archive) == pusher.aim:
                break
        return True

    async def follow(self, archive: str, over: Over = settled, *, only: frozenset[str] = frozenset()) -> None:
        """The same; while another process does it, look on until it is over or has gone away."""
        while not await self._push(archive, over, only):
            view = self.view(archive, only, beside=True)
            self._watch.looked(view)
            if over(view.decision):
                return
            await asyncio.sleep(_LOOK_S)

    def view(
        self,
        archive: str,
        only: frozenset[str] = frozenset(),
        change: Callable[[Standing], Standing] | None = None,
        *,
        beside: bool = False,
    ) -> View:
        """What would be done now, if the sites stood where `change` has them; nothing is.

        `beside` another process, which pushes all sites, what it does about these.
        """
        config = self._config()
        sites = config.sites_of(archive)
        published, prepared = aim_of(self._store, archive)
        standings, now = self._store.standings(archive), clock.now()
        if change:
            standings = {name: change(one) for name, one in standings.items()}
        goal = Goal(archive, published, since=now, prepared=prepared)
        facts = standings, goal, config.push, now
        decision = decide(sites, *facts).among(only) if beside and only else decided(sites, *facts, only=only)
        return View(goal, chosen(sites, only), standings, decision)

    def pusher(self, archive: str, only: frozenset[str] = frozenset()) -> Pusher:
        """Who carries a push out; the caller has the lock."""
        limits.allow_many_files()
        wire = CurrentWire(self._config)
        return Pusher(archive, self._config, self._store, wire, self._watch, only=only)

    @contextmanager
    def lock(self, archive: str) -> Iterator[bool]:
        """The right to push an archive; False while another process has it."""
        directory = self._directory(archive)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StateError(
                f"the directory {directory} cannot be made: {exc.strerror}",
                hint=f"whoever runs pushmirror has to own all below {self._config().state.directory}",
            ) from exc
        with locks.locked(directory, wait=False) as held:
            yield held

    def _leave_word(self, archive: str) -> None:
        file, now = self._directory(archive) / "asked", time_ns()  # the file system's own clock ticks slowly
        try:
            file.touch()
            os.utime(file, ns=(now, now))
        except OSError as exc:
            raise StateError(
                f"{file} cannot be written: {exc.strerror}",
                hint=f"whoever runs pushmirror has to own all below {self._config().state.directory}",
            ) from exc

    def _last_asked(self, archive: str) -> int:
        """When somebody left word last, or 0."""
        try:
            return (self._directory(archive) / "asked").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _directory(self, archive: str) -> Path:
        return self._config().state.directory / "push" / archive
