"""`pushmirror serve`: rsync access for the sites, and pushes until every site is current.

    rsync daemon ── kept running          its files ── updated for changed sites and expired passwords
    stunnel      ── the same, for TLS      an archive's push ── continues: retries, new goals, commands
    the state    ── backed up once a day

Guaranteed: one instance for each state directory; its processes are gone when it ends, however it ends;
errors of the daemon's files or of TLS stop no push. A changed configuration counts at once and drops no
transfer; only a changed address of rsync needs a restart. Not the business of this module: which triggers
are due, who may read what, how a daemon is restarted (access/supervise.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from pushmirror.access import daemon_files, supervise, transfer_log
from pushmirror.config.model import Config
from pushmirror.errors import ConfigError, PushmirrorError
from pushmirror.push.decide import Decision
from pushmirror.push.engine import PushObserver
from pushmirror.push.pushes import PushCoordinator
from pushmirror.state.backups import back_up_daily
from pushmirror.state.records import SiteState
from pushmirror.system import locks

if TYPE_CHECKING:
    from pushmirror.state.store import Store

_log = logging.getLogger(__name__)
_TEND_S = 1.0  # between two checks of the configuration
_RENEW_S = 30.0  # between two checks for expired passwords
_BACK_UP_S = 60.0  # between two checks for today's backup of the state
_AGAIN_S = 5.0  # before a retry of what failed, or of what another process does


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts to run."""

    rsync: bool = True  # its daemon, and stunnel where there is a certificate
    pushes: bool = True


def never(_: Decision) -> bool:
    """The push of `serve` is never over."""
    return False


@contextmanager
def alone(config: Config) -> Iterator[None]:
    """Hold the lock of `serve` for a state directory; PushmirrorError if another process has it."""
    directory = config.state.directory / "serve"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise PushmirrorError(
            f"the directory {directory} cannot be made: {exc.strerror}",
            hint="run this as the user who runs the mirror, or let that user write the state directory",
        ) from exc
    with locks.locked(directory, wait=False) as held:
        if not held:
            raise PushmirrorError(
                f"another `pushmirror serve` is running for {config.state.directory}",
                hint="one is enough; to find it: ps ax | grep 'pushmirror.* serve'",
            )
        yield


async def serve(config: Callable[[], Config], store: Store, watch: PushObserver, parts: Parts) -> None:
    """Run all parts until cancelled. Raises PushmirrorError if a daemon does not come up."""
    argv = daemon_files.rsync_argv(config()) if parts.rsync else []
    files = _Files()
    await files.begin(config())
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_renew(config, files))
            tasks.create_task(_back_up(config))
            if parts.rsync:
                log = daemon_files.places(config()).log
                tasks.create_task(supervise.supervise("rsync", lambda: argv, may_fail=False, log=log))
                tasks.create_task(supervise.supervise_stunnel(config))
                await supervise.wait_until_listening(config())
            if parts.pushes:
                tasks.create_task(_push_all(config, store, watch))
    except BaseExceptionGroup as group:  # the first to fail has ended the others
        raise group.exceptions[0] from None


class _Files:
    """Updates the rsync daemon's files, and logs each problem once."""

    def __init__(self) -> None:
        self._said: frozenset[str] = frozenset()

    async def begin(self, config: Config) -> None:
        """Write the files; if that fails, older ones are used, unless the configuration is invalid."""
        try:
            await self._update(config)
        except ConfigError:
            raise
        except PushmirrorError as exc:
            if not daemon_files.places(config).conf.exists():
                raise
            self._say(f"rsync daemon configuration not updated: {exc}")

    async def renew(self, config: Config) -> bool:
        """Write the files if something has changed; returns whether that worked."""
        try:
            await self._update(config)
        except PushmirrorError as exc:
            self._say(f"rsync daemon configuration not updated: {exc}")
            return False
        return True

    async def _update(self, config: Config) -> None:
        # Not in the event loop: another process's lock, a slow disk or rsync must delay no push.
        if await asyncio.to_thread(daemon_files.update, config, aloud=False):
            _log.info("the rsync daemon's files have changed")
        unusable = await asyncio.to_thread(daemon_files.unusable, config)
        self._say(*(daemon_files.disabled_message(exc) for exc in unusable.values()))

    def _say(self, *words: str) -> None:
        for line in words:
            if line not in self._said:
                _log.error("%s", line)
        self._said = frozenset(words)


async def _renew(config: Callable[[], Config], files: _Files) -> None:
    """Update the daemon's files for changed sites and expired passwords."""
    known, due = config(), monotonic() + _RENEW_S
    while True:
        await asyncio.sleep(_TEND_S)
        if config() is known and monotonic() < due:
            continue
        known = config()
        due = monotonic() + (_RENEW_S if await files.renew(known) else _AGAIN_S)


async def _back_up(config: Callable[[], Config]) -> None:
    """Back up the state each day; pushes continue meanwhile."""
    while True:
        await asyncio.sleep(_BACK_UP_S)
        state = config().state
        await asyncio.to_thread(back_up_daily, state.database_url, state.directory)


async def _push_all(config: Callable[[], Config], store: Store, watch: PushObserver) -> None:
    """Push each archive that has sites, for as long as it has."""
    pushes = PushCoordinator(config, store, watch, refused=transfer_log.refused)
    running: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        while True:
            wanted = {name for name in config().archives if config().sites_of(name)}
            for name in running.keys() - wanted:
                running.pop(name).cancel()
            for name in wanted - running.keys():
                running[name] = tasks.create_task(_push_for_ever(pushes, store, name))
            await asyncio.sleep(_TEND_S)


async def _push_for_ever(pushes: PushCoordinator, store: Store, archive: str) -> None:
    beside: _Beside | None = None
    while True:
        try:
            if await pushes.push(archive, never):
                beside = None
            else:
                beside = beside or _Beside(archive)
                beside.tell(store.site_states(archive))
        except PushmirrorError as exc:
            _log.error("the push of %s failed and is begun again: %s", archive, exc.with_hint)
        except Exception:  # noqa: BLE001  one archive's trouble is not that of the others
            _log.exception("internal error in the push of %s, restarting it", archive)
        await asyncio.sleep(_AGAIN_S)


class _Beside:
    """Logs changes of sites while another process pushes an archive."""

    def __init__(self, archive: str) -> None:
        self._failing: set[str] = set()
        _log.info("another process is pushing %s; serve goes on with it afterwards", archive)

    def tell(self, site_states: Mapping[str, SiteState]) -> None:
        """Log once of each site that it began to fail, or works again."""
        failing = {name for name, one in site_states.items() if one.failing_since}
        for name in sorted(failing - self._failing):
            one = site_states[name]
            how = "no answer" if one.exit_code is None else one.exit_code
            _log.warning("%s failed (%s): %s", name, how, one.last_words)
        for name in sorted(self._failing - failing):
            _log.info("%s works again", name)
        self._failing = failing
