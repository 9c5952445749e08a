"""Whatever changes in upstream's tree, and wherever runs are killed: the next one makes ours the same.

A suite that has a fault stays at its former state meanwhile; and at no instant between two changes of our
tree was it broken. PUSHMIRROR_EXAMPLES=300 for a long search.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from changing_tree import ChangingTree, Things, things_in
from crashing import Run, Runner
from pushmirror.config.model import Archive, Strategy
from pushmirror.inventory.inventory import Inventory
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.indices import SUITES
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.site import ARCHIVE
from pushmirror.progress import Silent
from pushmirror.state.records import Stage
from pushmirror.workspace import StatePaths
from support.damage import break_suite, mend_suite
from support.rsync_daemon import RsyncDaemon
from upstreams import paths_in, take_stock

EXAMPLES = int(os.environ.get("PUSHMIRROR_EXAMPLES", "0"))
GENERATIONS = 3
ODD, ALIAS = "trixie", "stable"  # the suite that has a fault in some of them, and a link to it
FAULTS = {
    "sound": (),
    "flips": (1,),
    "broken": (0, 1, 2),
    "plain": (),
}  # generations in which it has, by kind
EACH = [Strategy.FULL, Strategy.INDEX, Strategy.MANIFEST]

NAME = st.sampled_from(["a", "b", "c.deb", "ü", "d e", "[*]", "\udcff", "#f", "-g"])
ROOT = st.sampled_from(["", "doc/", "pool/main/", "pool/", "indices/", "dists/sid/"])
PATH = st.builds("{}{}".format, ROOT, st.lists(NAME, min_size=1, max_size=3).map("/".join))
CHANGE = st.one_of(  # methods of ChangingTree
    st.tuples(st.just("put"), PATH),
    st.tuples(st.just("remove"), PATH),
    st.tuples(st.just("make_directory"), PATH),
    st.tuples(st.just("rename"), PATH, PATH),
    st.tuples(st.just("link"), PATH, PATH),
    st.tuples(st.just("link"), PATH, st.just("README")),
)


@dataclass(frozen=True)
class Killed:
    """A run that is killed before a certain one of its changes, if it comes to it."""

    stage: Stage
    before: int


@dataclass(frozen=True)
class Step:
    """Upstream changes, then runs are killed, then one is not, unless upstream changes again before it."""

    generation: int  # of the archive proper
    changes: Sequence[tuple[str, ...]]
    killed: Sequence[Killed]
    strategy: int  # of those that are to be taken in turn
    is_left: bool  # upstream changes again before a run comes to its end


KILLED = st.builds(
    Killed, st.sampled_from([Stage.ALL, Stage.STAGE1]), st.integers(1, 60) | st.integers(60, 400)
)
STEP = st.builds(
    Step,
    generation=st.integers(0, GENERATIONS - 1),
    changes=st.lists(CHANGE, max_size=8),
    killed=st.lists(KILLED, max_size=2),
    strategy=st.integers(0, 2),
    is_left=st.booleans(),
)


@dataclass(frozen=True)
class World:
    """An upstream whose owner keeps a manifest, and a site that has one of its own."""

    kind: str
    hub: ChangingTree
    owner: StatePaths
    archive: Archive  # of the site
    site: StatePaths
    runner: Runner

    def take(self, step: Step, strategy: Strategy) -> None:
        """One step, and all that has to be true after it."""
        if self.hub.official:
            self.hub.publish(step.generation)
        for name, *args in step.changes:
            getattr(self.hub, name)(*args)
        self.hub.write()
        take_stock(self.hub.tree, self.owner)
        for killed in step.killed:
            self._run(strategy, killed.stage, before=killed.before)
        if step.is_left and step.killed:
            return
        self._run(strategy)
        held = [ODD, ALIAS] if step.generation in FAULTS[self.kind] else []
        if strategy is Strategy.INDEX:
            assert broken(self.archive.path, thorough=True) == []
            self._run(Strategy.FULL)  # what no list names
        assert same_tree(self.hub.tree, self.archive.path, held=held) == []
        assert broken(self.archive.path, thorough=True) == []
        self._inventory_is_right(is_same=not held)

    def _run(self, strategy: Strategy, stage: Stage = Stage.ALL, *, before: int = 0) -> None:
        ended = self.runner.run(Run(self.archive, self.site, strategy, stage, ends_before=before))
        note(f"{stage} by {strategy}, until {before or 'its end'}: {ended}")
        assert (ended.error, ended.broken) == ("", ())
        assert "local changes" not in ended.why

    def _inventory_is_right(self, *, is_same: bool) -> None:
        copy = Path(shutil.copy(self.site.inventory, self.site.inventory.with_suffix(".copy")))
        with Inventory(copy) as ours, Inventory(self.owner.inventory) as theirs:
            assert not is_same or not ours.complete or ours.state == theirs.state
            assert not ours.reconcile(self.archive.path, progress=Silent(), workers=1)


@pytest.fixture(scope="module")
def generations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Things]]:
    made: dict[str, list[Things]] = {}
    for kind, faults in FAULTS.items():
        suites = [suite for suite in SUITES if suite.codename in ({ODD, "wheezy"} if faults else {ODD})]
        lab = tmp_path_factory.mktemp("lab")
        archive = LabArchive.create(lab, packages=2, suites=suites, keep_by_hash=0)
        made[kind] = []
        for number in range(GENERATIONS):
            if number:
                archive.update(add=1, replace=1, remove=1, installer=False)
            (break_suite if number in faults else mend_suite)(archive, ODD)
            made[kind].append(things_in(archive.path))
    return made


@pytest.fixture(scope="module")
def make_world(
    tmp_path_factory: pytest.TempPathFactory, generations: dict[str, list[Things]]
) -> Iterator[Callable[[str], World]]:
    with RsyncDaemon(tmp_path_factory.mktemp("rsyncd")) as daemon, Runner() as runner:

        def make(kind: str) -> World:
            top = tmp_path_factory.mktemp("world")
            for name in ("hub", "owner", "site/tree"):
                (top / name).mkdir(parents=True)
            owner = paths_in(top / "owner", top / "owner" / "manifest")
            daemon.add_module("hub", top / "hub")
            daemon.add_module("hub.manifest", top / "owner" / "manifest")
            hub = ChangingTree(top / "hub", generations[kind])
            if kind == "plain":
                hub.put("README")
                hub.make_directory("project/trace")  # every mirror has it
            else:
                hub.publish(0)
            keys = {"path": top / "site" / "tree", "upstream": daemon.url("hub"), "grace": "0s"}
            archive = Archive.model_validate({"name": ARCHIVE, **keys})
            return World(kind, hub, owner, archive, paths_in(top / "site", top / "site" / "manifest"), runner)

        yield make


@pytest.mark.parametrize("strategies", [[one] for one in EACH] + [EACH], ids=[*EACH, "in turn"])
def test_after_any_change_and_any_kill_the_next_run_makes_the_tree_upstreams(
    make_world: Callable[[str], World], strategies: list[Strategy]
) -> None:
    @settings(
        max_examples=EXAMPLES or 3,
        deadline=None,
        phases=[Phase.generate],  # to make a failure smaller takes minutes
        derandomize=not EXAMPLES,
        suppress_health_check=list(HealthCheck),
    )
    @given(steps=st.lists(STEP, min_size=1, max_size=3), kind=st.sampled_from([*FAULTS]))
    def ends_right(steps: list[Step], kind: str) -> None:
        world = make_world(kind)
        try:
            for step in steps:
                world.take(step, strategies[step.strategy % len(strategies)])
        finally:
            shutil.rmtree(world.hub.tree.parent)

    ends_right()
