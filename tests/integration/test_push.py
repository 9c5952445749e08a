"""One push over real sshd: who is sent what, in which order, and what each answer comes to."""

import pytest

from downstream import DIES, FLOOD, SitesSshd
from pushing_hub import ONE, TWO, Looks, PushingHub
from pushmirror.lab.services import free_port, new_key, wait_until
from pushmirror.push.trigger_sender import MAX_OUTPUT


def test_every_site_is_sent_all_and_becomes_current(hub: PushingHub) -> None:
    one, two = hub.site("one"), hub.site("two")
    hub.publish()
    assert hub.push()
    assert one.words == two.words == [" sync:archive:debian sync:all"]
    assert hub.confirmed() == {
        (site.name, stage, ONE) for site in (one, two) for stage in ("stage1", "stage2")
    }


def test_what_was_confirmed_is_not_sent_again(hub: PushingHub) -> None:
    one, two = hub.site("one"), hub.site("two", push="staged")
    hub.publish()
    hub.push()
    hub.push()
    assert (one.sent, two.sent) == (["all"], ["stage1", "stage2"])


def test_nobody_is_woken_before_anything_was_published(hub: PushingHub) -> None:
    site = hub.site("one")
    hub.push()
    assert site.sent == []


def test_the_main_archive_of_a_site_is_sent_without_its_name(hub: PushingHub) -> None:
    site = hub.site("one", push="staged", main_archive="debian")
    hub.publish()
    hub.push()
    assert site.words == [" sync:archive: sync:stage1", " sync:archive: sync:stage2"]


def test_an_mhop_site_is_told_so_in_both_stages(hub: PushingHub) -> None:
    site = hub.site("one", push="mhop")
    hub.publish()
    hub.push()
    assert site.words == [f" sync:archive:debian sync:mhop sync:{stage}" for stage in ("stage1", "stage2")]


# -- stages -------------------------------------------------------------------------------------------


def test_stage_2_begins_when_every_staged_site_has_ended_stage_1(hub: PushingHub) -> None:
    sites = [hub.site(f"site{number}", push=push) for number, push in enumerate(["staged", "mhop", "staged"])]
    hub.publish()
    with hub.pushing(holding=sites[1].held("stage1")):
        for site in sites:
            site.wait_for("stage1")
        assert wait_until(lambda: len(hub.confirmed()) == 2)
        assert {stage for _, stage in hub.downstream.sent} == {"stage1"}
    last_stage1 = max(hub.downstream.position(site.name, "ends", "stage1") for site in sites)
    first_stage2 = min(hub.downstream.position(site.name, "begins", "stage2") for site in sites)
    assert last_stage1 < first_stage2
    assert [site.sent for site in sites] == [["stage1", "stage2"]] * 3


def test_the_barrier_is_released_by_the_last_answer_and_not_by_a_look_at_the_clock(hub: PushingHub) -> None:
    sites = [hub.site(f"site{number}", push="staged") for number in range(3)]
    looks = Looks()
    hub.publish()
    with hub.pushing(watch=looks, holding=sites[0].held("stage1")) as push:
        assert wait_until(lambda: len(hub.confirmed()) == 2)
        assert not push.is_over
    events = hub.downstream.events
    released = [event.at for event in events if (event.what, event.stage) == ("begins", "stage2")]
    last = [event.at for event in events if (event.what, event.stage) == ("ends", "stage1")][-1]
    assert looks.after_the_last("stage1") == {site.name: "stage2" for site in sites}  # no look in between
    assert min(released) - last < 5  # how fast it is (0.2 s) is measured in bench/


def test_a_site_that_is_woken_by_all_neither_waits_nor_is_waited_for(hub: PushingHub) -> None:
    all_, staged = hub.site("all"), hub.site("staged", push="staged")
    hub.publish()
    with hub.pushing(holding=staged.held("stage1")):
        assert wait_until(lambda: ("all", "stage2", ONE) in hub.confirmed())
    hub.publish(TWO)
    with hub.pushing(holding=all_.held("all")):
        staged.wait_for("stage2", times=2)
        assert hub.site_state(all_).stage2 == ONE


def test_a_late_site_holds_the_others_up_until_the_deadline_only(hub: PushingHub) -> None:
    late, good = hub.site("late", push="staged"), hub.site("good", push="staged")
    hub.rules = {"deadline": 0.3}
    hub.publish()
    with hub.pushing(holding=late.held("stage1")):
        good.wait_for("stage2")
        assert late.sent == ["stage1"]
    assert late.sent == ["stage1", "stage2"]
    assert hub.site_state(late).stage2 == ONE


def test_a_quorum_is_enough_for_stage_2(hub: PushingHub) -> None:
    late, *good = [hub.site(f"site{number}", push="staged") for number in range(4)]
    hub.rules = {"quorum": 0.75}
    hub.publish()
    with hub.pushing(holding=late.held("stage1")):
        for site in good:
            site.wait_for("stage2")
        late.wait_for("stage1")
        assert late.sent == ["stage1"]
    assert hub.site_state(late).stage2 == ONE


# -- answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1, 127, 255])
def test_only_0_confirms(hub: PushingHub, code: int) -> None:
    bad, good = hub.site("bad", push="staged"), hub.site("good")
    bad.answers(f"echo it is so; echo no room left; exit {code}", stage="stage1")
    hub.rules = {"deadline": 0.3}
    hub.publish()
    hub.push()
    site_state = hub.site_state(bad)
    assert (site_state.stage1, site_state.exit_code, site_state.last_words) == (None, code, "no room left")
    assert site_state.next_try_at and set(bad.sent) == {"stage1"}
    assert hub.site_state(good).stage2 == ONE


def test_a_site_whose_stage_2_fails_is_sent_stage_2_again_and_no_stage_1(hub: PushingHub) -> None:
    site = hub.site("one", push="staged")
    site.answers("exit 4", stage="stage2")
    hub.rules = {"retry_after": 0.1, "retry_at_most": 0.1}
    hub.publish()
    with hub.pushing(over=lambda _: hub.site_state(site).stage2 == ONE):
        site.wait_for("stage2", times=2)
        site.answers("exit 0", stage="stage2")
    assert (site.sent[0], set(site.sent[1:])) == ("stage1", {"stage2"})


def test_a_site_that_nobody_listens_at_is_failing_and_the_others_are_not_kept(hub: PushingHub) -> None:
    dead, good = hub.site("dead", port=free_port()), hub.site("good")
    hub.publish()
    hub.push()
    assert hub.site_state(good).stage2 == ONE
    assert (hub.site_state(dead).exit_code, hub.site_state(dead).stage2) == (None, None)
    assert "refused the connection" in hub.site_state(dead).last_words


def test_no_answer_is_told_in_words_in_the_log(hub: PushingHub, caplog: pytest.LogCaptureFixture) -> None:
    hub.site("dead", port=free_port())
    hub.publish()
    hub.push()
    assert any("all failed (no answer): site dead" in message for message in caplog.messages)


def test_a_site_that_hangs_fails_when_its_time_is_over(hub: PushingHub) -> None:
    hanging, good = hub.site("hanging"), hub.site("good")
    hub.rules = {"timeout": 2}
    hub.publish()
    with hanging.held("all"):
        hub.push()
    assert hub.site_state(good).stage2 == ONE
    assert "did not finish its run within 2 s" in hub.site_state(hanging).last_words


def test_an_answer_after_the_deadline_counts(hub: PushingHub) -> None:
    late, good = hub.site("late", push="staged"), hub.site("good", push="staged")
    hub.rules = {"deadline": 0.2}
    hub.publish()
    with hub.pushing(holding=late.held("stage1")):
        assert wait_until(lambda: hub.site_state(good).stage2 == ONE)
    assert late.sent == ["stage1", "stage2"]
    assert hub.site_state(late).stage2 == ONE


def test_a_flood_of_output_confirms_and_only_its_end_is_kept(hub: PushingHub) -> None:
    site = hub.site("one")
    site.answers(FLOOD)
    hub.publish()
    hub.push()
    kept = hub.store.triggers()[0].output
    assert (hub.site_state(site).stage2, hub.site_state(site).last_words) == (ONE, "the last line")
    assert len(kept) == MAX_OUTPUT and kept.endswith("the last line\n")


def test_a_connection_that_dies_in_the_middle_is_no_answer(hub: PushingHub) -> None:
    site, good = hub.site("one"), hub.site("good")
    site.answers(DIES)
    hub.publish()
    hub.push()
    assert "the connection was lost" in hub.site_state(site).last_words
    assert (hub.site_state(site).stage2, hub.site_state(good).stage2) == (None, ONE)


def test_a_site_whose_connection_dies_between_the_stages_gets_its_stage_2(
    hub: PushingHub, own_sshd: SitesSshd
) -> None:
    lost, held = hub.downstream.add("lost", push="staged", sshd=own_sshd), hub.site("held", push="staged")
    hub.publish()
    with hub.pushing(holding=held.held("stage1")):
        assert wait_until(lambda: ("lost", "stage1", ONE) in hub.confirmed())
        own_sshd.stop()
        own_sshd.start()
    assert lost.sent == ["stage1", "stage2"]
    assert hub.site_state(lost).stage2 == ONE


def test_a_site_with_another_host_key_is_sent_nothing(hub: PushingHub, own_sshd: SitesSshd) -> None:
    site = hub.downstream.add("one", push="all", sshd=own_sshd)
    hub.publish()
    hub.push()
    own_sshd.stop()
    for file in own_sshd.directory.glob("host_key*"):
        file.unlink()
    new_key(own_sshd.directory / "host_key")
    own_sshd.start()
    hub.publish(TWO)
    hub.push()
    assert site.sent == ["all"]
    assert "site one" in hub.site_state(site).last_words and "host key" in hub.site_state(site).last_words


def test_a_site_that_fails_is_tried_again_and_its_pauses_become_longer(hub: PushingHub) -> None:
    site = hub.site("one")
    site.answers("exit 1")
    hub.rules = {"retry_after": 0.05, "retry_at_most": 60}
    hub.publish()
    hub.push(over=lambda _: hub.site_state(site).attempts == 4)
    sent = [trigger.sent_at for trigger in hub.store.triggers()][::-1]
    rested = [(one.sent_at, one.ended_at) for one in hub.store.triggers()][::-1]
    pauses = [
        (after - ended).total_seconds() for (_, ended), after in zip(rested, sent[1:], strict=False) if ended
    ]
    assert [pause >= 0.04 * 2**number for number, pause in enumerate(pauses)] == [True] * 3


# -- canaries, pauses, and what changes meanwhile -----------------------------------------------------


def test_a_canary_that_fails_keeps_everybody_from_being_woken(hub: PushingHub) -> None:
    canary = hub.site("canary", canary=True)
    others = [hub.site("one"), hub.site("two", push="staged"), hub.site("three", push="mhop")]
    canary.answers("exit 1")
    hub.publish()
    hub.push()
    assert canary.sent == ["all"]
    assert [site.sent for site in others] == [[], [], []]


@pytest.mark.parametrize("push", ["all", "staged"])
def test_the_others_are_woken_when_the_canary_is_current(hub: PushingHub, push: str) -> None:
    canary, one, two = (
        hub.site("canary", push=push, canary=True),
        hub.site("one"),
        hub.site("two", push="staged"),
    )
    hub.publish()
    hub.push()
    end = hub.downstream.position("canary", "ends", "all" if push == "all" else "stage2")
    assert all(
        end < hub.downstream.position(*where)
        for where in (("one", "begins", "all"), ("two", "begins", "stage1"))
    )
    assert [hub.site_state(site).stage2 for site in (canary, one, two)] == [ONE] * 3


def test_a_canary_that_recovers_lets_the_others_go(hub: PushingHub) -> None:
    canary, other = hub.site("canary", canary=True), hub.site("other")
    canary.answers("exit 1")
    hub.rules = {"retry_after": 0.1, "retry_at_most": 0.1}
    hub.publish()
    with hub.pushing(over=lambda _: hub.site_state(other).stage2 == ONE):
        canary.wait_for("all", times=2)
        assert other.sent == []
        canary.answers("exit 0")
    assert other.sent == ["all"]


def test_a_paused_site_is_left_alone_and_nobody_waits_for_it(hub: PushingHub) -> None:
    paused, good = hub.site("paused", push="staged", paused=True), hub.site("good", push="staged")
    hub.publish()
    hub.push()
    assert (paused.sent, good.sent) == ([], ["stage1", "stage2"])


def test_a_site_that_is_paused_in_the_middle_gets_no_stage_2(hub: PushingHub) -> None:
    paused, good = hub.site("paused", push="staged"), hub.site("good", push="staged")
    looks = Looks()
    hub.publish()
    with hub.pushing(watch=looks, holding=good.held("stage1")):
        assert wait_until(lambda: ("paused", "stage1", ONE) in hub.confirmed())
        paused.configure(paused=True)
        assert wait_until(lambda: looks.phase("paused") == "paused")
    assert (paused.sent, good.sent) == (["stage1"], ["stage1", "stage2"])
    paused.configure(paused=None)
    hub.push()
    assert paused.sent == ["stage1", "stage2"]


def test_a_site_that_is_added_in_the_middle_is_pushed_too(hub: PushingHub) -> None:
    first = hub.site("first")
    hub.publish()
    with hub.pushing(holding=first.held("all")):
        first.wait_for("all")
        second = hub.site("second")
        second.wait_for("all")
    assert hub.site_state(second).stage2 == ONE


def test_nobody_waits_for_a_site_that_is_removed_in_the_middle(hub: PushingHub) -> None:
    removed, good = hub.site("removed", push="staged"), hub.site("good", push="staged")
    hub.publish()
    with removed.held("stage1"):
        with hub.pushing():
            assert wait_until(lambda: ("good", "stage1", ONE) in hub.confirmed())
            removed.file.unlink()
            good.wait_for("stage2")
        assert hub.site_state(good).stage2 == ONE
        assert removed.sent == ["stage1"]


def test_a_configuration_with_a_mistake_in_it_changes_nothing(hub: PushingHub) -> None:
    site, held = hub.site("one", push="staged"), hub.site("held")
    hub.publish()
    with hub.pushing(holding=held.held("all")):
        held.wait_for("all")
        site.configure(nonsense=True)
        hub.publish(TWO)
        assert wait_until(lambda: hub.site_state(site).stage2 == TWO)


def test_a_newer_generation_supersedes_the_one_under_way(hub: PushingHub) -> None:
    one, two = hub.site("one", push="staged"), hub.site("two", push="staged")
    hub.publish(ONE)
    with hub.pushing(holding=two.held("stage1")):
        assert wait_until(lambda: ("one", "stage1", ONE) in hub.confirmed())
        hub.publish(TWO)
        assert wait_until(lambda: ("one", "stage1", TWO) in hub.confirmed())
    assert (one.sent, two.sent) == (["stage1", "stage1", "stage2"], ["stage1", "stage1", "stage2"])
    assert {trigger.generation for trigger in hub.store.triggers() if trigger.stage == "stage2"} == {TWO}


def test_what_failed_is_tried_at_once_when_there_is_something_newer(hub: PushingHub) -> None:
    site = hub.site("one")
    site.answers("exit 1")
    hub.rules = {"retry_after": 3600, "retry_at_most": 3600}
    hub.publish(ONE)
    hub.push()
    site.answers("exit 0")
    hub.publish(TWO)
    hub.push()
    assert hub.site_state(site).stage2 == TWO


# -- hooks, and sites that only OpenSSH can reach -----------------------------------------------------


def test_a_site_that_is_paused_while_the_hook_before_a_push_runs_is_left_alone(hub: PushingHub) -> None:
    site, other = hub.site("one"), hub.site("other")
    hub.hooks(before_push=["sh", "-c", 'echo "paused = true" >>"$0"', str(site.file)])
    hub.publish()
    hub.push()
    assert (site.sent, other.sent) == ([], ["all"])


def test_the_hook_before_a_push_is_run_once_for_each_generation(hub: PushingHub) -> None:
    hub.site("one", push="staged")
    told = hub.directory / "told"
    hub.hooks(before_push=["sh", "-c", 'echo "$PUSHMIRROR_GENERATION" >>"$0"', str(told)])
    for generation in (ONE, TWO):
        hub.publish(generation)
        hub.push()
    assert told.read_text().split() == [ONE, TWO]


def test_a_site_with_options_for_ssh_gets_both_stages(hub: PushingHub) -> None:
    site = hub.site("one", push="staged", ssh_options=["-o", "LogLevel=ERROR"])
    hub.publish()
    hub.push()
    assert site.sent == ["stage1", "stage2"]
    assert hub.site_state(site).stage2 == ONE
