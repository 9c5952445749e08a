"""Running asynchronous work to its end, also when that end is a signal.

Guaranteed: SIGTERM, SIGHUP and SIGINT cancel the work, its `finally` blocks run to their end, and only
then is Stopped raised; a second signal does not cut that short. An exception out of a signal handler, as
everywhere else in this program, would be lost somewhere in the event loop.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from pushmirror.errors import Exit, Stopped

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end and return its result; Stopped when a signal ended it."""
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        return asyncio.run(_until_signal(work))
    except _Cancelled as exc:
        code = Exit.INTERRUPTED if exc.number == signal.SIGINT else Exit.TERMINATED
        raise Stopped(f"stopped by {exc.number.name}", exit_code=code) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Cancelled(Exception):
    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


async def _until_signal(work: Coroutine[Any, Any, Result]) -> Result:
    heard: list[signal.Signals] = []
    task = asyncio.ensure_future(work)

    def stop(number: signal.Signals) -> None:
        if not heard:
            heard.append(number)
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's stays
            loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if heard:
            raise _Cancelled(heard[0]) from None
        raise
    finally:
        task.cancel()  # we are cancelled ourselves
