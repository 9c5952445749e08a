"""The upstream of a case: its states, each a tree that does not change any more, offered by a real daemon.

Scene ── state 1, 2, … ──▶ module CASE-STRATEGY of the daemon ──▶ a mirror for each strategy
  └───── what apt makes of each state
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from field.apt import Apt, Verdict
from field.builder import PACKAGES, Upstream, gz
from field.case import Case
from field.served import Tree, names
from forked import Cli
from pushmirror.config.model import Strategy
from pushmirror.errors import PushmirrorError
from support.rsync_daemon import RsyncDaemon
from upstreams import paths_in, take_stock

GOOD = "good main"
NO_DELAY = "--sockopts=TCP_NODELAY"  # on both ends: an rsync of few bytes takes 20 ms, not 120


@dataclass(frozen=True)
class State:
    """Upstream at one time."""

    tree: Path
    manifest: Path
    names: Tree
    owner: str = ""  # why its owner could make no manifest


@dataclass
class Scene:
    """A case in a directory of its own, below what apt's server shows."""

    case: Case
    directory: Path
    cli: Cli
    daemon: RsyncDaemon
    apt: Apt
    states: list[State] = field(default_factory=list)  # those that are built
    _verdicts: dict[int, Verdict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._up = Upstream(self.directory / "upstream" / "tree")
        own = self.case.keyring
        self.keyring = own(self.directory) if own else self._up.keyring

    def state(self, number: int) -> State:
        """The state that a step begins with; those before it are built first."""
        while len(self.states) <= number:
            n = len(self.states) + 1
            good(self._up, n)
            self.case.steps[n - 1].build(self._up, n)
            self._up.master()
            tree, manifest = self.directory / f"{n}", self.directory / f"{n}.manifest"
            owner = self._seal(manifest)
            _copy(self._up.tree, tree)
            self.states.append(State(tree, manifest, names(tree), owner))
        return self.states[number]

    def offer(self, daemon: RsyncDaemon, strategy: Strategy, state: State) -> None:
        """Have the daemon show a state."""
        module = self.module(strategy)
        daemon.add_module(module, state.tree, options=self.case.module)
        if strategy is Strategy.MANIFEST:
            daemon.add_module(f"{module}.manifest", state.manifest)

    def module(self, strategy: Strategy) -> str:
        return f"{self.case.name}-{strategy.value}"

    def upstream_verdict(self, number: int) -> Verdict:
        """What apt makes of `odd` at upstream."""
        if number not in self._verdicts:
            self._verdicts[number] = self.reads(self.state(number).tree)
        return self._verdicts[number]

    def reads(self, tree: Path) -> Verdict:
        """What apt makes of `odd` in a tree."""
        odd = tree / self.case.root, self.case.line
        return self.apt.reads(odd, packages=self.case.packages, keyring=self.keyring)

    def reads_good(self, tree: Path) -> Verdict:
        """What apt makes of `good` in a tree."""
        return self.apt.reads((tree, GOOD), packages=["good"], keyring=self.keyring)

    def reads_both(self, tree: Path) -> Verdict:
        """What apt makes of a tree that has both suites."""
        sources = (tree, GOOD), (tree / self.case.root, self.case.line)
        return self.apt.reads(*sources, packages=["good", *self.case.packages], keyring=self.keyring)

    def _seal(self, manifest: Path) -> str:
        """Have the owner make a manifest of the tree; why it could not."""
        if Strategy.MANIFEST not in self.case.strategies:
            return ""
        now = self.directory / "upstream" / "manifest"
        now.mkdir(exist_ok=True)
        try:
            take_stock(self._up.tree, paths_in(self.directory / "upstream", now))
        except PushmirrorError as exc:
            return str(exc)
        finally:
            _copy(now, manifest)
        return ""


class OddDaemon(RsyncDaemon):
    """One with further arguments."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._arguments = (NO_DELAY, *arguments)
        super().__init__(directory)

    def _argv(self) -> list[str]:
        return [*super()._argv(), *self._arguments]


def good(up: Upstream, n: int) -> None:
    """The suite that is ordinary, in state n."""
    up.remove("pool/main/g/good")
    packages = (up.package("good", f"1.{n}") + "\n" + up.package("good-old", "1.0") + "\n").encode()
    up.suite(
        "dists/good",
        {PACKAGES: packages, f"{PACKAGES}.gz": gz(packages)},
        by_hash=["SHA256"],
        files=["InRelease"],
    )


def _copy(source: Path, target: Path) -> None:
    """As `cp -al`: what is written later has new files."""
    target.mkdir()
    for directory, inside, files in os.walk(source):
        there = target / Path(directory).relative_to(source)
        for name in (*inside, *files):
            path = Path(directory, name)
            if path.is_dir() and not path.is_symlink():
                (there / name).mkdir()
                (there / name).chmod(stat.S_IMODE(path.stat().st_mode))
            else:
                os.link(path, there / name, follow_symlinks=False)
