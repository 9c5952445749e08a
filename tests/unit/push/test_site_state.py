"""What a trigger and its answer change in where a site stands."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pushmirror.config.model import Push, Site
from pushmirror.push.decide import Send
from pushmirror.push.site_state import mark_confirmed, mark_failed, mark_sent, mark_unanswered, reset_failures
from pushmirror.state.records import SiteState, Stage

T0 = datetime(2026, 7, 11, 10, tzinfo=UTC)
LATER = T0 + timedelta(minutes=5)
SITE = Site(name="a", host="a.example.com", user="archvsync", archives=("debian",))
ASLEEP = SiteState("debian", "a", stage1="old", stage1_at=T0, stage2="old", stage2_at=T0)
RULES = Push(retry_after=timedelta(seconds=15), retry_at_most=timedelta(minutes=30))
FAILING = replace(
    ASLEEP,
    tried="new",
    attempts=3,
    failing_since=T0,
    next_try_at=LATER,
    exit_code=1,
    last_words="disk full",
    reported=True,
)


def send(stage: Stage, generation: str = "new") -> Send:
    return Send(SITE, stage, generation)


def fail(
    site_state: SiteState,
    now: datetime = LATER,
    *,
    rules: Push = RULES,
    jitter: float = 1.0,
    code: int | None = 1,
) -> SiteState:
    return mark_failed(
        site_state,
        send(Stage.STAGE1),
        now,
        rules=rules,
        jitter=jitter,
        exit_code=code,
        last_words="disk full",
    )


def pauses(rules: Push, *attempts: int) -> list[timedelta | None]:
    moments = [fail(replace(ASLEEP, attempts=number), rules=rules).next_try_at for number in attempts]
    return [moment and moment - LATER for moment in moments]


def test_what_is_sent_is_in_flight_and_changes_nothing_else() -> None:
    on_its_way = mark_sent(FAILING, send(Stage.STAGE1), LATER)
    assert (on_its_way.sent_stage, on_its_way.sent_generation, on_its_way.sent_at) == (
        Stage.STAGE1,
        "new",
        LATER,
    )
    assert mark_unanswered(on_its_way) == FAILING


@pytest.mark.parametrize(
    ("stage", "stage1", "stage2"),
    [(Stage.STAGE1, "new", "old"), (Stage.STAGE2, "old", "new"), (Stage.ALL, "new", "new")],
)
def test_an_answer_confirms_the_stages_that_were_sent(stage: Stage, stage1: str, stage2: str) -> None:
    after = mark_confirmed(mark_sent(ASLEEP, send(stage), T0), send(stage), LATER, last_words="done")
    assert (after.stage1, after.stage2) == (stage1, stage2)
    assert after.stage1_at == (LATER if stage1 == "new" else T0)
    assert after.stage2_at == (LATER if stage2 == "new" else T0)
    assert after.sent_stage is None and (after.exit_code, after.last_words) == (0, "done")


def test_a_confirmation_is_of_what_was_sent_whatever_is_served_by_now() -> None:
    late = send(Stage.ALL, "older")
    assert mark_confirmed(mark_sent(ASLEEP, late, T0), late, LATER, last_words="").stage2 == "older"


def test_an_answer_from_a_generations_earlier_life_confirms_nothing() -> None:
    orphaned = replace(mark_sent(ASLEEP, send(Stage.ALL), T0), sent_generation=None)
    after = mark_confirmed(orphaned, send(Stage.ALL), LATER, last_words="")
    assert (after.stage1, after.stage2, after.sent_stage) == ("old", "old", None)


def test_success_ends_all_trouble() -> None:
    trouble = mark_sent(FAILING, send(Stage.ALL), T0)
    untroubled = mark_sent(ASLEEP, send(Stage.ALL), T0)
    assert mark_confirmed(trouble, send(Stage.ALL), LATER, last_words="") == mark_confirmed(
        untroubled, send(Stage.ALL), LATER, last_words=""
    )


def test_a_failure_confirms_nothing_and_is_remembered() -> None:
    after = fail(mark_sent(ASLEEP, send(Stage.STAGE1), T0))
    assert after == replace(
        ASLEEP,
        tried="new",
        attempts=1,
        failing_since=LATER,
        next_try_at=LATER + RULES.retry_after,
        exit_code=1,
        last_words="disk full",
    )


def test_no_answer_is_a_failure_without_an_exit_code() -> None:
    assert fail(mark_sent(ASLEEP, send(Stage.STAGE1), T0), code=None).exit_code is None


def test_trouble_began_with_the_first_failure_and_is_reported_once() -> None:
    after = fail(mark_sent(FAILING, send(Stage.STAGE1), LATER), LATER)
    assert (after.failing_since, after.attempts, after.reported) == (T0, 4, True)


def test_each_pause_is_twice_as_long_up_to_the_longest() -> None:
    seconds = [15, 30, 60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert pauses(RULES, *range(9), 100_000) == [timedelta(seconds=number) for number in seconds]


def test_jitter_stretches_a_pause() -> None:
    assert fail(ASLEEP, jitter=1.2).next_try_at == LATER + 1.2 * RULES.retry_after


def test_a_first_pause_beyond_the_longest_is_cut() -> None:
    rules = RULES.model_copy(update={"retry_after": timedelta(hours=2)})
    assert pauses(rules, 0, 5) == [RULES.retry_at_most] * 2


@pytest.mark.parametrize("first", [timedelta(days=1), timedelta(days=3650)])
def test_the_longest_durations_of_a_configuration_overflow_no_calendar(first: timedelta) -> None:
    rules = Push(retry_after=first, retry_at_most=timedelta(days=3650))
    assert pauses(rules, 40) == [timedelta(days=3650)]


def test_pauses_reach_the_longest_even_from_a_second_to_years() -> None:
    rules = Push(retry_after=timedelta(seconds=1), retry_at_most=timedelta(days=3650))
    assert pauses(rules, 30, 1000) == [timedelta(days=3650)] * 2


def test_what_the_operator_calls_well_is_tried_at_once_and_not_reported() -> None:
    after = reset_failures(FAILING)
    assert (after.attempts, after.failing_since, after.next_try_at, after.reported) == (0, None, None, False)
    assert after.last_words == "disk full"
