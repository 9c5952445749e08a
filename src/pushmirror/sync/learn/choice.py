"""Which way to learn what changed: the choice, and why.

    manifest ──▶ index ──▶ full        the cheaper one first; the next when one cannot be used

Guaranteed: `full` ends every row of choices, for any rsync daemon offers it. Pure: what a strategy does is
its own module's business (`by_full`, `by_index`, `by_manifest`); who calls one goes on with the next choice
when it raises Unusable.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pushmirror.config.model import Strategy


@dataclass(frozen=True, slots=True)
class Choice:
    """A strategy, and why it comes in this place."""

    strategy: Strategy
    why: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the choice depends on."""

    wanted: Strategy  # as configured, or as somebody asked for this run
    is_asked_for: bool  # by somebody, for this run
    has_suites: bool  # upstream publishes Release files
    is_new: bool  # the whole tree was never compared with upstream's, or by another selection
    compared_at: datetime | None  # when it was last
    now: datetime
    full_every: timedelta

    @property
    def is_due(self) -> bool:
        """Whether it is time to look at the whole disk again; a time that is still to come tells nothing."""
        return self.compared_at is None or not timedelta() <= self.now - self.compared_at < self.full_every


def choices(facts: Facts) -> list[Choice]:
    """The strategies to try, in this order."""
    wanted = facts.wanted
    if wanted is Strategy.FULL:
        return [Choice(wanted, "as asked for" if facts.is_asked_for else "as configured")]
    found: list[Choice] = []
    if wanted in {Strategy.AUTO, Strategy.MANIFEST}:
        found.append(Choice(Strategy.MANIFEST, "upstream offers its manifest"))
    if wanted is not Strategy.MANIFEST and facts.has_suites and not (facts.is_new or facts.is_due):
        found.append(Choice(Strategy.INDEX, "upstream's Release files tell what changed"))
    found.append(Choice(Strategy.FULL, _why_full(facts)))
    return found


def _why_full(facts: Facts) -> str:
    if not facts.has_suites:
        return "a tree without Release files has nothing else to be compared by"
    if facts.is_new:
        return "the whole tree has not been compared yet"
    if facts.is_due:
        return f"the last comparison of the whole tree is older than {facts.full_every}"
    return "any rsync daemon offers it"
