"""The strategy `full`: compare the listing of upstream's whole tree with the disk."""

from __future__ import annotations

from collections.abc import Iterator

from pushmirror.archive.filters import STAGE1_RULES
from pushmirror.archive.generation import TreeDigest
from pushmirror.changes.context import DetectionContext
from pushmirror.changes.local_changes import describe, find_local_changes
from pushmirror.inventory.diff import Diff, DiskDiff, scanner
from pushmirror.state.records import Stage


def detect(context: DetectionContext) -> Diff:
    """Compare every name of upstream's tree with ours."""
    scan = scanner(context.workspace.tree, leave_out=context.workspace.traces.is_left_out)
    digest = None if context.pinned.suites else TreeDigest()
    comparison = DiskDiff(context.workspace.tree, scan, digest=digest)
    rules = STAGE1_RULES if context.stage is Stage.STAGE1 else ()
    unseen = context.workspace.upstream.listing(
        comparison.take, empty=context.workspace.area.empty, rules=rules
    )
    diff = comparison.finish()
    if unseen:  # what upstream could not list may be there: it stays here
        diff.deviates = True
        diff.extras = [path for path in diff.extras if not unseen.covers(path)]
        diff.extra_directories = [path for path in diff.extra_directories if not unseen.covers(path)]
    diff.compared_disk, diff.generation = True, diff.digest
    drift = find_local_changes(_differing(diff), context.workspace.tree, context.inventory)
    diff.how = describe(drift)
    if drift and not context.is_dry:
        context.inventory.mark_incomplete()  # this run corrects it, if it finishes
    return diff


def _differing(diff: Diff) -> Iterator[str]:
    """Every name that differs between the tree and upstream."""
    yield from (entry.path for entry in diff.early)
    for some in (diff.missing, diff.changed, diff.links, diff.directories):
        yield from some
    yield from diff.extras
    yield from diff.extra_directories
