"""We keep account of our own tree: what it holds, which state of upstream's it follows, what sites are told.

    a run begins ──▶ expect ▸ change ▸ settle ──▶ arrived: extras, followed ──▶ seal: our manifest ──▶ … seal

Guaranteed: the inventory is whole only while it was told of every change; who cannot tell it of one says so
first (`forget`), and the whole disk is looked at instead. Nothing is kept where nobody would read it.
Not the business of this module: how an inventory or a manifest is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pushmirror.config.model import Archive, Strategy
from pushmirror.sync.inventory import Inventory
from pushmirror.sync.progress import Progress
from pushmirror.sync.survey import Survey
from pushmirror.sync.upstream import selection_mark

_log = logging.getLogger(__name__)
_MANY = 50_000  # names; for a share of the tree beyond that, looking at the disk is cheaper than telling each


@dataclass(frozen=True, slots=True)
class Places:
    """Where an archive's state is kept, beside its tree."""

    ledger: Path  # the closures of its generations
    inventory: Path  # what its tree holds
    theirs: Path  # the copy of upstream's manifest
    manifests: Path | None  # our own manifest, as sites read it; none: no site does


class Bookkeeping:
    """The account of one archive's tree."""

    def __init__(self, archive: Archive, places: Places, progress: Progress) -> None:
        self._archive = archive
        self._tree = archive.path
        self._places = places
        self._progress = progress
        self._is_kept = places.manifests is not None or archive.strategy is not Strategy.FULL
        self._opened: Inventory | None = None

    @contextmanager
    def open(self, *, is_dry: bool = False) -> Iterator[None]:
        """Have the inventory at hand, with what a killed run left settled, but for a dry run."""
        with Inventory(self._places.inventory) as inventory:
            self._opened = inventory
            if not is_dry and inventory.unsettled:
                inventory.settle(self._tree)
            if not is_dry and not self._is_kept and inventory.whole:
                inventory.forget()
            try:
                yield
            finally:
                self._opened = None

    @property
    def inventory(self) -> Inventory:
        """What the tree holds."""
        assert self._opened is not None
        return self._opened

    def expect(self, paths: Iterable[str]) -> None:
        """These names may change from now on."""
        if self.inventory.whole:
            self.inventory.expect(paths)

    def settle(self, tree: Path, hashes: Mapping[str, str]) -> None:
        """Those that were expected have changed."""
        if self.inventory.whole:
            self.inventory.settle(tree, hashes)

    def prepare_for(self, survey: Survey) -> None:
        """So much is going to change."""
        if survey.to_fetch > max(_MANY, self.inventory.files):
            self.inventory.forget()

    def arrived(self, survey: Survey, *, complete: bool) -> None:
        """The tree is what the survey led to; `complete` unless something of it is still missing."""
        if not self._is_kept:
            return
        inventory = self.inventory
        if survey.compared_disk or not inventory.whole:
            self._take_stock()
        if survey.covers_all:
            inventory.set_extras(survey.extras, survey.extra_directories)
            if complete:
                inventory.follow(survey.digest, selection_mark(self._archive))
            elif survey.compared_disk:
                inventory.follow("", selection_mark(self._archive))  # what is missing may be of that state

    def seal(self, generation: str) -> None:
        """Tell sites what the tree holds now."""
        if self._places.manifests is None:
            return
        from pushmirror.sync.manifests import Manifests

        manifests = Manifests(self._places.manifests, self.inventory)
        if self.inventory.whole:
            manifests.seal(generation)
        else:
            manifests.withdraw()

    def _take_stock(self) -> None:
        followed, mark = self.inventory.followed, self.inventory.selection
        drift = self.inventory.reconcile(self._tree, progress=self._progress)
        if drift:
            _log.debug("the inventory was not right: %s", drift)
        self.inventory.follow(followed, mark)  # what differed was put right by this very run
