"""What a push tells while it goes on; a terminal draws it, a test listens.

A Protocol, so that the engine knows nothing of terminals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pushmirror.config.model import Site
from pushmirror.push.decide import Decision, Goal, Send
from pushmirror.state.records import Standing


@dataclass(frozen=True, slots=True)
class View:
    """A push at one moment."""

    goal: Goal
    sites: Sequence[Site]
    standings: Mapping[str, Standing]  # by name of the site
    decision: Decision


class Watch(Protocol):
    """Hears of a push's course."""

    def looked(self, view: View) -> None:
        """It was decided what to do now."""

    def answered(self, send: Send, standing: Standing, seconds: float) -> None:
        """A site answered, or failed to; `standing` says what that means."""


class Unwatched:
    """Tells nobody."""

    def looked(self, view: View) -> None:
        """Ignored."""

    def answered(self, send: Send, standing: Standing, seconds: float) -> None:
        """Ignored."""
