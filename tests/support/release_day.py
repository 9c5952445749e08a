"""The days of a Debian release, publish by publish: the most important ones of a mirror's two years.

Codenames turn (`stable` leads to trixie), suites come and go with their pool files, and names change their
kind: a directory becomes a link, a link a directory. Each step is one update of the archive.

    freeze ─▶ release ─▶ settled ─▶ archived ─▶ point release        kinds: see `change_kinds`
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.dists import Dists, Layout, SuiteTree
from pushmirror.lab.indices import Suite


def _suite(codename: str, alias: str, every: int, **more: Any) -> Suite:
    return Suite(codename, alias, by_hash=True, every=every, **more)


#: Before the freeze.
SUITES = (
    Suite("bullseye", "oldstable", by_hash=False, every=3, frozen=True, version="11.11"),
    _suite("bookworm", "stable", 2, frozen=True, version="12.11"),
    _suite("bookworm-updates", "stable-updates", 9),
    _suite("bookworm-proposed-updates", "proposed-updates", 4),
    _suite("trixie", "testing", 2),
    _suite("trixie-updates", "testing-updates", 9),
    _suite("trixie-proposed-updates", "testing-proposed-updates", 4),
    _suite("sid", "unstable", 1, pdiffs=True, valid_for=timedelta(days=7)),
)
#: Names in dists/ that are no more after the last step.
ARCHIVED = ("bullseye", "oldoldstable")

Create = Callable[..., LabArchive]


def before_release(directory: Path, *, create: Create = LabArchive.create, **options: Any) -> LabArchive:
    """An archive whose older suites have packages that the newer ones have in newer versions.

    `options` are those of `LabArchive.create`.
    """
    archive = create(directory, suites=SUITES, **{"packages": 24, **options})
    for _ in range(2):
        archive.update(add=2, replace=8, remove=3)
    return archive


def release(archive: LabArchive) -> Iterator[str]:
    """Go through the days of a release; yields the name of each step, after its update."""
    _change(archive, {"trixie": {"frozen": True}})
    archive.update(installer=False)
    yield "freeze"
    _change(
        archive,
        {
            "bullseye": {"alias": "oldoldstable"},
            "bookworm": {"alias": "oldstable"},
            "bookworm-updates": {"alias": "oldstable-updates", "frozen": True},
            "bookworm-proposed-updates": {"alias": "oldstable-proposed-updates", "frozen": True},
            "trixie": {"alias": "stable", "version": "13.0"},
            "trixie-updates": {"alias": "stable-updates", "home": "stable-updates"},
            "trixie-proposed-updates": {"alias": "proposed-updates", "home": "proposed-updates"},
        },
        come=[
            _suite("forky", "testing", 2),
            _suite("forky-updates", "testing-updates", 9),
            _suite("forky-proposed-updates", "testing-proposed-updates", 7),
        ],
    )
    archive.update(installer=False)
    yield "release"
    _change(archive, {"trixie-updates": {"home": ""}, "trixie-proposed-updates": {"home": ""}})
    archive.update()
    yield "settled"
    _change(archive, {}, go=["bullseye"])
    archive.update()
    yield "archived"
    _accept(archive, "trixie-proposed-updates", "trixie")
    _change(archive, {"trixie": {"version": "13.1"}, "trixie-proposed-updates": {"frozen": True}})
    archive.update(add=10, replace=10, remove=5, installer=True)
    yield "point release"
    _change(archive, {"trixie-proposed-updates": {"frozen": False}})
    archive.update()
    yield "afterwards"


def change_kinds(archive: LabArchive) -> Iterator[str]:
    """Turn the directory of the archive's first suite into a link and back; yields as `release` does.

    In the simple layout dists itself becomes a link then, turns twice, and is a directory again.
    """
    codename = archive.suites[0].codename
    for home, step in (("moved", "a suite became a link"), ("", "a link became a suite")):
        _change(archive, {codename: {"home": home}})
        archive.update()
        yield step
    if archive.layout is not Layout.SIMPLE:
        return
    dists = archive.dists
    archive.dists = snapshots = Snapshots(*(getattr(dists, field.name) for field in fields(dists)))
    for step in ("dists became a link", "dists turned", "dists turned again"):
        archive.update()
        yield step
    snapshots.are_made = False
    archive.update()
    yield "dists became a directory"


@dataclass
class Snapshots(Dists):
    """Each update writes .pub/N and turns the link `dists` to it; the last one stays for its readers."""

    are_made: bool = True  # no: the next update makes `dists` a directory
    _updates: int = 0

    def turn(self) -> list[SuiteTree]:
        """Copy what is there to where this update writes."""
        self._updates += 1
        new = f".pub/{self._updates}" if self.are_made else "dists"
        if new != self.top:
            if not self.are_made:
                (self.tree.path / "dists").unlink()
            old, self.top = self.tree.path / self.top, new
            shutil.copytree(old, self.tree.path / new, symlinks=True, copy_function=os.link)
            for suite in self.suites:
                suite.top = new
        return super().turn()

    def publish(self) -> None:
        """Turn the links to the suites, then `dists`."""
        super().publish()
        if self.are_made:
            dists = self.tree.path / "dists"
            if not dists.is_symlink():
                shutil.rmtree(dists)
            self.tree.symlink("dists", self.top)
        for old in (self.tree.path / ".pub").iterdir():
            if int(old.name) < self._updates - 1:
                shutil.rmtree(old)


def _accept(archive: LabArchive, source: str, into: str) -> None:
    """Move all packages of a suite into a frozen one, by the next update."""
    source_tree, target = archive.dists.suite(source), archive.dists.suite(into)
    new = {one.package.number: one for one in source_tree.members or ()}
    kept = [one for one in target.members or () if one.package.number not in new]
    target.members = tuple(sorted((*kept, *new.values()), key=lambda one: one.package.name))
    source_tree.members = ()


def _change(
    archive: LabArchive,
    changed: Mapping[str, Mapping[str, Any]],
    *,
    come: Iterable[Suite] = (),
    go: Iterable[str] = (),
) -> None:
    """Plan changed fields of suites, by codename, and which suites come and go."""
    left = (suite for suite in archive.suites if suite.codename not in go)
    archive.dists.planned = [*(replace(one, **changed.get(one.codename, {})) for one in left), *come]
