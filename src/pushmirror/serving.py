"""What `pushmirror serve` keeps going: rsync access for the sites, and pushes until everybody is current.

    rsync daemon ── kept running          its files ── kept in line with sites and clock
    stunnel      ── the same, for TLS      an archive's push ── never over: retries, news, the operator's word

Guaranteed: one of them for each state directory; what it started is gone when it is, however it ends. A
change of the configuration counts at once: sites come and go, and no transfer is dropped. Addresses and
certificates are the daemons' own: they need a restart. Not its business: what is due, who may read what.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from pushmirror.access import daemon
from pushmirror.config.model import Config
from pushmirror.errors import PushmirrorError
from pushmirror.push.decide import Decision
from pushmirror.push.pushes import Pushes
from pushmirror.push.watch import Watch
from pushmirror.state.store import Store
from pushmirror.system import async_process, locks

_log = logging.getLogger(__name__)
_TEND_S = 1.0  # between two looks at the configuration
_RENEW_S = 30.0  # between two looks at passwords whose time may be over
_QUICK_S = 5.0  # a daemon that ends before has not come up
_PAUSES_S = (1, 2, 5, 15, 60)  # before a daemon is started again, and the last one for good
_AGAIN_S = 5.0  # before a push that failed as a whole, or that somebody else is doing, is tried again


@dataclass(frozen=True, slots=True)
class Parts:
    """What is to be served."""

    rsync: bool = True  # its daemon, and stunnel where there is a certificate
    pushes: bool = True


def never(_: Decision) -> bool:
    """The push of who serves is never over."""
    return False


@contextmanager
def alone(config: Config) -> Iterator[None]:
    """Be the only one that serves this state directory; PushmirrorError when there is another."""
    directory = config.state.directory / "serve"
    directory.mkdir(parents=True, exist_ok=True)
    with locks.locked(directory, wait=False) as held:
        if not held:
            raise PushmirrorError(
                f"another `pushmirror serve` is running for {config.state.directory}",
                hint="one is enough; to find it: ps ax | grep 'pushmirror.* serve'",
            )
        yield


async def serve(config: Callable[[], Config], store: Store, watch: Watch, parts: Parts) -> None:
    """Keep all of it going until cancelled. Raises PushmirrorError when a daemon does not come up at all."""
    daemon.update(config())
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_renew(config))
            if parts.rsync:
                tasks.create_task(_keep("rsync", daemon.rsync_argv(config())))
                if argv := daemon.stunnel_argv(config()):
                    tasks.create_task(_keep("stunnel", argv))
            if parts.pushes:
                tasks.create_task(_push_all(config, store, watch))
    except BaseExceptionGroup as group:  # the first to fail has ended the others
        raise group.exceptions[0] from None


async def _keep(name: str, argv: Sequence[str]) -> None:
    """Have a daemon run, and start it again when it ends; PushmirrorError if it never came up."""
    failures, came_up = 0, False
    while True:
        began = monotonic()
        ended = await async_process.run(argv)
        came_up = came_up or monotonic() - began > _QUICK_S
        words = ended.output.decode("utf-8", "replace").strip().splitlines()
        why = f"{name} ended with exit code {ended.exit_code}: {words[-1] if words else 'it said nothing'}"
        if not came_up:
            raise PushmirrorError(why, hint="see the addresses and ports of [serve], and who else uses them")
        failures = 0 if monotonic() - began > _PAUSES_S[-1] else failures + 1
        pause_s = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
        _log.error("%s; starting it again in %d s", why, pause_s)
        await asyncio.sleep(pause_s)


async def _renew(config: Callable[[], Config]) -> None:
    """Keep the daemon's files in line with the sites, and with passwords whose time is over."""
    known, due = config(), monotonic() + _RENEW_S
    while True:
        await asyncio.sleep(_TEND_S)
        if config() is known and monotonic() < due:
            continue
        known, due = config(), monotonic() + _RENEW_S
        try:
            if daemon.update(known):
                _log.info("the rsync daemon's files have changed")
        except PushmirrorError as exc:
            _log.error("the rsync daemon's files stay as they are: %s", exc)


async def _push_all(config: Callable[[], Config], store: Store, watch: Watch) -> None:
    """A push of each archive that has sites, for as long as it has."""
    pushes = Pushes(config, store, watch)
    running: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        while True:
            wanted = {name for name in config().archives if config().sites_of(name)}
            for name in running.keys() - wanted:
                running.pop(name).cancel()
            for name in wanted - running.keys():
                running[name] = tasks.create_task(_push_for_ever(pushes, name))
            await asyncio.sleep(_TEND_S)


async def _push_for_ever(pushes: Pushes, archive: str) -> None:
    while True:
        try:
            await pushes.push(archive, never)
        except PushmirrorError as exc:
            _log.error("the push of %s failed and is begun again: %s", archive, exc)
        except Exception:  # noqa: BLE001  one archive's trouble is not that of the others
            _log.exception("a mistake in pushmirror, in the push of %s, which is begun again", archive)
        await asyncio.sleep(_AGAIN_S)
