"""Track our own tree during a run: its inventory, the upstream state it follows, the manifest for sites.

    a run begins ──▶ recording: names change ──▶ arrived: extras, followed ──▶ publish_manifest

Guaranteed: the inventory is complete only while it has every change; a change that cannot be recorded clears
it first (`clear`), and a full scan follows. Nothing is stored that nothing reads. Not the business
of this module: the formats of inventory and manifest.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from pushmirror.archive.layout import OURS
from pushmirror.archive.paths import Entry
from pushmirror.config.model import Archive, Strategy
from pushmirror.fetch.selection import is_partial, selection_hash
from pushmirror.inventory.diff import Diff
from pushmirror.inventory.inventory import Inventory
from pushmirror.inventory.manifest_writer import ManifestWriter
from pushmirror.inventory.tables import counts_in
from pushmirror.progress import Progress
from pushmirror.workspace import StatePaths

_log = logging.getLogger(__name__)
NOT_COMPARED = -1  # the hash of no selection
SOMEWHERE = "somewhere"  # a state of upstream's without a digest
_MANY = 50_000  # names; for a share of the tree beyond that, looking at the disk is cheaper than telling each


class InventoryTracker:
    """Tracks one archive's tree."""

    def __init__(self, archive: Archive, paths: StatePaths, progress: Progress) -> None:
        self._archive = archive
        self._tree = archive.path
        self._paths = paths
        self._progress = progress
        self._selection_hash = selection_hash(archive)
        self._is_kept = paths.manifests is not None or archive.strategy is not Strategy.FULL
        self._opened: Inventory | None = None

    @contextmanager
    def open(self, *, is_dry: bool = False) -> Iterator[None]:
        """Open the inventory and refresh the names that a killed run was changing; for a dry run as it is.

        If the tree has become empty, the inventory is cleared.
        """
        is_empty = self._is_empty()
        file = self._paths.inventory
        with Inventory(file / "none" if is_dry and is_empty else file, read_only=is_dry) as inventory:
            self._opened = inventory
            if not is_dry and inventory.complete and (is_empty or not self._is_kept):
                inventory.clear()
            if not is_dry and inventory.needs_refresh:
                inventory.refresh(self._tree)
            try:
                yield
            finally:
                self._opened = None

    @property
    def inventory(self) -> Inventory:
        """The inventory of the tree."""
        assert self._opened is not None
        return self._opened

    @contextmanager
    def recording(self, paths: Iterable[str], hashes: Mapping[str, str]) -> Iterator[None]:
        """Record that these names change in the block; if it is killed, the next run reads them again.

        `hashes` are the SHA256s that are known of some of them, by path.
        """
        if self.inventory.complete:
            self.inventory.begin_changes(paths)
        yield
        if self.inventory.complete:
            self.inventory.refresh(self._tree, hashes)

    def prepare_for(self, diff: Diff) -> None:
        """Record that a change begins, with names that nothing refers to yet."""
        inventory = self.inventory
        if diff.to_fetch > max(_MANY, inventory.files):
            inventory.clear()
        elif diff.has_target_digest and inventory.selection == self._selection_hash:
            if inventory.followed and diff.changes_anything:
                inventory.start_transition(diff.digest)
        elif inventory.followed:
            inventory.arrive_at("", inventory.selection)  # no steps of a manifest name what changes now

    def publishing(self, diff: Diff) -> None:
        """Record that the rest of the change begins; a run that is killed now counts as unfinished."""
        if self.inventory.complete and diff.changes_anything:
            self.inventory.start_transition(diff.digest or SOMEWHERE)

    def arrived(self, diff: Diff, *, complete: bool) -> None:
        """Record that the tree has the diff's target state; `complete`: nothing is missing."""
        if not self._is_kept:
            return
        inventory = self.inventory
        if diff.compared_disk or not inventory.complete:
            self._scan()
        if diff.covers_all:
            inventory.set_extras(diff.extras, diff.extra_directories)
        if complete and diff.covers_all:
            inventory.hold(self._held(diff) if diff.digest else ())
            is_there = diff.deviates or self._is_at(diff.digest)
            inventory.arrive_at(diff.digest if is_there else "", self._selection_hash)
        elif complete and inventory.target:
            inventory.arrive_at("", inventory.selection)
        elif diff.compared_disk:
            inventory.arrive_at("", NOT_COMPARED)  # somewhere is something missing

    def _held(self, diff: Diff) -> list[Entry]:
        """Entries that upstream has and our tree lacks or has differently: held back, or not arrived.

        Also those that our tree is going to lose because a Release file lists them differently.
        """
        theirs = {**diff.missing, **diff.changed, **diff.links, **diff.held}
        here = {path: self.inventory.get(path) for path in theirs}
        held = {
            path: entry
            for path, entry in theirs.items()
            if (ours := here[path]) is None or ours.facts != entry.facts
        }
        for path in diff.refused.intersection(diff.extras) - held.keys():
            if entry := theirs.get(path) or self.inventory.get(path):
                held[path] = entry
        return list(held.values())

    def publish_manifest(self, generation: str) -> None:
        """Publish the manifest of the tree; an empty generation is the one that was published before.

        Nothing is published while there has been none.
        """
        if self._paths.manifests is None:
            return
        manifests = ManifestWriter(self._paths.manifests, self.inventory)
        if not self.inventory.complete:
            manifests.withdraw()
        elif known := generation or manifests.generation:
            manifests.publish(known)

    def _is_empty(self) -> bool:
        """Whether the tree is empty, apart from names that do not belong to the archive."""
        if not self._tree.is_dir():
            return True
        return not any(counts_in("", name) and name not in OURS for name in os.listdir(self._tree))  # noqa: PTH208  names

    def _is_at(self, state: str) -> bool:
        """Whether the tree has upstream's digest; only checked if all of it is mirrored."""
        if not state or is_partial(self._archive) or self.inventory.holds(state):
            return True
        _log.warning("tree digest differs from upstream's; the next run compares everything")
        return False

    def _scan(self) -> None:
        drift = self.inventory.reconcile(self._tree, progress=self._progress)
        if drift:
            _log.debug("the inventory was wrong: %s", drift)
