"""Run an external program in an event loop: an argv list, no shell, its own process group.

Guaranteed as in `process`: the whole group is gone when a call returns, raises or is cancelled, and also when
we are killed; all output is read, and a bounded part kept. The time limit is the caller's
`asyncio.timeout`. No thread and no child watcher is used: the end is awaited by pidfd_open(2).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pushmirror.system.process import BASE_ENVIRONMENT, MAX_OUTPUT, signal_group, starting, watched

_CHUNK = 64 * 1024
_TERM_GRACE_S = 3.0  # between SIGTERM and SIGKILL
_REST_S = 2.0  # for output that is still in the pipe when the program has ended


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of a program."""

    exit_code: int  # negative: the signal that ended it
    output: bytes  # standard output and error as they came, the last MAX_OUTPUT bytes


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_start: Callable[[int], None] | None = None,
) -> Ended:
    """Run a program to its end, without standard input; `env` is added to BASE_ENVIRONMENT.

    `on_start` gets its process number, while it cannot be reused.

    Raises ProgramMissing or ProgramFailed if it cannot be started; the caller judges its exit code.
    """
    with starting(argv):
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**BASE_ENVIRONMENT, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    with child:
        assert child.stdout
        kept = bytearray()
        reading = asyncio.ensure_future(_drain(child.stdout.fileno(), kept))
        try:
            if on_start:
                on_start(child.pid)
            with watched(child):
                await _exited(child)
            signal_group(child.pid, signal.SIGKILL)  # remaining processes would keep the pipe open
            with suppress(TimeoutError):
                async with asyncio.timeout(_REST_S):
                    await reading
        finally:
            reading.cancel()
            try:
                await _end_group(child)
            finally:
                await asyncio.wait({reading})
    return Ended(child.returncode, bytes(kept[-MAX_OUTPUT:]))


async def _drain(pipe: int, kept: bytearray) -> None:
    os.set_blocking(pipe, False)
    while True:
        await _readable(pipe)  # after each chunk, so that other tasks run during a flood
        with suppress(BlockingIOError):
            data = os.read(pipe, _CHUNK)
            if not data:
                return
            kept += data
            if len(kept) > 2 * MAX_OUTPUT:
                del kept[:-MAX_OUTPUT]


async def _exited(child: subprocess.Popen[bytes]) -> None:
    handle = os.pidfd_open(child.pid)
    try:
        await _readable(handle)
    finally:
        os.close(handle)
    child.wait()


async def _readable(handle: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(handle, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(handle)


async def _end_group(child: subprocess.Popen[bytes]) -> None:
    try:
        if child.poll() is None:
            signal_group(child.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(_TERM_GRACE_S):
                    await _exited(child)
    finally:
        signal_group(child.pid, signal.SIGKILL)
        child.wait()
