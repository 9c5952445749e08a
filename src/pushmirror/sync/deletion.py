"""Decide what is deleted: what upstream no longer has, less what recent indices refer to, unless it is too
much.

Pure. The rule is design's "Deletion is last and careful"; the guard exists because an emptied upstream looks
like an archive that removed everything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from pushmirror.archive.filters import Selection, exclude_rules
from pushmirror.config.model import Delete
from pushmirror.errors import key_name

_FEW = 100  # files; below this a share says nothing: half of a tiny tree is an ordinary update


@dataclass(frozen=True, slots=True)
class Deletion:
    """What to delete now, and why the rest is kept."""

    paths: tuple[str, ...] = ()
    kept: int = 0  # that a live or recently replaced index refers to
    lost: tuple[str, ...] = ()  # of these: those that the live indices name, though upstream has lost them
    withheld: int = 0  # because they are too many; copies in by-hash are not counted, as in the reason
    withheld_paths: tuple[str, ...] = ()  # the copies, too
    reason: str = ""  # why they are withheld


def candidates(extras: Iterable[str], protect: Sequence[str]) -> list[str]:
    """The extras that the operator has not protected."""
    protected = Selection(tuple(exclude_rules(protect)))
    return [path for path in extras if protected.wants(path)]


def number_of(paths: Iterable[str]) -> int:
    """How many files the guard counts: not the copies of indices that are counted already."""
    return sum(1 for path in paths if "/by-hash/" not in path)


def together(one: Deletion, other: Deletion) -> Deletion:
    """Two decisions merged."""
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
