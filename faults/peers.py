"""The same to the others: kills while upstream changes, below one archive, watched by one watcher each.

The real ftpsync and debmirror promise less, and nothing of theirs counts as a failure: it is counted, so that
one can see what the promises are worth. Beside them a site of ours, to which all that is promised applies.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from acceptance.processes import descendants, kill
from faults.campaign import Trial
from faults.loaded import LONGEST_S, Followed, followed
from pushmirror.config.model import Strategy
from pushmirror.lab.services import HOST, wait_until
from pushmirror.lab.site import ARCHIVE
from pushmirror.lab.watch import Watcher
from pushmirror.system import process
from side_by_side import Home, Side
from support.churn import Churn

_CYCLES = 14  # of a whole campaign, for each of them
_WHOLE_S = 2.0  # about what a run takes while upstream changes
_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)
_REAL = Path("/usr/bin")


@dataclass(frozen=True, slots=True)
class _Mirror:
    """Somebody who mirrors an archive."""

    name: str
    tree: Path
    running: Callable[[], AbstractContextManager[process.Background]]
    is_ours: bool = False


@dataclass(slots=True)
class _Count:
    """What came of it."""

    faults: int = 0
    unwell: int = 0  # runs that nobody disturbed and that did not end with 0
    behind: int = 0  # runs that nobody disturbed and after which the tree was not at upstream's state


def run(trial: Trial) -> None:
    """The part `peers`."""
    with followed(trial.directory, strategies=[Strategy.INDEX]) as made:
        mirrors = [_ours(made), *_others(trial.directory, made)]
        for mirror in mirrors:
            _attack(trial, made, mirror)


def _attack(trial: Trial, made: Followed, mirror: _Mirror) -> None:
    random, count = trial.random, _Count()
    _undisturbed(made, mirror, count)
    with Watcher(mirror.tree, gently=True) as watcher:
        for _ in trial.times(_CYCLES):
            with Churn(made.archive, every_s=1.5):
                for _ in range(random.choice((1, 1, 2))):
                    with mirror.running() as running:
                        time.sleep(random.uniform(0.05, 1.0) * _WHOLE_S)
                        count.faults += running.poll() is None
                        _strike(running, random.choice(_SIGNALS), with_children=random.random() < 0.5)
            _undisturbed(made, mirror, count)
    trial.tally.faults += count.faults
    trial.tally.samples += watcher.samples
    trial.tally.tries += count.faults + 1
    share = 100 * watcher.broken / max(watcher.samples, 1)
    trial.tally.remarks.append(
        f"{mirror.name}: {count.faults} kills, {watcher.samples:,} samples, {watcher.broken:,} broken"
        f" ({share:.0f} %); of the undisturbed runs {count.unwell} did not end with 0, {count.behind} left an"
        " older state"
    )
    if mirror.is_ours:
        for number in range(watcher.broken):
            trial.wrong("broken", watcher.messages[number] if number < len(watcher.messages) else "as before")
        for _ in range(count.unwell + count.behind):
            trial.wrong("lost", "a run that nobody disturbed was not current")


def _strike(running: process.Background, number: signal.Signals, *, with_children: bool) -> None:
    if number is signal.SIGKILL and with_children:
        kill(running.pid)
    else:
        left = descendants(running.pid)
        with suppress(ProcessLookupError):
            os.kill(running.pid, number)
        wait_until(lambda: running.poll() is not None, limit_s=LONGEST_S)
        for pid in left:  # who has nobody that ends them would go on beside the next run
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _undisturbed(made: Followed, mirror: _Mirror, count: _Count) -> None:
    with mirror.running() as running:
        wait_until(lambda: running.poll() is not None, limit_s=LONGEST_S)
        count.unwell += running.poll() != 0
    suite = made.archive.dists.suite("sid")
    released = mirror.tree / suite.directory / "InRelease"
    upstream = made.archive.path / suite.directory / "InRelease"
    count.behind += not released.is_file() or released.read_bytes() != upstream.read_bytes()


def _ours(made: Followed) -> _Mirror:
    site = made.sites[Strategy.INDEX]
    return _Mirror("pushmirror", site.tree, lambda: site.running("sync", ARCHIVE), is_ours=True)


def _others(directory: Path, made: Followed) -> list[_Mirror]:
    """Those that are installed."""
    found = []
    if (_REAL / "ftpsync").exists():
        home = Home(directory / "ftpsync", Side.REAL)
        home.tree.mkdir()
        told = {
            "RSYNC_HOST": HOST,
            "RSYNC_PATH": ARCHIVE,
            "RSYNC_EXTRA": f"--port={made.daemon.port}",
            "TO": f"{home.tree}/",
            "MIRRORNAME": "peer.example.org",
            "MAILTO": "nobody",
            "HUB": "false",
        }
        home.configure("".join(f"{name}={shlex.quote(value)}\n" for name, value in told.items()))
        found.append(_Mirror("ftpsync", home.tree, home.running))
    if shutil.which("debmirror"):
        found.append(_debmirror(directory / "debmirror", made))
    return found


def _debmirror(directory: Path, made: Followed) -> _Mirror:
    tree = directory / "tree"
    tree.mkdir(parents=True)
    argv = ["debmirror", "--method=rsync", f"--host={HOST}", f"--root={ARCHIVE}", "--dist=sid"]
    argv += [f"--rsync-options=-aIL --partial --port={made.daemon.port}", "--section=main,contrib"]
    argv += ["--arch=amd64,arm64", f"--keyring={made.archive.keyring}", str(tree)]

    def running() -> AbstractContextManager[process.Background]:
        return process.background(argv, env={"HOME": str(directory)}, log=directory / "log")

    return _Mirror("debmirror", tree, running)
