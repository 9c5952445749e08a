"""What a site needs above it to go by a strategy: the archive, and for `manifest` an owner who seals one.

The owner takes stock at the end of each update, in the same process: sites that come in between find a
manifest that is older than the Release files, as they do below a real one.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pushmirror.changes import strategy as learning
from pushmirror.config.model import Archive, Mirror, Strategy
from pushmirror.lab.archive import Dinstall, LabArchive
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.progress import Silent
from pushmirror.state.records import Stage
from pushmirror.sync.owner import OwnerScan
from pushmirror.sync.request import RunRequest
from pushmirror.workspace import StatePaths

BY_EACH_STRATEGY = [
    pytest.param(
        one, id=one.value, marks=pytest.mark.skipif(one not in learning.STRATEGIES, reason="not made yet")
    )
    for one in (Strategy.FULL, Strategy.INDEX, Strategy.MANIFEST)
]


class OwnedArchive(LabArchive):
    """An archive whose owner keeps its manifest in the directory `manifest`."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, **options)
        self.manifest = directory / "manifest"
        self._paths = paths_in(directory, self.manifest)

    def update(
        self, *, add: int = 3, replace: int = 3, remove: int = 2, installer: bool | None = None
    ) -> Dinstall:
        done = super().update(add=add, replace=replace, remove=remove, installer=installer)
        self.take_stock()
        return done

    def take_stock(self) -> None:
        """As the owner's `pushmirror sync`."""
        take_stock(self.path, self._paths)


class SteadyArchive(LabArchive):
    """One whose installers stay: a new one turns a link, and links are what `index` leaves to `full`."""

    def update(
        self, *, add: int = 3, replace: int = 3, remove: int = 2, installer: bool | None = None
    ) -> Dinstall:
        return super().update(add=add, replace=replace, remove=remove, installer=bool(installer))


KINDS: Mapping[Strategy, type[LabArchive]] = {Strategy.MANIFEST: OwnedArchive, Strategy.INDEX: SteadyArchive}


def archive_for(strategy: Strategy, directory: Path, **options: Any) -> LabArchive:
    """An archive that sites can follow by this strategy; `options` are those of `LabArchive.create`."""
    return KINDS.get(strategy, LabArchive).create(directory, **options)


def paths_in(directory: Path, manifest: Path | None = None) -> StatePaths:
    """Where an engine or a stock keeps its state, below one directory."""
    files = (directory / "ledger", directory / "inventory.sqlite", directory / "theirs")
    return StatePaths(*files, manifest, directory / "suites.json")


def take_stock(tree: Path, paths: StatePaths) -> str:
    """Take stock of an owner's tree; its generation."""
    archive = Archive(name=ARCHIVE, path=tree)
    stock = OwnerScan(archive, Mirror(name="owner.lab.example.org"), paths=paths, progress=Silent())
    return stock.run(RunRequest("debian", Stage.ALL, "manual"), lambda _: None).generation


def after_a_change(archive: LabArchive) -> None:
    """Have the owner take stock, if there is one, of what was done to the archive by hand."""
    if isinstance(archive, OwnedArchive):
        archive.take_stock()


def see_everything(site: LabSite, strategy: Strategy) -> None:
    """The periodic full run comes: what no list names, such as ls-lR.gz, `index` leaves to it."""
    if strategy is Strategy.INDEX:
        site.sync("--strategy", "full", "--allow-mass-delete").check()


def share_by(site: LabSite, strategy: Strategy) -> float:
    """How often a site learnt by this strategy what had changed, of all times, as its logs tell.

    They also tell of runs that were killed.
    """
    logs = "".join(log.read_text() for log in (site.state / "logs").rglob("*.log"))
    taken = re.findall(r"\bstrategy (full|index|manifest): ", logs)
    return taken.count(strategy.value) / len(taken)
