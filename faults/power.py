"""The power fails at random moments of a run, and what a disk then holds is looked at, and gone on with.

    ext4 on a file ─▶ a run ─▶ copies of the file while it works ─▶ each is mounted: the kernel recovers it
                                                                    ├─▶ is what is served whole, at once?
                                                                    └─▶ a run: ends well, upstream's state

A copy has what was written out until then, and nothing of what waits in memory; the kernel may write out
names long before the content of new files (`noauto_da_alloc`, delayed allocation), which is what a missing
fsync leads to. Not seen: a disk that says that it has written what it has not.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from acceptance.processes import kill
from faults.campaign import Trial
from faults.loaded import EACH, Followed, followed, recovers
from pushmirror.config.model import Strategy
from pushmirror.lab.churn import Churn
from pushmirror.lab.judge import Judge
from pushmirror.lab.service import wait_until
from pushmirror.lab.site import ARCHIVE
from pushmirror.system import process
from pushmirror.system.files import sync_file_system

_RUNS = 24  # of a whole campaign
_CUTS = 4  # in each run
_WHOLE_S = 2.0  # about what a run takes, with what else goes on
_SIZE = 96 * 1024 * 1024
_COPIES = 50  # until one is of a single moment
#: Ways to mount it, from what is usual to what promises the least.
_WAYS = ("defaults", "noauto_da_alloc", "noauto_da_alloc,commit=1", "noauto_da_alloc,data=writeback,commit=1")


class Machine:
    """A disk that can be replaced by what it held at an earlier moment."""

    def __init__(self, directory: Path) -> None:
        self.top = directory / "disk"
        self._image = directory / "image"
        self._copies = directory / "copies"
        self.top.mkdir()
        self._copies.mkdir()

    def begin(self) -> bool:
        """Make it and mount it; whether that can be done here."""
        with self._image.open("wb") as file:
            file.truncate(_SIZE)
        if not shutil.which("mkfs.ext4"):
            return False
        process.run(["mkfs.ext4", "-q", "-F", str(self._image)]).check()
        return self.mount(_WAYS[0])

    def mount(self, way: str) -> bool:
        """Have the disk as it is."""
        argv = ["mount", "-t", "ext4", "-o", f"loop,{way}", str(self._image), str(self.top)]
        return process.run(argv).exit_code == 0

    def unmount(self) -> None:
        """As before the machine is switched off."""
        process.run(["umount", str(self.top)]).check()

    def copy(self) -> Path:
        """What is on the disk at this moment, and not in memory alone."""
        kept = self._copies / f"{time.monotonic_ns()}"
        for _ in range(_COPIES):
            process.run(["cp", "--sparse=always", str(self._image), str(kept)]).check()
            if filecmp.cmp(self._image, kept, shallow=False):
                break
        return kept

    def replace(self, kept: Path) -> None:
        """Have a copy be the disk, which is not mounted."""
        kept.replace(self._image)


def run(trial: Trial) -> None:
    """The part `power`."""
    machine = Machine(trial.directory)
    if not machine.begin():
        trial.cannot("needs to mount ext4 on a file")
        return
    with ExitStack() as stack:
        stack.callback(process.run, ["umount", "-l", str(machine.top)])
        made = stack.enter_context(followed(trial.directory, trees=machine.top, states=machine.top))
        for number in trial.times(_RUNS, least=len(EACH)):
            _cut_off(trial, machine, made, EACH[number % len(EACH)])


def _cut_off(trial: Trial, machine: Machine, made: Followed, strategy: Strategy) -> None:
    """A run with some cuts, each of them looked at; the last one is what goes on."""
    random, site = trial.random, made.sites[strategy]
    sync_file_system(machine.top)
    machine.unmount()
    way = random.choice(_WAYS)
    assert machine.mount(way), f"ext4 cannot be mounted with {way}"
    before = {name: (site.tree / name).read_bytes() for name in made.archive.generation_files()}
    made.archive.update(add=random.choice((3, 15)))
    cuts: list[Path] = []
    with _changing(made, is_on=random.random() < 0.3), site.running("sync", ARCHIVE) as running:
        for moment in sorted(random.uniform(0.1, 1.1) * _WHOLE_S for _ in range(_CUTS)):
            began = time.monotonic()
            wait_until(lambda: running.poll() is not None, limit_s=moment / _CUTS)
            cuts.append(machine.copy())
            if running.poll() is not None and time.monotonic() - began > moment:
                break
        if running.poll() is None:
            kill(running.pid)
            wait_until(lambda: running.poll() is not None)
    machine.unmount()
    for number, cut in enumerate(cuts):
        machine.replace(cut)
        assert machine.mount(way), f"what was left of ext4 cannot be mounted with {way}"
        what = f"cut {number} of a run by {strategy.value}, {way}"
        trial.tally.faults += 1
        trial.require_unbroken(Judge(site.tree, thorough=True).sample(), f"{what}, at once")
        gone = [name for name in before if not os.path.lexists(site.tree / name)]
        trial.require_unbroken([f"{name} has gone" for name in gone], f"{what}, at once")
        recovers(trial, made.archive, site, what)
        if number < len(cuts) - 1:
            machine.unmount()


@contextmanager
def _changing(made: Followed, *, is_on: bool) -> Iterator[None]:
    if not is_on:
        yield
        return
    with Churn(made.archive, every_s=1.0):
        yield
