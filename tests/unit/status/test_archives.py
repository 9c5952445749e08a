from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pushmirror.state.records import Generation, Outcome, Request, Run, Stage
from pushmirror.state.suites import SuiteRecord
from pushmirror.status.archives import ArchiveHealth, summarise, with_stall, with_suites, with_verified
from pushmirror.status.suites import summarise_suites
from pushmirror.status.words import Level

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RUN = Run(
    id=1,
    archive="debian",
    stage=Stage.ALL,
    strategy="full",
    trigger="ssh",
    started_at=NOW - 2 * HOUR,
    ended_at=NOW - HOUR,
    outcome=Outcome.SUCCEEDED,
    exit_code=0,
    generation="a" * 64,
    message="",
    stats={},
    log="",
)
FAILED = replace(RUN, id=2, outcome=Outcome.FAILED, exit_code=4, message="disk full")
INTERRUPTED = replace(RUN, id=4, outcome=Outcome.INTERRUPTED, exit_code=130, message="stopped by SIGINT")
RUNNING = replace(RUN, id=3, outcome=Outcome.RUNNING, ended_at=None, exit_code=None)
SERVED = Generation("debian", "a" * 64, NOW - HOUR, None, 1)
ASKED = Request(1, "debian", Stage.ALL, False, "ssh", "::1", "", None, NOW - HOUR)


OTHER = "b" * 64


def health(
    *runs: Run,
    served: Generation | None = SERVED,
    pending: list[Request] | None = None,
    asked: Request | None = None,
) -> ArchiveHealth:
    generations = [served] if served else []
    (result,) = summarise(["debian"], runs, generations, pending or [], NOW, asked=[asked] if asked else [])
    return result


def pushed(generation: str | None, *, hours_ago: int) -> Request:
    return replace(ASKED, generation=generation, arrived_at=NOW - hours_ago * HOUR)


def test_an_archive_whose_last_run_succeeded_needs_no_attention():
    good = health(RUN)
    assert (good.level, good.attention) == (Level.OK, ())
    assert (good.generation, good.published_age_s) == ("a" * 12, 3600)
    assert (good.last_success_at, good.last_run) == (NOW - HOUR, "succeeded 60 min ago")


def test_a_failed_run_is_an_error_said_in_its_own_words():
    bad = health(RUN, FAILED)
    assert (bad.level, bad.last_success_at) == (Level.ERROR, RUN.ended_at)
    assert bad.last_run == "failed (4) 60 min ago"
    assert bad.attention == ("run 2 did not succeed: disk full",)


def test_failures_in_a_row_are_counted():
    died = replace(FAILED, id=4, outcome=Outcome.DIED, message="killed")
    assert health(RUN, FAILED, died).attention == (
        "the last 2 runs did not succeed, the last because killed",
    )


def test_a_failure_is_no_longer_told_while_it_is_tried_again():
    again = health(FAILED, RUNNING)
    assert (again.level, again.attention) == (Level.RUNNING, ())
    assert (again.last_run, again.running_since) == ("running for 2 h", NOW - 2 * HOUR)


def test_an_interrupted_run_is_a_warning():
    stopped = health(RUN, INTERRUPTED)
    assert (stopped.level, stopped.last_run) == (Level.WARNING, "interrupted (130) 60 min ago")
    assert stopped.attention == ("run 4 did not succeed: it was stopped by SIGINT",)


def test_an_interruption_does_not_hide_the_failure_before_it():
    assert health(RUN, FAILED, INTERRUPTED).level is Level.ERROR


def test_stage_1_alone_does_not_make_an_archive_current():
    assert health(replace(RUN, stage=Stage.STAGE1)).last_success_at is None


def test_withheld_deletions_need_attention_also_after_the_next_stage_1():
    withheld = replace(RUN, stats={"withheld_deletions": 50_000})
    found = health(withheld, replace(RUN, id=2, stage=Stage.STAGE1))
    assert found.level is Level.WARNING and "run 1 did not delete 50000 files" in found.attention[0]
    assert found.attention[0].endswith("pushmirror sync debian --allow-mass-delete")


def test_a_request_that_nobody_serves_needs_attention_after_a_while():
    assert health(RUN, pending=[ASKED]).attention == ("a request (ssh) has been waiting for 60 min",)
    assert health(RUN, pending=[replace(ASKED, arrived_at=NOW)]).attention == ()
    assert health(RUN, RUNNING, pending=[ASKED]).attention == ()


def test_an_archive_never_mirrored_says_so():
    new = health(served=None)
    assert (new.level, new.last_run, new.generation) == (Level.WARNING, "no run yet", None)
    assert new.attention == ("nothing has been published yet",)


def test_the_first_run_is_no_trouble():
    first = health(RUNNING, served=None)
    assert (first.level, first.attention) == (Level.RUNNING, ())


def test_a_clock_that_went_back_makes_nothing_negative():
    assert health(RUN, served=replace(SERVED, published_at=NOW + HOUR)).published_age_s == 0


def test_archives_do_not_see_each_others_events():
    one, other = summarise(["security", "debian"], [FAILED], [SERVED], [ASKED], NOW)
    assert (one.archive, one.last_run, one.pending) == ("security", "no run yet", 0)
    assert (other.archive, other.last_run_id, other.pending) == ("debian", 2, 1)


def test_what_was_announced_and_is_not_served_is_owed():
    found = health(RUN, FAILED, asked=pushed(OTHER, hours_ago=1))
    assert found.behind == f"{'b' * 12} was announced 60 min ago, serves {'a' * 12}"
    assert (found.asked_generation, found.asked_at) == ("b" * 12, NOW - HOUR)
    assert health(served=None, asked=pushed(OTHER, hours_ago=3)).behind.endswith(", serves nothing yet")


def test_nothing_is_owed_once_a_later_run_has_found_out_what_upstream_has():
    assert health(RUN, asked=pushed(OTHER, hours_ago=3)).behind == ""


@pytest.mark.parametrize("later", [RUNNING, FAILED, replace(RUN, stage=Stage.STAGE1)])
def test_a_run_that_does_not_tell_leaves_it_owed(later):
    assert health(RUN, replace(later, id=9, started_at=NOW), asked=pushed(OTHER, hours_ago=1)).behind


@pytest.mark.parametrize("generation", ["a" * 64, None])
def test_a_push_for_what_is_served_or_for_whatever_there_is_leaves_nothing_owed(generation):
    assert health(RUN, asked=pushed(generation, hours_ago=1)).behind == ""


def test_an_archive_says_how_its_last_run_learnt_what_had_changed():
    last = replace(RUN, id=2, strategy="manifest", why="3 steps")
    found = health(RUN, last)
    assert (found.strategy, found.why, found.strategy_text) == ("manifest", "3 steps", "by manifest: 3 steps")
    assert health(last, replace(RUNNING, strategy="")).strategy_text == ""


@pytest.mark.parametrize(
    ("problems", "is_certain", "words"),
    [
        ({"missing": 0, "wrong": 0}, True, "complete"),
        ({"missing": 2, "wrong": 0}, True, "2 files missing"),
        ({"missing": 0, "wrong": 1}, True, "1 file wrong"),
        ({"missing": 2, "wrong": 1}, False, "2 files missing, 1 wrong, not everything was checked"),
        ({}, False, "not everything was checked"),
    ],
)
def test_what_the_last_verify_found_is_told_with_its_age(
    problems: dict[str, int], is_certain: bool, words: str
) -> None:
    told = with_verified(health(RUN), NOW - 72 * HOUR, problems, NOW, is_certain=is_certain)
    assert told.verified == f"verified 3 d ago, {words}"
    assert told.verified_problems == sum(problems.values())


@pytest.mark.parametrize(
    ("wrong", "is_certain", "level"),
    [(0, True, Level.OK), (1, True, Level.ERROR), (0, False, Level.WARNING), (1, False, Level.ERROR)],
)
def test_what_a_verify_found_wrong_is_an_error_until_it_is_repaired(wrong, is_certain, level):
    found = with_verified(health(RUN), NOW - HOUR, {"wrong": wrong}, NOW, is_certain=is_certain)
    assert (found.level, len(found.attention)) == (level, 0 if level is Level.OK else 1)


def test_a_run_under_way_does_not_hide_what_a_verify_found():
    upstream = replace(health(RUN, RUNNING), upstream="rsync://hub.example.org/debian")
    found = with_verified(upstream, NOW - HOUR, {"missing": 2}, NOW)
    assert found.level is Level.ERROR
    assert found.attention == (
        "the verify of 60 min ago found 2 files missing: pushmirror verify debian --repair",
    )


def test_a_run_that_held_suites_back_is_a_warning_and_made_the_rest_current():
    held = replace(RUN, exit_code=6, message="published; 1 suite held back: dists/sid")
    found = health(held)
    assert (found.level, found.last_success_at) == (Level.WARNING, RUN.ended_at)
    assert found.last_run == "held (6) 60 min ago"
    assert found.attention == ("run 1: published; 1 suite held back: dists/sid",)


def test_a_stage_1_does_not_hide_that_suites_are_held_back():
    held = replace(RUN, exit_code=6, message="published; 1 suite held back: dists/sid")
    assert health(held, replace(RUN, id=2, stage=Stage.STAGE1)).level is Level.WARNING


def test_a_push_that_needed_no_run_is_a_success_too():
    answered = replace(pushed("a" * 64, hours_ago=0), exit_code=0)
    assert health(RUN, asked=answered).last_success_at == NOW
    assert health(RUN, asked=replace(answered, exit_code=None)).last_success_at == RUN.ended_at


HELD = SuiteRecord(
    "dists/sid", date=NOW, held_since=NOW - HOUR, reason="bad signature", hint="ask upstream's operator"
)


def of_suites(*records: SuiteRecord, runs: tuple[Run, ...] = (RUN,)) -> ArchiveHealth:
    return with_suites(health(*runs), summarise_suites(records, NOW), NOW)


def test_a_suite_held_back_is_a_warning_with_reason_since_when_and_what_to_do():
    found = of_suites(HELD, SuiteRecord("dists/trixie"))
    assert (found.level, [one.suite for one in found.suites]) == (Level.WARNING, ["dists/sid"])
    assert found.attention == (
        "dists/sid is held back since 11:00 UTC: bad signature; ask upstream's operator",
    )


def test_a_suite_that_was_never_published_says_so():
    (said,) = of_suites(replace(HELD, served=False)).attention
    assert said.startswith("dists/sid is not published since 11:00 UTC: bad signature")


def test_files_that_upstream_lacks_are_a_warning_with_the_first_names():
    found = of_suites(replace(HELD, held_since=None, missing=7, missing_paths=tuple("abcde")))
    assert found.level is Level.WARNING
    assert found.attention == (
        "dists/sid names 7 files that are missing or wrong upstream: a, b, c and 4 more",
    )


def test_a_suite_past_its_valid_until_is_a_warning_for_apt_refuses_it():
    good = SuiteRecord("dists/sid", valid_until=NOW)
    assert of_suites(good).level is Level.OK
    found = of_suites(replace(good, valid_until=NOW - HOUR))
    assert (
        found.level is Level.WARNING and "was valid until 11:00 UTC, so apt rejects it" in found.attention[0]
    )


def test_suites_without_strong_checksums_are_never_quietly_good():
    assert "no hash stronger than SHA1" in of_suites(SuiteRecord("dists/sid", weak="SHA1")).attention[0]


def test_trouble_with_a_suite_neither_hides_an_error_nor_a_run_under_way():
    assert of_suites(HELD, runs=(RUN, FAILED)).level is Level.ERROR
    assert of_suites(HELD, runs=(RUN, RUNNING)).level is Level.RUNNING


def test_a_run_that_receives_nothing_says_since_when() -> None:
    since = NOW - timedelta(seconds=40)
    stalled = with_stall(health(RUNNING), since, NOW)
    assert (stalled.last_run, stalled.stalled_since) == ("running for 2 h, stalled for 40 s", since)
    assert stalled.level is Level.RUNNING


def test_what_an_earlier_run_left_stalled_is_not_told_of_another() -> None:
    before = RUNNING.started_at - timedelta(seconds=1)
    assert with_stall(health(RUNNING), before, NOW) == health(RUNNING)
    assert with_stall(health(RUN), NOW, NOW) == health(RUN)
