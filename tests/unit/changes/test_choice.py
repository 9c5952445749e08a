"""Which strategies are tried, in which order, as a table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pushmirror.changes.strategy import StrategyInputs, choices
from pushmirror.config.model import Strategy

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
A_DAY = timedelta(days=1)
USUAL = StrategyInputs(
    wanted=Strategy.AUTO,
    is_asked_for=False,
    has_suites=True,
    is_new=False,
    compared_at=NOW - timedelta(hours=1),
    now=NOW,
    full_every=A_DAY,
)
AUTO, INDEX, MANIFEST, FULL = Strategy.AUTO, Strategy.INDEX, Strategy.MANIFEST, Strategy.FULL


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (USUAL, [MANIFEST, INDEX, FULL]),
        (replace(USUAL, wanted=MANIFEST), [MANIFEST, FULL]),
        (replace(USUAL, wanted=INDEX), [INDEX, FULL]),
        (replace(USUAL, wanted=FULL), [FULL]),
        (replace(USUAL, has_suites=False), [MANIFEST, FULL]),
        (replace(USUAL, is_new=True), [MANIFEST, FULL]),
        (replace(USUAL, compared_at=None), [MANIFEST, FULL]),
        (replace(USUAL, compared_at=NOW - A_DAY), [MANIFEST, FULL]),
        (replace(USUAL, compared_at=NOW - A_DAY + timedelta(seconds=1)), [MANIFEST, INDEX, FULL]),
        (replace(USUAL, compared_at=NOW + 365 * A_DAY), [MANIFEST, FULL]),
        (replace(USUAL, wanted=INDEX, is_new=True), [FULL]),
    ],
)
def test_the_cheapest_comes_first_and_full_last(facts: StrategyInputs, expected: list[Strategy]) -> None:
    assert [choice.strategy for choice in choices(facts)] == expected


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (USUAL, "it works with any rsync daemon"),
        (replace(USUAL, wanted=FULL), "as configured"),
        (replace(USUAL, wanted=FULL, is_asked_for=True), "as asked for"),
        (replace(USUAL, is_new=True), "no full comparison"),
        (replace(USUAL, compared_at=NOW - 2 * A_DAY), "is older than 1 day"),
        (replace(USUAL, has_suites=False), "no Release files"),
    ],
)
def test_the_last_choice_says_why_it_is_taken(facts: StrategyInputs, why: str) -> None:
    assert why in choices(facts)[-1].why
