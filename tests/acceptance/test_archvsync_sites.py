"""Our hub wakes sites that run the real ftpsync, and one of them wakes a further one by the real runmirrors.

    origin ─▶ hub (pushmirror serve) ─┬─▶ all
                                      ├─▶ staged   calls back
                                      └─▶ mhop ───▶ below

Each of the three is made a site as an operator does it: its files are those of its kit. Two pushes: the
first fetch, and a change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archvsync import (
    ABOUT,
    FIELDS,
    Archvsync,
    Event,
    Journal,
    Machine,
    Native,
    failures,
    fields,
    first,
    lacking,
    last,
    needs_the_scripts,
    rest,
    started,
    value,
)
from pushmirror.access import kit, site_files
from pushmirror.archive.trace import parse_trace
from pushmirror.config.loader import load
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.network import Serving
from pushmirror.lab.services import HOST, wait_until
from pushmirror.lab.site import ARCHIVE
from pushmirror.push.callback import last_call
from pushmirror.state.records import SiteState, Stage, Trigger
from pushmirror.state.store import open_store
from pushmirror.system import process
from support.rsync_daemon import RsyncDaemon

pytestmark = needs_the_scripts

SITES = ["all", "staged", "mhop"]
EVERYBODY = [*SITES, "below"]
STAGED = ["staged", "mhop", "below"]
BY_NAME = ["staged", "mhop", "below"]  # these know the archive by its name, the others as their main one


class Hub(Native):
    """A mirror that serves and wakes its sites all the time."""

    def __init__(self, home: Path, journal: Journal) -> None:
        super().__init__(home, journal)
        self.serving = Serving(self.mirror)
        self.store = open_store(f"sqlite:///{self.mirror.state / 'state.sqlite'}", self.mirror.state)

    def start(self) -> None:
        super().start()
        self.serving.start()

    def stop(self) -> None:
        self.serving.stop()
        self.store.close()
        super().stop()

    def adds(self, site: Archvsync, **keys: object) -> None:
        """Make a machine a site of ours, at both ends."""
        config = load(self.mirror.etc)
        address = {"host": HOST, "port": site.sshd.port, "user": site.sshd.user}
        made, login = site_files.add(config, site.name, {**address, "archives": [ARCHIVE], **keys})
        told = kit.make(config, made, login, public_key=self.public_key, addresses=[HOST])
        site.sshd.authorize_line(told.authorized_keys["ftpsync"].replace("/usr/bin/ftpsync", str(site.woken)))
        for snippet in told.ftpsync:
            file = Path(snippet.path.replace("~", str(site.home), 1))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(snippet.text.replace("/srv/mirrors", str(site.tree.parent)))

    def is_confirmed(self) -> bool:
        """Whether all its sites have what it serves."""
        served, site_states = self.store.latest_generation(ARCHIVE), self.store.site_states(ARCHIVE)
        return (
            served is not None and [site_states[name].stage2 for name in site_states] == [served.digest] * 3
        )


@dataclass(frozen=True)
class Pushed:
    """What one change did."""

    events: list[Event]
    triggers: list[Trigger]  # that the hub sent, oldest first
    differences: dict[str, list[str]]  # from the origin's tree, by machine


@dataclass(frozen=True)
class Story:
    """Two pushes, and what is left of them."""

    archive: LabArchive
    machines: dict[str, Machine]
    fetched: Pushed
    changed: Pushed
    served: str  # the generation, as the hub has it
    site_states: list[SiteState]  # of its sites
    status: Any  # as `pushmirror status --json` has it
    history: Any  # of the hub's runs, the same

    @property
    def pushes(self) -> list[Pushed]:
        return [self.fetched, self.changed]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("sites")
    archive = LabArchive.create(directory / "archive", packages=8)
    journal = Journal(directory / "journal")
    sites = {name: Archvsync(directory / name, journal) for name in EVERYBODY}
    hub = Hub(directory / "hub", journal)
    machines = {"hub": hub, **sites}
    with RsyncDaemon(directory / "origin") as origin:
        origin.add_module(ARCHIVE, archive.path)
        hub.follows(origin, keyring=archive.keyring)
        with started(list(machines.values())):
            connect(hub, sites, archive)

            def push() -> Pushed:
                events = len(journal.events)
                sent = len(hub.store.triggers(archive=ARCHIVE, limit=100))
                hub.mirror.sync().check()
                assert wait_until(hub.is_confirmed, limit_s=60)
                rest(list(machines.values()), journal)
                triggers = hub.store.triggers(archive=ARCHIVE, limit=100)[::-1]
                differences = {name: same_tree(archive.path, one.tree) for name, one in machines.items()}
                return Pushed(journal.events[events:], triggers[sent:], differences)

            fetched = push()
            archive.update()
            changed = push()
            served = hub.store.latest_generation(ARCHIVE)
            assert served is not None
            yield Story(
                archive,
                machines,
                fetched,
                changed,
                served.digest,
                list(hub.store.site_states(ARCHIVE).values()),
                hub.mirror.json("status"),
                hub.mirror.json("history"),
            )


def connect(hub: Hub, sites: dict[str, Archvsync], archive: LabArchive) -> None:
    """Who mirrors, wakes and calls whom."""
    for name in BY_NAME:
        sites[name].archive = ARCHIVE
    hub.adds(sites["all"], push="all", main_archive=ARCHIVE)
    hub.adds(sites["staged"], push="staged", callback=True)
    hub.adds(sites["mhop"], push="mhop")
    sites["mhop"].wakes(("staged", sites["below"]))
    sites["below"].follows(sites["mhop"].daemon, keyring=archive.keyring)
    caller = sites["staged"]
    caller.calls(hub)
    hub.lets_in(caller.public_key)


def test_everybody_ends_every_run_with_0(story: Story) -> None:
    assert failures(story.fetched.events + story.changed.events) == []


def test_the_first_fetch_gives_everybody_the_origins_tree(story: Story) -> None:
    assert story.fetched.differences == {name: [] for name in ["hub", *EVERYBODY]}


def test_a_change_gets_everywhere(story: Story) -> None:
    found = {
        name: lacking(story.changed.differences[name], one.tree, by_index=True)  # the hub does
        for name, one in story.machines.items()
    }
    assert found == {name: [] for name in ["hub", *EVERYBODY]}


def test_the_sites_have_the_hubs_tree(story: Story) -> None:
    hub = story.machines["hub"]
    found = {name: same_tree(hub.tree, story.machines[name].tree) for name in EVERYBODY}
    assert found == {name: [] for name in EVERYBODY}


def test_every_tree_is_whole(story: Story) -> None:
    found = {name: broken(one.tree, thorough=True) for name, one in story.machines.items()}
    assert found == {name: [] for name in ["hub", *EVERYBODY]}


def test_the_store_has_both_stages_of_all_sites_confirmed(story: Story) -> None:
    confirmed = {one.site: (one.stage1, one.stage2) for one in story.site_states}
    assert confirmed == dict.fromkeys(SITES, (story.served, story.served))


def test_status_says_that_all_sites_are_live(story: Story) -> None:
    (archive,) = story.status
    assert (archive["level"], archive["live"], archive["attention"]) == ("ok", len(SITES), [])
    assert {site["site"] for site in archive["sites"] if site["current"]} == set(SITES)


@pytest.mark.parametrize("number", [0, 1])
def test_stage_2_is_sent_to_nobody_before_all_have_confirmed_stage_1(story: Story, number: int) -> None:
    sent = story.pushes[number].triggers
    ends = {one.site: one.ended_at for one in sent if one.stage is Stage.STAGE1 and one.exit_code == 0}
    begins = {one.site: one.sent_at for one in sent if one.stage is Stage.STAGE2}
    assert ends.keys() == begins.keys() == {"staged", "mhop"}
    assert max(at for at in ends.values() if at) <= min(begins.values())


@pytest.mark.parametrize("number", [0, 1])
def test_stage_2_begins_nowhere_before_it_was_all_over_with_stage_1(story: Story, number: int) -> None:
    events = story.pushes[number].events
    assert last(events, "ends", "stage1", *STAGED) < first(events, "begins", "stage2", *STAGED)


@pytest.mark.parametrize("number", [0, 1])
def test_an_mhop_site_answers_stage_1_when_the_one_below_has_it(story: Story, number: int) -> None:
    events = story.pushes[number].events
    assert last(events, "ends", "stage1", "below") < last(events, "ends", "stage1", "mhop")


def test_each_site_hears_its_own_words(story: Story) -> None:
    words = {name: [" ".join(one.words) for one in begun(story.changed, name)] for name in EVERYBODY}
    named, both = f"sync:generation:{story.served}", ("stage1", "stage2")
    assert words == {
        "all": [f"sync:archive: {named} sync:all"],
        "staged": [f"sync:archive:debian sync:callback {named} sync:{stage}" for stage in both],
        "mhop": [f"sync:archive:debian sync:mhop {named} sync:{stage}" for stage in both],
        "below": [f"sync:archive:debian sync:{stage}" for stage in both],  # runmirrors names none
    }


def test_the_hub_is_called_back_after_each_stage(story: Story) -> None:
    called = [" ".join(one.words) for push in story.pushes for one in begun(push, "hub")]
    assert called == ["callback:staged"] * 4
    state = story.machines["hub"].home / "state"
    assert [name for name in SITES if last_call(state, name)] == ["staged"]


def test_a_callback_starts_no_run(story: Story) -> None:
    assert [run["trigger"] for run in story.history] == ["manual", "manual"]


def test_traces_have_their_fields_in_their_order(story: Story) -> None:
    told = set(fields(story.machines["hub"].trace)) & {name.capitalize() for name in ABOUT}
    assert told == {name.capitalize() for name in ABOUT}
    for name in EVERYBODY:
        trace = story.machines[name].trace
        assert parse_trace("\n".join(trace)).date is not None, name
        assert fields(trace) == [field for field in FIELDS if field in fields(trace)], name


def test_traces_say_what_happened(story: Story) -> None:
    said = {"Archive serial": str(story.archive.serial), "Trigger": "ssh", "Upstream-mirror": HOST}
    found = {name: {field: value(story.machines[name].trace, field) for field in said} for name in EVERYBODY}
    assert found == dict.fromkeys(EVERYBODY, said)


def test_everybody_shows_us_above(story: Story) -> None:
    shown = {name: [line.split() for line in one.hierarchy] for name, one in story.machines.items()}
    us, below_us = [["hub", "hub", "hub", HOST]], {"below": ["mhop", "below"], "hub": []}
    assert shown == {
        name: us + [[one, one, own_host(), HOST] for one in below_us.get(name, [name])]
        for name in story.machines
    }


def test_nobody_leaves_a_flag_behind(story: Story) -> None:
    assert [flag for one in story.machines.values() for flag in one.tree.glob("Archive-Update-*")] == []


def own_host() -> str:
    """This machine, as `hostname -f` has it."""
    return process.run(["hostname", "-f"], timeout_s=60).check().output.decode().strip()


def begun(push: Pushed, machine: str) -> list[Event]:
    """Each time that a machine was woken."""
    return [event for event in push.events if (event.machine, event.what) == (machine, "begins")]
