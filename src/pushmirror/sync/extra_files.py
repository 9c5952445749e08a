"""Decide which of the names that only we have are deleted now: the closure store tells what is still referred
to.

Not the business of this module: the guard (`deletion.py`), and removing anything (`tree/publish.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from pushmirror.archive.pathset import fingerprint
from pushmirror.closures.check import readable_of
from pushmirror.closures.store import ClosureStore
from pushmirror.config.model import Archive
from pushmirror.inventory.diff import Diff
from pushmirror.sync import deletion
from pushmirror.sync.attempt import Attempt
from pushmirror.sync.deletion import Deletion
from pushmirror.sync.staging import Staging
from pushmirror.tree.published_state import OtherNames, PublishedState


@dataclass(frozen=True, slots=True)
class ExtraFiles:
    """What of one archive's tree upstream has not."""

    archive: Archive
    staging: Staging
    closures: ClosureStore

    def after(self, attempt: Attempt, *, allow_mass: bool) -> Deletion:
        """What is to be deleted when a round has been published."""
        pinned = attempt.pinned
        decided = self.decide(attempt.diff, pinned, beside=pinned, allow_mass=allow_mass)
        lost = {*decided.lost} - self._of_held(attempt, decided.lost)
        return replace(decided, lost=tuple(sorted(lost)))

    def decide(
        self, diff: Diff, live: PublishedState, *, beside: PublishedState, allow_mass: bool
    ) -> Deletion:
        """What is to be deleted, while `live` and what it replaced within the grace may be asked for.

        `beside` is the state whose Release files are there afterwards.
        """
        doomed = deletion.candidates(diff.extras, self.archive.protect)
        if diff.keeps_unsigned:
            doomed = sorted(self.closures.known_of(doomed))
        kept: set[str] = set()
        lost: set[str] = set()
        # What is left out on purpose has no grace: its indices would grow stale beside the live Release.
        # Nor has what that Release lists with another hash: clients would ask for it, and get the wrong one.
        # What an index names that is mirrored is not left out, whatever its name says of its architecture.
        stale = self.staging.contradicted(doomed, beside)
        named = [path for path in doomed if path not in stale and self.staging.is_mirrored_if_named(path)]
        if named and live.suites:
            mirrored = {path for path in named if self.staging.is_mirrored(path)}
            others = OtherNames(diff.upstream_links)
            by_links = {name: path for path in named for name in others.of(path)}
            grace_s = self.archive.grace.total_seconds()
            in_grace = self.closures.still_needed(
                mirrored | {name for name, path in by_links.items() if path in mirrored},
                live=live.generation,
                grace_s=grace_s,
            )
            in_live = self.closures.referred_to({*named, *by_links}, live=live.generation, grace_s=0)
            kept = {by_links.get(path, path) for path in in_grace | in_live}
            lost = mirrored.intersection(by_links.get(path, path) for path in in_live)
        limits = None if allow_mass else self.archive.delete
        decided = deletion.decide(doomed, kept, files_here=diff.files_here, limits=limits)
        return replace(decided, lost=tuple(sorted(lost)))

    def _of_held(self, attempt: Attempt, paths: Collection[str]) -> set[str]:
        """Those of the paths that suites refer to which are held back: upstream has newer ones."""
        if not paths or not attempt.suites.faults:
            return set()
        readable = readable_of(attempt.pinned, self.closures)
        keys = [key for (directory, _), key in readable.items() if directory in attempt.suites.faults]
        return {file.path for file in self.closures.named(set(map(fingerprint, paths)), keys)}
