"""Signals of a command: the first terminating one unwinds the stack, further ones are ignored.

Guaranteed: every `finally` runs, so that children are ended and locks let go, before Stopped says how the
command ends; further signals, of whatever kind, do nothing. What was ignored when we were started stays so
(nohup). In an event loop the work is cancelled instead, and Stopped is raised when it has ended: an exception
out of a signal handler would be lost somewhere in the loop.
"""

from __future__ import annotations

import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from pushmirror.errors import Exit, Stopped

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)

Result = TypeVar("Result")


def unwind_on_signals() -> None:
    """From now on, the first signal raises Stopped in the main thread."""
    for number in _heard():
        signal.signal(number, _stop)


def outlive_connection() -> None:
    """Ignore SIGHUP and broken output: a push outlives its ssh connection."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextmanager
def until_ctrl_c() -> Iterator[None]:
    """Ctrl-C ends the block, and is no error; other signals unwind."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except Stopped as exc:
        if exc.exit_code != Exit.INTERRUPTED:
            raise


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end and return its result; Stopped when a signal ended it."""
    import asyncio  # `pushmirror --help` must not wait for it

    before = {number: signal.getsignal(number) for number in _ENDING}
    heard: list[signal.Signals] = []

    async def until_signal() -> Result:
        task = asyncio.ensure_future(work)

        def stop(number: signal.Signals) -> None:
            if not heard:
                heard.append(number)
                task.cancel()

        loop = asyncio.get_running_loop()
        for number in _heard():
            loop.add_signal_handler(number, stop, number)
        try:
            return await task
        finally:
            task.cancel()  # we are cancelled ourselves

    try:
        return asyncio.run(until_signal())
    except asyncio.CancelledError:
        if heard:
            raise _stopped(heard[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heard() -> list[signal.Signals]:
    return [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]


def _stop(number: int, _: FrameType | None) -> None:
    for one in _heard():
        signal.signal(one, _too_late)
    raise _stopped(signal.Signals(number))


def _too_late(number: int, _: FrameType | None) -> None:
    """A handler that does nothing: programs started during the clean-up would inherit SIG_IGN."""


def _stopped(number: signal.Signals) -> Stopped:
    code = Exit.INTERRUPTED if number == signal.SIGINT else Exit.TERMINATED
    return Stopped(f"stopped by {number.name}", exit_code=code)
