"""Disks are full, without inodes, read-only or broken, and files cannot be opened, while a site runs.

    real        space, inodes and rights to write of two file systems in memory, of trees and of states
                open files and the size of a file, by the limits of the process that runs (prlimit(2))
    injected    EIO, EDQUOT and ENOSPC into system calls that write, and EIO where certain files are read,
                for the run and all that it starts (strace(1))

Promised: no sample is broken; the run ends by an error that is told, or without one; when the disk is well
again the next run needs no help.
"""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from acceptance.processes import descendants
from faults.campaign import Trial
from faults.disk import Disk, mounted
from faults.loaded import EACH, LONGEST_S, Loaded, loaded
from pushmirror.errors import Exit, ProgramFailed
from pushmirror.lab.services import wait_until
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process

_TRIES = 100  # of a whole campaign
_WHOLE_S = 1.5  # about what a run takes
_WRITING = (
    *(
        "write",
        "pwrite64",
        "fsync",
        "fdatasync",
        "syncfs",
        "ftruncate",
        "rename",
        "renameat2",
        "link",
        "linkat",
    ),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "symlink", "symlinkat", "utimensat", "fchmod", "chmod"),
)
_READING = "openat,read,pread64,newfstatat,getdents64"
_ERRORS = ("EIO", "EIO", "EDQUOT", "ENOSPC")
_LEFT = (0, 0, 4096, 20_000, 100_000)  # bytes
_UNSAID = 120  # Python's own: what was printed could not be written at the end
_ENDED = {*Exit, _UNSAID} - {Exit.SOFTWARE, Exit.USAGE}
_STATES = ("state.sqlite", "inventory", "ledger", "manifest", ".log", "suites")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where sites are."""

    trees: Disk | None
    states: Disk | None

    @property
    def disks(self) -> list[Disk]:
        return [disk for disk in (self.trees, self.states) if disk]


def run(trial: Trial) -> None:
    """The part `disks`."""
    with ExitStack() as stack:
        names = trial.directory / "trees", trial.directory / "states"
        place = _Place(*(stack.enter_context(mounted(name)) for name in names))
        all_ = stack.enter_context(loaded(trial, trees=names[0], states=names[1]))
        for number in trial.times(_TRIES, least=len(EACH)):
            strategy = EACH[number % len(EACH)]
            kind = trial.random.choice(_KINDS if place.disks else _WITHOUT_DISKS)
            all_.archive.update(add=trial.random.choice((3, 20)))
            what = f"{kind.__name__.strip('_')}, {strategy.value}, try {number}"
            what += kind(all_, all_.sites[strategy], place)
            for disk in place.disks:
                disk.recover()
            if trial.random.random() < 0.8:  # else the next fault meets what this one left behind
                all_.recovers(strategy, what)
        all_.end()


def _no_space(all_: Loaded, site: LabSite, place: _Place) -> str:
    random = all_.trial.random
    left = random.choice(_LEFT)
    return _while_it_runs(all_, site, lambda _: _some(place, random).leave(left), "no space")


def _no_inodes(all_: Loaded, site: LabSite, place: _Place) -> str:
    random = all_.trial.random
    left = random.choice((0, 1, 5, 40))
    return _while_it_runs(all_, site, lambda _: _some(place, random).leave_inodes(left), "no inodes")


def _read_only(all_: Loaded, site: LabSite, place: _Place) -> str:
    random = all_.trial.random

    def become(_: int) -> None:
        _some(place, random).become_read_only()

    return _while_it_runs(all_, site, become, "read-only")


def _no_open_files(all_: Loaded, site: LabSite, _: _Place) -> str:
    more = all_.trial.random.choice((0, 1, 3, 8))

    def limit(pid: int) -> None:
        for one in (pid, *descendants(pid)):
            with suppress(OSError):
                count = sum(1 for _ in Path(f"/proc/{one}/fd").iterdir()) + more
                resource.prlimit(one, resource.RLIMIT_NOFILE, (count, count))

    return _while_it_runs(all_, site, limit, "no more open files", has_begun=True)


def _no_large_files(all_: Loaded, site: LabSite, _: _Place) -> str:
    most = all_.trial.random.choice((0, 500, 4096, 30_000))

    def limit(pid: int) -> None:
        for one in (pid, *descendants(pid)):
            with suppress(OSError):
                resource.prlimit(one, resource.RLIMIT_FSIZE, (most, most))

    return _while_it_runs(all_, site, limit, f"no file beyond {most} bytes", has_begun=True)


def _failing_writes(all_: Loaded, site: LabSite, _: _Place) -> str:
    random = all_.trial.random
    calls = ",".join(random.sample(_WRITING, k=random.choice((1, 3, len(_WRITING)))))
    first = random.choice((1, 2, 5, 20, 60)) + random.randrange(20)
    when = f"{first}{random.choice(('', '+', '+7'))}"
    return _traced(all_, site, [f"inject={calls}:error={random.choice(_ERRORS)}:when={when}"], [])


def _failing_reads(all_: Loaded, site: LabSite, _: _Place) -> str:
    random = all_.trial.random
    files = _files_of(site, random)
    return _traced(all_, site, [f"inject={_READING}:error=EIO"], files)


def _files_of(site: LabSite, random: Random) -> list[Path]:
    """Some that a run is likely to read."""
    tree = [path for path in (site.tree / "dists").rglob("*") if path.is_file()]
    states = [p for p in site.state.rglob("*") if p.is_file() and any(word in p.name for word in _STATES)]
    there = sorted(random.choice((tree, states)))
    return random.sample(there, k=min(len(there), random.choice((1, 4))))


_WITHOUT_DISKS: Sequence[Callable[[Loaded, LabSite, _Place], str]] = (
    _no_open_files,
    _no_large_files,
    _failing_writes,
    _failing_writes,
    _failing_reads,
)
_KINDS = (*_WITHOUT_DISKS, _no_space, _no_space, _no_inodes, _read_only)


def _some(place: _Place, random: Random) -> Disk:
    return random.choice(place.disks)


def _while_it_runs(
    all_: Loaded, site: LabSite, do_it: Callable[[int], object], what: str, *, has_begun: bool = False
) -> str:
    """Have something happen at a random moment of a run, or before it; it is told the run's number.

    With `has_begun` not before it has a log: whether Python itself comes up is not our promise.
    """
    trial, words, logs = all_.trial, all_.said(site), _logs(site)
    with site.running("sync", ARCHIVE) as running:
        if has_begun:
            wait_until(lambda: _logs(site) != logs or running.poll() is not None, limit_s=LONGEST_S)
        time.sleep(trial.random.choice((0.0, trial.random.uniform(0.05, 1.0))) * _WHOLE_S)
        do_it(running.pid)
        trial.tally.faults += running.poll() is None
        _judge(trial, all_.attacked(site, running, what, words=words), what)
    return ""


def _logs(site: LabSite) -> set[Path]:
    return set((site.state / "logs").rglob("*.log"))


def _traced(all_: Loaded, site: LabSite, expressions: Sequence[str], paths: Sequence[Path]) -> str:
    """A run some of whose system calls fail; what was done to it."""
    trial = all_.trial
    if not shutil.which("strace"):
        return ""
    argv = ["strace", "-f", "-qqq", "-o", "/dev/null"]
    argv += [word for expression in expressions for word in ("-e", expression)]
    argv += [word for path in paths for word in ("-P", str(path))]
    what = f": {' '.join(expressions)} {' '.join(path.name for path in paths)}"
    trial.tally.faults += 1
    try:
        ended = process.run([*argv, "--", *site.argv("sync", ARCHIVE)], timeout_s=LONGEST_S)
    except ProgramFailed as exc:
        trial.wrong("hangs", f"{what}: {exc}")
        return what
    trial.ended(ended.exit_code, ended.errors, what)
    _judge(trial, ended.exit_code, what)
    return what


def _judge(trial: Trial, code: int | None, what: str) -> None:
    if code is not None and code not in _ENDED:
        trial.wrong("internal", f"{what}: exit code {code}")
