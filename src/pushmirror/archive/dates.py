"""The dates of Release files: those that the policy wants, and those that people write.

A date that cannot be read is None: apt warns of it and goes on, and nothing that is published depends on it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UTC = {"utc", "gmt", "z", "ut"}
_DIGITS = re.compile(r"[0-9]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_OFFSET = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})")


def read_date(text: str) -> datetime | None:
    """A date as of RFC 5322, `date`, ctime(3) or ISO 8601, in UTC; None for anything else.

    One without a zone is taken as UTC; one with the name of another zone is not guessed at.
    """
    with suppress(ValueError, OverflowError):
        return _iso(text) if text[:4].isdigit() else _words(text)
    return None


def _iso(text: str) -> datetime:
    plain = re.sub(r"\s*(UTC|GMT)$", "Z", text.strip())
    found = datetime.fromisoformat(plain)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _words(text: str) -> datetime:
    """The words of a date in any order; ValueError when one is missing, twice or none of a date."""
    found: dict[str, tuple[int, ...]] = {}
    for word in text.replace(",", " ").lower().split():
        kind, numbers = _word(word)
        if kind in found:
            raise ValueError(text)
        found[kind] = numbers
    if not found.keys() >= {"year", "month", "day", "time"}:
        raise ValueError(text)
    (year,), (month,), (day,) = found["year"], found["month"], found["day"]
    hours, minutes = found.get("zone", (0, 0))
    zone = timezone(timedelta(hours=hours, minutes=minutes))
    hour, minute, second = found["time"]
    return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)


def _word(word: str) -> tuple[str, tuple[int, ...]]:
    """What one word of a date is, and its numbers; ValueError when it is none."""
    if word in _UTC:
        return "zone", (0, 0)
    if word[:3] in _DAYS and word.isalpha():
        return "weekday", ()
    if word[:3] in _MONTHS and word.isalpha():
        return "month", (_MONTHS.index(word[:3]) + 1,)
    if time := _TIME.fullmatch(word):
        return "time", (int(time[1]), int(time[2]), int(time[3] or 0))
    if offset := _OFFSET.fullmatch(word):
        sign = -1 if offset[1] == "-" else 1
        return "zone", (sign * int(offset[2]), sign * int(offset[3]))
    if _DIGITS.fullmatch(word) and len(word) in {1, 2, 4}:
        return ("year" if len(word) == 4 else "day"), (int(word),)
    raise ValueError(word)
