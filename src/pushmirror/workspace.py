"""The workspace of a run: one archive's tree, its upstream, its work area and the stored state about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from pushmirror.archive.filters import Selection
from pushmirror.closures.store import ClosureStore
from pushmirror.config.model import Archive, Mirror
from pushmirror.fetch.refusals import REFUSED
from pushmirror.fetch.selection import closure_rules, selection_rules
from pushmirror.fetch.upstream import Upstream
from pushmirror.progress import Progress
from pushmirror.tree.published_state import PublishedState, read_published
from pushmirror.tree.suites import SuiteMemory
from pushmirror.tree.traces import Traces
from pushmirror.tree.work_area import WorkArea


@dataclass(frozen=True, slots=True)
class StatePaths:
    """The paths of an archive's state, outside of its tree."""

    closures: Path  # directory of the closure store
    inventory: Path
    upstream_manifest: Path  # directory of the copy of upstream's manifest
    manifests: Path | None  # directory of our own manifest, as sites read it; None: no site does
    suites: Path
    stalled: Path | None = None  # since when a run has received nothing, for `status`; None: not written


@dataclass(frozen=True, slots=True)
class Workspace:
    """What the parts of a run have in common."""

    archive: Archive
    mirror: Mirror
    paths: StatePaths
    progress: Progress
    tree: Path
    upstream: Upstream
    area: WorkArea
    closures: ClosureStore
    suite_memory: SuiteMemory
    traces: Traces
    selection: Selection  # which names of upstream's tree are mirrored
    named: Selection  # which names are mirrored if an index names them

    @classmethod
    def of(cls, archive: Archive, mirror: Mirror, paths: StatePaths, progress: Progress) -> Self:
        """The workspace of an archive with an upstream; raises StateError if its state cannot be opened."""
        area = WorkArea(archive.path)
        return cls(
            archive,
            mirror,
            paths,
            progress,
            tree=archive.path,
            upstream=Upstream(archive, progress, remembered=paths.upstream_manifest / REFUSED),
            area=area,
            closures=ClosureStore(paths.closures),
            suite_memory=SuiteMemory(paths.suites),
            traces=Traces(archive.path, mirror.name, area.beneath),
            selection=Selection(tuple(selection_rules(archive))),
            named=Selection(tuple(closure_rules(archive))),
        )

    def for_preview(self, directory: Path) -> Self:
        """The same with a work area and a copy of upstream's manifest in `directory`: nothing changes.

        Its tree is an empty directory if there is none yet.
        """
        tree = self.tree
        if not tree.is_dir():
            tree = directory / "tree"
            tree.mkdir()
        paths = replace(self.paths, upstream_manifest=directory / "manifest")
        return replace(self, tree=tree, area=WorkArea(directory), paths=paths)

    def read_served(self) -> PublishedState:
        """The state that the tree serves now."""
        return read_published(self.tree, self.archive.release_directories)
