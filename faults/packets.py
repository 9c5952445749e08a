"""Packets between a site and its upstream are lost, late or doubled; or the line goes dead, or is cut.

    namespace of the site, tun ◀──▶ Wire ◀──▶ tun, namespace of the rsync daemon

Each packet is taken from one TUN device and put into the other, or not: by the seed, and in kernels without
netem, too. Promised, as in `network`: whatever dies is answered for within `timeout` and ten seconds; what is
only bad ends no run; and the next run makes the tree what upstream's is. Needs root, /dev/net/tun and
util-linux; where one is missing, the table says so.
"""

from __future__ import annotations

import heapq
import os
import select
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from faults import tun
from faults.campaign import Trial
from faults.line import Heartbeat
from faults.network import Upstream
from pushmirror.config.model import Strategy
from pushmirror.errors import Exit, ProgramFailed, ProgramMissing
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.services import wait_until
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process
from support.rsync_daemon import RsyncDaemon

_TRIES = 30
_SITE, _UPSTREAM = "10.77.0.1", "10.77.0.2"  # in namespaces of their own only
_PORT = 8730
_TIMEOUT_S = 3
_GRACE_S = 10.0
_LONGEST_S = 240.0
_MTU = 1500
_PATIENT = {"timeout": "60s", "connect_timeout": "60s", "retries": 0}


class Trouble(StrEnum):
    """What happens to packets."""

    DEAD = "dead"  # no packet arrives any more
    DEAD_DOWN = "dead towards the site"
    CUT = "cut"  # the site's device goes down
    LOSSY = "lossy"  # up to one in twenty
    LATE = "late"  # up to 0.1 s, and so in another order
    DOUBLED = "doubled"  # one in ten


_FATAL = {Trouble.DEAD, Trouble.DEAD_DOWN, Trouble.CUT}


@dataclass(frozen=True, slots=True)
class _Plan:
    trouble: Trouble
    at: int  # packets that pass before
    strategy: Strategy

    def __str__(self) -> str:
        return f"by {self.strategy}, {self.trouble} after {self.at} packets"


class _Space:
    """A network namespace with a TUN device, whose other end is ours; it is gone with the block."""

    def __init__(self, address: str, peer: str, stack: ExitStack, log: Path) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [
                "unshare",
                "--net",
                sys.executable,
                "-P",
                tun.__file__,
                str(theirs.fileno()),
                address,
                peer,
            ]
            self._holder = stack.enter_context(_inheriting(argv, theirs.fileno(), log))
        with ours:
            ours.settimeout(60)
            _, (self.device, *_), _, _ = socket.recv_fds(ours, 10, 1)
        stack.callback(os.close, self.device)

    def argv(self, *words: str) -> list[str]:
        """The command line of a program in it."""
        return ["nsenter", f"--net=/proc/{self._holder}/ns/net", *words]

    def listens(self) -> bool:
        """Whether anybody there listens at our port."""
        rows = [line.split() for line in Path(f"/proc/{self._holder}/net/tcp").read_text().splitlines()[1:]]
        return any(row[1].endswith(f":{_PORT:04X}") and row[3] == "0A" for row in rows)


class Wire:
    """Carries packets between two devices, in a thread, with the trouble that is planned."""

    def __init__(self, site: int, upstream: int, random: Random) -> None:
        self._other = {site: upstream, upstream: site}
        self._site = site
        self._random = random
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._plan: _Plan | None = None
        self.packets = 0
        self.began: float | None = None

    def arm(self, plan: _Plan | None) -> None:
        """From now on, count from 0 and then do what is planned."""
        self._plan, self.packets, self.began = plan, 0, None

    def _carry(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []  # when, a number, into what
        while not self._enough.is_set():
            wait_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.1
            for device in select.select(list(self._other), [], [], min(wait_s, 0.1))[0]:
                packet = os.read(device, _MTU + 100)
                for late_s in self._fate(to_site=device != self._site):
                    due = time.monotonic() + late_s
                    heapq.heappush(waiting, (due, self.packets, self._other[device], packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, device, packet = heapq.heappop(waiting)
                with suppress(OSError):  # the device is down
                    os.write(device, packet)

    def _fate(self, *, to_site: bool) -> list[float]:
        """By how much a packet is late, for each time that it arrives."""
        self.packets += 1
        plan = self._plan
        if plan is None or self.packets <= plan.at:
            return [0.0]
        self.began = self.began or time.monotonic()
        chance = self._random.random()
        match plan.trouble:
            case Trouble.DEAD | Trouble.CUT:
                return []
            case Trouble.DEAD_DOWN:
                return [] if to_site else [0.0]
            case Trouble.LOSSY:
                return [] if chance < 0.05 else [0.0]
            case Trouble.LATE:
                return [chance * 0.1]
            case Trouble.DOUBLED:
                return [0.0, 0.0] if chance < 0.1 else [0.0]

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()


@dataclass(frozen=True, slots=True)
class _Scene:
    """What all tries have in common."""

    trial: Trial
    archive: Upstream
    space: _Space  # of the site
    transport: Wire
    beat: Heartbeat


def run(trial: Trial) -> None:
    """One run after the other, each with a trouble of its own, and then one without."""
    if why := _impossible():
        trial.cannot(why)
        return
    with ExitStack() as stack:
        beat = stack.enter_context(Heartbeat())
        directory = trial.directory
        archive = Upstream.create(directory / "archive", packages=20, file_size=20_000, keep_by_hash=0)
        assert isinstance(archive, Upstream)
        below = _Space(_SITE, _UPSTREAM, stack, directory / "site.log")
        above = _Space(_UPSTREAM, _SITE, stack, directory / "upstream.log")
        transport = stack.enter_context(Wire(below.device, above.device, trial.random))
        stack.enter_context(_daemon(above, archive, directory / "rsyncd"))
        sites = {one: _site(directory, archive, one) for one in (Strategy.FULL, Strategy.MANIFEST)}
        scene = _Scene(trial, archive, below, transport, beat)
        usual = {one: _measured(site, below, transport) for one, site in sites.items()}
        for _ in trial.times(_TRIES, least=3):
            archive.update()
            strategy = trial.random.choice(list(sites))
            trouble = trial.random.choice(list(Trouble))
            plan = _Plan(trouble, trial.random.randrange(usual[strategy]), strategy)
            _meet(scene, plan, sites[strategy])
            _recover(scene, plan, sites[strategy])


def _impossible() -> str:
    """Why there can be no namespaces with TUN devices here; empty: there can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "needs /dev/net/tun"
    missing = [program for program in ("unshare", "nsenter", "ip") if not shutil.which(program)]
    if missing:
        return f"needs {missing[0]}"
    with suppress(ProgramMissing):
        if process.run(["unshare", "--net", "true"], timeout_s=60).exit_code == 0:
            return ""
    return "needs to make network namespaces"


@contextmanager
def _inheriting(argv: list[str], handle: int, log: Path) -> Iterator[int]:
    """A program that has one handle of ours; it ends when we close what it reads."""
    reading, writing = os.pipe()
    actions = [
        (os.POSIX_SPAWN_DUP2, reading, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT, 0o644),
    ]
    os.set_inheritable(handle, True)
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
    os.close(reading)
    try:
        yield pid
    finally:
        os.close(writing)
        os.waitpid(pid, 0)


@contextmanager
def _daemon(space: _Space, archive: Upstream, directory: Path) -> Iterator[None]:
    made = RsyncDaemon(directory)  # for its configuration
    made.add_module(ARCHIVE, archive.path)
    made.add_module(f"{ARCHIVE}.manifest", archive.manifest)
    words = ["--daemon", "--no-detach", f"--config={directory / 'rsyncd.conf'}", f"--address={_UPSTREAM}"]
    argv = space.argv("rsync", *words, f"--port={_PORT}")
    with process.background(argv, log=directory / "log") as child:
        if not wait_until(lambda: child.poll() is not None or space.listens()) or child.poll() is not None:
            raise ProgramFailed("rsync did not start in its namespace")
        yield


def _site(directory: Path, archive: Upstream, strategy: Strategy) -> LabSite:
    return LabSite(
        directory / strategy,
        upstream=f"rsync://{_UPSTREAM}:{_PORT}/{ARCHIVE}",
        strategy=strategy.value,
        keyring=[str(archive.keyring)],
        grace="0s",
    )


def _sync(site: LabSite, space: _Space) -> process.Result:
    return process.run(space.argv(*site.argv("sync", "-v", ARCHIVE)), timeout_s=_LONGEST_S)


def _measured(site: LabSite, space: _Space, transport: Wire) -> int:
    """Fill a site; the packets of a run that finds nothing, and so the fewest of any."""
    site.configure(**_PATIENT)
    _sync(site, space).check()
    transport.arm(None)
    _sync(site, space).check()
    return 2 * transport.packets


def _meet(scene: _Scene, plan: _Plan, site: LabSite) -> None:
    trial, transport = scene.trial, scene.transport
    patience = {"timeout": f"{_TIMEOUT_S}s", "connect_timeout": f"{_TIMEOUT_S}s"}
    site.configure(**(patience if plan.trouble in _FATAL else _PATIENT))
    transport.arm(plan)
    code, output = -1, ""
    with suppress(ProgramFailed), _cut(plan, scene.space, transport):
        result = _sync(site, scene.space)
        code, output = result.exit_code, f"{result.output.decode('utf-8', 'replace')}{result.errors}"
    ended, began = time.monotonic(), transport.began
    took_s, late_s = ended - (began or ended), scene.beat.late_s(began or ended)
    trial.tally.faults += began is not None
    trial.ended(code, output, str(plan))
    is_fatal = plan.trouble in _FATAL
    if code < 0 or (is_fatal and took_s > _TIMEOUT_S + _GRACE_S + late_s):
        trial.wrong("hangs", f"{plan}: {took_s:.1f} s after it began ({late_s:.1f} s of them late)")
    elif code != Exit.OK and not (is_fatal and began):
        trial.wrong("lost", f"{plan}: exit code {code}: {output[-300:]}")
    trial.require_unbroken(broken(site.tree, thorough=True), str(plan))


@contextmanager
def _cut(plan: _Plan, space: _Space, transport: Wire) -> Iterator[None]:
    """Take the site's device down when it is time for that; it is up again afterwards."""
    if plan.trouble is not Trouble.CUT:
        yield
        return
    over = threading.Event()

    def cut() -> None:
        until = time.monotonic() + _LONGEST_S
        while transport.began is None and not over.wait(0.01) and time.monotonic() < until:
            pass
        if transport.began is not None:
            _set(space, "down")

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _set(space, "up")


def _set(space: _Space, how: str) -> None:
    process.run(space.argv("ip", "link", "set", tun.DEVICE, how), timeout_s=60).check()


def _recover(scene: _Scene, plan: _Plan, site: LabSite) -> None:
    scene.transport.arm(None)
    site.configure(**_PATIENT)
    result = _sync(site, scene.space)
    problems = [f"exit code {result.exit_code}: {result.errors[-300:]}"] if result.exit_code else []
    for problem in problems or same_tree(scene.archive.path, site.tree)[:3]:
        scene.trial.wrong("lost", f"by a good wire after {plan}: {problem}")
