"""Pushes of this machine: one at a time for each archive, whoever asks, and none is lost.

    asked ──▶ lock free? ──yes──▶ Pusher ──over──▶ lock let go ──▶ news meanwhile? ──yes──▶ again
                 └──no──▶ whoever has it sees the news itself, at its next look or right here ──┘

Guaranteed: who finds the lock taken may go home, for its holder looks at the store once more after it has
let go. Pushes of different archives do not know of each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

from pushmirror.config.model import Config
from pushmirror.push.decide import Goal, decide
from pushmirror.push.engine import Over, Pusher, aim_of, chosen, finished, settled
from pushmirror.push.ssh import SshWire
from pushmirror.push.watch import View, Watch
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
        """Push an archive's sites until it is over; False when another process is doing it.

        `only` names the sites to push, empty: all.
        """
        asked_for = aim_of(self._store, archive)
        for _ in range(_MOST_AGAIN):
            with self.lock(archive) as held:
                if not held:
                    return False
                pusher = self.pusher(archive, only)
                await pusher.run(over)
            aim = aim_of(self._store, archive)
            if aim != asked_for:
                only = frozenset()  # who announced that has found the lock taken, and meant every site
            if aim == pusher.aim and (aim == asked_for or not only):
                break
            asked_for = aim
        return True

    async def follow(self, archive: str, over: Over = settled, *, only: frozenset[str] = frozenset()) -> None:
        """The same; while another process does it, look on until it is over or has gone away."""
        while not await self.push(archive, over, only=only):
            view = self.view(archive, only)
            self._watch.looked(view)
            if over(view.decision):
                return
            await asyncio.sleep(_LOOK_S)

    def view(self, archive: str, only: frozenset[str] = frozenset()) -> View:
        """What would be done now; nothing is."""
        config = self._config()
        sites = chosen(config.sites_of(archive), only)
        published, prepared = aim_of(self._store, archive)
        standings, now = self._store.standings(archive), clock.now()
        goal = Goal(archive, published, since=now, prepared=prepared)
        return View(goal, sites, standings, decide(sites, standings, goal, config.push, now))

    def pusher(self, archive: str, only: frozenset[str] = frozenset()) -> Pusher:
        """Who carries a push out; the caller has the lock."""
        limits.allow_many_files()
        config = self._config()
        wire = SshWire(config.push, config.known_hosts)
        return Pusher(archive, self._config, self._store, wire, self._watch, only=only)

    @contextmanager
    def lock(self, archive: str) -> Iterator[bool]:
        """The right to push an archive; False while another process has it."""
        directory = self._config().state.directory / "push" / archive
        directory.mkdir(parents=True, exist_ok=True)
        with locks.locked(directory, wait=False) as held:
            yield held
