"""Which triggers are due: one case for each line of the life cycle, and for what is easily got wrong."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import pytest

from pushmirror.config.model import Push, PushKind, Site
from pushmirror.push.decide import Decision, Goal, decide, lacking_stage1
from pushmirror.state.records import Phase, SiteState, Stage

ARCHIVE = "debian"
T0 = datetime(2026, 7, 11, 10, tzinfo=UTC)  # when the push of NEW began
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
OLD, NEW, NEXT = "old", "new", "next"  # served before, served now, prepared
RULES = Push(
    deadline=10 * MINUTE, retry_after=15 * SECOND, retry_at_most=30 * MINUTE, report_after=HOUR
)  # the test's own, whatever the defaults become

Facts = Mapping[str, Any]
NOTHING: Facts = {"stage1": OLD, "stage2": OLD}
ONE: Facts = {"stage1": NEW, "stage2": OLD}
BOTH: Facts = {"stage1": NEW, "stage2": NEW, "stage2_at": T0}
ONE_ON_ITS_WAY: Facts = {**NOTHING, "sent_stage": Stage.STAGE1, "sent_generation": NEW, "sent_at": T0}
TWO_ON_ITS_WAY: Facts = {**ONE, "sent_stage": Stage.STAGE2, "sent_generation": NEW, "sent_at": T0}


def site(name: str, push: PushKind = PushKind.STAGED, *, canary: bool = False, paused: bool = False) -> Site:
    return Site(
        name=name,
        host="site.example.com",
        user="archvsync",
        archives=(ARCHIVE,),
        push=push,
        canary=canary,
        paused=paused,
    )


def failing(facts: Facts, since: datetime, *, about: str = NEW, rests_until: datetime = T0 - DAY) -> Facts:
    return {**facts, "tried": about, "attempts": 3, "failing_since": since, "next_try_at": rests_until}


def decided(
    sites: Sequence[Site],
    site_states: Mapping[str, Facts],
    *,
    now: datetime = T0,
    published: str | None = NEW,
    prepared: str | None = None,
    rules: Push = RULES,
) -> Decision:
    goal = Goal(ARCHIVE, published, since=T0, prepared=prepared)
    known = {name: SiteState(ARCHIVE, name, **facts) for name, facts in site_states.items()}
    return decide(sites, known, goal, rules, now)


def said(decision: Decision) -> list[str]:
    return [f"{send.site.name} {send.stage} {send.generation}" for send in decision.sends]


def with_quorum(quorum: float) -> Push:
    return RULES.model_copy(update={"quorum": quorum})


A, B, C = site("a"), site("b"), site("c")
CANARY = site("canary", canary=True)


@pytest.mark.parametrize(
    ("push", "facts", "phase", "words"),
    [
        (PushKind.ALL, NOTHING, Phase.DUE, ["a all new"]),
        (PushKind.ALL, {}, Phase.DUE, ["a all new"]),
        (PushKind.ALL, ONE, Phase.DUE, ["a all new"]),  # it was staged yesterday
        (PushKind.ALL, BOTH, Phase.CURRENT, []),
        (PushKind.STAGED, NOTHING, Phase.DUE, ["a stage1 new"]),
        (PushKind.STAGED, {}, Phase.DUE, ["a stage1 new"]),
        (PushKind.STAGED, ONE_ON_ITS_WAY, Phase.TRIGGERED, []),
        (PushKind.STAGED, ONE, Phase.DUE, ["a stage2 new"]),
        (PushKind.STAGED, TWO_ON_ITS_WAY, Phase.TRIGGERED, []),
        (PushKind.STAGED, BOTH, Phase.CURRENT, []),
        (PushKind.STAGED, {"stage1": OLD, "stage2": NEW}, Phase.CURRENT, []),
        (PushKind.MHOP, NOTHING, Phase.DUE, ["a stage1 new"]),
        (PushKind.MHOP, ONE, Phase.DUE, ["a stage2 new"]),
        (PushKind.MHOP, BOTH, Phase.CURRENT, []),
    ],
)
def test_a_site_alone_is_sent_what_it_lacks(
    push: PushKind, facts: Facts, phase: Phase, words: list[str]
) -> None:
    decision = decided([site("a", push)], {"a": facts})
    assert (decision.phases, said(decision)) == ({"a": phase}, words)


def test_nothing_published_and_nothing_prepared_is_nothing_to_do() -> None:
    decision = decided([A, site("b", PushKind.ALL)], {}, published=None)
    assert decision == Decision((), {"a": Phase.CURRENT, "b": Phase.CURRENT})


def test_sites_that_are_not_among_the_sites_count_for_nothing() -> None:
    decision = decided([A], {"a": ONE, "gone": NOTHING, "canary": failing(NOTHING, T0 - DAY)})
    assert said(decision) == ["a stage2 new"] and decision.reports == () and decision.wake_at is None


# The barrier


def test_stage_2_waits_until_all_have_stage_1() -> None:
    decision = decided([A, B, C], {"a": ONE, "b": ONE_ON_ITS_WAY, "c": NOTHING})
    assert decision.phases == {"a": Phase.WAITING_FOR_STAGE1, "b": Phase.TRIGGERED, "c": Phase.DUE}
    assert said(decision) == ["c stage1 new"]


def test_the_last_stage_1_releases_all() -> None:
    assert said(decided([A, B], {"a": ONE, "b": ONE})) == ["a stage2 new", "b stage2 new"]


def test_mhop_and_staged_sites_wait_for_each_other_and_nobody_waits_for_kind_all() -> None:
    sites = [A, site("b", PushKind.MHOP), site("c", PushKind.ALL)]
    assert said(decided(sites, {"a": ONE, "b": NOTHING})) == ["b stage1 new", "c all new"]
    assert said(decided(sites, {"a": ONE, "b": ONE})) == ["a stage2 new", "b stage2 new", "c all new"]


@pytest.mark.parametrize("past", [TWO_ON_ITS_WAY, BOTH, failing(ONE, T0)])
def test_an_open_barrier_stays_open_for_whoever_has_stage_1_later(past: Facts) -> None:
    decision = decided([A, B, C], {"a": past, "b": ONE, "c": NOTHING})
    assert "b stage2 new" in said(decision) and "c stage1 new" in said(decision)


def test_stage_2_of_another_generation_opens_nothing() -> None:
    assert said(decided([A, B], {"a": {**TWO_ON_ITS_WAY, "sent_generation": OLD}, "b": ONE})) == [
        "b stage2 new"
    ]  # a has stage 1 of the new one, too
    late = {**NOTHING, "sent_stage": Stage.STAGE2, "sent_generation": OLD, "sent_at": T0}
    assert decided([A, B], {"a": late, "b": ONE}).phases["b"] is Phase.WAITING_FOR_STAGE1


def test_a_failed_stage_1_opens_nothing() -> None:
    assert decided([A, B], {"a": failing(NOTHING, T0), "b": ONE}).phases["b"] is Phase.WAITING_FOR_STAGE1


@pytest.mark.parametrize(
    ("quorum", "sites", "enough"),
    [
        (1.0, 3, 3),
        (0.67, 3, 3),  # two of three are less than 0.67
        (0.66, 3, 2),
        (0.5, 3, 2),
        (0.5, 4, 2),
        (0.01, 3, 1),
        (0.28, 25, 7),  # 7.000000000000001 as floats
        (0.56, 25, 14),
        (0.07, 100, 7),
        (0.1, 30, 3),
    ],
)
def test_a_quorum_is_the_share_that_was_written(quorum: float, sites: int, enough: int) -> None:
    group = [site(f"s{number:03}") for number in range(sites)]

    def phase_when(have: int) -> Phase:
        site_states = {one.name: ONE for one in group[:have]}
        return decided(group, site_states, rules=with_quorum(quorum)).phases["s000"]

    assert phase_when(enough) is Phase.DUE
    assert enough == 1 or phase_when(enough - 1) is Phase.WAITING_FOR_STAGE1


def test_the_deadline_releases_those_that_have_stage_1() -> None:
    site_states = {"a": ONE, "b": ONE_ON_ITS_WAY, "c": failing(NOTHING, T0, rests_until=T0 + HOUR)}
    last_moment = T0 + RULES.deadline - timedelta.resolution
    assert decided([A, B, C], site_states, now=last_moment).phases["a"] is Phase.WAITING_FOR_STAGE1
    assert said(decided([A, B, C], site_states, now=T0 + RULES.deadline)) == ["a stage2 new"]


def test_a_late_site_gets_its_stage_2_when_it_is_ready() -> None:
    assert said(decided([A, B], {"a": NOTHING, "b": ONE}, now=T0 + HOUR)) == ["a stage1 new", "b stage2 new"]


def test_nobody_waits_for_a_site_that_has_been_failing_for_long() -> None:
    gone = failing(NOTHING, T0 - RULES.deadline, rests_until=T0 + MINUTE)
    assert said(decided([A, B], {"a": ONE, "b": gone})) == ["a stage2 new"]
    assert said(decided([A, B, C], {"a": ONE, "b": gone})) == ["c stage1 new"]


def test_a_site_that_was_given_up_is_tried_all_the_same() -> None:
    assert said(decided([A], {"a": failing(NOTHING, T0 - DAY)})) == ["a stage1 new"]


def test_when_all_are_given_up_whoever_comes_back_is_served_alone() -> None:
    gone = failing(NOTHING, T0 - DAY, rests_until=T0 + MINUTE)
    assert said(decided([A, B, C], {"a": gone, "b": ONE, "c": gone})) == ["b stage2 new"]


def test_given_up_sites_do_not_count_in_the_quorum() -> None:
    gone = failing(NOTHING, T0 - DAY, rests_until=T0 + MINUTE)
    sites, half = [A, B, C, site("d")], with_quorum(0.5)
    assert said(decided(sites, {"a": ONE, "b": NOTHING, "c": gone, "d": gone}, rules=half))[0] == (
        "a stage2 new"
    )


# Canaries


def test_nobody_else_is_woken_before_the_canary_is_current() -> None:
    sites = [CANARY, A, site("b", PushKind.ALL), site("c", PushKind.MHOP)]
    decision = decided(sites, {})
    assert said(decision) == ["canary stage1 new"]
    assert decision.sites_in(Phase.WAITING_FOR_CANARY) == ["a", "b", "c"]
    assert said(decided(sites, {"canary": ONE, "a": ONE})) == ["canary stage2 new"]
    assert decided(sites, {"canary": TWO_ON_ITS_WAY}).sends == ()
    assert len(decided(sites, {"canary": BOTH}).sends) == 3


def test_a_canary_of_kind_all_gates_as_well() -> None:
    canary = site("canary", PushKind.ALL, canary=True)
    assert said(decided([canary, A], {})) == ["canary all new"]
    assert said(decided([canary, A], {"canary": BOTH})) == ["a stage1 new"]


def test_a_canary_that_fails_keeps_all_others_asleep_however_long() -> None:
    site_states = {"canary": failing(NOTHING, T0 - DAY, rests_until=T0 + 2 * DAY + MINUTE)}
    decision = decided([CANARY, A], site_states, now=T0 + 2 * DAY)
    assert (
        decision.phases == {"canary": Phase.BACKING_OFF, "a": Phase.WAITING_FOR_CANARY}
        and decision.sends == ()
    )
    assert decision.reports == ("canary",)


def test_a_paused_canary_gates_nobody() -> None:
    paused = site("canary", canary=True, paused=True)
    decision = decided([paused, A], {})
    assert decision.phases == {"canary": Phase.PAUSED, "a": Phase.DUE}


def test_every_canary_must_be_current() -> None:
    other = site("other", canary=True)
    assert said(decided([CANARY, other, A], {"canary": BOTH, "other": ONE})) == ["other stage2 new"]
    assert said(decided([CANARY, other, A], {"canary": BOTH, "other": BOTH})) == ["a stage1 new"]


def test_canaries_wait_at_the_barrier_for_each_other_but_for_nobody_else() -> None:
    other = site("other", canary=True)
    assert said(decided([CANARY, other, A], {"canary": ONE})) == ["other stage1 new"]
    assert said(decided([CANARY, A], {"canary": ONE})) == ["canary stage2 new"]


def test_the_deadline_of_the_others_counts_from_the_moment_that_let_them_begin() -> None:
    site_states = {"canary": {**BOTH, "stage2_at": T0 + HOUR}, "a": ONE, "b": ONE_ON_ITS_WAY}
    end = T0 + HOUR + RULES.deadline
    waiting = decided([CANARY, A, B], site_states, now=end - SECOND)
    assert (waiting.phases["a"], waiting.wake_at) == (Phase.WAITING_FOR_STAGE1, end)
    assert said(decided([CANARY, A, B], site_states, now=end)) == ["a stage2 new"]


# A generation that is prepared but not published


def test_what_is_prepared_is_stage_1_for_staged_and_mhop_sites_only() -> None:
    sites = [A, site("b", PushKind.MHOP), site("c", PushKind.ALL)]
    decision = decided(sites, {"a": BOTH, "b": BOTH, "c": BOTH}, prepared=NEXT)
    assert said(decision) == ["a stage1 next", "b stage1 next"]
    assert decision.phases["c"] is Phase.CURRENT


def test_stage_1_of_what_is_prepared_is_not_followed_by_stage_2() -> None:
    ready = {**BOTH, "stage1": NEXT}
    assert decided([A], {"a": ready}, prepared=NEXT) == Decision((), {"a": Phase.CURRENT})


def test_once_published_it_goes_on_with_stage_2() -> None:
    ready = {**NOTHING, "stage1": NEW}
    assert said(decided([A, B], {"a": ready, "b": ready}, prepared=NEW)) == ["a stage2 new", "b stage2 new"]


def test_a_site_behind_gets_what_is_published_before_what_is_prepared() -> None:
    assert said(decided([A, B], {"a": ONE, "b": NOTHING}, prepared=NEXT)) == ["b stage1 new"]
    assert said(decided([A], {"a": ONE}, prepared=NEXT)) == ["a stage2 new"]


def test_a_first_generation_can_be_prepared_before_anything_is_published() -> None:
    decision = decided([A, site("b", PushKind.ALL)], {}, published=None, prepared=NEXT)
    assert said(decision) == ["a stage1 next"]


def test_canaries_go_first_with_what_is_prepared_too() -> None:
    assert said(decided([CANARY, A], {"canary": BOTH, "a": BOTH}, prepared=NEXT)) == ["canary stage1 next"]
    ready = {**BOTH, "stage1": NEXT}
    assert said(decided([CANARY, A], {"canary": ready, "a": BOTH}, prepared=NEXT)) == ["a stage1 next"]
    for_all = site("canary", PushKind.ALL, canary=True)
    assert said(decided([for_all, A], {"canary": BOTH, "a": BOTH}, prepared=NEXT)) == ["a stage1 next"]


def test_a_canary_that_is_behind_keeps_what_is_prepared_from_the_others() -> None:
    assert said(decided([CANARY, A], {"canary": ONE, "a": BOTH}, prepared=NEXT)) == ["canary stage2 new"]


@pytest.mark.parametrize("canary", [BOTH, failing(BOTH, T0, about=NEXT, rests_until=T0 + HOUR)])
def test_what_is_prepared_holds_nobody_back_from_what_the_canary_serves(canary: Facts) -> None:
    decision = decided([CANARY, A, B], {"canary": canary, "a": ONE, "b": ONE}, prepared=NEXT)
    assert {"a stage2 new", "b stage2 new"} <= set(said(decision))


# Something newer


@pytest.mark.parametrize(
    ("facts", "phase"),
    [
        (BOTH, Phase.DUE),  # was CURRENT
        (ONE, Phase.DUE),  # was HELD or DUE
        (failing(NOTHING, T0, rests_until=T0 + HOUR), Phase.DUE),  # was RESTING: the newer is tried at once
        (ONE_ON_ITS_WAY, Phase.TRIGGERED),
        (TWO_ON_ITS_WAY, Phase.TRIGGERED),
    ],
)
def test_something_newer_begins_with_stage_1_in_every_phase(facts: Facts, phase: Phase) -> None:
    decision = decided([A], {"a": facts}, published="newer")
    assert (decision.phases["a"], said(decision)) == (phase, ["a stage1 newer"] if phase is Phase.DUE else [])


def test_something_newer_gates_those_behind_a_canary_anew() -> None:
    assert said(decided([CANARY, A], {"canary": BOTH, "a": BOTH}, published="newer")) == [
        "canary stage1 newer"
    ]


# Failing


def test_a_site_that_failed_rests_until_its_time_has_come() -> None:
    site_states = {"a": failing(NOTHING, T0, rests_until=T0 + MINUTE)}
    resting = decided([A], site_states, now=T0 + MINUTE - timedelta.resolution)
    assert (resting.phases, resting.wake_at) == ({"a": Phase.BACKING_OFF}, T0 + MINUTE)
    assert said(decided([A], site_states, now=T0 + MINUTE)) == ["a stage1 new"]


def test_a_clock_that_was_set_back_puts_no_site_to_sleep() -> None:
    site_states = {"a": failing(NOTHING, T0 + DAY, rests_until=T0 + DAY)}
    assert said(decided([A], site_states)) == ["a stage1 new"]


def test_a_clock_that_was_set_back_does_not_hold_stage_2_for_longer_than_the_deadline_twice() -> None:
    site_states = {"a": ONE, "b": ONE_ON_ITS_WAY}
    a_little = decided([A, B], site_states, now=T0 - SECOND)
    assert (a_little.phases["a"], a_little.wake_at) == (Phase.WAITING_FOR_STAGE1, T0 + RULES.deadline)
    assert said(decided([A, B], site_states, now=T0 - DAY)) == ["a stage2 new"]


@pytest.mark.parametrize(("after", "reports"), [(HOUR - SECOND, ()), (HOUR, ("a",)), (DAY, ("a",))])
def test_a_site_is_reported_when_it_has_been_failing_for_long(after: timedelta, reports: object) -> None:
    assert decided([A], {"a": failing(NOTHING, T0)}, now=T0 + after).reports == reports


def test_a_site_is_reported_once() -> None:
    site_states = {"a": {**failing(NOTHING, T0, rests_until=T0 + 61 * MINUTE), "reported": True}}
    decision = decided([A], site_states, now=T0 + HOUR)
    assert (decision.reports, decision.wake_at) == ((), T0 + 61 * MINUTE)


def test_a_hanging_site_that_failed_before_is_reported_while_it_hangs() -> None:
    assert decided([A], {"a": failing(ONE_ON_ITS_WAY, T0)}, now=T0 + HOUR).reports == ("a",)


@pytest.mark.parametrize(
    ("of", "facts"), [(site("a", paused=True), failing(NOTHING, T0)), (A, failing(BOTH, T0, about=NEXT))]
)
def test_a_site_from_which_nothing_is_wanted_is_not_reported(of: Site, facts: Facts) -> None:
    decision = decided([of], {"a": facts}, now=T0 + DAY)
    assert decision.reports == () and decision.wake_at is None


# Pausing


@pytest.mark.parametrize("facts", [NOTHING, ONE, failing(NOTHING, T0)])
def test_a_paused_site_is_left_alone(facts: Facts) -> None:
    decision = decided([site("a", paused=True)], {"a": facts}, now=T0 + DAY, prepared=NEXT)
    assert decision == Decision((), {"a": Phase.PAUSED})


def test_nobody_waits_for_a_paused_site() -> None:
    assert said(decided([A, site("b", paused=True)], {"a": ONE, "b": NOTHING})) == ["a stage2 new"]


def test_a_site_that_was_paused_in_flight_is_heard_and_then_left_alone() -> None:
    paused = site("a", paused=True)
    assert decided([paused], {"a": ONE_ON_ITS_WAY}).phases == {"a": Phase.TRIGGERED}
    assert decided([paused], {"a": ONE}).phases == {"a": Phase.PAUSED}


# When to decide again


def test_answers_only_can_change_what_is_in_flight() -> None:
    assert decided([A, site("b", PushKind.ALL)], {"a": ONE_ON_ITS_WAY, "b": BOTH}).wake_at is None


def test_of_several_moments_the_first_counts() -> None:
    site_states = {"a": ONE, "b": failing(NOTHING, T0, rests_until=T0 + MINUTE), "c": ONE_ON_ITS_WAY}
    assert decided([A, B, C], site_states).wake_at == T0 + MINUTE
    assert decided([A, B, C], site_states, now=T0 + 2 * MINUTE).wake_at == T0 + RULES.deadline


def test_the_moment_at_which_a_site_is_given_up_counts_too() -> None:
    since = T0 - 9 * MINUTE
    site_states = {"a": ONE, "b": {**failing(ONE_ON_ITS_WAY, since), "reported": True}}
    assert decided([A, B], site_states).wake_at == T0 + MINUTE
    assert said(decided([A, B], site_states, now=T0 + MINUTE)) == ["a stage2 new"]


def test_a_moment_that_has_passed_is_not_waited_for() -> None:
    site_states = {"a": {**failing(ONE_ON_ITS_WAY, T0, rests_until=T0 + MINUTE), "reported": True}}
    assert decided([A], site_states, now=T0 + DAY).wake_at is None


WAITING: list[tuple[list[Site], Mapping[str, Facts]]] = [
    ([A, B], {"a": ONE, "b": ONE_ON_ITS_WAY}),
    ([A, B], {"a": ONE, "b": failing(ONE_ON_ITS_WAY, T0 - 9 * MINUTE)}),
    ([A, B], {"a": ONE, "b": failing(NOTHING, T0, rests_until=T0 + HOUR)}),
    ([A], {"a": failing(ONE_ON_ITS_WAY, T0)}),
    ([CANARY, A, B], {"canary": {**BOTH, "stage2_at": T0 + MINUTE}, "a": ONE, "b": ONE_ON_ITS_WAY}),
]


@pytest.mark.parametrize(("sites", "site_states"), WAITING)
def test_time_changes_the_decision_at_wake_at_and_not_before(
    sites: list[Site], site_states: Mapping[str, Facts]
) -> None:
    first = decided(sites, site_states)
    assert first.wake_at
    just_before = decided(sites, site_states, now=first.wake_at - timedelta.resolution)
    assert just_before == first
    assert replace(decided(sites, site_states, now=first.wake_at), wake_at=first.wake_at) != first


def test_deciding_takes_no_more_than_a_glance_at_each_site() -> None:
    def calls(sites: int) -> int:
        group = [site(f"s{number}") for number in range(sites)]
        site_states, count = {one.name: ONE for one in group[1:]}, 0

        def profile(frame: FrameType, event: str, argument: object) -> None:
            nonlocal count
            count += event == "call"

        before = sys.getprofile()
        sys.setprofile(profile)
        try:
            decided(group, site_states)
        finally:
            sys.setprofile(before)
        return count

    assert calls(200) < 11 * calls(20)  # each looking at each would be a hundred times


@pytest.mark.parametrize(
    ("one", "facts", "is_awaited"),
    [
        (A, BOTH, True),
        (site("a", PushKind.MHOP), BOTH, True),
        (A, {"stage1": NEXT, "stage2": NEW}, False),
        (A, {"stage1": NEW, "stage2": NEXT}, False),  # it serves that: upstream went there and back
        (site("a", PushKind.ALL), BOTH, False),
        (site("a", paused=True), BOTH, False),
        (A, failing(BOTH, T0 - 9 * MINUTE), True),
        (A, failing(BOTH, T0 - 10 * MINUTE), False),
    ],
)
def test_an_mhop_hub_waits_for_staged_sites_without_stage_1_that_nobody_has_given_up(
    one: Site, facts: Facts, is_awaited: bool
) -> None:
    goal = Goal(ARCHIVE, None, since=T0, prepared=NEXT)
    site_states = {"a": SiteState(ARCHIVE, "a", **facts)}
    assert lacking_stage1([one], site_states, goal, RULES, T0) == ["a"] * is_awaited
