"""Decide what is deleted: what upstream no longer has, less what recent indices refer to, unless it is too
much.

    names only here ─▶ not protected ─▶ not referred to within the grace ─▶ the guard: not too many ─▶ delete

Nothing is deleted here: `Engine._delete` does that, last. The guard exists because an emptied upstream looks
like an archive that removed everything; docs/promises.md has the promise.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pushmirror.archive.filters import Selection, exclude_rules
from pushmirror.archive.index import File
from pushmirror.archive.pathset import fingerprint
from pushmirror.closures import file_checks
from pushmirror.config.model import Delete
from pushmirror.errors import key_name
from pushmirror.inventory.diff import Diff
from pushmirror.tree.published_state import NOTHING, OtherNames, PublishedState
from pushmirror.tree.suites import Suites
from pushmirror.workspace import Workspace

_FEW = 100  # files; below this a share says nothing: half of a tiny tree is an ordinary update


@dataclass(frozen=True, slots=True)
class Deletion:
    """What to delete now, and why the rest is kept."""

    paths: tuple[str, ...] = ()
    kept: int = 0  # that a live or recently replaced index refers to
    lost: tuple[str, ...] = ()  # of these: files that the live indices name and upstream lacks
    withheld: int = 0  # because they are too many; copies in by-hash are not counted, as in the reason
    withheld_paths: tuple[str, ...] = ()  # the copies, too
    reason: str = ""  # why they are withheld


def candidates(extras: Iterable[str], protect: Sequence[str]) -> list[str]:
    """The names that the operator has not protected."""
    protected = Selection(tuple(exclude_rules(protect)))
    return [path for path in extras if protected.wants(path)]


def number_of(paths: Iterable[str]) -> int:
    """The number of files that the guard counts: a by-hash copy is counted with its index."""
    return sum(1 for path in paths if "/by-hash/" not in path)


def together(one: Deletion, other: Deletion) -> Deletion:
    """Both decisions as one."""
    reasons = [reason for reason in (one.reason, other.reason) if reason]
    return Deletion(
        paths=one.paths + other.paths,
        kept=one.kept + other.kept,
        lost=one.lost + other.lost,
        withheld=one.withheld + other.withheld,
        withheld_paths=one.withheld_paths + other.withheld_paths,
        reason="; ".join(reasons),
    )


def decide(
    paths: Collection[str], kept: Collection[str], *, files_here: int, limits: Delete | None
) -> Deletion:
    """Which of the candidate `paths` are deleted; `kept` are those that indices still refer to.

    `limits` are those of the guard, None when the operator has lifted it.
    """
    doomed = tuple(path for path in paths if path not in kept)
    count = number_of(doomed)
    reason = ""
    if limits is None:
        return Deletion(doomed, kept=len(kept))
    if count > limits.max_files:
        most = key_name("delete.max_files", "delete.max_files")
        reason = f"{count} files are more than {most} = {limits.max_files}"
    elif count > _FEW and count > limits.max_share * files_here:
        most = key_name("delete.max_share", "delete.max_share")
        reason = f"{count} of {files_here} files are more than {most} = {limits.max_share:g} of the tree"
    if reason:
        return Deletion(kept=len(kept), withheld=count, withheld_paths=doomed, reason=reason)
    return Deletion(doomed, kept=len(kept))


@dataclass(frozen=True, slots=True)
class DeletionPlanner:
    """Decides for one archive."""

    workspace: Workspace

    def after_publishing(self, diff: Diff, suites: Suites, *, allow_mass: bool) -> Deletion:
        """What is to be deleted once the target of `suites` is published."""
        decided = self._decide(diff, suites.target, beside=suites.target, allow_mass=allow_mass)
        return replace(decided, lost=tuple(sorted({*decided.lost} - self._of_held(suites, decided.lost))))

    def preview(
        self, diff: Diff, live: PublishedState, pinned: PublishedState, *, allow_mass: bool
    ) -> Deletion:
        """What would be deleted once the pinned state is published and has replaced the live one."""
        is_forgotten = not self.workspace.archive.grace and pinned.generation != live.generation
        return self._decide(diff, NOTHING if is_forgotten else live, beside=pinned, allow_mass=allow_mass)

    def guarded(
        self, paths: Collection[str], kept: Collection[str], *, files_here: int, allow_mass: bool
    ) -> Deletion:
        """`decide` with the archive's limits, which `allow_mass` lifts."""
        limits = None if allow_mass else self.workspace.archive.delete
        return decide(paths, kept, files_here=files_here, limits=limits)

    def protected(self, paths: Collection[str]) -> set[str]:
        """Those of the paths that the operator has protected."""
        return {*paths} - {*candidates(paths, self.workspace.archive.protect)}

    def referred_to(self, paths: Collection[str], live: PublishedState) -> set[str]:
        """Those of the paths that `live` or a state within its grace refers to."""
        if not paths or not live.suites:
            return set()
        grace_s = self.workspace.archive.grace.total_seconds()
        return self.workspace.closures.referred_to(paths, live=live.generation, grace_s=grace_s)

    def _decide(
        self, diff: Diff, live: PublishedState, *, beside: PublishedState, allow_mass: bool
    ) -> Deletion:
        """What is to be deleted, while clients may ask for `live` and for what it replaced within the grace.

        `beside` is the state whose Release files are there afterwards.
        """
        closures = self.workspace.closures
        doomed = candidates(diff.extras, self.workspace.archive.protect)
        if diff.keeps_unsigned:
            doomed = sorted(closures.known_of(doomed))
        kept: set[str] = set()
        lost: set[str] = set()
        # What is left out on purpose has no grace: its indices would grow stale beside the live Release.
        # Nor has what that Release lists with another hash: clients would ask for it, and get the wrong one.
        # What an index names that is mirrored is not left out, whatever its name says of its architecture.
        stale = self._contradicted(doomed, beside)
        named = [path for path in doomed if path not in stale and self.workspace.named.wants(path)]
        if named and live.suites:
            mirrored = {path for path in named if self.workspace.selection.wants(path)}
            others = OtherNames(diff.upstream_links)
            by_links = {name: path for path in named for name in others.of(path)}
            in_grace = closures.still_needed(
                mirrored | {name for name, path in by_links.items() if path in mirrored},
                live=live.generation,
                grace_s=self.workspace.archive.grace.total_seconds(),
            )
            in_live = closures.referred_to({*named, *by_links}, live=live.generation, grace_s=0)
            kept = {by_links.get(path, path) for path in in_grace | in_live}
            lost = mirrored.intersection(by_links.get(path, path) for path in in_live)
        decided = self.guarded(doomed, kept, files_here=diff.files_here, allow_mass=allow_mass)
        return replace(decided, lost=tuple(sorted(lost)))

    def _contradicted(self, paths: Iterable[str], published: PublishedState) -> set[str]:
        """Those of the paths that a state's Release files list with another content than the tree has."""
        asked = set(paths)
        listed = {
            path: File(path, entry.size, entry.digest)
            for suite in published.suites.values()
            for entry in suite.release.files.values()
            if (path := suite.path_of(entry)) in asked
        }
        # In Debian's own archive Packages.xz is a link into by-hash.
        tree = self.workspace.tree
        places = [(file, Path(os.path.realpath(tree / file.path))) for file in listed.values()]
        here = [(file, place) for file, place in places if place.is_file()]
        return (
            {file.path for file in file_checks.mismatching(here, self.workspace.progress)} if here else set()
        )

    def _of_held(self, suites: Suites, paths: Collection[str]) -> set[str]:
        """Those of the paths that suites refer to which are held back: upstream has newer ones."""
        if not paths or not suites.faults:
            return set()
        readable = file_checks.readable_of(suites.target, self.workspace.closures)
        keys = [key for (directory, _), key in readable.items() if directory in suites.faults]
        return {file.path for file in self.workspace.closures.named(set(map(fingerprint, paths)), keys)}
