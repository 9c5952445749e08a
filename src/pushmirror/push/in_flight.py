"""The triggers in flight, and open connections that wait for the next one.

Guaranteed: each trigger ends as one `TriggerResult` in the queue, unless it is given up; nothing is left
after `stop`. Not the business of this module: which triggers are sent, and what an answer means.
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
from pushmirror.push.trigger import words_to
from pushmirror.push.trigger_sender import Answer, TriggerSender
from pushmirror.state.records import Trigger

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TriggerResult:
    """The result of one trigger."""

    send: Send
    trigger: Trigger
    answer: Answer | None  # None: there was none, see `error`
    error: str
    seconds: float

    @property
    def exit_code(self) -> int | None:
        return self.answer.exit_code if self.answer else None

    @property
    def output(self) -> str:
        """The site's output, or the error."""
        return self.answer.output if self.answer else self.error

    @property
    def last_words(self) -> str:
        return self.answer.last_words if self.answer else self.error


class InFlight:
    """The triggers without an answer yet; at most one for each site."""

    def __init__(self, sender: TriggerSender) -> None:
        self._sender = sender
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by name of the site
        self._sites: dict[str, Site] = {}  # as they were when the trigger was sent
        self._heard: asyncio.Queue[TriggerResult] = asyncio.Queue()

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        return iter([*self._tasks])

    async def send(self, send: Send, trigger: Trigger) -> None:
        """Send a trigger; its result is returned by `hear`."""
        name = send.site.name
        if _place(self._sites.get(name, send.site)) != _place(send.site):
            await self._sender.release(self._sites[name])
        self._sites[name] = send.site
        self._tasks[name] = asyncio.create_task(self._carry(send, trigger))

    async def hear(self, wait_s: float) -> list[TriggerResult]:
        """Wait for results; empty if there is none in that time."""
        try:
            async with asyncio.timeout(wait_s):  # wait_for() of Python 3.11 may lose a cancellation
                first = await self._heard.get()
        except TimeoutError:
            return []
        return [self._landed(first), *self.heard()]

    def heard(self) -> list[TriggerResult]:
        """The results that are there already."""
        landed = []
        while not self._heard.empty():
            landed.append(self._landed(self._heard.get_nowait()))
        return landed

    async def release(self, name: str) -> None:
        """Close a site's connection: it gets no trigger for now."""
        if name not in self._tasks and name in self._sites:
            await self._sender.release(self._sites.pop(name))

    async def give_up_moved(self, sites: dict[str, Site]) -> list[str]:
        """Give up the triggers of sites whose address has changed: another machine would answer."""
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
        """The sites that may have an open connection."""
        return [*self._sites]

    async def stop(self) -> list[TriggerResult]:
        """Cancel all triggers; returns the last results. `close` must follow."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        landed = self.heard()
        self._tasks.clear()
        return landed

    async def close(self) -> None:
        """Close all connections."""
        await self._sender.close()

    def _landed(self, heard: TriggerResult) -> TriggerResult:
        self._tasks.pop(heard.send.site.name, None)
        return heard

    async def _carry(self, send: Send, trigger: Trigger) -> None:
        began, answer, error = monotonic(), None, ""
        words = words_to(send.site, trigger.archive, send.stage, send.generation)
        try:
            answer = await self._sender.trigger(send.site, words)
        except TriggerFailed as exc:
            error = exc.with_hint
        except Exception as exc:  # noqa: BLE001  logged whole
            _log.exception("internal error")  # an error of one site must not end the push of others
            error = f"{type(exc).__name__}: {exc}"
        self._heard.put_nowait(TriggerResult(send, trigger, answer, error, monotonic() - began))


def _place(site: Site) -> tuple[object, ...]:
    """A site's address and connection options."""
    return site.host, site.port, site.user, site.key, site.ssh_options
