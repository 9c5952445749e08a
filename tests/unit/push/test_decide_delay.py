"""Sites that wait for others by the clock: DELAY lines of runmirrors, `delay` of a site's file."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pushmirror.config.model import Push, PushKind, Site
from pushmirror.config.types import Wait
from pushmirror.push.decide import Decision, Goal, decide
from pushmirror.push.engine import decided as decided_among
from pushmirror.state.records import Phase, SiteState, Stage

ARCHIVE = "debian"
T0 = datetime(2026, 7, 11, 10, tzinfo=UTC)  # when the push of NEW began
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
NEW, NEXT = "new", "next"  # served now, prepared
RULES = Push(deadline=10 * MINUTE, retry_after=15 * SECOND, retry_at_most=30 * MINUTE)

Facts = Mapping[str, Any]
ONE: Facts = {"stage1": NEW, "stage1_at": T0 + 2 * MINUTE}
BOTH: Facts = {**ONE, "stage2": NEW, "stage2_at": T0 + 3 * MINUTE}
ONE_ON_ITS_WAY: Facts = {"sent_stage": Stage.STAGE1, "sent_generation": NEW, "sent_at": T0}


def site(name: str, *delay: Wait, push: PushKind = PushKind.ALL, canary: bool = False) -> Site:
    return Site(
        name=name,
        host="site.example.com",
        user="archvsync",
        archives=(ARCHIVE,),
        push=push,
        canary=canary,
        delay=delay,
    )


def after(minutes: int, *, or_stage1: bool = False) -> Wait:
    return Wait(minutes * MINUTE, until_stage1=or_stage1)


def decided(
    sites: Sequence[Site],
    site_states: Mapping[str, Facts] | None = None,
    *,
    now: timedelta = timedelta(),
    published: str | None = NEW,
    prepared: str | None = None,
    delays_since: timedelta | None = None,
) -> Decision:
    began = None if delays_since is None else T0 + delays_since
    goal = Goal(ARCHIVE, published, since=T0, prepared=prepared, delays_since=began)
    known = {name: SiteState(ARCHIVE, name, **facts) for name, facts in (site_states or {}).items()}
    return decide(sites, known, goal, RULES, T0 + now)


STAGED = site("staged", push=PushKind.STAGED)
PLAIN = site("a", after(5))
SEVERAL = site("a", after(5), after(1), after(4))
OR_STAGE1 = site("a", after(5, or_stage1=True))
THEN_OR_STAGE1 = site("a", after(1), after(5, or_stage1=True))
OR_STAGE1_THEN = site("a", after(5, or_stage1=True), after(1))
LONGER = site("a", after(30, or_stage1=True))


@pytest.mark.parametrize(
    ("one", "site_states", "turn"),
    [
        (PLAIN, {}, 5 * MINUTE),
        (SEVERAL, {}, 10 * MINUTE),
        (site("a", after(0)), {}, timedelta()),
        (OR_STAGE1, {"staged": ONE_ON_ITS_WAY}, 5 * MINUTE),
        (OR_STAGE1, {"staged": ONE}, 2 * MINUTE),
        (THEN_OR_STAGE1, {"staged": ONE}, 2 * MINUTE),
        (OR_STAGE1_THEN, {"staged": ONE}, 3 * MINUTE),
        (OR_STAGE1_THEN, {"staged": ONE_ON_ITS_WAY}, 6 * MINUTE),
        (LONGER, {"staged": ONE_ON_ITS_WAY}, 10 * MINUTE),  # nobody waits for stage 1 any more
        (site("a", after(8), after(30, or_stage1=True)), {"staged": ONE}, 8 * MINUTE),
    ],
)
def test_a_site_is_woken_when_its_delays_are_over(
    one: Site, site_states: Mapping[str, Facts], turn: timedelta
) -> None:
    # What happened by then is in the site states from the beginning: not before it is the question here.
    if turn:
        early = decided([STAGED, one], site_states, now=turn - timedelta.resolution)
        assert early.phases["a"] is Phase.DELAYED
    due = decided([STAGED, one], site_states, now=turn)
    assert "a" in [send.site.name for send in due.sends]


def test_a_delay_or_stage_1_ends_at_once_where_there_is_nobody_staged() -> None:
    assert decided([OR_STAGE1, site("b")]).phases == {"a": Phase.DUE, "b": Phase.DUE}


def test_a_delay_or_stage_1_waits_for_staged_sites_that_are_delayed_themselves() -> None:
    late = site("late", after(1), push=PushKind.STAGED)
    assert decided([late, OR_STAGE1], now=2 * MINUTE).phases == {"late": Phase.DUE, "a": Phase.DELAYED}


@pytest.mark.parametrize(
    ("one", "site_states", "wake"),
    [
        (PLAIN, {}, 5 * MINUTE),
        (SEVERAL, {}, 10 * MINUTE),
        (OR_STAGE1, {"staged": ONE_ON_ITS_WAY}, 5 * MINUTE),
        (LONGER, {"staged": ONE_ON_ITS_WAY}, 10 * MINUTE),
    ],
)
def test_it_is_decided_again_when_the_delays_are_over(
    one: Site, site_states: Mapping[str, Facts], wake: timedelta
) -> None:
    first = decided([STAGED, one], site_states, now=SECOND)
    assert first.wake_at == T0 + wake
    before = decided([STAGED, one], site_states, now=wake - timedelta.resolution)
    assert (before.phases, before.wake_at) == (first.phases, first.wake_at)


def test_others_wait_for_nobody_who_is_delayed() -> None:
    assert decided([PLAIN, site("b")]).phases == {"a": Phase.DELAYED, "b": Phase.DUE}


def test_stage_2_is_not_delayed_again_nor_is_a_site_that_is_current() -> None:
    late = site("a", after(5), push=PushKind.STAGED)
    assert [send.stage for send in decided([late], {"a": ONE}, now=MINUTE).sends] == [Stage.STAGE2]
    assert decided([late], {"a": BOTH}, now=MINUTE).phases == {"a": Phase.CURRENT}


def test_the_barrier_waits_for_a_delayed_staged_site_and_no_longer_than_its_deadline() -> None:
    late = site("late", after(15), push=PushKind.STAGED)
    waiting = decided([STAGED, late], {"staged": ONE}, now=9 * MINUTE)
    assert waiting.phases == {"staged": Phase.WAITING_FOR_STAGE1, "late": Phase.DELAYED}
    assert decided([STAGED, late], {"staged": ONE}, now=10 * MINUTE).phases["staged"] is Phase.DUE


def test_what_is_prepared_is_not_delayed() -> None:
    late = site("a", after(5), push=PushKind.STAGED)
    assert [send.generation for send in decided([late], {"a": BOTH}, prepared=NEXT).sends] == [NEXT]


def test_a_newer_generation_is_delayed_anew() -> None:
    goal = Goal(ARCHIVE, "newer", since=T0 + HOUR)
    known = {"a": SiteState(ARCHIVE, "a", **BOTH)}
    assert decide([PLAIN], known, goal, RULES, T0 + HOUR + MINUTE).phases == {"a": Phase.DELAYED}
    assert decide([PLAIN], known, goal, RULES, T0 + HOUR + 5 * MINUTE).phases == {"a": Phase.DUE}


def test_a_clock_that_was_set_back_delays_nobody_for_longer() -> None:
    assert decided([PLAIN], now=-DAY).phases == {"a": Phase.DUE}


def test_a_site_that_failed_rests_for_as_long_as_others_and_is_not_delayed_again() -> None:
    failed = {"tried": NEW, "attempts": 1, "failing_since": T0 + 6 * MINUTE, "next_try_at": T0 + 7 * MINUTE}
    assert decided([PLAIN], {"a": failed}, now=6 * MINUTE).phases == {"a": Phase.BACKING_OFF}
    assert decided([PLAIN], {"a": failed}, now=7 * MINUTE).phases == {"a": Phase.DUE}


def test_a_delay_begins_when_the_canaries_are_current() -> None:
    canary = site("canary", canary=True)
    site_states = {"canary": {**BOTH, "stage2_at": T0 + HOUR}}
    assert decided([canary, PLAIN], {}, now=30 * MINUTE).phases["a"] is Phase.WAITING_FOR_CANARY
    assert decided([canary, PLAIN], site_states, now=HOUR + 4 * MINUTE).phases["a"] is Phase.DELAYED
    assert decided([canary, PLAIN], site_states, now=HOUR + 5 * MINUTE).phases["a"] is Phase.DUE


def test_a_canary_may_be_delayed_itself_and_the_others_wait_for_it() -> None:
    canary = site("canary", after(5), canary=True)
    assert decided([canary, PLAIN]).phases == {"canary": Phase.DELAYED, "a": Phase.WAITING_FOR_CANARY}


def test_who_names_a_site_wants_it_woken_now() -> None:
    goal = Goal(ARCHIVE, NEW, since=T0)
    decision = decided_among([PLAIN, site("b")], {}, goal, RULES, T0, only=frozenset({"a"}))
    assert decision.phases == {"a": Phase.DUE}


@pytest.mark.parametrize(("minutes_ago", "phase"), [(2, Phase.DELAYED), (5, Phase.DUE)])
def test_a_delay_that_began_with_an_older_goal_goes_on(minutes_ago, phase):
    decision = decided([PLAIN], delays_since=-minutes_ago * MINUTE)
    assert decision.phases == {"a": phase}
