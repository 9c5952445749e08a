"""The real ftpsync and runmirrors are the hub, and do not notice that most of their sites are pushmirror.

    origin ─▶ hub ─┬─▶ native-all   native-staged   native-mhop ─┬─▶ scripts-leaf
     (real scripts)│                                             └─▶ compat-leaf
                   ├─▶ compat-all   compat-staged   compat-mhop ───▶ other-leaf   (real scripts)
                   └─▶ scripts-mhop ───▶ native-leaf

Two pushes: the first fetch, for which the hub is woken once; and a change, for which it is woken for stage 1
and for stage 2, as an mhop site of somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from archvsync import (
    FIELDS,
    OUR_FIELDS,
    SOMETIMES,
    Archvsync,
    DropIn,
    Event,
    Journal,
    Machine,
    Native,
    failures,
    fields,
    first,
    lacking,
    last,
    names,
    needs_the_scripts,
    rest,
    stages,
    started,
    value,
)
from pushmirror.archive.trace import parse_trace
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.services import HOST
from pushmirror.lab.site import ARCHIVE
from pushmirror.lab.watch import Tally, Watcher
from support.rsync_daemon import RsyncDaemon

pytestmark = needs_the_scripts

KINDS: dict[str, type[Machine]] = {
    "hub": Archvsync,
    "native-all": Native,
    "native-staged": Native,
    "native-mhop": Native,
    "compat-all": DropIn,
    "compat-staged": DropIn,
    "compat-mhop": DropIn,
    "scripts-mhop": Archvsync,
    "scripts-leaf": Archvsync,
    "compat-leaf": DropIn,
    "other-leaf": Archvsync,
    "native-leaf": Native,
}
BELOW = {
    "hub": [name for name in KINDS if name.endswith(("-all", "-staged", "-mhop"))],
    "native-mhop": ["scripts-leaf", "compat-leaf"],
    "compat-mhop": ["other-leaf"],
    "scripts-mhop": ["native-leaf"],
}
ABOVE = {site: hub for hub, sites in BELOW.items() for site in sites}
LEAVES = [name for name in KINDS if name.endswith("-leaf")]
STAGED = [name for name in KINDS if name.endswith(("-staged", "-mhop"))]  # below the hub
CALLERS = ["native-staged", "compat-staged"]
OURS = [name for name, kind in KINDS.items() if kind is not Archvsync]


@dataclass(frozen=True)
class Pushed:
    """What one push did."""

    events: list[Event]
    exit_codes: list[int]  # of the hub's own runs
    served: dict[str, set[str]]  # by machine
    differences: dict[str, list[str]]  # from the origin's tree, by machine


@dataclass(frozen=True)
class Story:
    """Two pushes, and what is left of them."""

    archive: LabArchive
    machines: dict[str, Machine]
    fetched: Pushed
    changed: Pushed
    tally: Tally  # of whom watched our trees during the second one


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("hub")
    archive = LabArchive.create(directory / "archive", packages=8)
    journal = Journal(directory / "journal")
    machines = {name: kind(directory / name, journal) for name, kind in KINDS.items()}
    with RsyncDaemon(directory / "origin") as origin, started(list(machines.values())):
        origin.add_module(ARCHIVE, archive.path)
        connect(machines, origin, archive)

        def push(*calls: str) -> Pushed:
            before = len(journal.events)
            codes = [machines["hub"].wake(words) for words in calls]
            rest(list(machines.values()), journal)
            return Pushed(
                journal.events[before:],
                codes,
                {name: names(one.tree) for name, one in machines.items()},
                {name: same_tree(archive.path, one.tree) for name, one in machines.items()},
            )

        fetched = push("sync:all")
        archive.update()
        with Watcher(*(machines[name].tree for name in OURS), gently=True) as watcher:
            changed = push("sync:mhop sync:stage1", "sync:mhop sync:stage2")
        tally = Tally(watcher.samples, watcher.broken, watcher.messages)
        yield Story(archive, machines, fetched, changed, tally)


def connect(machines: dict[str, Machine], origin: RsyncDaemon, archive: LabArchive) -> None:
    """Who mirrors and wakes whom."""
    for name, machine in machines.items():
        upstream = machines[ABOVE[name]].daemon if name in ABOVE else origin
        machine.follows(upstream, keyring=archive.keyring)
    for hub, sites in BELOW.items():
        machines[hub].wakes(*((kind_of(site), machines[site]) for site in sites), callback=hub == "hub")
    for name in CALLERS:
        machines["hub"].may_be_called_by(machines[name])
        machines[name].calls(machines["hub"])


def kind_of(site: str) -> str:
    return "staged" if site in LEAVES else site.partition("-")[2]


def path_to(name: str) -> list[str]:
    """The machines from the hub down to one."""
    return [*path_to(ABOVE[name]), name] if name in ABOVE else [name]


def is_by_index(name: str) -> bool:
    """Whether it asks indices what changed, as ours do below the scripts, or one above it does."""
    return any(KINDS[one] is Native for one in path_to(name))


def test_everybody_ends_every_run_with_0(story: Story) -> None:
    assert story.fetched.exit_codes + story.changed.exit_codes == [0, 0, 0]
    assert failures(story.fetched.events + story.changed.events) == []


def test_the_first_fetch_gives_everybody_the_origins_tree(story: Story) -> None:
    assert story.fetched.differences == {name: [] for name in KINDS}


def test_a_change_gets_everywhere(story: Story) -> None:
    found = {
        name: lacking(story.changed.differences[name], one.tree, by_index=is_by_index(name))
        for name, one in story.machines.items()
    }
    assert found == {name: [] for name in KINDS}


def test_nobody_has_more_than_what_replaced_indices_still_refer_to(story: Story) -> None:
    former = story.fetched.served["hub"]
    for name in KINDS:
        assert story.changed.served[name] <= story.changed.served["hub"] | former, name
    assert story.changed.served["scripts-mhop"] == story.changed.served["hub"]


def test_every_tree_is_whole(story: Story) -> None:
    found = {name: broken(one.tree, thorough=True) for name, one in story.machines.items()}
    assert found == {name: [] for name in KINDS}


def test_our_trees_were_never_broken(story: Story) -> None:
    assert story.tally.samples > len(OURS)
    assert story.tally.messages == ()


def test_stage_1_has_reached_the_leaves_when_the_hub_answers_it(story: Story) -> None:
    events = story.changed.events
    assert last(events, "ends", "stage1", *STAGED, *LEAVES) < last(events, "ends", "stage1", "hub")


def test_stage_2_begins_nowhere_before_everybody_has_stage_1(story: Story) -> None:
    events = story.changed.events
    assert last(events, "ends", "stage1", *STAGED, *LEAVES) < first(events, "begins", "stage2", *KINDS)
    assert last(events, "ends", "stage1", *STAGED, *LEAVES) < first(events, "begins", "all", *KINDS)


def test_an_mhop_site_answers_stage_1_when_its_own_sites_have_it(story: Story) -> None:
    for hub, sites in BELOW.items():
        if hub != "hub":
            assert last(story.changed.events, "ends", "stage1", *sites) < last(
                story.changed.events, "ends", "stage1", hub
            )


def test_the_hub_keeps_its_barrier_for_our_sites(story: Story) -> None:
    events = story.fetched.events
    assert last(events, "ends", "stage1", *STAGED) < first(events, "begins", "stage2", *STAGED)


def test_everybody_is_woken_once_for_each_stage(story: Story) -> None:
    woken = {name: stages(story.changed.events, name) for name in KINDS}
    in_two = {name: ["stage1", "stage2"] for name in ("hub", *STAGED, *LEAVES)}
    assert woken == {**in_two, "native-all": ["all"], "compat-all": ["all"]}


def test_our_sites_call_back_after_each_stage(story: Story) -> None:
    called = [event.words for event in story.changed.events if event.what == "called"]
    assert sorted(called) == sorted([(f"callback:{name}",) for name in CALLERS] * 2)


def test_traces_have_their_fields_in_their_order(story: Story) -> None:
    for name, machine in story.machines.items():
        trace = machine.trace
        assert parse_trace("\n".join(trace)).date is not None, name
        assert set(FIELDS) - set(fields(trace)) <= SOMETIMES, name
        assert fields(trace) == [field for field in [*FIELDS, *OUR_FIELDS] if field in fields(trace)], name


def test_traces_say_what_happened(story: Story) -> None:
    said = {"Archive serial": str(story.archive.serial), "Trigger": "ssh", "Upstream-mirror": HOST}
    found = {name: {field: value(one.trace, field) for field in said} for name, one in story.machines.items()}
    assert found == dict.fromkeys(KINDS, said)


def test_traces_say_who_wrote_them(story: Story) -> None:
    found = {name: value(one.trace, "Used ftpsync version")[:10] for name, one in story.machines.items()}
    assert found == {name: "pushmirror" if name in OURS else "20180513+n" for name in KINDS}


def test_everybody_shows_who_is_above(story: Story) -> None:
    wanted = {name: [(one, one, HOST) for one in path_to(name)] for name in KINDS}
    shown = {name: [line.split() for line in one.hierarchy] for name, one in story.machines.items()}
    assert {name: [(a, b, d) for a, b, _, d in lines] for name, lines in shown.items()} == wanted


def test_nobody_leaves_a_flag_behind(story: Story) -> None:
    assert [flag for one in story.machines.values() for flag in one.tree.glob("Archive-Update-*")] == []
