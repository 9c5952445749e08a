"""Several who push at once: nothing is sent twice, no news are lost, archives do not wait for each other."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from downstream import SitesSshd
from pushing_hub import ARCHIVE, ONE, TWO, Looks, PushingHub, ended, has_open
from pushmirror.errors import StateError
from pushmirror.lab.services import wait_until
from pushmirror.push.site_state import mark_unanswered
from pushmirror.state.records import Stage
from pushmirror.system import clock, locks

SECURITY = "security"


@pytest.fixture
def two_archives(tmp_path: Path, sites_sshd: SitesSshd) -> Iterator[PushingHub]:
    hub = PushingHub(tmp_path / "hub", sites_sshd, archives=("debian", SECURITY))
    yield hub
    hub.close()


def test_a_second_push_of_an_archive_goes_home_and_nothing_is_sent_twice(hub: PushingHub) -> None:
    site = hub.site("one")
    hub.publish()
    with hub.pushing(holding=site.held("all")):
        site.wait_for("all")
        assert not hub.push()
    assert site.sent == ["all"]


def test_news_that_come_while_another_pushes_are_served_by_it(hub: PushingHub) -> None:
    site = hub.site("one")
    hub.publish()
    with hub.pushing(holding=site.held("all")):
        site.wait_for("all")
        hub.publish(TWO)
        assert not hub.push()
    assert hub.site_state(site).stage2 == TWO


def test_a_push_of_one_site_serves_everybody_else_whom_it_kept_from_news(hub: PushingHub) -> None:
    one, other = hub.site("one"), hub.site("other")
    hub.publish()
    looks = Looks()
    with hub.pushing("one", watch=looks, holding=one.held("all")):
        one.wait_for("all")
        hub.publish(TWO)
        assert not hub.push()
        assert wait_until(lambda: looks.goal == TWO)
    assert [hub.site_state(site).stage2 for site in (one, other)] == [TWO, TWO]


def test_a_push_of_one_site_serves_a_push_of_all_that_came_too_late_for_the_lock(hub: PushingHub) -> None:
    one, other = hub.site("one"), hub.site("other")
    hub.publish()
    with hub.pushing("one", holding=one.held("all")):
        one.wait_for("all")
        assert not hub.push()  # of the same generation: its process had only not started yet
    assert [hub.site_state(site).stage2 for site in (one, other)] == [ONE, ONE]


def test_a_push_of_one_site_leaves_the_others_alone(hub: PushingHub) -> None:
    one, other = hub.site("one"), hub.site("other")
    hub.publish()
    hub.push("one")
    assert (one.sent, other.sent) == (["all"], [])


def test_a_push_of_one_site_leaves_the_others_alone_although_somebody_was_turned_away_long_ago(
    hub: PushingHub,
) -> None:
    one, other = hub.site("one"), hub.site("other")
    hub.publish()
    with hub.pushing(holding=one.held("all")):
        one.wait_for("all")
        assert not hub.push()
    hub.publish(TWO)
    hub.push("one")
    assert (one.sent, other.sent) == (["all", "all"], ["all"])


def test_pushes_of_two_archives_do_not_wait_for_each_other(two_archives: PushingHub) -> None:
    hub = two_archives
    one, two = hub.site("one"), hub.site("two", archives=[SECURITY])
    hub.publish()
    hub.publish(archive=SECURITY)
    with hub.pushing(holding=one.held("all")):
        one.wait_for("all")
        assert hub.push(archive=SECURITY)
        assert hub.site_state(two, SECURITY).stage2 == ONE
        assert hub.site_state(one).stage2 is None


def test_a_site_of_two_archives_is_woken_for_each(two_archives: PushingHub) -> None:
    hub = two_archives
    site = hub.site("one", archives=["debian", SECURITY], main_archive="debian")
    hub.publish()
    hub.publish(archive=SECURITY)
    assert hub.run("push").exit_code == 0
    assert sorted(site.words) == [" sync:archive: sync:all", " sync:archive:security sync:all"]


def test_a_push_by_hand_looks_on_while_another_process_does_it(hub: PushingHub) -> None:
    site = hub.site("one", push="staged")
    hub.publish()
    with ExitStack() as stack:
        with site.held("stage1"):
            first = stack.enter_context(hub.running("push", "--background"))
            site.wait_for("stage1")
            second = stack.enter_context(hub.running("push"))
            assert wait_until(lambda: has_open(second.pid, hub.database))
        assert (ended(first), ended(second)) == (0, 0)
    assert site.sent == ["stage1", "stage2"]


def test_a_site_that_is_named_does_not_wait_for_others_though_another_process_pushes(
    hub: PushingHub,
) -> None:
    one, ready, slow = (hub.site(name, push="staged") for name in ("one", "ready", "slow"))
    hub.publish()
    with slow.held("stage1"):
        with hub.running("push", "--background"):
            for site in (one, ready):
                assert wait_until(lambda site=site: hub.site_state(site).stage1 == ONE)
            assert hub.run("push", "--site", "one").exit_code == 0
        assert (one.sent, ready.sent, slow.sent) == (["stage1", "stage2"], ["stage1"], ["stage1"])


def test_a_site_that_is_named_still_waits_for_canaries(hub: PushingHub) -> None:
    site, canary = hub.site("one", push="staged"), hub.site("canary", canary=True)
    hub.publish()
    canary.answers("exit 1")
    with canary.held("all"), hub.running("push", "--background"):
        canary.wait_for("all")
        with hub.running("push", "--site", "one"):
            named = hub.state / "push/debian/hurried"
            assert wait_until(lambda: named.exists() and not any(named.iterdir()))  # heard of
        assert site.sent == []


def test_a_push_in_the_background_goes_home_at_once_when_another_is_under_way(hub: PushingHub) -> None:
    site = hub.site("one")
    hub.publish()
    with hub.pushing(holding=site.held("all")):
        site.wait_for("all")
        assert hub.run("push", "--background").exit_code == 75
        assert site.sent == ["all"]
    assert site.sent == ["all"]


def test_a_site_that_is_removed_and_added_again_is_not_woken_before_its_old_run_has_ended(
    hub: PushingHub,
) -> None:
    site, other = hub.site("one"), hub.site("other")
    hub.publish()
    looks = Looks()
    with other.held("all"), hub.pushing(watch=looks) as push:
        with site.held("all"):
            site.wait_for("all")
            hub.store.forget_site("one")
            looks.wait_for(2)
            assert site.sent == ["all"]
        site.wait_for("all", times=2)
        assert wait_until(lambda: hub.site_state(site).stage2 == ONE)
        push.cancel()


def test_a_site_under_way_is_not_woken_again_whatever_others_write(hub: PushingHub) -> None:
    site = hub.site("one")
    hub.publish()
    looks = Looks()
    with hub.pushing(watch=looks, holding=site.held("all")):
        site.wait_for("all")
        hub.store.put_site_states(
            [mark_unanswered(hub.site_state(site))]
        )  # read before it was sent, written after
        looks.wait_for(2)
        assert site.sent == ["all"]
    assert hub.site_state(site).stage2 == ONE


def test_nobody_waits_for_an_answer_to_what_was_not_sent(hub: PushingHub) -> None:
    site, other = hub.site("one"), hub.site("other")
    hub.publish()
    looks = Looks()
    with hub.pushing(watch=looks, holding=other.held("all")):
        assert wait_until(lambda: hub.site_state(site).stage2 == ONE)
        before = replace(hub.site_state(site), sent_stage=Stage.ALL, sent_generation=ONE, sent_at=clock.now())
        hub.store.put_site_states([replace(before, stage1=None, stage2=None)])  # read before it had answered
        looks.wait_for(2)
    assert site.sent == ["all", "all"]
    assert hub.site_state(site).stage2 == ONE


def test_word_that_cannot_be_left_for_who_pushes_is_told_with_what_to_do(
    hub: PushingHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = hub.state / "push" / ARCHIVE
    directory.mkdir(parents=True)

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    with locks.locked(directory), pytest.raises(StateError, match="asked cannot be written"):
        hub.push()
