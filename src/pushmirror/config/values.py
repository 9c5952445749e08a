"""Durations and rates as people write them: `36h`, `10min`, `20M`.

A ValueError says what was expected; the caller knows which key it was and what was found.
"""

from __future__ import annotations

import re
from datetime import timedelta

_SECONDS = {
    "s": 1,
    "sec": 1,
    "min": 60,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "day": 86400,
    "days": 86400,
    "w": 604800,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII)
_KIB = {"": 1, "k": 1, "m": 1024, "g": 1024 * 1024}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b(?:/s)?)?", re.ASCII | re.IGNORECASE)
_FASTEST_KIB = 1000 * 1024**2  # more is a slip of the pen, and may be more than rsync can count
_LONGEST = timedelta(days=3650)  # longer is a slip of the pen, and would overflow a clock somewhere


def parse_duration(value: object) -> timedelta:
    """A time span from `36h`, `10min`, `90s`, `1d`, or 0; never negative.

    Another number without a unit is refused: nobody can tell seconds from hours in it.
    """
    expected = 'expected a duration such as "36h", "10min", "90s" or "1d"'
    if isinstance(value, timedelta):
        return _within_reason(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(expected)  # noqa: TRY004  what a validator may raise
    match = _DURATION.fullmatch(str(value).strip().lower())
    if not match:
        raise ValueError(expected)
    if not match[2]:
        if float(match[1]):
            raise ValueError('expected a duration with its unit: write a unit, such as "36h"')
        return timedelta()
    if match[2] not in _SECONDS:
        raise ValueError(expected)
    try:
        span = timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        span = timedelta.max
    return _within_reason(span)


def _within_reason(span: timedelta) -> timedelta:
    if span > _LONGEST:
        raise ValueError("expected a duration of at most ten years")
    return span


def parse_rate(value: object) -> int:
    """KiB per second from a whole number of KiB/s or from `500K`, `20M`, `1G`; 0 means no limit."""
    expected = 'expected a rate in KiB/s such as 20480 or "20M", or 0 for no limit'
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(expected)  # noqa: TRY004  what a validator may raise
    match = _RATE.fullmatch(str(value).strip())
    if not match:
        raise ValueError(expected)
    rate = float(match[1]) * _KIB[match[2].lower()]
    if 0 < rate < 1:
        raise ValueError("expected a rate of at least 1 KiB/s, or 0 for no limit")
    if rate > _FASTEST_KIB:
        raise ValueError("expected a rate of at most 1000G, or 0 for no limit")
    return int(rate)
