"""What a strategy is given to answer what differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pushmirror.archive.filters import Selection
from pushmirror.closures.store import ClosureStore
from pushmirror.config.model import Archive
from pushmirror.fetch.upstream import Upstream
from pushmirror.state.records import Stage
from pushmirror.tree.published_state import PublishedState
from pushmirror.tree.suites import Suites
from pushmirror.tree.work_area import WorkArea

if TYPE_CHECKING:
    from pushmirror.changes.upstream_manifest import UpstreamManifest
    from pushmirror.inventory.inventory import Inventory


@dataclass(frozen=True, slots=True)
class DetectionContext:
    """What differs between our tree and upstream's? With everything that is needed to find out."""

    archive: Archive
    upstream: Upstream
    tree: Path  # ours; for a dry run of an archive that has none, an empty directory
    stage: Stage
    suites: Suites  # upstream's state that the answer should be about, and what of it is held back
    live: PublishedState  # what is served here
    base: PublishedState  # the same, if the closure store has its closure; else nothing
    area: WorkArea  # its `pin` has the copy of upstream's Release files that `suites` was read from
    closures: ClosureStore  # of closures
    inventory: Inventory  # of our tree
    manifest: UpstreamManifest  # if it offers one
    leave_out: Callable[[str], bool]  # tree paths that are not compared
    selection: Selection  # what of upstream's tree is mirrored
    named: Selection  # what of it is, if an index that is mirrored names it
    mark: int  # of that selection; see selection_hash
    is_due: bool  # it is time to look at every file here again
    is_dry: bool = False  # nothing may be changed

    @property
    def pinned(self) -> PublishedState:
        """What is going to be published."""
        return self.suites.target
