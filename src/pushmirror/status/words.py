"""Times, amounts and generations as a person says them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pushmirror.config.types import span

_LONGEST = 200  # characters of what somebody else said
_NAMED = 3  # of many, before the rest is only counted


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago something was: `3 min ago`, or `never`."""
    return "never" if at is None else f"{span(now - at)} ago"


def time_of_day(at: datetime, now: datetime) -> str:
    """A time of day, with its date unless that is today's: `10:31 UTC`, `2026-07-30 10:31 UTC`."""
    at = at.astimezone(UTC)
    today = at.date() == now.astimezone(UTC).date()
    return f"{at:%H:%M} UTC" if today else f"{at:%Y-%m-%d %H:%M} UTC"


def listed(names: Sequence[str], *, of: int | None = None) -> str:
    """A few names, and how many more there are; `of` is how many there are if not all are given."""
    count = len(names) if of is None else max(of, len(names))
    more = count - _NAMED
    if len(names) == count and more <= 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {count - min(len(names), _NAMED)} more"


def cut(line: str) -> str:
    """The beginning of what may be very long."""
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


# How much attention something needs: the scale that archives, suites, sites and findings share.


_ERROR_AFTER = 3  # times what is a warning


class Level(StrEnum):
    """How much attention something needs."""

    OK = "ok"
    RUNNING = "running"  # how it went before no longer counts, how it goes now is not known yet
    WARNING = "warning"
    ERROR = "error"


def raised(level: Level, by: Level) -> Level:
    """The level of a whole, one of whose parts has the level `by`: a run hides a warning, but no error."""
    if by is Level.ERROR or (by is Level.WARNING and level is Level.OK):
        return by
    return level


def by_age(age: timedelta, limit: timedelta) -> Level:
    """What an age means where something is to happen at least every `limit`."""
    if age < limit:
        return Level.OK
    return Level.ERROR if age >= _ERROR_AFTER * limit else Level.WARNING
