"""A long line on the loopback: each direction is delayed by half the round trip, and nothing else is.

What a connection may have in flight is bounded, as by the window of a real TCP connection: no more than
WINDOW bytes of each direction are on their way until their acknowledgement would be back, so one connection
moves at most WINDOW in a round trip (2 MB in 100 ms: 20 MB/s). A connection costs a round trip before its
first byte. Left out: slow start, loss, and a bound on all connections together.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from bench.mirror import Upstream
from pushmirror.lab.services import HOST

ROUND_TRIP_S = 0.1
WINDOW = 2_000_000  # bytes
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Link:
    """What the line is like."""

    round_trip_s: float = ROUND_TRIP_S
    window: int = WINDOW

    @contextmanager
    def to(self, port: int) -> Iterator[int]:
        """Stand before a port of the loopback until the end of the block; gives the port to use instead."""
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(self._listen(port))
        thread = threading.Thread(target=loop.run_forever, name="link")
        thread.start()
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            asyncio.run_coroutine_threadsafe(_end(server), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _listen(self, port: int) -> asyncio.Server:
        async def connected(here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
            with suppress(OSError, asyncio.CancelledError):
                await asyncio.sleep(self.round_trip_s)  # SYN and its answer
                there, on = await asyncio.open_connection(HOST, port, limit=_CHUNK)
                await asyncio.gather(self._carry(here, on), self._carry(there, back))
            back.close()

        return await asyncio.start_server(connected, HOST, 0, limit=_CHUNK)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Take bytes from one side to the other, one direction."""
        line = _Direction(target, self)
        try:
            await _both(line.take(source), line.deliver())
        except OSError:  # one end is gone, so is the connection
            pass
        finally:
            target.close()


class _Direction:
    """One direction of a connection: what is on its way."""

    def __init__(self, target: asyncio.StreamWriter, link: Link) -> None:
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._link = link
        self._flying: deque[tuple[float, bytes]] = deque()  # when it arrives
        self._unacknowledged = 0
        self._changed = asyncio.Event()

    async def take(self, source: asyncio.StreamReader) -> None:
        """Send what comes, as far as the window allows; an empty piece is the end."""
        while True:
            while self._unacknowledged >= self._link.window:
                await self._change()
            data = await source.read(_CHUNK)
            self._unacknowledged += len(data)
            self._flying.append((self._loop.time() + self._link.round_trip_s / 2, data))
            self._changed.set()
            if not data:
                return

    async def deliver(self) -> None:
        """Hand over what has arrived."""
        while True:
            while not self._flying:
                await self._change()
            due, data = self._flying.popleft()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if not data:
                return
            self._target.write(data)
            await self._target.drain()
            self._loop.call_later(self._link.round_trip_s / 2, self._acknowledge, len(data))

    def _acknowledge(self, count: int) -> None:
        self._unacknowledged -= count
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


async def _both(*parts: Coroutine[Any, Any, None]) -> None:
    """Run both until they are done, or until one fails."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def far(upstream: Upstream, link: Link | None = None) -> Iterator[Upstream]:
    """The same upstream, at the other end of a line."""
    with (link or Link()).to(upstream.port) as port:
        yield replace(upstream, port=port)
