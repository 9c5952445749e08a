"""How much attention something needs: the scale that archives, suites, sites and findings share."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

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
