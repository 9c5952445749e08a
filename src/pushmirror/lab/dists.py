"""Which suites the lab's archive has, and by which names: dists/ from one update to the next.

A suite that stays itself may get another name, and its directory moves: what was a link becomes a directory,
and the other way round. For such a name there is nothing for a moment; dak lets nobody sync meanwhile.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field

from pushmirror.lab.indices import Suite
from pushmirror.lab.suite import Layout, SuiteTree
from pushmirror.lab.tree import Tree

_PLAIN = "dists"


@dataclass(slots=True)
class Dists:
    """What is in dists/."""

    tree: Tree
    layout: Layout
    planned: list[Suite]  # what it is to have from the next update on
    is_snapshotted: bool = False  # an update makes .pub/N, and turns the link `dists` to it; simple layout
    suites: list[SuiteTree] = field(default_factory=list)
    _links: dict[str, str] = field(default_factory=dict)  # name -> target
    _top: str = _PLAIN  # where it is written

    def suite(self, codename: str) -> SuiteTree:
        """One of its suites."""
        return next(one for one in self.suites if one.suite.codename == codename)

    def turn(self, generation: int) -> list[SuiteTree]:
        """Have the suites that are planned; returns those that are to be removed at the end."""
        self._begin(generation)
        known = {one.suite.codename: one for one in self.suites}
        links = {link: suite.name for suite in self.planned for link in suite.links}
        for name in self._links.keys() - links.keys():
            (self.tree.path / self._top / name).unlink()
        self._links = links
        new = (SuiteTree(suite, self.tree, self.layout, self._top) for suite in self.planned)
        self.suites = [known.pop(one.suite.codename, one) for one in new]
        for one, suite in zip(self.suites, self.planned, strict=True):
            one.turn(suite)
        return list(known.values())

    def publish(self, generation: int) -> None:
        """Turn the links; of snapshots the last one stays for those who read it."""
        for name, target in self._links.items():
            self.tree.symlink(f"{self._top}/{name}", target)
        if self._top != _PLAIN:
            dists = self.tree.path / _PLAIN
            if not dists.is_symlink():
                shutil.rmtree(dists)
            self.tree.symlink(_PLAIN, self._top)
        for old in (self.tree.path / ".pub").glob("*"):
            if int(old.name) < generation - 1:
                shutil.rmtree(old)

    def _begin(self, generation: int) -> None:
        """Go to where this update writes."""
        new = f".pub/{generation}" if self.is_snapshotted else _PLAIN
        if new == self._top:
            return
        if new == _PLAIN:
            (self.tree.path / _PLAIN).unlink()
        old, self._top = self.tree.path / self._top, new
        shutil.copytree(old, self.tree.path / new, symlinks=True, copy_function=os.link)
        for suite in self.suites:
            suite.top = new
