"""One trigger over a connection that is open: say the words, drain what comes, learn how the command ended.

Guaranteed: output is taken as it comes, however much, and the last of it is kept; whether the words were
sent at all is told apart (`NotOpenedError`), so that only what was surely not said is said again.
"""

from __future__ import annotations

import asyncio
import signal
import time

import asyncssh

from pushmirror.errors import TriggerFailed
from pushmirror.push.ssh_connect import Endpoint, printable
from pushmirror.push.wire import MAX_OUTPUT, Answer

_WINDOW = 64 * 1024  # bytes that a site may send ahead of us
_UNKNOWN_SIGNAL = signal.NSIG  # one that this system has no number for


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
    except Exception as exc:  # whatever a broken server makes asyncssh raise must not stop a push of others
        if not session.is_opened:
            raise NotOpenedError(printable(str(exc)) or f"no answer within {opening_s:.0f} s") from exc
        raise _unanswered(endpoint, connection, exc, time.monotonic() - started) from exc
    channel.write_eof()  # no standard input
    await session.ended
    if session.exit_code is None and session.lost:
        raise _unanswered(endpoint, connection, session.lost, time.monotonic() - started) from session.lost
    if session.exit_code is None:
        raise TriggerFailed(f"{endpoint} closed the session without saying how its command ended")
    return Answer(session.exit_code, session.output)


class NotOpenedError(Exception):
    """No session could be opened: the words have not been sent."""


def no_session(endpoint: Endpoint, why: NotOpenedError) -> TriggerFailed:
    """The error for a site that opens none on a connection that was made just now."""
    return TriggerFailed(
        f"{endpoint} let us in, but opened no session: {why}",
        hint="look at the site's log of its ssh server, and at MaxSessions in its sshd_config",
    )


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
        return TriggerFailed(f"{endpoint} did not accept the trigger within {span(seconds)}")
    if isinstance(exc, asyncssh.ChannelOpenError) and not connection.is_closed():
        return TriggerFailed(
            f"{endpoint} refused to run its command", hint="look at the site's log of its ssh server"
        )
    return TriggerFailed(
        f"{endpoint}: the connection was lost after {span(seconds)}: {printable(str(exc))}",
        hint="whether its run goes on is not known; it will be woken again",
    )


def _signal_number(name: str) -> int:
    try:
        return signal.Signals[f"SIG{name}"]
    except KeyError:
        return _UNKNOWN_SIGNAL


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
