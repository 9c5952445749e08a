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
import signal
import time
from pathlib import Path

import asyncssh

from pushmirror.config.model import Push, Site
from pushmirror.errors import TriggerFailed
from pushmirror.push.ssh_connect import Connector, Endpoint, drop, printable
from pushmirror.push.wire import MAX_OUTPUT, Answer

_WINDOW = 64 * 1024  # bytes that a site may send ahead of us
_CLOSE_S = 5.0
_UNKNOWN_SIGNAL = signal.NSIG  # one that this system has no number for


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
        limit_s = self._push.timeout.total_seconds()
        try:
            async with asyncio.timeout(limit_s):
                return await self._woken(endpoint, words)
        except TimeoutError as exc:  # every other one was translated where it came from
            raise TriggerFailed(
                f"{endpoint} did not end its run within {_span(limit_s)}; the connection was closed",
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
            except _NotOpenedError:
                pass  # it died while nobody looked: nothing was said yet
        connection = await self._connector.connect(endpoint)
        try:
            return await self._say(endpoint, connection, words)
        except _NotOpenedError as exc:
            raise TriggerFailed(f"{endpoint} let us in, but opened no session: {exc}") from exc

    async def _say(self, endpoint: Endpoint, connection: asyncssh.SSHClientConnection, words: str) -> Answer:
        self._busy.add(connection)
        try:
            answer = await say(endpoint, connection, words, self._push.connect_timeout.total_seconds())
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


async def say(
    endpoint: Endpoint, connection: asyncssh.SSHClientConnection, words: str, opening_s: float
) -> Answer:
    """Have a site run its command for these words and wait for its end.

    `opening_s` bounds what comes before the site has accepted them.
    """
    started = time.monotonic()
    session = _Session()
    try:
        async with asyncio.timeout(opening_s):
            channel, _ = await connection.create_session(
                lambda: session, words, encoding=None, window=_WINDOW, request_pty=False
            )
    except (asyncssh.Error, OSError) as exc:  # TimeoutError is one
        if not session.is_opened:
            raise _NotOpenedError(printable(str(exc)) or f"no answer within {opening_s:.0f} s") from exc
        raise _unanswered(endpoint, connection, exc, time.monotonic() - started) from exc
    channel.write_eof()  # no standard input
    await session.ended
    if session.exit_code is None and session.lost:
        raise _unanswered(endpoint, connection, session.lost, time.monotonic() - started) from session.lost
    if session.exit_code is None:
        raise TriggerFailed(f"{endpoint} closed the session without saying how its command ended")
    return Answer(session.exit_code, session.output)


class _NotOpenedError(Exception):
    """No session could be opened: the words have not been sent."""


class _Session(asyncssh.SSHClientSession[bytes]):
    """What a site says: the end of its output, and how its command ended."""

    def __init__(self) -> None:
        self.is_opened = False
        self.exit_code: int | None = None
        self.lost: Exception | None = None  # why it ended, when not in order
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._output = bytearray()

    @property
    def output(self) -> str:
        """The last MAX_OUTPUT bytes: the last line tells why."""
        return self._output[-MAX_OUTPUT:].decode("utf-8", "replace")

    def connection_made(self, chan: object) -> None:  # noqa: ARG002 - theirs
        """Called when the session is open; the words are sent then."""
        self.is_opened = True

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - either stream
        """Called with standard output and error alike."""
        self._output += data
        if len(self._output) > 2 * MAX_OUTPUT:  # seldom, so that a flood is not copied again and again
            del self._output[:-MAX_OUTPUT]

    def exit_status_received(self, status: int) -> None:
        """Called when the command has ended by itself."""
        self.exit_code = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002 - theirs
        """Called when a signal ended the command."""
        self.exit_code = -_signal_number(signal)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the session has ended, in whatever way."""
        if self.ended.done():
            return
        self.lost = exc
        self.ended.set_result(None)


def _unanswered(
    endpoint: Endpoint, connection: asyncssh.SSHClientConnection, exc: Exception, seconds: float
) -> TriggerFailed:
    if isinstance(exc, TimeoutError):
        return TriggerFailed(f"{endpoint} did not accept the trigger within {_span(seconds)}")
    if isinstance(exc, asyncssh.ChannelOpenError) and not connection.is_closed():
        return TriggerFailed(
            f"{endpoint} refused to run its command", hint="look at the site's log of its ssh server"
        )
    return TriggerFailed(
        f"{endpoint}: the connection was lost after {_span(seconds)}: {printable(str(exc))}",
        hint="whether its run goes on is not known; it will be woken again",
    )


async def _close(connection: asyncssh.SSHClientConnection) -> None:
    """Say goodbye, and be gone in any case."""
    connection.close()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await connection.wait_closed()
    except TimeoutError:
        await drop(connection)


def _signal_number(name: str) -> int:
    try:
        return signal.Signals[f"SIG{name}"]
    except KeyError:
        return _UNKNOWN_SIGNAL


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
