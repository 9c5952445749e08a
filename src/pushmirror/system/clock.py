"""The time of day, always aware and in UTC, and waiting."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """The current time."""
    return datetime.now(UTC)


def sleep(duration: timedelta) -> None:
    """Wait; a signal ends it early with the exception of its handler."""
    time.sleep(duration.total_seconds())
