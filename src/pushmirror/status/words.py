"""Times, amounts and levels as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pushmirror.config.types import span

_LONGEST = 200  # characters of another program's output
_NAMED = 3  # shown of many


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago something was: `3 min ago`, or `never`."""
    return "never" if at is None else f"{span(now - at)} ago"


def time_of_day(at: datetime, now: datetime) -> str:
    """A time of day, with its date unless that is today's: `10:31 UTC`, `2026-07-30 10:31 UTC`."""
    at = at.astimezone(UTC)
    today = at.date() == now.astimezone(UTC).date()
    return f"{at:%H:%M} UTC" if today else f"{at:%Y-%m-%d %H:%M} UTC"


def listed(names: Sequence[str], *, of: int | None = None) -> str:
    """A few names, and the number of others; `of` is the number of all if not all are given."""
    count = len(names) if of is None else max(of, len(names))
    more = count - _NAMED
    if len(names) == count and more <= 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {count - min(len(names), _NAMED)} more"


def cut(line: str) -> str:
    """The beginning of a long text."""
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


_ERROR_AFTER = 3  # times the limit of a warning


class Level(StrEnum):
    """How much attention something needs; shared by archives, suites, sites and findings."""

    OK = "ok"
    RUNNING = "running"  # the former result no longer counts, the new one is not known yet
    WARNING = "warning"
    ERROR = "error"


def raised(level: Level, by: Level) -> Level:
    """The level of a whole with a part of the level `by`: a run in progress hides a warning, but no error."""
    if by is Level.ERROR or (by is Level.WARNING and level is Level.OK):
        return by
    return level


def by_age(age: timedelta, limit: timedelta) -> Level:
    """The level of an age, if something should happen at least every `limit`."""
    if age < limit:
        return Level.OK
    return Level.ERROR if age >= _ERROR_AFTER * limit else Level.WARNING
