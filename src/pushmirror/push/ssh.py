"""The real `Wire`: wakes sites over ssh; by asyncssh, or by the program ssh where a site has options for it.

    trigger ──▶ an open connection of the site? ──no──▶ connect, log in ──▶ say the words, drain, exit status
                     │ yes                                                    ▲            │
                     └── take it out; died meanwhile: a new one, once ────────┘   ok: keep it for stage 2

A connection is used by one trigger at a time: two archives that push one site at once have one each, and
`release` never takes it from under a running one. Guaranteed: nothing is left when a trigger is cancelled
or fails; output is drained however much comes, and bounded. What an exit code means is for others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh

from pushmirror.config.model import Push, Site
from pushmirror.errors import TriggerFailed
from pushmirror.push import ssh_program
from pushmirror.push.ssh_connect import Connector, Endpoint, drop
from pushmirror.push.ssh_session import NotOpenedError, no_session, say, span
from pushmirror.push.wire import Answer

_CLOSE_S = 5.0


class SshWire:
    """Carries triggers to sites, and keeps their connections from stage 1 to stage 2."""

    def __init__(self, push: Push, known_hosts: Path) -> None:
        asyncssh.set_log_level(logging.WARNING)  # it tells of each step of each connection
        self._push = push
        self._known_hosts = known_hosts
        self._connector = Connector(push, known_hosts)
        self._idle: dict[Endpoint, asyncssh.SSHClientConnection] = {}
        self._busy: set[asyncssh.SSHClientConnection] = set()
        self._is_closed = False

    async def trigger(self, site: Site, words: str) -> Answer:
        """Wake a site and wait for its answer; see `Wire.trigger`."""
        endpoint = Endpoint.of(site, self._push)
        if site.ssh_options:
            with self._bounded(endpoint):
                async with self._limit():
                    return await ssh_program.trigger(site, self._push, self._known_hosts, words)
        return await self._woken(endpoint, words)

    def _limit(self) -> asyncio.Timeout:
        """Of what a site may take once it is its turn: the more there are, the longer some wait for that."""
        return asyncio.timeout(self._push.timeout.total_seconds())

    @contextmanager
    def _bounded(self, endpoint: Endpoint) -> Iterator[None]:
        try:
            yield
        except TimeoutError as exc:  # every other one was translated where it came from
            limit_s = self._push.timeout.total_seconds()
            raise TriggerFailed(
                f"{endpoint} did not end its run within {span(limit_s)}; the connection was closed",
                hint="look for a hanging run at the site; [push] timeout allows for more",
            ) from exc

    async def release(self, site: Site) -> None:
        """Let go of a site's connection, unless a trigger is using it."""
        connection = self._idle.pop(Endpoint.of(site, self._push), None)
        if connection:
            await _close(connection)

    async def close(self) -> None:
        """Let go of everything; triggers that are under way fail."""
        self._is_closed = True
        connections = [*self._idle.values(), *self._busy]
        self._idle.clear()
        await asyncio.gather(*map(_close, connections))

    async def _woken(self, endpoint: Endpoint, words: str) -> Answer:
        kept = self._idle.pop(endpoint, None)
        if kept:
            try:
                return await self._say(endpoint, kept, words)
            except NotOpenedError:
                pass  # it died while nobody looked: nothing was said yet
        connection = await self._connector.connect(endpoint)
        try:
            return await self._say(endpoint, connection, words)
        except NotOpenedError as exc:
            raise no_session(endpoint, exc) from exc

    async def _say(self, endpoint: Endpoint, connection: asyncssh.SSHClientConnection, words: str) -> Answer:
        self._busy.add(connection)
        try:
            opening_s = self._push.connect_timeout.total_seconds()
            with self._bounded(endpoint):
                async with self._limit():
                    answer = await say(endpoint, connection, words, opening_s)
        except BaseException:
            await drop(connection)
            raise
        finally:
            self._busy.discard(connection)
        if self._is_closed or endpoint in self._idle:
            await _close(connection)
        else:
            self._idle[endpoint] = connection
        return answer


async def _close(connection: asyncssh.SSHClientConnection) -> None:
    """Say goodbye, and be gone in any case."""
    connection.close()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await connection.wait_closed()
    except TimeoutError:
        await drop(connection)
