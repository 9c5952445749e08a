"""The hooks of a push: before_push before the first trigger for a goal, after_push when the push is quiet.

Guaranteed: a failed hook is logged and changes nothing. after_push runs beside the push, which continues; the
next one waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from pushmirror.config.model import Config
from pushmirror.errors import PushmirrorError
from pushmirror.hooks import Hook, run_hook_beside
from pushmirror.push.decide import Decision, Goal, Targets
from pushmirror.state.records import Phase

_log = logging.getLogger(__name__)


class PushHooks:
    """Runs the hooks of one archive's pushes, in one process."""

    def __init__(self, archive: str, config: Callable[[], Config]) -> None:
        self._archive = archive
        self._config = config
        self._announced: Targets | None = None  # the goal that was announced last
        self._concluded = True  # that one
        self._after: asyncio.Task[None] | None = None  # after_push, and what it waits for

    def has_announced(self, goal: Goal) -> bool:
        """Whether before_push has run for this goal."""
        return self._announced == goal.aim

    async def announce(self, goal: Goal, sites: int) -> None:
        """Run before_push."""
        self._announced, self._concluded = goal.aim, False
        await self._run("before_push", goal, {"sites": str(sites)})

    def conclude(self, goal: Goal, decision: Decision) -> None:
        """Start after_push, once for each announced goal."""
        if self._concluded or not self.has_announced(goal):
            return
        self._concluded = True
        late = sorted(name for name, phase in decision.phases.items() if phase is not Phase.CURRENT)
        facts = {"sites": str(len(decision.phases)), "late": " ".join(late)}
        self._after = asyncio.create_task(self._run_after(self._after, goal, facts))

    async def finish(self) -> None:
        """Wait for after_push."""
        if self._after:
            await self._after

    async def stop(self) -> None:
        """End after_push, if it still runs."""
        if self._after:
            self._after.cancel()
            with suppress(asyncio.CancelledError):
                await self._after

    async def _run_after(self, former: asyncio.Task[None] | None, goal: Goal, facts: dict[str, str]) -> None:
        if former:
            await former
        await self._run("after_push", goal, facts)

    async def _run(self, name: str, goal: Goal, facts: dict[str, str]) -> None:
        archive = self._config().archives.get(self._archive)
        if archive is None:
            return
        try:
            known = {"generation": goal.ahead or goal.published or "", **facts}
            await run_hook_beside(Hook.of(archive, name, known))
        except PushmirrorError as exc:
            _log.warning("%s; the push goes on", exc)
