"""The `TriggerSender` over ssh: by asyncssh, or by the program ssh for sites with `ssh_options`.

    trigger ──▶ an open connection of the site? ──no──▶ connect, log in ──▶ send the words, drain, exit status
                     │ yes                                                    ▲            │
                     └── take it out; died meanwhile: a new one, once ────────┘   ok: keep it for stage 2

A connection is used by one trigger at a time: two archives that push one site have one each, and `release`
never closes one in use. Guaranteed: nothing is left of a cancelled or failed trigger; all output is read
and a bounded part kept; words are sent again only if they were certainly not sent (`NotOpenedError`). A
change of [push] counts from the next trigger on.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh

from pushmirror.config.model import Config, Push, Site
from pushmirror.config.types import span
from pushmirror.errors import TriggerFailed
from pushmirror.push.ssh import openssh
from pushmirror.push.ssh.connect import Connector, Endpoint, drop, printable
from pushmirror.push.trigger_sender import MAX_OUTPUT, Answer

_WINDOW = 64 * 1024  # bytes that a site may send ahead of us
_UNKNOWN_SIGNAL = signal.NSIG  # one that this system has no number for


async def say(
    endpoint: Endpoint, connection: asyncssh.SSHClientConnection, words: str, opening_s: float
) -> Answer:
    """Send the words on a connection and wait for the end of the site's command.

    `opening_s` limits the time until the site has accepted them.
    """
    started = time.monotonic()
    session = _Session()
    try:
        async with asyncio.timeout(opening_s):
            channel, _ = await connection.create_session(
                lambda: session, words, encoding=None, window=_WINDOW, request_pty=False
            )
    except Exception as exc:  # no error of a broken server may stop the push of others
        if not session.is_opened:
            raise NotOpenedError(printable(str(exc)) or f"no answer within {opening_s:.0f} s") from exc
        raise _unanswered(endpoint, connection, exc, time.monotonic() - started) from exc
    channel.write_eof()  # no standard input
    await session.ended
    if session.exit_code is None and session.lost:
        raise _unanswered(endpoint, connection, session.lost, time.monotonic() - started) from session.lost
    if session.exit_code is None:
        raise TriggerFailed(f"{endpoint} closed the session without an exit code")
    return Answer(session.exit_code, session.output)


class NotOpenedError(Exception):
    """No session could be opened: the words were not sent."""


def no_session(endpoint: Endpoint, why: NotOpenedError) -> TriggerFailed:
    """The error of a site that opens no session on a new connection."""
    return TriggerFailed(
        f"{endpoint}: login succeeded, but no session could be opened: {why}",
        hint="check the log of the site's ssh server, and MaxSessions in its sshd_config",
    )


class _Session(asyncssh.SSHClientSession[bytes]):
    """A session: the end of the site's output, and how its command ended."""

    def __init__(self) -> None:
        self.is_opened = False
        self.exit_code: int | None = None
        self.lost: Exception | None = None  # why it ended, when not in order
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._output = bytearray()

    @property
    def output(self) -> str:
        """The last MAX_OUTPUT bytes: the last line has the reason."""
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
        return TriggerFailed(f"{endpoint} did not accept the trigger within {span(seconds)}")
    if isinstance(exc, asyncssh.ChannelOpenError) and not connection.is_closed():
        return TriggerFailed(
            f"{endpoint} refused to run its command", hint="check the log of the site's ssh server"
        )
    return TriggerFailed(
        f"{endpoint}: the connection was lost after {span(seconds)}: {printable(str(exc))}",
        hint="its run may still be going on; it will be triggered again",
    )


def _signal_number(name: str) -> int:
    try:
        return signal.Signals[f"SIG{name}"]
    except KeyError:
        return _UNKNOWN_SIGNAL


_CLOSE_S = 5.0


class SshSender:
    """Sends triggers, and keeps connections from stage 1 to stage 2."""

    def __init__(self, push: Push, known_hosts: Path) -> None:
        asyncssh.set_log_level(logging.WARNING)  # asyncssh logs each step of each connection
        self._push = push
        self._known_hosts = known_hosts
        self._connector = Connector(push, known_hosts)
        self._idle: dict[Endpoint, asyncssh.SSHClientConnection] = {}
        self._busy: set[asyncssh.SSHClientConnection] = set()
        self._is_closed = False

    async def trigger(self, site: Site, words: str) -> Answer:
        """See `TriggerSender.trigger`."""
        endpoint = Endpoint.of(site, self._push)
        if site.ssh_options:
            with self._bounded(endpoint):
                async with self._limit():
                    return await openssh.trigger(site, self._push, self._known_hosts, words)
        return await self._woken(endpoint, words)

    def _limit(self) -> asyncio.Timeout:
        """The time limit of a trigger: with many sites some wait longer for their turn."""
        return asyncio.timeout(self._push.timeout.total_seconds())

    @contextmanager
    def _bounded(self, endpoint: Endpoint) -> Iterator[None]:
        try:
            yield
        except TimeoutError as exc:  # all others were translated before
            limit_s = self._push.timeout.total_seconds()
            raise TriggerFailed(
                f"{endpoint} did not finish its run within {span(limit_s)}; the connection was closed",
                hint="check for a hanging run at the site, or raise [push] timeout",
            ) from exc

    async def release(self, site: Site) -> None:
        """Close a site's connection, unless a trigger uses it."""
        connection = self._idle.pop(Endpoint.of(site, self._push), None)
        if connection:
            await _close(connection)

    async def close(self) -> None:
        """Close everything; triggers in flight fail."""
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
                pass  # the connection was dead: nothing was sent yet
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
    """Close a connection, or abort it."""
    connection.close()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await connection.wait_closed()
    except TimeoutError:
        await drop(connection)


class ReloadingSender:
    """A sender for each used state of [push]; a trigger stays with the one that it began with."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._wires: dict[tuple[Push, Path], SshSender] = {}

    async def trigger(self, site: Site, words: str) -> Answer:
        """See `TriggerSender.trigger`."""
        config = self._config()
        key = config.push, config.known_hosts
        if key not in self._wires:
            self._wires[key] = SshSender(*key)
        return await self._wires[key].trigger(site, words)

    async def release(self, site: Site) -> None:
        """See `TriggerSender.release`."""
        for sender in [*self._wires.values()]:
            await sender.release(site)

    async def close(self) -> None:
        """See `TriggerSender.close`."""
        await asyncio.gather(*(sender.close() for sender in self._wires.values()))
