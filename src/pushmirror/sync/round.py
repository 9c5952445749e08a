"""What one round of a run has learnt and done."""

from __future__ import annotations

from dataclasses import dataclass, field

from pushmirror.sync.published import Published
from pushmirror.sync.survey import Survey


@dataclass(slots=True)
class Round:
    """What one round has learnt and done; a new one starts with nothing."""

    pinned: Published  # upstream's state that it works towards
    live: Published  # what is served here
    base: Published  # the same, if the ledger vouches for its closure; else nothing
    survey: Survey
    staged: set[str] = field(default_factory=set)  # tree paths of files that wait in the work area
    landed: int = 0  # new files that entered the tree at once
    incomplete: bool = False  # something vanished while it was fetched
    uncovered: set[str] = field(
        default_factory=set
    )  # suites of which an index without a by-hash copy changes

    def at_once(self) -> tuple[str, ...]:
        """The suites that no order of renames keeps whole: without by-hash, or with a link that moves."""
        return tuple(directory for directory in self.pinned.suites if self._changes_as_one(directory))

    def _changes_as_one(self, directory: str) -> bool:
        states = (self.pinned.suites[directory], self.live.suites.get(directory))
        return (
            directory in self.uncovered
            or any(suite is not None and not suite.release.acquire_by_hash for suite in states)
            or any(path.startswith(f"{directory}/") for path in self.survey.links)
        )
