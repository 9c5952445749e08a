"""Times and amounts as a person says them."""

from __future__ import annotations

from datetime import datetime, timedelta

_UNITS = ((86400 * 2, 86400, "d"), (7200, 3600, "h"), (120, 60, "min"))


def span(length: timedelta) -> str:
    """A time span in its largest telling unit: `3 min`, `26 h`, `4 d`."""
    seconds = max(0, int(length.total_seconds()))
    for least, unit, name in _UNITS:
        if seconds >= least:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago something was: `3 min ago`, or `never`."""
    return "never" if at is None else f"{span(now - at)} ago"
