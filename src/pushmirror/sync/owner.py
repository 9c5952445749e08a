"""Scan a tree without upstream: find out what it serves after its owner has changed it.

Guaranteed: nothing in the tree is touched. An archive in the middle of an update, known by its flag, by
Release files of two states or by ones that change during the scan, is an error, and the caller tries again
later. The sites' manifest is published before the generation is reported, or withdrawn where a
directory cannot be read. Hooks run as in a run that fetches, except after_stage1.
Not the business of this module: files' hashes and modes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta

from pushmirror.config.model import Archive, Mirror
from pushmirror.errors import Behind, Exit, UnreadableTree, key_name
from pushmirror.hooks import Hook, OnHook, log_hook, run_hook
from pushmirror.inventory.drift import Drift
from pushmirror.inventory.inventory import Inventory
from pushmirror.inventory.manifest_writer import ManifestWriter
from pushmirror.progress import Progress
from pushmirror.state.records import OWNER_SCAN
from pushmirror.sync.report import Report, architectures_of
from pushmirror.sync.request import OnPublished, RunRequest, errors_by_stage
from pushmirror.system import clock
from pushmirror.tree.published_state import PublishedState, read_published
from pushmirror.tree.traces import upstream_flags
from pushmirror.workspace import StatePaths

_log = logging.getLogger(__name__)
_TRIES, _PAUSE = 3, timedelta(seconds=1)
_TRY_AGAIN = "sync again when it is done"


class OwnerScan:
    """Scans one archive."""

    def __init__(
        self,
        archive: Archive,
        mirror: Mirror,
        *,
        paths: StatePaths,
        progress: Progress,
        on_hook: OnHook = log_hook,
    ) -> None:
        self._archive = archive
        self._mirror = mirror
        self._paths = paths
        self._progress = progress
        self._on_hook = on_hook
        self._phase = Exit.STAGE1
        self.report = Report(started=clock.now(), strategy=OWNER_SCAN, rounds=1)

    def run(self, request: RunRequest, on_published: OnPublished) -> Report:
        """Find the generation that the tree serves now, and report it as published.

        Raises Behind while the archive is being updated, and PushmirrorErrors as `Engine.run` does.
        """
        with errors_by_stage(self._archive.path, lambda: self._phase):
            self._run_hook("before_sync", {"stage": request.stage.value, "trigger": request.trigger})
            self._find_generation()
            self._phase = Exit.STAGE2
            on_published(self.report.generation)
            self._run_hook("after_publish", self.report.facts())
        return self.report

    def _run_hook(self, name: str, facts: Mapping[str, str]) -> None:
        run_hook(Hook.of(self._archive, name, facts), self._on_hook)

    def _find_generation(self) -> None:
        self._progress.step("scanning")
        published = self._published()
        if published.suites:
            self.report.architectures = architectures_of(published, self._archive.path)
        self.report.generation = published.generation
        if self._paths.manifests is not None or not published.suites:  # else nothing needs all names
            self._scan(published)

    def _scan(self, published: PublishedState) -> None:
        """Scan every name, and publish the manifest; the modes of files are not checked."""
        with Inventory(self._paths.inventory) as inventory:
            try:
                drift = inventory.reconcile(self._archive.path, progress=self._progress)
            except UnreadableTree as exc:
                self._go_on_without_manifest(exc, published, inventory)
                return
            self._require_still(published)
            self.report.generation = published.generation or inventory.state
            self.report.stock = _describe(inventory.files, drift)
            if self._paths.manifests is not None:
                ManifestWriter(self._paths.manifests, inventory).publish(self.report.generation)

    def _go_on_without_manifest(
        self, why: UnreadableTree, published: PublishedState, inventory: Inventory
    ) -> None:
        """Continue without a manifest if Release files tell the generation."""
        if not published.suites:
            raise why
        _log.warning("no manifest for sites: %s; %s", why, why.hint)
        inventory.clear()
        if self._paths.manifests is not None:
            ManifestWriter(self._paths.manifests, inventory).withdraw()
        self._require_still(published)
        self.report.stock = "not everything can be read"

    def _require_still(self, published: PublishedState) -> None:
        if self._published().generation != published.generation:
            raise Behind("the Release files changed during the scan", hint=_TRY_AGAIN)

    def _published(self) -> PublishedState:
        """The published state of the tree; Behind while its Release files are being replaced.

        What is still inconsistent after several tries is served as it is.
        """
        for _ in range(_TRIES):
            _require_no_update_under_way(self._archive, self._mirror)
            published = read_published(self._archive.path, self._archive.release_directories)
            strange = [suite.odd for suite in published.suites.values() if suite.odd]
            strange += [fault.reason for fault in published.faults.values()]
            if not strange:
                return published
            clock.sleep(_PAUSE)
        _log.warning("publishing inconsistent Release files: %s", strange[0])
        return published


def _describe(files: int, drift: Drift) -> str:
    """The number of files and of changes, as a short text."""
    words = [f"{files} files" if files != 1 else "1 file"]
    if drift:
        changes = {"new": drift.extra, "changed": drift.changed, "gone": drift.missing}
        words += [f"{names.count} {what}" for what, names in changes.items() if names.count]
    return ", ".join(words)


def _require_no_update_under_way(archive: Archive, mirror: Mirror) -> None:
    stale_after = archive.update_in_progress.stale_after
    flags, _ = upstream_flags(archive.path, own=mirror.name, now=clock.now(), stale_after=stale_after)
    if flags:
        limit = key_name("update_in_progress.stale_after", "stale_after")
        raise Behind(
            f"the archive {archive.name} is being updated ({', '.join(sorted(flags))})",
            hint=f"{_TRY_AGAIN}; a flag older than {limit} is ignored as stale",
        )
