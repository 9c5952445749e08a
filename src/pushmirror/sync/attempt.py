"""The data of one attempt of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from pushmirror.archive.layout import is_suite_file
from pushmirror.closures.indices import Indices
from pushmirror.inventory.diff import Diff
from pushmirror.sync.deletion import Deletion
from pushmirror.tree.published_state import Fault, PublishedState
from pushmirror.tree.suites import Suites


@dataclass(slots=True)
class Attempt:
    """What one attempt of a run has found and done; a new one starts empty."""

    suites: Suites  # upstream's state that it works towards, and what of it is held back
    live: PublishedState  # what is served here
    base: PublishedState  # the same, if the closure store has its closure; else nothing
    diff: Diff
    indices: Indices | None = None  # of the pinned state, once they are staged
    staged: set[str] = field(default_factory=set)  # tree paths of files that wait in the work area
    landed: int = 0  # new files that entered the tree at once
    lost: set[str] = field(default_factory=set)  # files that upstream listed and that did not arrive
    asked_again: set[str] = field(default_factory=set)  # files that were fetched a second time, by name
    damaged: set[str] = field(
        default_factory=set
    )  # files whose content upstream has is not what an index says
    incomplete: bool = False  # some files are lost for an unknown reason
    uncovered: set[str] = field(
        default_factory=set
    )  # suites of which an index without a by-hash copy changes
    dropped: dict[str, str] = field(
        default_factory=dict
    )  # suite: an index that it loses, which clients can do without
    withheld: Deletion = field(default_factory=Deletion)  # of names that would have changed their kind

    @property
    def pinned(self) -> PublishedState:
        """The state that is going to be published."""
        return self.suites.target

    def hold(self, directory: str, fault: Fault) -> None:
        """Hold a suite back: it stays as it is served here."""
        self.suites.hold(directory, fault)
        self.suites.restrict(self.diff)
        self.staged -= {path for path in self.staged if self.suites.leaves(path)}

    def at_once(self) -> tuple[str, ...]:
        """Suites that no order of renames keeps complete: without by-hash, or with a link that moves."""
        pinned = self.pinned.suites
        return tuple(where for where in pinned if where and self._changes_as_one(where))

    def _changes_as_one(self, directory: str) -> bool:
        if directory in self.suites.faults:
            return False  # it does not change at all
        states = (self.pinned.suites[directory], self.live.suites.get(directory))
        return (
            directory in self.uncovered
            or any(suite is not None and not suite.release.acquire_by_hash for suite in states)
            or any(
                _moves(path, target.target)
                for path, target in self.diff.links.items()
                if path.startswith(f"{directory}/")
            )
        )


def _moves(path: str, target: str) -> bool:
    """Whether clients use a link by its name: it is no Release file, and leads to no by-hash file."""
    return not is_suite_file(path) and not target.startswith("by-hash/")
