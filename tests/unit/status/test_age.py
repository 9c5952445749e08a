from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pushmirror.state.records import Generation
from pushmirror.status.age import usual_gap, with_age
from pushmirror.status.archives import OWNER, ArchiveHealth, summarise
from pushmirror.status.words import Level

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMIT = 12 * HOUR
(NEVER,) = summarise(["debian"], [], [], [], NOW)
GOOD = replace(
    NEVER, level=Level.OK, attention=(), upstream="rsync://hub.example.org/debian", last_success_at=NOW
)
TO_WARNING = [(11, Level.OK), (12, Level.WARNING), (35, Level.WARNING), (36, Level.ERROR), (720, Level.ERROR)]


def aged(health: ArchiveHealth, **more) -> ArchiveHealth:
    return with_age(health, stale_after=LIMIT, now=NOW, **more)


def test_a_fresh_archive_is_left_as_it_is():
    assert aged(GOOD) == GOOD


@pytest.mark.parametrize(("hours", "level"), TO_WARNING)
def test_what_was_good_turns_to_a_warning_and_then_to_an_error_by_age_alone(hours, level):
    found = aged(replace(GOOD, last_success_at=NOW - hours * HOUR))
    assert (found.level, len(found.attention)) == (level, 0 if level is Level.OK else 1)


def test_an_old_success_says_what_to_do():
    (said,) = aged(replace(GOOD, last_success_at=NOW - 720 * HOUR)).attention
    assert said == (
        "the last success was 30 d ago (stale_after: 12 h): run pushmirror sync debian; "
        "pushmirror check shows what should start it"
    )


def test_what_was_published_counts_where_no_success_is_remembered():
    forgotten = replace(GOOD, last_success_at=None, published_at=NOW - 36 * HOUR)
    assert aged(forgotten).level is Level.ERROR


@pytest.mark.parametrize(("hours", "level"), [(12, Level.RUNNING), (35, Level.RUNNING), (36, Level.ERROR)])
def test_a_run_under_way_hides_an_old_success_for_a_while_only(hours, level):
    running = replace(GOOD, level=Level.RUNNING, running_since=NOW, last_success_at=NOW - hours * HOUR)
    assert aged(running).level is level


def test_a_first_run_takes_as_long_as_its_line_needs_and_says_so_in_the_end():
    first = replace(GOOD, level=Level.RUNNING, last_success_at=None)
    assert aged(replace(first, running_since=NOW - 35 * HOUR)).attention == ()
    assert aged(replace(first, running_since=NOW - 50 * HOUR)).attention == (
        "the first run has been running for 2 d",
    )


def test_an_owners_archive_that_did_not_change_is_not_stale():
    owner = replace(GOOD, upstream=OWNER, last_success_at=NOW - 720 * HOUR)
    assert aged(owner, upstream_changed_at=NOW - 720 * HOUR).level is Level.OK


def test_a_clock_that_is_set_makes_nothing_stale():
    assert aged(replace(GOOD, last_success_at=NOW + HOUR), upstream_changed_at=NOW + HOUR).level is Level.OK


def test_a_success_that_is_still_to_come_is_not_believed_for_a_year():
    found = aged(replace(GOOD, last_success_at=NOW + 99 * HOUR))
    assert found.level is Level.WARNING
    assert found.attention[0].startswith(
        "the last success was at 2026-08-05 15:00 UTC, which is in the future: "
    )


@pytest.mark.parametrize(("hours", "level"), TO_WARNING)
def test_an_upstream_that_stands_still_is_not_good_however_well_our_runs_end(hours, level):
    found = aged(GOOD, upstream_changed_at=NOW - hours * HOUR, usual=6 * HOUR)
    assert found.level is level and found.upstream_changed_at == NOW - hours * HOUR


@pytest.mark.parametrize(("hours", "level"), [(99, Level.OK), (100, Level.WARNING), (300, Level.ERROR)])
def test_an_upstream_that_changes_seldom_is_measured_by_what_is_usual_there(hours, level):
    assert aged(GOOD, upstream_changed_at=NOW - hours * HOUR, usual=50 * HOUR).level is level


def test_as_long_as_nobody_knows_what_is_usual_an_old_upstream_is_a_warning():
    found = aged(GOOD, upstream_changed_at=NOW - 720 * HOUR)
    assert found.level is Level.WARNING
    assert "if it rarely changes, set stale_after in [archives.debian]" in found.attention[0]


def test_what_is_usual_is_the_median_of_the_changes_seen_here():
    times = [NOW - hours * HOUR for hours in (100, 94, 88, 10, 4)]
    generations = [Generation("debian", "a", at, None, None) for at in times]
    assert usual_gap(generations) == 6 * HOUR
    assert usual_gap(generations[:2]) is None
