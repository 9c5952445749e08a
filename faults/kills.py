"""Processes are killed, ended and stopped at random moments, while upstream changes and clients read.

    a run: itself, an rsync that it started, the watchdog of one      each by full, index and manifest
    serve: itself, the rsync daemon that it keeps

Promised: no sample is broken; nothing that a process started outlives it; the next run needs no help, and
ends with upstream's state; the next `serve` answers.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random

from acceptance.processes import descendants, program
from faults.campaign import Trial
from faults.loaded import EACH, LONGEST_S, Loaded, loaded
from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.services import HOST, free_port, says, wait_until
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process

_CYCLES = 90  # of a whole campaign: some faults, then a run that nobody disturbs
_SERVE_EVERY = 6  # a cycle of `serve` comes after so many of runs
_WHOLE_S = 2.5  # about what a run takes while upstream changes
_FIRST_S = 10.0  # until a run has started what is to be killed
_STILL_S = (0.1, 2.0)  # how long a process is stopped
_ENDED = {Exit.OK, Exit.BEHIND, Exit.HELD, Exit.STAGE1, Exit.STAGE2, Exit.FAILED, Exit.TERMINATED}


@dataclass(frozen=True, slots=True)
class _Victim:
    """Whom a fault is done to."""

    name: str
    find: Callable[[int], int | None]  # by the number of the process that is under attack
    is_child: bool = True


def _itself(pid: int) -> int | None:
    return pid


def _rsync(pid: int) -> int | None:
    return next((one for one in descendants(pid) if program(one)[:1] == ["rsync"]), None)


def _watchdog(pid: int) -> int | None:
    return next((one for one in descendants(pid) if "read -r _" in " ".join(program(one))), None)


_ITSELF = _Victim("the run", _itself, is_child=False)
_VICTIMS = (_ITSELF, _ITSELF, _Victim("its rsync", _rsync), _Victim("its watchdog", _watchdog))
_SERVERS = (_Victim("serve", _itself, is_child=False), _Victim("serve's rsync daemon", _rsync))
_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)


def run(trial: Trial) -> None:
    """The part `kills`."""
    random = trial.random
    with loaded(trial) as all_:
        for number in trial.times(_CYCLES, least=len(EACH)):
            strategy = EACH[number % len(EACH)]
            with all_.changing():
                for _ in range(random.choice((1, 1, 2, 3))):
                    _attack_a_run(all_, strategy, random)
            all_.recovers(strategy, f"cycle {number}, {strategy.value}")
            if number % _SERVE_EVERY == 0:
                _attack_serve(all_, all_.sites[strategy], random)
        all_.end()


def _attack_a_run(all_: Loaded, strategy: Strategy, random: Random) -> None:
    site, victim, number = all_.sites[strategy], random.choice(_VICTIMS), random.choice(_SIGNALS)
    what = f"{number.name} of {victim.name} by {strategy.value}"
    words = all_.said(site)
    with site.running("sync", ARCHIVE) as running:
        time.sleep(random.uniform(0.05, 1.0) * _WHOLE_S)
        started = _strike(running, victim, number, random)
        if started is None:  # it had ended
            all_.attacked(site, running, what, words=words)
            return
        all_.trial.tally.faults += 1
        code = all_.attacked(site, running, what, words=words)
        if code is not None and code not in _ENDED | {-number}:
            all_.trial.wrong("internal", f"{what}: exit code {code}")
        if victim is _ITSELF or number is not signal.SIGKILL:  # who has lost its watchdog is not watched
            all_.none_left(started, what)


def _strike(
    running: process.Background, victim: _Victim, number: signal.Signals, random: Random
) -> list[int] | None:
    """Do it; what the process had started until then, None if there was nobody to do it to."""
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [pid for pid in [victim.find(running.pid)] if pid is not None]
        return bool(found) or running.poll() is not None

    wait_until(is_there, limit_s=_FIRST_S)
    if not found or running.poll() is not None:
        return None
    started = descendants(running.pid)
    with suppress(ProcessLookupError):
        os.kill(found[0], number)
        if number is signal.SIGSTOP:
            time.sleep(random.uniform(*_STILL_S))
            os.kill(found[0], signal.SIGCONT)
    return started


def _attack_serve(all_: Loaded, site: LabSite, random: Random) -> None:
    """Do it to a `serve` that shows the site's tree to others, while it is asked."""
    trial, port = all_.trial, free_port()
    site.configure_section("serve", host=HOST, rsync=f"{HOST}:{port}")
    victim, number = random.choice(_SERVERS), random.choice(_SIGNALS)
    what = f"{number.name} of {victim.name}"
    words = all_.said(site)
    with _serving(all_, site, port, what) as serving:
        if serving is None:
            return
        started = _strike(serving, victim, number, random)
        trial.tally.faults += 1
        if victim.is_child or number is signal.SIGSTOP:
            if not wait_until(lambda: says(port, b"@RSYNCD:"), limit_s=LONGEST_S):
                trial.wrong("hangs", f"{what}: no answer any more")
            os.kill(serving.pid, signal.SIGTERM)
            started = descendants(serving.pid)
        all_.attacked(site, serving, what, words=words)
        all_.none_left(started or [], what)
    with _serving(all_, site, port, f"{what}, the one after it"):
        pass


@contextmanager
def _serving(all_: Loaded, site: LabSite, port: int, what: str) -> Iterator[process.Background | None]:
    with site.running("serve") as serving:
        if wait_until(lambda: says(port, b"@RSYNCD:") or serving.poll() is not None, limit_s=LONGEST_S):
            if serving.poll() is None:
                yield serving
                return
            all_.trial.wrong("lost", f"{what}: serve ended by itself with {serving.poll()}")
        else:
            all_.trial.wrong("hangs", f"{what}: serve does not answer")
        yield None
