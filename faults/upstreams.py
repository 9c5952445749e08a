"""Upstream does everything wrong that it can, one thing or several at once, also in the middle of a run.

    the archive publishes ─▶ misbehaves ─▶ a run of one site ─▶ all is put back, and a next state published
                                  └──── before it, or while it works        └─▶ a run that ends well

Promised: no sample is broken whatever there is; a run ends, and never by an internal error; nothing outside
of the tree is touched; what nobody has signed is not served; upstream's being right again is all that it
takes. Each of the field's cases says by itself what a mirror has to make of it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from acceptance.processes import descendants
from faults.campaign import Trial
from faults.loaded import EACH, Excuse, Loaded, loaded
from faults.misbehaviour import OTHERS, PLANTED, PUBLISHING, Kept, Upstream, greeting, signed_by_another
from field.apt import judging
from field.mirror import mirroring
from field.scene import OddDaemon, Scene
from field.test_cases import CASES
from forked import serving
from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import ARCHIVE
from trees import snapshot

_TRIES = 80  # of a whole campaign
_STALLS = 10
_CASES = 50  # of the field, each by one strategy
_WHOLE_S = 1.5  # about what a run takes
_TIMEOUT_S = 3  # of a site whose upstream stands still
_GIVEN_UP_S = _TIMEOUT_S + 10.0
_ENDED = {Exit.OK, Exit.STAGE1, Exit.STAGE2, Exit.HELD, Exit.BEHIND, Exit.FAILED}


def run(trial: Trial) -> None:
    """The part `upstreams`."""
    with loaded(trial, is_excusing=True) as all_:
        up = _upstream(all_)
        for number in trial.times(_TRIES, least=len(EACH)):
            _misbehave(all_, up, EACH[number % len(EACH)], number)
        for _ in trial.times(_STALLS):
            _stand_still(all_, trial.random.choice(EACH))
        all_.end()
    _meet_the_field(trial)


def _upstream(all_: Loaded) -> Upstream:
    directory = all_.trial.directory
    outside = directory / "outside"
    outside.mkdir()
    for name in ("one", "precious", "README"):
        (outside / name).write_text("precious")
    evil = LabKey.create(directory / "evil", owner="Evil <evil@example.org>")
    kept = Kept(all_.archive, directory / "kept")
    up = Upstream(all_.archive, kept, all_.daemon, evil, outside, all_.trial.random)
    up.sign()
    return up


def _misbehave(all_: Loaded, up: Upstream, strategy: Strategy, number: int) -> None:
    trial, site, random = all_.trial, all_.sites[strategy], all_.trial.random
    random.seed(f"{trial.seed} {trial.part} {number}")  # the tries before do not always draw as much
    kinds = [random.choice(PUBLISHING)] if random.random() < 0.3 else []
    kinds += sorted(
        random.sample(OTHERS, k=random.choice((1, 1, 2) if kinds else (1, 1, 2, 3))), key=OTHERS.index
    )
    what = f"{' and '.join(kind.__name__ for kind in kinds)}, {strategy.value}, try {number}"
    all_.clients.during = what
    before = snapshot(up.outside)
    up.update()

    excuse = all_.excuses.now = Excuse(site.tree)

    def do_it() -> None:
        for kind in kinds:
            with suppress(OSError):  # what it would change has gone by another's doing
                kind(up)
        if is_told:
            up.take_stock()
        excuse.note(up.tree)

    is_told, is_in_the_middle = random.random() < 0.5, random.random() < 0.4
    trial.tally.faults += 1
    after_s = random.uniform(0.1, 1.0) * _WHOLE_S if is_in_the_middle else 0.0
    with _meanwhile(trial, do_it, after_s):
        code = all_.ran(site, what)
    if code is not None and code not in _ENDED:
        trial.wrong("internal", f"{what}: exit code {code}")
    if snapshot(up.outside) != before:
        trial.wrong("leaks", f"{what}: something outside of the tree was touched")
    for suite in up.archive.dists.suites:
        released = site.tree / suite.directory / "InRelease"
        if released.is_file() and released.read_bytes() not in up.signed:
            trial.require_unbroken([f"{released} is as nobody signed it"], what)
    if signed_by_another in kinds and not is_in_the_middle:
        served = [path for path in PLANTED if os.path.lexists(site.tree / path)]
        trial.require_unbroken([f"{path} is served, and nobody signed it" for path in served], what)
    up.kept.put_back()
    if greeting in kinds:
        up.daemon.set_global("motd file", os.devnull)
    all_.archive.update()
    up.sign()
    all_.recovers(strategy, what)
    all_.excuses.now = None


@contextmanager
def _meanwhile(trial: Trial, do_it: Callable[[], None], after_s: float) -> Iterator[None]:
    """Do something before the block, or in the middle of it."""
    if not after_s:
        do_it()
        yield
        return
    failed: list[BaseException] = []

    def later() -> None:
        time.sleep(after_s)
        try:
            do_it()
        except BaseException as exc:  # noqa: BLE001  told by the other thread
            failed.append(exc)

    thread = threading.Thread(target=later)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        trial.wrong("internal", f"the campaign's upstream: {failed[0]!r}")


def _stand_still(all_: Loaded, strategy: Strategy) -> None:
    """Upstream's end of a connection stops, or dies, in the middle of a run."""
    trial, site, random = all_.trial, all_.sites[strategy], all_.trial.random
    number = random.choice((signal.SIGSTOP, signal.SIGSTOP, signal.SIGKILL))
    what = f"upstream's rsync has got a {number.name}, {strategy.value}"
    all_.archive.update(add=8)
    site.configure(timeout=f"{_TIMEOUT_S}s")
    words = all_.said(site)
    assert all_.daemon.pid is not None
    hit: list[int] = []
    with site.running("sync", ARCHIVE) as running:
        until = time.monotonic() + random.uniform(0.2, 1.0) * _WHOLE_S
        while running.poll() is None and (time.monotonic() < until or not hit):
            time.sleep(0.01)
            hit = descendants(all_.daemon.pid)
        for pid in hit:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        struck = time.monotonic()
        trial.tally.faults += bool(hit)
        code = all_.attacked(site, running, what, words=words)
        took_s = time.monotonic() - struck
    for pid in descendants(all_.daemon.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if code is not None and took_s > _GIVEN_UP_S:
        trial.wrong("hangs", f"{what}: given up after {took_s:.0f} s, expected {_GIVEN_UP_S:.0f}")
    if code is not None and code not in _ENDED:
        trial.wrong("internal", f"{what}: exit code {code}")
    site.configure(timeout=None)
    all_.recovers(strategy, what)


def _meet_the_field(trial: Trial) -> None:
    """Cases of the field, drawn by chance."""
    random, directory = trial.random, trial.directory / "field"
    chosen = [(case, one) for case in CASES for one in case.strategies]
    random.shuffle(chosen)
    with ExitStack() as stack:
        cli = stack.enter_context(serving())
        daemon = stack.enter_context(OddDaemon(trial.directory / "field.rsyncd"))
        apt = stack.enter_context(judging(trial.directory / "field.apt", directory))
        for number in trial.times(_CASES):
            case, strategy = chosen[number % len(chosen)]
            trial.tally.tries += len(case.steps)
            trial.tally.faults += 1
            scene = Scene(case, directory / f"{case.name}-{number}", cli, daemon, apt)
            with mirroring(scene, strategy) as mirror:
                found = mirror.problems()
            trial.require_unbroken(found, f"the case {case.name} by {strategy.value}")
