"""How much attention something needs: the scale that archives, sites and findings share."""

from __future__ import annotations

from enum import StrEnum


class Level(StrEnum):
    """How much attention something needs."""

    OK = "ok"
    RUNNING = "running"  # how it went before no longer counts, how it goes now is not known yet
    WARNING = "warning"
    ERROR = "error"
