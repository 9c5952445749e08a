"""What a run tells while it works; a terminal draws it, a log writes it down, a test listens.

A Protocol, so that the engine knows nothing of terminals.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears of a run's steps."""

    def step(self, name: str, *, files: int | None = None, size: int | None = None) -> None:
        """A new step begins; `files` and `size` (bytes) are what it has to do, where that is known."""

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """So much of the step is done."""


class Silent:
    """Tells nobody."""

    def step(self, name: str, *, files: int | None = None, size: int | None = None) -> None:
        """Ignored."""

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """Ignored."""
