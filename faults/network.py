"""The network between a site and its upstream fails at random points, in every way that TCP lets it fail.

    site ──▶ Line ──▶ rsync daemon | stunnel before it | sshd          by each strategy

Promised: with `retries = 0` the run has answered `timeout` and ten seconds after the fault began, whatever
the fault; what is served stays whole, and what has come damaged is not in it; nobody is told the password; no
process is left; and the next run, by a good line, makes the tree what upstream's is. What passes or is only
slow ends no run. What the machine did not let us run for is no hang.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from downstream import naming
from faults.campaign import Trial
from faults.line import Fault, Heartbeat, Line, Plan
from forked import Cli, ForkedSite, serving
from pushmirror.config.model import Strategy
from pushmirror.errors import Exit, ProgramFailed
from pushmirror.lab.archive import Dinstall
from pushmirror.lab.judge import OWN, broken, same_tree
from pushmirror.lab.services import HOST, Sshd, new_key, wait_until
from pushmirror.lab.site import ARCHIVE
from support.rsync_daemon import RsyncDaemon, TlsTunnel
from upstreams import OwnedArchive

_ROUNDS = 20  # of a whole campaign, each with a try for every site
_WHOLE = 0.05  # of a campaign: less of it has some of the sites only
_USER, _PASSWORD = "site.example.org", "a-secret-that-nobody-tells"
_GRACE_S = 10.0  # after `timeout`
_LONGEST_S = 120.0  # of a run that is not cut short by anything
_GONE_S = 20.0  # for what a run had started, after its end
_TIMEOUTS_S = (2, 4, 12)  # the last one is seen when it is waited for twice
_STEADY_S = 6  # for a run that has to end well, also on a busy machine
_LEAST_KIB = 16  # min_rate, where there is one
_RATES = {False: (200, 4_000), True: (60_000, 200_000)}  # bytes per second below and above it
_PATIENT = {"timeout": "60s", "connect_timeout": "60s", "min_rate": None, "retries": 0}
_FAILURES = {Exit.FAILED, Exit.STAGE1, Exit.STAGE2, Exit.BEHIND}
_UNLISTED = re.compile(rf"{OWN.pattern}|(?!dists/|pool/).*|dists/[^/]+/main/installer-.*")  # not by `index`
_SLOW = {Fault.DRIP, Fault.RATE}
_DAMAGING = {Fault.FLIPPED, Fault.LOST, Fault.DOUBLED, Fault.NOISE}


class Upstream(OwnedArchive):
    """One that every strategy can follow: no link turns, for these are what `index` leaves to `full`."""

    def update(
        self, *, add: int = 3, replace: int = 3, remove: int = 2, installer: bool | None = None
    ) -> Dinstall:
        return super().update(add=add, replace=replace, remove=remove, installer=bool(installer))


@dataclass(slots=True)
class _Place:
    """A site, the line to its upstream, and how it goes."""

    name: str
    site: ForkedSite
    strategy: Strategy
    line: Line
    usual: int = 0  # bytes of a run that has something to do


@dataclass(frozen=True, slots=True)
class _Try:
    """What one run is to meet."""

    plan: Plan
    timeout_s: int
    options: dict[str, object]  # of the site's archive
    must_end_well: bool  # the fault passes, or is one that a run can live with

    def __str__(self) -> str:
        return f"{self.plan}, timeout {self.timeout_s} s"


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a run did."""

    code: int | None  # none: it had to be ended
    output: str
    began: float | None  # the fault, monotonic
    connected: float  # the last connection
    ended: float


def run(trial: Trial) -> None:
    """Round by round: upstream changes, each site meets a fault of its own, and then none."""
    with ExitStack() as stack:
        beat, cli = stack.enter_context(Heartbeat()), stack.enter_context(serving())
        archive = Upstream.create(trial.directory / "archive", packages=20, file_size=20_000, keep_by_hash=0)
        assert isinstance(archive, Upstream)
        places = [*_places(trial.directory, archive, cli, stack)]
        if trial.scale < _WHOLE:
            places = trial.random.sample(places, 4)
        crew = stack.enter_context(ThreadPoolExecutor(len(places)))
        _measure(archive, places, crew)
        for number in trial.times(_ROUNDS):
            archive.update()
            tries = [_drawn(trial.random, place) for place in places]
            ended = [*crew.map(_meet, places, tries)]
            for place, one, how in zip(places, tries, ended, strict=True):
                _judge(trial, place, one, how, beat.late_s(how.began or how.ended))
            for place, one, problems in zip(places, tries, crew.map(_recover(archive), places), strict=True):
                for problem in problems:
                    trial.wrong(
                        "lost", f"round {number}, {place.name}, by a good line after {one}: {problem}"
                    )


def _places(directory: Path, archive: Upstream, cli: Cli, stack: ExitStack) -> Iterator[_Place]:
    users = {_USER: _PASSWORD}
    daemon = stack.enter_context(RsyncDaemon(directory / "rsyncd"))
    daemon.add_module(ARCHIVE, archive.path, users)
    daemon.add_module(f"{ARCHIVE}.manifest", archive.manifest, users)
    tunnel = stack.enter_context(TlsTunnel(directory / "tls", daemon))
    sshd = stack.enter_context(Sshd(directory / "sshd"))
    key = directory / "key"
    sshd.authorize(new_key(key))

    ssh_options = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    login = f"{_USER}@{HOST}:{{}}/{ARCHIVE}"
    by_ssh: dict[str, object] = {"ssh_key": str(key), "ssh_options": ssh_options}
    ways: list[tuple[str, int, str, dict[str, object]]] = [
        ("plain", daemon.port, f"rsync://{login}", {}),
        ("ssh", sshd.port, f"rsync+ssh://{sshd.user}@{HOST}:{{}}{archive.path}", by_ssh),
    ]
    for method in ("own", "stunnel", "socat"):
        options: dict[str, object] = {"tls_ca": str(tunnel.ca_file), "tls_method": method}
        ways.append((f"tls-{method}", tunnel.port, f"rsyncs://{login}", options))
    for way, port, url, options in ways:
        for strategy in (Strategy.FULL, Strategy.INDEX, Strategy.MANIFEST):
            if way == "ssh" and strategy is Strategy.MANIFEST:
                continue  # it is in a module of a daemon
            line, name = stack.enter_context(Line(port)), f"{way}-{strategy}"
            own: dict[str, object] = {
                "upstream": url.format(line.port),
                "strategy": strategy.value,
                "keyring": [str(archive.keyring)],
                "grace": "0s",
            }
            password = None if way == "ssh" else _PASSWORD
            site = ForkedSite(directory / name, cli, password=password, **own, **options)
            yield _Place(name, site, strategy, line)


def _measure(archive: Upstream, places: Sequence[_Place], crew: ThreadPoolExecutor) -> None:
    """Begin with what upstream has, and see how many bytes a change takes."""
    for _ in range(2):
        for place in places:
            place.line.arm(None)
            place.site.configure(**_PATIENT)
        for result in crew.map(lambda place: place.site.sync(), places):
            result.check()
        for place in places:
            place.usual = place.line.passed
        archive.update()


def _drawn(random: Random, place: _Place) -> _Try:
    fault, timeout_s = random.choice(list(Fault)), random.choice(_TIMEOUTS_S)
    at, once = random.randrange(place.usual), random.random() < 0.25
    options: dict[str, object] = {"min_rate": None, "retries": 0}
    rate, must_end_well = 0, fault is Fault.DELAY
    if fault is Fault.RATE:
        is_enough = random.random() < 0.4
        rate = random.randint(*_RATES[is_enough])
        options["min_rate"] = f"{_LEAST_KIB}K"
        once, must_end_well = False, is_enough
    if once and fault not in _DAMAGING:
        options |= {"retries": 3, "retry_after": "1s"}
        must_end_well = True
    if must_end_well:
        timeout_s = _STEADY_S
    options |= {"timeout": f"{timeout_s}s", "connect_timeout": f"{timeout_s}s"}
    return _Try(
        Plan(fault, at, random.randrange(1 << 30), rate, once),
        timeout_s,
        options,
        must_end_well=must_end_well,
    )


def _meet(place: _Place, one: _Try) -> _Ended:
    place.site.configure(**one.options)
    place.line.arm(one.plan)
    code, output = None, ""
    try:
        result = place.site.run("sync", "-v", ARCHIVE, timeout_s=_LONGEST_S)
        code, output = result.exit_code, f"{result.output.decode('utf-8', 'replace')}{result.errors}"
    except ProgramFailed:
        pass  # it was waited for too long, and ended
    return _Ended(code, output, place.line.began, place.line.connected, time.monotonic())


def _judge(trial: Trial, place: _Place, one: _Try, how: _Ended, late_s: float) -> None:
    what = f"{place.name}, {one}"
    trial.tally.faults += how.began is not None
    trial.ended(-1 if how.code is None else how.code, how.output, what)
    since = how.began or how.ended
    if one.plan.fault in _SLOW:
        since = max(since, how.connected)  # for what was connected before has got all that it wanted
    took_s = how.ended - since
    if how.code is None or (not one.must_end_well and took_s > one.timeout_s + _GRACE_S + late_s):
        trial.wrong("hangs", f"{what}: {took_s:.1f} s after the fault began ({late_s:.1f} s of them late)")
    elif how.code not in {Exit.OK, Exit.SOFTWARE, *_FAILURES}:
        trial.wrong("internal", f"{what}: exit code {how.code}: {how.output[-300:]}")
    elif how.code != Exit.OK and _has_to_end_well(one, how):
        trial.wrong("lost", f"{what}: exit code {how.code}: {how.output[-300:]}")
    trial.require_unbroken(broken(place.site.tree, thorough=True), what)
    if told := _told(place.site, how.output):
        trial.wrong("leaks", f"{what}: the password is in {told}")
    if not wait_until(lambda: not naming(place.site.directory), limit_s=_GONE_S):
        trial.wrong("leaks", f"{what}: processes are left: {naming(place.site.directory)}")


def _has_to_end_well(one: _Try, how: _Ended) -> bool:
    """Whether the run had no reason to fail.

    Where the fault lay behind the run's last byte, the line was good; but a busy machine may miss a short
    timeout by itself. Such a run, as each, is followed by one that has time enough (`_recover`).
    """
    return one.must_end_well or (how.began is None and one.timeout_s >= _STEADY_S)


def _told(site: ForkedSite, output: str) -> str:
    """Where the password can be read, if anywhere."""
    if _PASSWORD in output:
        return "the output"
    seen = (path for top in (site.tree, site.state) for path in top.rglob("*") if path.is_file())
    return next((str(path) for path in seen if _PASSWORD.encode() in path.read_bytes()), "")


def _recover(archive: Upstream) -> Callable[[_Place], list[str]]:
    """A run by a good line, and what is then not as it is at upstream."""

    def recover(place: _Place) -> list[str]:
        place.line.arm(None)
        place.site.configure(**_PATIENT)
        result = place.site.sync()
        if result.exit_code != Exit.OK:
            return [f"exit code {result.exit_code}: {result.errors[-300:]}"]
        ignore = _UNLISTED if place.strategy is Strategy.INDEX else OWN
        return same_tree(archive.path, place.site.tree, ignore=ignore)[:3]

    return recover
