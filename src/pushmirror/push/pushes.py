"""The pushes of this machine: one at a time for each archive, and none is lost.

Guaranteed: a caller that finds the push lock taken leaves a request and may return: the holder checks for
requests after it has released the lock, and then pushes every site. Pushes of different archives are
independent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from pushmirror.config.model import Config
from pushmirror.push.decide import Goal
from pushmirror.push.engine import (
    Over,
    PushLoop,
    PushObserver,
    PushSnapshot,
    Refused,
    chosen,
    decided,
    is_finished,
    is_quiet,
    never_refused,
    targets_of,
)
from pushmirror.push.lock import PushLock
from pushmirror.push.ssh.client import ReloadingSender
from pushmirror.push.trigger_sender import TriggerSender
from pushmirror.state.records import SiteState
from pushmirror.system import clock

if TYPE_CHECKING:
    from pushmirror.state.store import Store

_log = logging.getLogger(__name__)
_MOST_AGAIN = 100  # times that requests are served after the release
_NAMED = 3  # of many sites
_SILENT_S = 10.0  # before a message says that it waits for another process
_LOOK_S = 0.2  # between two checks of another process's progress


def until_quiet_or(patience: timedelta) -> Over:
    """A push is over when it is finished, or after retries for this long."""
    until = monotonic() + patience.total_seconds()
    return lambda decision: is_finished(decision) or (is_quiet(decision) and monotonic() >= until)


class PushCoordinator:
    """The pushes of one configuration's archives."""

    def __init__(
        self,
        config: Callable[[], Config],
        store: Store,
        watch: PushObserver,
        sender: Callable[[Callable[[], Config]], TriggerSender] = ReloadingSender,
        *,
        refused: Refused = never_refused,
    ) -> None:
        """`sender` creates that of a push; `refused` returns why our daemon refused a failed site."""
        self._refused = refused
        self._sender = sender
        self._config = config
        self._store = store
        self._watch = watch

    async def push(self, archive: str, over: Over = is_quiet, *, only: frozenset[str] = frozenset()) -> bool:
        """Push an archive's sites until that is over; False if another process does it, for us as well.

        `only` names the sites to push, empty: all.
        """
        if await self._push(archive, over, only):
            return True
        self.turn(archive).request_rerun()
        self.turn(archive).request_hurry(only)
        return await self._push(
            archive, over, only
        )  # the holder may have released before it could see the request

    async def _push(self, archive: str, over: Over, only: frozenset[str]) -> bool:
        turn = self.turn(archive)
        for _ in range(_MOST_AGAIN):
            with turn.taken() as held:
                if not held:
                    return False
                asked, pusher = turn.last_request(), self.pusher(archive, only)
                await pusher.run(over)
            if turn.last_request() != asked:
                only = frozenset()  # the caller has returned; it meant every site
            elif targets_of(self._store, archive) == pusher.aim:
                break
        return True

    async def follow(
        self, archive: str, over: Over = is_quiet, *, only: frozenset[str] = frozenset()
    ) -> None:
        """The same; if another process does it, wait until that is over.

        That process gets a request to let the sites of `only` wait for no others.
        """
        tell_at = monotonic() + _SILENT_S
        while not await self._push(archive, over, only):
            self.turn(archive).request_hurry(only)
            view = self.view(archive, only)
            self._watch.on_decision(view)
            if over(view.decision):
                return
            if monotonic() >= tell_at:
                tell_at = inf
                phases = [f"{name} ({phase})" for name, phase in view.decision.phases.items()]
                _log.warning("another process is pushing %s; waiting for it: %s", archive, _some(phases))
            await asyncio.sleep(_LOOK_S)

    def view(
        self,
        archive: str,
        only: frozenset[str] = frozenset(),
        change: Callable[[SiteState], SiteState] | None = None,
    ) -> PushSnapshot:
        """The decision of now, with site states changed by `change`; nothing is sent."""
        config = self._config()
        sites = config.sites_of(archive)
        published, prepared = targets_of(self._store, archive)
        site_states, now = self._store.site_states(archive), clock.now()
        if change:
            site_states = {name: change(one) for name, one in site_states.items()}
        goal = Goal(archive, published, since=now, prepared=prepared)
        decision = decided(sites, site_states, goal, config.push, now, only=only)
        return PushSnapshot(goal, chosen(sites, only), site_states, decision)

    def pusher(self, archive: str, only: frozenset[str] = frozenset()) -> PushLoop:
        """The loop of one push; the caller holds the lock."""
        clock.allow_many_files()
        sender, hurried = self._sender(self._config), self.turn(archive).take_hurried
        return PushLoop(
            archive,
            self._config,
            self._store,
            sender,
            self._watch,
            only=only,
            hurried=hurried,
            refused=self._refused,
        )

    def turn(self, archive: str) -> PushLock:
        """The push lock of an archive."""
        return PushLock(self._config().state.directory, archive)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
