"""What a strategy is given to find out what changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pushmirror.state.records import Stage
from pushmirror.tree.published_state import PublishedState
from pushmirror.tree.suites import Suites
from pushmirror.workspace import Workspace

if TYPE_CHECKING:
    from pushmirror.changes.upstream_manifest import UpstreamManifest
    from pushmirror.inventory.inventory import Inventory


@dataclass(frozen=True, slots=True)
class DetectionContext:
    """The input of a strategy."""

    workspace: Workspace  # `area.pin`: the copy of upstream's Release files that `suites` was read from
    stage: Stage
    suites: Suites  # upstream's state that the answer should be about, and what of it is held back
    live: PublishedState  # what is served here
    base: PublishedState  # the same, if the closure store has its closure; else nothing
    inventory: Inventory  # of our tree
    manifest: UpstreamManifest  # if upstream offers one
    selection_hash: int  # of what is mirrored
    is_due: bool  # a full comparison with the disk is due
    is_dry: bool = False  # nothing may be changed

    @property
    def pinned(self) -> PublishedState:
        """What is going to be published."""
        return self.suites.target
