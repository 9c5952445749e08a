"""The triggers that are under way, and the connections that wait for their next one.

Guaranteed: each ends in the queue as one `TriggerResult`, whatever becomes of it, unless it is given up;
nothing of it is left after `stop`. Not the business of this module: what is sent, and what an answer means.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from pushmirror.config.model import Site
from pushmirror.errors import TriggerFailed
from pushmirror.push.decide import Send
from pushmirror.push.transport import Answer, Transport
from pushmirror.push.trigger import words_to
from pushmirror.state.records import Trigger

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TriggerResult:
    """How one trigger ended."""

    send: Send
    trigger: Trigger
    answer: Answer | None  # none: there was none, and `error` says why
    error: str
    seconds: float

    @property
    def exit_code(self) -> int | None:
        return self.answer.exit_code if self.answer else None

    @property
    def output(self) -> str:
        """All that the site said, or why there is nothing."""
        return self.answer.output if self.answer else self.error

    @property
    def last_words(self) -> str:
        return self.answer.last_words if self.answer else self.error


class InFlight:
    """What was sent and is not answered yet; one trigger a site at a time."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by name of the site
        self._sites: dict[str, Site] = {}  # that were sent something, as they were then
        self._heard: asyncio.Queue[TriggerResult] = asyncio.Queue()

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        return iter([*self._tasks])

    async def send(self, send: Send, trigger: Trigger) -> None:
        """Send a trigger; its end will be heard."""
        name = send.site.name
        if _place(self._sites.get(name, send.site)) != _place(send.site):
            await self._transport.release(self._sites[name])
        self._sites[name] = send.site
        self._tasks[name] = asyncio.create_task(self._carry(send, trigger))

    async def hear(self, wait_s: float) -> list[TriggerResult]:
        """What has ended; empty when nothing does within that time."""
        try:
            async with asyncio.timeout(wait_s):  # wait_for() of Python 3.11 may lose a cancellation
                first = await self._heard.get()
        except TimeoutError:
            return []
        return [self._landed(first), *self.heard()]

    def heard(self) -> list[TriggerResult]:
        """What has ended already."""
        landed = []
        while not self._heard.empty():
            landed.append(self._landed(self._heard.get_nowait()))
        return landed

    async def release(self, name: str) -> None:
        """Nothing more is to be sent to a site for now: let go of its connection."""
        if name not in self._tasks and name in self._sites:
            await self._transport.release(self._sites.pop(name))

    async def give_up_moved(self, sites: dict[str, Site]) -> list[str]:
        """Give up the triggers of sites that are elsewhere by now: what answers is another machine."""
        moved = [
            name for name in self._tasks if name in sites and _place(sites[name]) != _place(self._sites[name])
        ]
        for name in moved:
            task = self._tasks.pop(name)
            task.cancel()
            await asyncio.wait({task})
            await self.release(name)
        return moved

    @property
    def connected(self) -> list[str]:
        """The sites that may have a connection."""
        return [*self._sites]

    async def stop(self) -> list[TriggerResult]:
        """Nobody will listen any more; returns what came just before. `close` is to follow."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        landed = self.heard()
        self._tasks.clear()
        return landed

    async def close(self) -> None:
        """Let go of all connections."""
        await self._transport.close()

    def _landed(self, heard: TriggerResult) -> TriggerResult:
        self._tasks.pop(heard.send.site.name, None)
        return heard

    async def _carry(self, send: Send, trigger: Trigger) -> None:
        began, answer, error = monotonic(), None, ""
        words = words_to(send.site, trigger.archive, send.stage, send.generation)
        try:
            answer = await self._transport.trigger(send.site, words)
        except TriggerFailed as exc:
            error = exc.with_hint
        except Exception as exc:  # noqa: BLE001  logged whole
            _log.exception("internal error")  # one site's trouble must not end the others' push
            error = f"{type(exc).__name__}: {exc}"
        self._heard.put_nowait(TriggerResult(send, trigger, answer, error, monotonic() - began))


def _place(site: Site) -> tuple[object, ...]:
    """Where a site is, and how it is reached."""
    return site.host, site.port, site.user, site.key, site.ssh_options
