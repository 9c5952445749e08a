"""kill -9 of a hub's push in every state of the table in `push/decide.py`: the next push finishes it.

What the sites have written down shows that nothing was sent to them again that they had confirmed.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import stopping
from downstream import SitesSshd
from pushing_hub import ARCHIVE, ONE, TWO, PushingHub, ended
from pushmirror.lab.services import wait_until
from pushmirror.system import process

Sent = set[tuple[str, str]]  # site and stage
STAGED = {"one": "staged", "two": "mhop", "three": "staged"}
ALL = {"one": "all", "two": "all"}
MIXED = {"one": "staged", "two": "mhop", "three": "all"}


@pytest.fixture(scope="module")
def sites_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SitesSshd]:
    with SitesSshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def hub(tmp_path: Path, sites_sshd: SitesSshd) -> Iterator[PushingHub]:
    hub = PushingHub(tmp_path / "hub", sites_sshd)
    yield hub
    hub.close()


#: Moments that nobody sees from outside: around the store's calls, by method, stage and number of the call.
MOMENTS = {
    "before the first trigger": (STAGED, "before add_triggers stage1 1"),
    "stage 1 is remembered, and not on its way yet": (STAGED, "after add_triggers stage1 1"),
    "the first answer to stage 1 is heard, and not remembered": (STAGED, "before record_answer stage1 1"),
    "the first answer to stage 1 is remembered": (STAGED, "after record_answer stage1 1"),
    "the last answer to stage 1 is heard, and not remembered": (STAGED, "before record_answer stage1 3"),
    "between the last stage 1 and the barrier": (STAGED, "after record_answer stage1 3"),
    "the barrier is open, and nothing was sent": (STAGED, "before add_triggers stage2 1"),
    "stage 2 is remembered, and not on its way yet": (STAGED, "after add_triggers stage2 1"),
    "the first answer to stage 2 is remembered": (STAGED, "after record_answer stage2 1"),
    "the last answer to stage 2 is heard, and not remembered": (STAGED, "before record_answer stage2 3"),
    "after the last answer": (STAGED, "after record_answer stage2 3"),
    "all is remembered, and not on its way yet": (ALL, "after add_triggers all 1"),
    "one of all has answered": (ALL, "after record_answer all 1"),
    "all have answered": (ALL, "after record_answer all 2"),
    "one is woken by all beside those with stages": (MIXED, "after record_answer all 1"),
}


@pytest.mark.parametrize(("kinds", "moment"), MOMENTS.values(), ids=MOMENTS.keys())
def test_killed_at_a_moment_that_nobody_sees(hub: PushingHub, kinds: dict[str, str], moment: str) -> None:
    for name, kind in kinds.items():
        hub.site(name, push=kind)
    hub.publish()
    mark = hub.directory / "mark"
    with _running(hub, [stopping.__file__, *moment.split(), str(mark)]) as push:
        assert wait_until(mark.exists)
        _kill(push)
    _the_next_push_finishes_it(hub, kinds)


#: States in which one site keeps the push waiting: who, and in which stage.
WAITS = {
    "in flight of stage 1, others held": (STAGED, "one", "stage1"),
    "in flight of an mhop stage 1": (STAGED, "two", "stage1"),
    "in flight of stage 2": (STAGED, "three", "stage2"),
    "in flight of all": (ALL, "one", "all"),
    "in flight of all, the others have stage 2": (MIXED, "three", "all"),
    "in flight of stage 1, one is current by all": (MIXED, "one", "stage1"),
}


@pytest.mark.parametrize(("kinds", "late", "stage"), WAITS.values(), ids=WAITS.keys())
def test_killed_while_one_site_is_under_way(
    hub: PushingHub, kinds: dict[str, str], late: str, stage: str
) -> None:
    sites = {name: hub.site(name, push=kind) for name, kind in kinds.items()}
    hub.publish()
    with sites[late].held(stage), hub.running("push", "--background") as push:
        sites[late].wait_for(stage)
        assert wait_until(lambda: _others_have_answered(hub, late))
        _kill(push)
    _the_next_push_finishes_it(hub, kinds)


def test_killed_at_the_barrier_when_the_deadline_has_left_one_behind(hub: PushingHub) -> None:
    hub.configure(deadline="1s")
    late, good = hub.site("late", push="staged"), hub.site("good", push="staged")
    hub.publish()
    with late.held("stage1"), hub.running("push", "--background") as push:
        assert wait_until(lambda: hub.site_state(good).stage2 == ONE)
        _kill(push)
    assert late.sent == ["stage1"]
    _the_next_push_finishes_it(hub, {"late": "staged", "good": "staged"})


def test_killed_while_a_canary_is_under_way(hub: PushingHub) -> None:
    canary, other = hub.site("canary", canary=True), hub.site("other", push="staged")
    hub.publish()
    with canary.held("all"), hub.running("push", "--background") as push:
        canary.wait_for("all")
        _kill(push)
    assert other.sent == []
    _the_next_push_finishes_it(hub, {"canary": "all", "other": "staged"})


def test_killed_while_a_failed_site_rests(hub: PushingHub) -> None:
    hub.configure(retry_after="1s", retry_at_most="1s")
    bad, good = hub.site("bad", push="staged"), hub.site("good")
    bad.answers("exit 4", stage="stage2")
    hub.publish()
    with hub.running("push", "--background") as push:
        assert wait_until(lambda: hub.site_state(bad).attempts >= 1 and hub.site_state(good).stage2 == ONE)
        _kill(push)
    bad.answers("exit 0", stage="stage2")
    failures = hub.site_state(bad).failing_since
    hub.configure(retry_after="1s", retry_at_most="1s", retry_for="1h")
    assert failures and hub.run("push", "--background").exit_code == 0
    assert (bad.sent.count("stage1"), good.sent) == (1, ["all"])
    assert hub.site_state(bad).stage2 == ONE


def test_killed_while_a_paused_site_has_half_of_it(hub: PushingHub) -> None:
    paused, good = hub.site("paused", push="staged"), hub.site("good", push="staged")
    hub.publish()
    with good.held("stage1"), hub.running("push", "--background") as push:
        assert wait_until(lambda: ("paused", "stage1", ONE) in hub.confirmed())
        paused.configure(paused=True)
        _kill(push)
    assert hub.push()
    assert (paused.sent, hub.site_state(good).stage2) == (["stage1"], ONE)
    paused.configure(paused=None)
    assert hub.push()
    assert paused.sent == ["stage1", "stage2"]


def test_killed_and_something_newer_is_published_before_the_next_push(hub: PushingHub) -> None:
    one, two = hub.site("one", push="staged"), hub.site("two", push="staged")
    hub.publish()
    with two.held("stage2"), hub.running("push", "--background") as push:
        assert wait_until(lambda: hub.site_state(one).stage2 == ONE)
        _kill(push)
    hub.publish(TWO)
    assert wait_until(lambda: hub.downstream.runs() == [])
    before = len(hub.downstream.sent)
    assert hub.push()
    assert sorted(hub.downstream.sent[before:]) == [
        (name, s) for name in ("one", "two") for s in ("stage1", "stage2")
    ]
    assert [hub.site_state(site).stage2 for site in (one, two)] == [TWO, TWO]


def test_killed_again_and_again_it_ends_all_the_same(hub: PushingHub) -> None:
    for name, kind in STAGED.items():
        hub.site(name, push=kind)
    hub.publish()
    for number, moment in enumerate(
        ("after add_triggers stage1 1", "after record_answer stage1 2", "after add_triggers stage2 1")
    ):
        mark = hub.directory / f"mark{number}"
        with _running(hub, [stopping.__file__, *moment.split(), str(mark)]) as push:
            assert wait_until(mark.exists)
            _kill(push)
    _the_next_push_finishes_it(hub, STAGED)


def test_a_push_that_waits_for_the_one_that_is_killed_takes_over(hub: PushingHub) -> None:
    site, other = hub.site("one", push="staged"), hub.site("other", push="staged")
    hub.publish()
    with ExitStack() as stack:
        with site.held("stage1"):
            first = stack.enter_context(hub.running("push", "--background"))
            assert wait_until(lambda: ("other", "stage1", ONE) in hub.confirmed())
            site.wait_for("stage1")  # else its first trigger may never reach it
            second = stack.enter_context(hub.running("push"))
            _kill(first)
            site.wait_for("stage1", times=2)
        assert ended(second) == 0
    assert other.sent == ["stage1", "stage2"]
    assert hub.site_state(site).stage2 == ONE


def _the_next_push_finishes_it(hub: PushingHub, kinds: dict[str, str]) -> None:
    assert wait_until(lambda: hub.downstream.runs() == [])  # of triggers that nobody listens to any more
    confirmed, before = _confirmed(hub, kinds), len(hub.downstream.sent)
    assert hub.push()
    assert sorted(hub.downstream.sent[before:]) == sorted(_wanted(kinds) - confirmed)
    assert {one.stage2 for one in hub.store.site_states(ARCHIVE).values()} == {ONE}


def _wanted(kinds: dict[str, str]) -> Sent:
    return {
        (name, stage)
        for name, kind in kinds.items()
        for stage in (["all"] if kind == "all" else ["stage1", "stage2"])
    }


def _confirmed(hub: PushingHub, kinds: dict[str, str]) -> Sent:
    found = {(name, stage) for name, stage, _ in hub.confirmed()}
    return {
        (name, stage)
        for name, stage in _wanted(kinds)
        if (name, "stage2" if stage == "all" else stage) in found
    }


def _others_have_answered(hub: PushingHub, late: str) -> bool:
    """Whether nobody but one site is still to answer, and the push has nothing else to do."""
    site_states = hub.store.site_states(ARCHIVE)
    under_way = [name for name, one in site_states.items() if one.sent_stage]
    return under_way == [late]


@contextmanager
def _running(hub: PushingHub, script: list[str]) -> Iterator[process.Background]:
    argv = [sys.executable, *script, "--config", str(hub.etc), "push", "--background"]
    with process.background(argv, log=hub.log) as child:
        yield child


def _kill(push: process.Background) -> None:
    assert push.poll() is None
    os.kill(push.pid, signal.SIGKILL)
    assert wait_until(lambda: push.poll() is not None)
