"""The strategy `manifest`: upstream's listing of its tree, from the state we know to its current one.

    followed ──step──▶ ──step──▶ the head's state     O(change): only what the steps name
    snapshot ──step──▶ ──step──▶ the head's state     O(tree), of names alone: if no state is known here, the
                                                      steps from it are gone, or there were local changes

Guaranteed: the result has the digest that the head names, and the Release files that the attempt is pinned
to. Pool files are checked against the signed indices as always.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Iterator

from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.layout import is_searched, is_suite_file
from pushmirror.archive.manifest import Head, Step, chain
from pushmirror.archive.manifest_parts import Change, order_of
from pushmirror.archive.paths import Entry, Kind
from pushmirror.changes.context import DetectionContext
from pushmirror.changes.local_changes import describe
from pushmirror.errors import Unusable, UpstreamMoved
from pushmirror.fetch.selection import is_partial
from pushmirror.inventory.diff import Diff, InventoryDiff
from pushmirror.inventory.drift import Drift
from pushmirror.inventory.inventory import Inventory
from pushmirror.system.files import mtime_of

_log = logging.getLogger(__name__)

#: The names that changed between two states of upstream's tree, as they are now; None: removed.
Net = dict[str, Entry | None]


def detect(context: DetectionContext) -> Diff:
    """What differs between our tree and the state that upstream's manifest describes.

    Raises Unusable if there is no consistent manifest, and UpstreamMoved if it describes another state
    than the pinned one: upstream is publishing at this moment.
    """
    head = context.manifest.head()
    found = _scan_if_due(context)
    reason = _why_whole_manifest(context, found)
    steps = chain(head, context.inventory.followed)
    if reason or steps is None or not _steps_cover_our_changes(context.inventory, steps):
        reason = reason or "it no longer has the changes since our state"
        diff, how = _compare_all(context, head), f"upstream's whole manifest: {reason}"
    else:
        diff = _compare_changes(context, head, steps)
        how = _describe(len(steps))
        _link_release_files(context, diff)
    diff.how = how
    diff.digest, diff.generation = head.state, head.generation
    diff.files_upstream = head.files
    diff.files_here = context.inventory.files
    if found is not None:
        diff.modes = _wrong_modes(found, diff)
    return diff


def _link_release_files(context: DetectionContext, diff: Diff) -> None:
    """Note links to Release files that are files here: a run was killed while their suite was swapped."""
    suites = context.suites
    for path, target in suites.upstream.links.items():
        known = context.inventory.get(path)
        is_file = known is not None and known.kind is Kind.FILE
        if is_file and is_suite_file(path) and not suites.leaves(path) and path not in diff.links:
            diff.upstream_links[path] = target
            diff.links[path] = Entry(path, Kind.LINK, target=target)


def _scan_if_due(context: DetectionContext) -> Drift | None:
    """The local changes, by a full scan; None if no scan is due."""
    inventory = context.inventory
    if not context.is_due and inventory.complete and not inventory.needs_refresh:
        return None
    if context.is_dry:
        raise Unusable("a full scan is due, which a dry run does not do (a real run will)")
    return inventory.reconcile(context.workspace.tree, progress=context.workspace.upstream.progress)


def _why_whole_manifest(context: DetectionContext, found: Drift | None) -> str:
    """The reason why the whole manifest is needed; empty if its steps are enough."""
    inventory = context.inventory
    drift = describe(found) if found else ""
    if drift or not inventory.followed:
        return drift or "no earlier state of it is known here"
    if inventory.selection != context.selection_hash:
        return "filters or architectures changed"
    is_proven = not is_partial(context.workspace.archive) and inventory.holds(inventory.followed)
    return "" if found is None or is_proven else "a full comparison is due"


def _wrong_modes(found: Drift, diff: Diff) -> list[tuple[str, int]]:
    """The names with a wrong mode that upstream has and this run does not replace."""
    if not found.modes:
        return []
    _log.warning("%d names had a wrong mode, such as %s", len(found.modes), found.modes[0][0])
    replaced = {*diff.changed, *diff.links, *diff.directories}
    others = {*replaced, *diff.extras, *diff.extra_directories}
    return [
        (path, mode) for path, mode in found.modes if path not in others and replaced.isdisjoint(_above(path))
    ]


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _steps_cover_our_changes(inventory: Inventory, steps: tuple[Step, ...]) -> bool:
    """Whether the steps name everything that may have changed here since the state that we follow.

    An unfinished run has changed names towards another state, which upstream may have left since.
    """
    return inventory.target in {"", inventory.followed, *(step.after for step in steps)}


def _describe(steps: int) -> str:
    if not steps:
        return "upstream's manifest has nothing new"
    return f"{steps} steps of upstream's manifest" if steps > 1 else "one step of upstream's manifest"


def _compare_changes(context: DetectionContext, head: Head, steps: Iterable[Step]) -> Diff:
    """The diff of what upstream changed since the state that we follow, and of what was held back then."""
    inventory = context.inventory
    held, changed = inventory.held(), _net(inventory.followed, context.manifest.changes(head, steps))
    net = held | changed
    pinned = _Pinned(context)
    pinned.check({path: net[path] if path in net else inventory.get(path) for path in pinned.paths})
    differences = InventoryDiff(context.workspace.selection, inventory.below)
    for path in sorted(net, key=order_of):
        pinned.require(path, net[path])
        differences.take(path, net[path], inventory.get(path))
    diff = differences.diff
    gone_before = [
        path
        for path in inventory.extras()
        if not net.get(path) or (path not in changed and inventory.get(path) == held[path])
    ]
    diff.extras = sorted({*diff.extras, *gone_before})
    diff.extra_directories = sorted({*diff.extra_directories, *inventory.extra_directories()})
    kept = {path: target for path, target in inventory.links().items() if path not in net}
    diff.upstream_links |= kept
    return diff


def _compare_all(context: DetectionContext, head: Head) -> Diff:
    """The diff of all names in upstream's manifest and in our inventory."""
    later = chain(head, head.snapshot_state) or ()
    net = _net(head.snapshot_state, context.manifest.changes(head, later))
    pinned = _Pinned(context)
    found: dict[str, Entry | None] = dict.fromkeys(pinned.paths)
    differences = InventoryDiff(context.workspace.selection, context.inventory.below)
    theirs = _applied(net, _checked(context.manifest.snapshot(head), head.snapshot_state))
    for path, there, here in _side_by_side(theirs, context.inventory.entries()):
        pinned.require(path, there)
        if path in found:
            found[path] = there
        differences.take(path, there, here)
    pinned.check(found)
    return differences.diff


def _net(start: str, changes: Iterable[tuple[Step, Change]]) -> Net:
    """The net result of the changes; Unusable if one of them does not produce the state that it names."""
    net: Net = {}
    digest = TreeDigest(start)
    for step, change in changes:
        for entry in change.removed:
            digest.remove(entry)
            net[entry.path] = None
        for entry in change.added:
            digest.add(entry)
            net[entry.path] = entry
        if digest.hexdigest() != step.after:
            raise Unusable(f"upstream's {step.part.name} does not produce the state that it names")
    return net


def _checked(entries: Iterable[Entry], state: str) -> Iterator[Entry]:
    """Passes the entries on; raises Unusable at the end if they do not have the state's digest."""
    digest = TreeDigest()
    for entry in entries:
        digest.add(entry)
        yield entry
    if digest.hexdigest() != state:
        raise Unusable("upstream's snapshot does not match the state that it names")


def _applied(net: Net, entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries after the changes, in manifest order."""
    old = (entry for entry in entries if entry.path not in net)
    new = [entry for entry in net.values() if entry is not None]
    new.sort(key=lambda entry: order_of(entry.path))
    return heapq.merge(old, new, key=lambda entry: order_of(entry.path))


def _side_by_side(
    theirs: Iterator[Entry], ours: Iterator[Entry]
) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """Merge two sequences in manifest order: each name with both entries, None where there is none."""
    there, here = next(theirs, None), next(ours, None)
    while there is not None or here is not None:
        if here is None or (there is not None and order_of(there.path) < order_of(here.path)):
            assert there is not None
            yield there.path, there, None
            there = next(theirs, None)
        elif there is None or there.path != here.path:
            yield here.path, None, here
            here = next(ours, None)
        else:
            yield there.path, there, here
            there, here = next(theirs, None), next(ours, None)


class _Pinned:
    """Compares the manifest with the Release files that the attempt is pinned to."""

    def __init__(self, context: DetectionContext) -> None:
        self._area, self._selection = context.workspace.area, context.workspace.selection
        shown = context.suites.upstream
        self.paths = frozenset(path for files in shown.files.values() for path in files.values())
        self._plain = shown.plain

    def check(self, listed: dict[str, Entry | None]) -> None:
        """UpstreamMoved unless the manifest lists each of them with the size and time that it has."""
        for path, entry in listed.items():
            here = (self._area.pin / path).lstat()
            if entry is None or entry.facts != (Kind.FILE, here.st_size, mtime_of(here), ""):
                raise UpstreamMoved(f"manifest and Release files disagree about {path}")

    def require(self, path: str, listed: Entry | None) -> None:
        """UpstreamMoved if the manifest lists a Release file that upstream did not have a moment ago."""
        if listed is None or path in self.paths or path in self._plain:
            return
        if not is_suite_file(path) or not is_searched(path):
            return
        if listed.kind is Kind.FILE and self._selection.wants(path):
            raise UpstreamMoved(f"upstream's manifest lists {path}, which upstream did not have a moment ago")
