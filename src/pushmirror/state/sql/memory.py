"""What every part of the store stands on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pushmirror.state.database import Database


class Memory:
    """A database with the current schema, and a clock."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now
