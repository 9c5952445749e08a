from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pushmirror.config.model import Push, PushKind, Site
from pushmirror.push.decide import Goal, decide
from pushmirror.state.records import Generation, Phase, SiteState, Stage
from pushmirror.status.archives import summarise, with_sites
from pushmirror.status.sites import SiteHealth, attention_to, summarise_sites
from pushmirror.status.words import Level

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
MIN, HOUR = timedelta(minutes=1), timedelta(hours=1)
OLD, NEW = "b" * 64, "a" * 64
PUSH_IT = "run pushmirror serve, or pushmirror push debian"
PUSH = Push(key="/k", deadline="10min", report_after="1h")


def site(name: str, **more) -> Site:
    return Site(name=name, host=name, user="m", archives=["debian"], **more)


def at(name: str, **more) -> SiteState:
    return SiteState("debian", name, **more)


def live(name: str) -> SiteState:
    return at(name, stage1=NEW, stage1_at=NOW - 2 * MIN, stage2=NEW, stage2_at=NOW - MIN, exit_code=0)


def behind(name: str, **more) -> SiteState:
    return at(name, stage1=OLD, stage1_at=NOW - HOUR, stage2=OLD, stage2_at=NOW - HOUR, **more)


def failing(name: str, since: timedelta, **more) -> SiteState:
    return behind(name, failing_since=NOW - since, tried=NEW, attempts=4, **more)


def health(
    sites: list[Site],
    *site_states: SiteState,
    published: timedelta = 3 * MIN,
    prepared: str | None = None,
    serving: bool = True,
    pushing: bool | None = None,
) -> list[SiteHealth]:
    """With the phases that a push would decide on, now."""
    by_name = {one.site: one for one in site_states}
    goal = Goal("debian", NEW if serving else None, NOW - published, prepared)
    generations = [
        Generation("debian", NEW, NOW - published, None, 2),
        Generation("debian", OLD, NOW - 9 * HOUR, NOW - published, 1),
    ]
    return summarise_sites(
        "debian",
        sites,
        site_states=by_name,
        generations=generations if serving else [],
        phases=decide(sites, by_name, goal, PUSH, NOW).phases,
        push=PUSH,
        now=NOW,
        pushing=pushing,
    )


def one(kind: Site, site_state: SiteState | None = None, **more) -> SiteHealth:
    (found,) = health([kind], *([site_state] if site_state else []), **more)
    return found


def test_a_site_that_serves_what_we_serve_is_live_since_it_said_so():
    found = one(site("a"), live("a"))
    assert (found.state, found.level, found.current, found.activity) == ("live", Level.OK, True, "")
    assert (found.since, found.confirmed_at, found.generation) == (NOW - MIN, NOW - MIN, "a" * 12)


def test_a_site_is_late_since_something_was_published_that_it_does_not_have():
    found = one(site("a"), behind("a"))
    assert (found.state, found.level, found.since) == ("late", Level.RUNNING, NOW - 3 * MIN)
    assert found.activity == "push due"


def test_what_a_site_has_may_be_so_old_that_it_is_forgotten_here():
    ancient = at("a", stage1="c" * 64, stage1_at=NOW, stage2="c" * 64, stage2_at=NOW)
    assert one(site("a"), ancient).since == NOW - 9 * HOUR


def test_a_site_counts_as_late_only_after_the_deadline_of_a_push():
    levels = [one(site("a"), behind("a"), published=after).level for after in (10 * MIN, 11 * MIN)]
    assert levels == [Level.RUNNING, Level.WARNING]


@pytest.mark.parametrize(
    ("hours", "level"), [(11, "warning"), (12, "warning"), (35, "warning"), (36, "error")]
)
def test_a_site_that_lacks_what_we_serve_for_three_times_stale_after_is_an_error(hours, level):
    assert one(site("a"), behind("a"), published=hours * HOUR, pushing=True).level == level


def test_a_site_that_holds_suites_back_is_live_and_a_warning():
    held = replace(live("a"), exit_code=6, last_words="debian all: published; 1 suite held back: dists/sid")
    found = one(site("a"), held)
    assert (found.state, found.level) == ("live", Level.WARNING)
    assert found.activity == "holds suites back: debian all: published; 1 suite held back: dists/sid"


def test_a_first_fetch_takes_as_long_as_its_line_needs_but_not_for_ever():
    woken = at("a", sent_stage=Stage.ALL, sent_generation=NEW, sent_at=NOW)
    levels = [one(site("a"), woken, published=h * HOUR, pushing=True).level for h in (11, 12, 36)]
    assert levels == [Level.RUNNING, Level.WARNING, Level.ERROR]


def test_a_site_in_error_for_its_age_is_told_of():
    (said,) = attention_to(health([site("a")], behind("a"), published=36 * HOUR), NOW)
    assert said.startswith("a (late): ")


def test_a_site_that_nobody_wakes_says_who_should():
    words = "push due, but nothing is pushing: run pushmirror serve, or pushmirror push debian"
    assert one(site("a"), behind("a"), published=HOUR).activity == words


def test_a_late_site_is_not_said_to_be_woken_when_nobody_pushes():
    found = {pushing: one(site("a"), behind("a"), pushing=pushing) for pushing in (True, False)}
    assert (found[True].activity, found[True].level) == ("push due", Level.RUNNING)
    words = "push due, but nothing is pushing: run pushmirror serve, or pushmirror push debian"
    assert (found[False].activity, found[False].level) == (words, Level.WARNING)


@pytest.mark.parametrize("next_try", [12 * MIN, -MIN / 2])
def test_no_retry_is_promised_when_nobody_makes_it(next_try):
    resting = failing("a", MIN, next_try_at=NOW + next_try, last_words="broken pipe")
    words = "pushmirror serve or the next push will retry; neither is running: broken pipe"
    assert one(site("a"), resting, pushing=False).activity.endswith(f" UTC, {words}")


def test_who_waits_for_others_says_that_nobody_pushes_them():
    sites = [site("c", canary=True), site("d", canary=True), site("e")]
    found = health(sites, at("c", stage1=NEW, stage1_at=NOW), behind("d"), behind("e"), pushing=False)
    told = {one.site: one.activity.partition("; ")[::2] for one in found}
    assert told["c"] == ("stage 1 done, waits for 1 other: d", f"no push is running: {PUSH_IT}")
    assert told["e"] == ("waits for the canaries c, d", f"no push is running: {PUSH_IT}")


def test_a_failing_site_whose_push_was_killed_is_not_said_to_be_tried():
    woken = failing("a", MIN, sent_stage=Stage.ALL, sent_generation=NEW, sent_at=NOW - MIN)
    said = one(site("a"), woken, pushing=False).activity
    assert (
        f"triggered again 60 s ago, but its answer was lost (the push process is gone): {PUSH_IT}: " in said
    )


def test_nobody_needs_to_push_a_site_that_has_everything():
    found = one(site("a"), live("a"), pushing=False)
    assert (found.level, found.activity) == (Level.OK, "")


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (Stage.ALL, "triggered"),
        (Stage.STAGE1, "triggered for stage 1"),
        (Stage.STAGE2, "triggered for stage 2"),
    ],
)
def test_a_site_that_was_woken_has_not_answered_yet(stage, words):
    woken = behind("a", sent_stage=stage, sent_generation=NEW, sent_at=NOW - 3 * MIN)
    assert one(site("a"), woken).activity == f"{words} 3 min ago, no answer yet"


def test_a_site_whose_push_was_killed_is_not_said_to_owe_an_answer():
    woken = at("a", sent_stage=Stage.ALL, sent_generation=NEW, sent_at=NOW - HOUR)
    found = {pushing: one(site("a"), woken, published=HOUR, pushing=pushing) for pushing in (True, False)}
    assert found[True].activity == "triggered 60 min ago, no answer yet"
    assert found[False].activity.startswith(
        "triggered 60 min ago, but its answer was lost (the push process is gone): run "
    )
    assert (found[True].level, found[False].level) == (Level.RUNNING, Level.WARNING)


def test_a_site_that_waits_names_those_that_it_waits_for():
    sites = [site(name) for name in "abc"]
    staged, *_ = health(sites, at("a", stage1=NEW, stage1_at=NOW - MIN), behind("b"))
    assert (staged.state, staged.since) == ("staged", NOW - MIN)
    assert staged.activity == "stage 1 done, waits for 2 others: b, c"


def test_nobody_is_said_to_wait_for_sites_that_nobody_waits_for():
    sites = [
        site("a"),
        site("b"),
        site("canary", canary=True),
        site("dead"),
        site("paused", paused=True),
        site("whole", push=PushKind.ALL),
    ]
    staged = at("a", stage1=NEW, stage1_at=NOW)
    found = health(sites, staged, live("canary"), failing("dead", 20 * MIN), published=MIN)
    assert {one.site: one.activity for one in found}["a"] == "stage 1 done, waits for 1 other: b"


def test_a_list_of_many_that_are_waited_for_is_cut():
    first, *_ = health([site(name) for name in "abcdefg"], at("a", stage1=NEW, stage1_at=NOW))
    assert first.activity == "stage 1 done, waits for 6 others: b, c, d and 3 more"


def test_everybody_waits_for_the_canary():
    _, other = health([site("a.example", canary=True), site("b")], behind("a.example"), behind("b"))
    assert other.activity == "waits for the canary a.example"


def test_a_failing_site_says_how_often_since_when_and_why():
    resting = failing("a", 89 * MIN, next_try_at=NOW + 12 * MIN, last_words="connection refused")
    found = one(site("a"), resting)
    assert (found.state, found.level, found.since) == ("failing", Level.ERROR, NOW - 89 * MIN)
    assert found.activity == "failed 4 times since 10:31 UTC, next try in 12 min: connection refused"


def test_what_a_failing_site_said_comes_with_its_exit_code():
    found = one(site("a"), failing("a", MIN, exit_code=3, last_words="disk full"))
    assert found.activity.endswith("retry due: exit code 3, disk full")
    assert (found.exit_code, found.last_line) == (3, "disk full")


def test_what_a_shell_means_by_its_exit_code_comes_beside_its_words():
    found = one(site("a"), failing("a", MIN, exit_code=127, last_words="sh: 1: /x: nicht da"))
    assert found.activity.endswith(": exit code 127 (its forced command was not found), sh: 1: /x: nicht da")


def test_what_an_exit_code_means_is_not_said_twice():
    silent = failing("a", MIN, exit_code=127, last_words="its forced command was not found")
    assert one(site("a"), silent).activity.endswith(": exit code 127, its forced command was not found")


def test_a_failure_is_an_error_only_when_it_has_lasted():
    assert [one(site("a"), failing("a", since)).level for since in (59 * MIN, HOUR)] == [
        Level.WARNING,
        Level.ERROR,
    ]


def test_a_failure_of_another_day_has_its_date():
    assert "since 2026-07-31 12:00 UTC" in one(site("a"), failing("a", 24 * HOUR)).activity


def test_a_failing_site_that_is_being_tried_says_so():
    woken = failing("a", MIN, sent_stage=Stage.STAGE1, sent_generation=NEW, sent_at=NOW)
    assert ", triggered again 0 s ago: no answer" in one(site("a"), woken).activity


def test_a_paused_site_is_nobodys_trouble_but_says_what_it_lacks():
    found = one(site("a", paused=True), behind("a"), published=26 * HOUR)
    assert (found.state, found.level) == ("paused", Level.OK)
    assert found.activity == "paused by hand, lacks what was published 26 h ago"
    assert one(site("a", paused=True), live("a")).activity == "paused by hand"


def test_since_when_a_site_is_paused_is_not_known():
    assert one(site("a", paused=True), behind("a")).since is None


def test_a_new_site_may_take_as_long_as_its_first_sync_takes():
    woken = at("a", sent_stage=Stage.STAGE1, sent_generation=NEW, sent_at=NOW - 9 * HOUR)
    found = one(site("a"), woken, published=9 * HOUR)
    assert (found.state, found.level, found.confirmed_at) == ("new", Level.RUNNING, None)
    assert one(site("a"), published=9 * HOUR).level is Level.WARNING


def test_nothing_published_is_no_fault_of_the_sites():
    found = one(site("a"), serving=False)
    assert (found.state, found.level, found.activity) == ("new", Level.OK, "nothing is published here yet")


def test_a_site_can_be_ahead_of_a_hub_that_has_not_published_yet():
    ready = at("a", stage1="c" * 64, stage1_at=NOW)
    found = one(site("a"), ready, serving=False, prepared="c" * 64)
    assert (found.state, found.activity) == ("staged", "stage 1 done, waits until it is published here")


def test_a_live_site_stays_live_while_it_gets_ready_for_what_comes_next():
    ahead = live("a")
    assert one(site("a"), ahead, prepared="c" * 64).state == "live"


def test_a_very_long_last_line_is_cut():
    assert len(one(site("a"), failing("a", MIN, last_words="x" * 9999)).last_line) == 200


def test_a_reason_that_is_cut_says_where_the_rest_and_the_remedy_are():
    changed = f"site a (h:22) shows the host key {'x' * 200}; ask the site's operator"
    found = one(site("a"), failing("a", MIN, last_words=changed))
    assert found.activity.endswith("…; see pushmirror check --site a")
    whole = one(site("a"), failing("a", MIN, last_words="refused; does it run?"))
    assert whole.activity.endswith(": refused; does it run?")


def test_those_that_need_eyes_come_first_and_the_rest_stays_in_order():
    sites = [site(name) for name in ("z", "late", "bad", "a")]
    site_states = [live("z"), behind("late"), failing("bad", 2 * HOUR), live("a")]
    found = health(sites, *site_states, published=HOUR)
    assert [one.site for one in found] == ["bad", "late", "z", "a"]


def test_what_to_look_at_is_one_line_for_all_that_fail_and_one_for_all_that_are_late():
    sites = [site(name) for name in "abcde"]
    site_states = [failing("a", 2 * HOUR), failing("b", HOUR), behind("c"), behind("d"), live("e")]
    assert list(attention_to(health(sites, *site_states, published=HOUR), NOW)) == [
        "2 sites are failing, the first since 10:00 UTC: a, b",
        "2 sites are late: c, d",
    ]


def test_the_summary_of_sites_that_are_behind_calls_each_as_its_line_does():
    sites = [site(name) for name in "abc"]
    (said,) = attention_to(health(sites, behind("b"), published=HOUR), NOW)
    assert said == "3 sites are behind (2 new, 1 late): a, b, c"


def test_a_single_site_in_trouble_is_told_with_its_reason():
    sites = [site("a"), site("b")]
    failed, late = attention_to(health(sites, failing("a", HOUR), behind("b"), published=HOUR), NOW)
    assert failed == "a failed 4 times since 11:00 UTC, retry due: no answer"
    assert late.startswith("b (late): push due, but nothing is pushing")


@pytest.mark.parametrize(("since", "level"), [(HOUR, Level.ERROR), (MIN, Level.WARNING), (None, Level.OK)])
def test_a_site_in_trouble_is_trouble_of_its_archive(since, level):
    (archive,) = summarise(["debian"], [], [Generation("debian", NEW, NOW, None, 1)], [], NOW)
    together = with_sites(archive, [one(site("a"), failing("a", since) if since else live("a"))], NOW)
    assert (together.level, len(together.attention)) == (level, 1 if since else 0)
    assert together.live == (0 if since else 1)


def test_every_phase_that_a_push_knows_has_words_for_a_site_behind():
    sites = [site("a")]
    for phase in set(Phase) - {Phase.CURRENT}:
        (found,) = summarise_sites(
            "debian",
            sites,
            site_states={"a": behind("a")},
            generations=[],
            phases={"a": phase},
            push=PUSH,
            now=NOW,
        )
        assert found.activity, phase


AT_OLD, AT_NONE = f"serves {OLD[:12]}", "has confirmed none yet"


@pytest.mark.parametrize(
    ("site_state", "words"),
    [
        (behind("a", sent_stage=Stage.ALL, sent_generation=NEW, sent_at=NOW), AT_OLD),
        (failing("a", MIN), AT_OLD),
        (at("a", stage1=NEW, stage1_at=NOW, stage2=OLD, stage2_at=NOW), AT_OLD),
        (at("a", stage1=NEW, stage1_at=NOW), AT_NONE),
    ],
)
def test_a_site_that_was_woken_for_more_than_it_serves_says_so(site_state, words):
    found = one(site("a"), site_state)
    assert (found.behind, found.pushed_for) == (f"pushed {NEW[:12]}, {words}", NEW[:12])


@pytest.mark.parametrize(
    "site_state",
    [
        None,
        live("a"),
        behind("a"),
        behind("a", sent_stage=Stage.STAGE1, sent_generation="run 7", sent_at=NOW),
        replace(live("a"), stage1="c" * 64),
    ],
)
def test_a_site_that_was_not_woken_or_has_what_it_was_woken_for_owes_nothing(site_state):
    found = one(site("a"), site_state)
    assert (found.behind, found.pushed_for) == ("", None)
