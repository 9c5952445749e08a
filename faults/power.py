"""The power fails at random moments of a run, and what a disk then holds is looked at, and gone on with.

    ext4 on a file ─▶ a run ─▶ copies of the file while it works ─▶ each is mounted: the kernel recovers it
    (tree and state on one,                                         ├─▶ is what is served whole, at once?
     or on two)                                                     └─▶ a run: ends well, upstream's state

A copy has what was written out until then, and nothing of what waits in memory; the kernel may write out
names long before the content of new files (`noauto_da_alloc`, delayed allocation), which is what a missing
fsync leads to. Not seen: a disk that says that it has written what it has not.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from acceptance.processes import kill
from faults.campaign import Trial
from faults.loaded import EACH, Followed, followed, recovers
from pushmirror.config.model import Strategy
from pushmirror.lab.judge import Judge
from pushmirror.lab.services import wait_until
from pushmirror.lab.site import ARCHIVE
from pushmirror.system import process
from pushmirror.system.files import sync_file_system
from support.churn import Churn
from support.published import generation_files

_RUNS = 9  # of a whole campaign, on one disk and on two
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
        for made in (self.top, self._copies):
            made.mkdir(parents=True)

    def begin(self) -> bool:
        """Make it and mount it; whether that can be done here."""
        with self._image.open("wb") as file:
            file.truncate(_SIZE)
        if not shutil.which("mkfs.ext4"):
            return False
        process.run(["mkfs.ext4", "-q", "-F", str(self._image)]).check()
        return self._mount(_WAYS[0]).exit_code == 0

    def mount(self, way: str) -> None:
        """Have the disk as it is."""
        self._mount(way).check()

    def _mount(self, way: str) -> process.Result:
        argv = ["mount", "-t", "ext4", "-o", f"loop,{way}", str(self._image), str(self.top)]
        return process.run(argv)

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
    for name, number in (("one disk", 1), ("two disks", 2)):
        directory = trial.directory / name
        directory.mkdir()
        with ExitStack() as stack:
            machines = [Machine(directory / f"{n}") for n in range(number)]
            for machine in machines:
                stack.callback(process.run, ["umount", "-l", str(machine.top)])
            if not all(machine.begin() for machine in machines):
                trial.cannot("needs to mount ext4 on a file")
                return
            made = stack.enter_context(followed(directory, trees=machines[0].top, states=machines[-1].top))
            for _ in trial.times(_RUNS):
                _cut_off(trial, machines, made, trial.random.choice(EACH), name)


def _cut_off(
    trial: Trial, machines: Sequence[Machine], made: Followed, strategy: Strategy, disks: str
) -> None:
    """A run with some cuts, each of them looked at; the last one is what goes on."""
    random, site = trial.random, made.sites[strategy]
    way = random.choice(_WAYS)
    for machine in machines:
        sync_file_system(machine.top)
        machine.unmount()
        machine.mount(way)
    before = {name: (site.tree / name).read_bytes() for name in generation_files(made.archive)}
    made.archive.update(add=random.choice((3, 15)))
    cuts: list[list[Path]] = []
    with _changing(made, is_on=random.random() < 0.3), site.running("sync", ARCHIVE) as running:
        for _ in range(_CUTS):
            pause_s = random.uniform(0.1, 1.9) * _WHOLE_S / _CUTS
            is_over = wait_until(lambda: running.poll() is not None, limit_s=pause_s)
            cuts.append([machine.copy() for machine in machines])
            if is_over:
                break
        if running.poll() is None:
            kill(running.pid)
            wait_until(lambda: running.poll() is not None)
    for machine in machines:
        machine.unmount()
    for number, cut in enumerate(cuts):
        for machine, kept in zip(machines, cut, strict=True):
            machine.replace(kept)
            machine.mount(way)
        what = f"cut {number} of a run by {strategy.value}, {disks}, {way}"
        trial.tally.faults += 1
        trial.require_unbroken(Judge(site.tree, thorough=True).sample(), f"{what}, at once")
        gone = [name for name in before if not os.path.lexists(site.tree / name)]
        trial.require_unbroken([f"{name} has gone" for name in gone], f"{what}, at once")
        recovers(trial, made.archive, site, what)
        if number < len(cuts) - 1:
            for machine in machines:
                machine.unmount()


@contextmanager
def _changing(made: Followed, *, is_on: bool) -> Iterator[None]:
    if not is_on:
        yield
        return
    with Churn(made.archive, every_s=1.0):
        yield
