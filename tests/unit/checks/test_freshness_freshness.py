from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pushmirror.checks.freshness import judge_health
from pushmirror.status.archives import summarise
from pushmirror.status.words import Level

(NEW,) = summarise(["debian"], [], [], [], datetime(2026, 8, 1, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (Level.OK, Level.OK),
        (Level.RUNNING, Level.OK),
        (Level.WARNING, Level.WARNING),
        (Level.ERROR, Level.ERROR),
    ],
)
def test_check_is_as_content_as_status(level: Level, expected: Level) -> None:
    assert judge_health(replace(NEW, level=level)).level is expected


def test_the_first_of_what_needs_attention_is_told_and_how_much_more_there_is() -> None:
    one = judge_health(replace(NEW, level=Level.ERROR, attention=("the last success was 30 d ago", "more")))
    assert (one.found, one.todo) == ("the last success was 30 d ago (and 1 more)", "pushmirror status debian")
