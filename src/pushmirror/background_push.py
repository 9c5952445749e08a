"""The push that follows a run, also a run that failed after it had published.

    run ended ──▶ a background push, which outlives us ──▶ the sites that lack what is served here
    stage 1 of an mhop push ──▶ the same for its stage 1, and we wait for it before we answer

Guaranteed: a push that cannot be started here is not lost: the store has the goal already, and `serve` or the
next push finds it there.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from pushmirror.config.model import Config
from pushmirror.errors import PushmirrorError
from pushmirror.push.callback import note, site_that_called
from pushmirror.push.lock import PushLock
from pushmirror.state.records import Stage
from pushmirror.system import clock, detached

if TYPE_CHECKING:
    from pushmirror.state.store import Store

_log = logging.getLogger(__name__)
_LOOK_S = 0.1  # between two checks of the push's progress


def push_on(config: Config, store: Store, archive: str, stage: Stage, *, mhop: bool) -> None:
    """Push the archive's sites after a run of this stage; with `mhop` the caller waits for them."""
    if not config.sites_of(archive):
        return
    if stage is not Stage.STAGE1:
        in_background(config, archive)
    elif mhop:
        in_background(config, archive)
        wait_for_stage1(lambda: config, store, archive)


def in_background(config: Config, archive: str) -> None:
    """Start a background push, unless `serve` or another push does it."""
    # -P: else Python would import modules from the current directory, perhaps another user's.
    argv = [sys.executable, "-P", "-m", "pushmirror", "--config", str(config.source)]
    log = config.state.logs / "push" / f"{archive}.log"
    try:
        if PushLock(config.state.directory, archive).is_left_to_another():
            return
        detached.start([*argv, "push", archive, "--background"], log=log)
    except (PushmirrorError, OSError) as exc:  # such as a full disk, without space for its log
        _log.warning("could not start the push of %s; `serve` or the next push will do it: %s", archive, exc)


def answer_callback(config: Config, name: str) -> str:
    """Record the callback of a site and return the answer. Nothing is started."""
    site = site_that_called(config.sites, name)
    if site is None:
        _log.info("ignored callback from unknown host %a", name)
        return f"ignored callback of {name!a}: no site has this name or host"
    try:
        note(config.state.directory, site.name, clock.now())
    except OSError as exc:
        _log.warning("could not record the callback of %s: %s", site.name, exc)
    return f"recorded callback of {site.name}"


def wait_for_stage1(current: Callable[[], Config], store: Store, archive: str) -> bool:
    """Wait until the staged sites have what was prepared; False if the deadline is over before."""
    from pushmirror.push.decide import Goal, lacking_stage1

    until = monotonic() + current().push.deadline.total_seconds()
    while True:
        prepared = store.preparation(archive)
        if prepared is None:
            return True  # it has been published since
        config, now = current(), clock.now()
        goal = Goal(archive, published=None, since=now, prepared=prepared.generation)
        sites, site_states = config.sites_of(archive), store.site_states(archive)
        if not lacking_stage1(sites, site_states, goal, config.push, now):
            return True
        if monotonic() >= until:
            return False
        time.sleep(_LOOK_S)
