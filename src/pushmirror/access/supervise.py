"""Run the rsync daemon and stunnel during `serve`, and restart them when they end.

Guaranteed: started processes are gone when a call ends, however it ends. An rsync that does not come up is an
error, as sites could not read; a problem with TLS is logged, retried, and stops nothing else. A renewed
certificate or a changed TLS address needs no restart and drops no transfer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic

from pushmirror.access import daemon_files, tls
from pushmirror.access.rsyncd_conf import listening
from pushmirror.config.model import Config
from pushmirror.errors import ConfigError, PushmirrorError
from pushmirror.system import async_process

_log = logging.getLogger(__name__)
_LOOK_S = 0.1  # between two checks of the daemon
_TEND_S = 1.0  # between two checks of the configuration and the certificate
_QUICK_S = 5.0  # a daemon that ends earlier did not come up
_PAUSES_S = (1, 2, 5, 15, 60)  # before a daemon is started again, and the last one for good
_COMPLAINT = "[!] "  # the beginning of stunnel's line with the reason of a failed start
_COMPLAINTS = 3  # the last of them
_LOGGED = re.compile(r"\S+ \S+ \[(?P<pid>\d+)\] (?P<words>.*)")  # a line of rsync's log
_TAIL = 4096  # bytes of it that are read
_UP_S = 15.0  # limit of pushes waiting for the daemon


async def supervise(
    name: str,
    argv: Callable[[], Sequence[str]],
    *,
    may_fail: bool,
    on_start: Callable[[int], None] | None = None,
    log: Path | None = None,
) -> None:
    """Run a daemon, and restart it when it ends.

    Raises PushmirrorError if it never came up, unless it `may_fail`; then that is only logged. `log` is
    rsync's log file, which has its errors.
    """
    failures, came_up = 0, may_fail
    while True:
        began = monotonic()
        try:
            why = _why(name, await async_process.run(argv(), on_start=on_start), log)
        except PushmirrorError as exc:  # it cannot be started
            if not may_fail:
                raise
            why = str(exc)
        came_up = came_up or monotonic() - began > _QUICK_S
        if not came_up:
            raise PushmirrorError(
                why,
                hint="check the addresses and ports of [serve], and what else uses them; a port below 1024 "
                "needs root, or the unit that `pushmirror serve --print systemd` prints",
            )
        failures = 0 if monotonic() - began > _PAUSES_S[-1] else failures + 1
        pause_s = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
        _log.error("%s; restarting it in %d s", why, pause_s)
        await asyncio.sleep(pause_s)


async def wait_until_listening(config: Config) -> None:
    """Wait until rsync's daemon accepts connections: a site that is pushed earlier could not read."""
    host, port = listening(config.serve.rsync)
    try:
        async with asyncio.timeout(_UP_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection(host or "localhost", port)
                except OSError:
                    await asyncio.sleep(_LOOK_S)
                else:
                    writer.close()
                    return
    except TimeoutError:
        _log.warning("rsync daemon not answering on %s; pushing anyway", config.serve.rsync)


async def supervise_stunnel(config: Callable[[], Config]) -> None:
    """Run stunnel while the configuration has a certificate."""
    running: asyncio.Task[None] | None = None
    async with asyncio.TaskGroup() as tasks:
        while True:
            wanted = config().serve.certificate is not None and daemon_files.places(config()).stunnel.exists()
            if wanted and not running:
                running = tasks.create_task(_stunnel(config))
            elif running and not wanted:
                running.cancel()
                running = None
            await asyncio.sleep(_TEND_S)


async def _stunnel(config: Callable[[], Config]) -> None:
    process, loaded = _Process(), _stamp(config())
    try:
        async with asyncio.TaskGroup() as tasks:
            argv = partial(_stunnel_argv, config)
            tasks.create_task(supervise("stunnel", argv, may_fail=True, on_start=process.is_now))
            tasks.create_task(_reload(config, process, loaded))
    finally:
        process.close()


def _stunnel_argv(config: Callable[[], Config]) -> list[str]:
    if argv := daemon_files.stunnel_argv(config()):
        return argv
    raise PushmirrorError("stopping stunnel: [serve] has no certificate")


async def _reload(config: Callable[[], Config], process: _Process, loaded: tls.Stamp) -> None:
    """Reload stunnel when its files have changed, and are not being written."""
    before = loaded
    while True:
        await asyncio.sleep(_TEND_S)
        now = _stamp(config())
        if now != loaded and now == before:
            loaded = now
            try:
                tls.read_certificate(config().serve)
            except ConfigError as exc:
                _log.error("keeping the previous certificate: %s", exc)
            else:
                if process.hang_up():
                    _log.info("stunnel reloaded")
        before = now


def _stamp(config: Config) -> tls.Stamp:
    return tls.stamp(config.serve, daemon_files.places(config).stunnel)


class _Process:
    """The running stunnel, by a pidfd: its number may be reused."""

    def __init__(self) -> None:
        self._handle: int | None = None

    def is_now(self, pid: int) -> None:
        self.close()
        self._handle = os.pidfd_open(pid)

    def hang_up(self) -> bool:
        """Send it a HUP; False if it does not run."""
        if self._handle is None:
            return False
        try:
            signal.pidfd_send_signal(self._handle, signal.SIGHUP)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _why(name: str, ended: async_process.Ended, log: Path | None) -> str:
    lines = ended.output.decode("utf-8", "replace").strip().splitlines()
    complaints = [line.removeprefix(_COMPLAINT) for line in lines if line.startswith(_COMPLAINT)]
    words = "; ".join(complaints[-_COMPLAINTS:] or lines[-1:] or _logged(log)) or "it said nothing"
    return f"{name} ended with exit code {ended.exit_code}: {words}"


def _logged(log: Path | None) -> list[str]:
    """The last rsync's log lines before its end."""
    try:
        lines = _tail(log).splitlines() if log else []
    except OSError:
        return []
    found = [match for line in lines if (match := _LOGGED.fullmatch(line))]
    its = [match["words"] for match in found if match["pid"] == found[-1]["pid"]]
    ended_so = bool(its) and its[-1].startswith("rsync error:")
    return [words for words in its[:-1] if "listening on port" not in words] if ended_so else []


def _tail(file: Path) -> str:
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - _TAIL))
        return log.read().decode("utf-8", "replace")
