"""The time of day, always aware and in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The current time."""
    return datetime.now(UTC)
