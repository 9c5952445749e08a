"""Detect what changed: pin upstream's state, then try one strategy after the other.

    manifest ──▶ index ──▶ full        the cheaper one first; the next when one raises Unusable

Guaranteed: the answer is about the pinned state; which strategy gave it, and why not a cheaper one, is
reported. `full` is always the last choice, for it works with any rsync daemon. A strategy that failed twice
is not tried again in the same run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pushmirror.archive.layout import DISTS, RELEASE_NAMES, ZZZ_DISTS, is_searched, joined, may_have_suites
from pushmirror.changes import full, index, manifest
from pushmirror.changes.context import DetectionContext
from pushmirror.changes.upstream_manifest import UpstreamManifest
from pushmirror.config.model import Strategy
from pushmirror.errors import Unusable, UpstreamMoved, UpstreamUpdating, key_name
from pushmirror.fetch.selection import selection_hash
from pushmirror.fetch.unreadable import Unseen
from pushmirror.inventory.diff import Diff
from pushmirror.inventory.inventory import Inventory
from pushmirror.state.records import Stage
from pushmirror.system import clock
from pushmirror.tree.published_state import NOTHING, Fault, PublishedState, read_published
from pushmirror.tree.suites import Suites
from pushmirror.tree.traces import upstream_flags
from pushmirror.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Choice:
    """A strategy to try, and the reason for it."""

    strategy: Strategy
    why: str


@dataclass(frozen=True, slots=True)
class StrategyInputs:
    """What the choice of strategies depends on."""

    wanted: Strategy  # as configured, or as somebody asked for this run
    is_asked_for: bool  # by somebody, for this run
    has_suites: bool  # upstream publishes Release files
    is_new: bool  # the whole tree was never compared with upstream's, or by another selection
    compared_at: datetime | None  # when it was last
    now: datetime
    full_every: timedelta

    @property
    def is_due(self) -> bool:
        """Whether a full comparison is due; also if the time of the last one is in the future."""
        return self.compared_at is None or not timedelta() <= self.now - self.compared_at < self.full_every


def choices(inputs: StrategyInputs) -> list[Choice]:
    """The strategies to try, in this order."""
    wanted = inputs.wanted
    if wanted is Strategy.FULL:
        return [Choice(wanted, "as asked for" if inputs.is_asked_for else "as configured")]
    found: list[Choice] = []
    if wanted in {Strategy.AUTO, Strategy.MANIFEST}:
        found.append(Choice(Strategy.MANIFEST, "upstream offers its manifest"))
    if wanted is not Strategy.MANIFEST and inputs.has_suites and not (inputs.is_new or inputs.is_due):
        found.append(Choice(Strategy.INDEX, "upstream's Release files show what changed"))
    found.append(Choice(Strategy.FULL, _why_full(inputs)))
    return found


def _why_full(inputs: StrategyInputs) -> str:
    if not inputs.has_suites:
        return "the tree has no Release files, so only full works"
    if inputs.is_new:
        return "no full comparison has been done yet"
    if inputs.is_due:
        return f"the last full comparison is older than {inputs.full_every}"
    return "it works with any rsync daemon"


_log = logging.getLogger(__name__)
_HINT = "tell upstream's operator that its rsync daemon cannot read them"
_MOST_PINS = 5  # of upstream's Release files: links may lead to links

STRATEGIES: dict[Strategy, Callable[[DetectionContext], Diff]] = {
    Strategy.MANIFEST: manifest.detect,
    Strategy.INDEX: index.detect,
    Strategy.FULL: full.detect,
}


def _is_pinned_anyway(place: str, published: PublishedState) -> bool:
    """Whether a directory of Release files, or a Release file, is pinned without being named in `also`."""
    is_file = place in published.places_of_files
    path = place if is_file else f"{place}/Release"
    *directories, name = path.split("/")
    return (
        is_searched(path)
        and name in RELEASE_NAMES
        and all(may_have_suites(directory) or directory == ZZZ_DISTS for directory in directories)
    )


def _unreadable_suites(unseen: Unseen, live: PublishedState) -> dict[str, Fault]:
    """The suites whose Release files upstream cannot read."""
    directories = {where for where in live.directories if unseen.covers(joined(where, "InRelease"))}
    for path in unseen.files:
        directory, _, name = path.rpartition("/")
        if name in RELEASE_NAMES and is_searched(path):
            directories.add(directory.replace(f"{ZZZ_DISTS}/", f"{DISTS}/", 1))
    return {
        where: Fault(f"upstream cannot read the Release files of {where}", _HINT) for where in directories
    }


class ChangeDetector:
    """Detects what changed at one archive's upstream, for one run."""

    def __init__(self, workspace: Workspace, on_strategy: Callable[[Strategy, str], None]) -> None:
        """`on_strategy` gets each strategy that is tried, and once it has answered, the reason for it."""
        self._workspace = workspace
        self._archive = workspace.archive
        self._on_strategy = on_strategy
        self.failed_strategies: set[Strategy] = set()  # for the rest of the run
        self._manifest: UpstreamManifest | None = None  # of the attempt

    def pin_with_manifest(self, asked: Strategy | None, live: PublishedState) -> PublishedState:
        """Pin upstream's state, and fetch its manifest at the same time if that will be needed.

        `asked` is the strategy that was requested for this run, instead of the configured one.
        """
        self._manifest = UpstreamManifest(
            self._archive,
            self._workspace.upstream,
            self._workspace.paths.upstream_manifest,
            is_asked_for=asked is Strategy.MANIFEST,
        )
        wanted = asked or self._archive.strategy
        if wanted not in {Strategy.AUTO, Strategy.MANIFEST} or Strategy.MANIFEST in self.failed_strategies:
            return self.pin(live)
        with self._manifest.asked_ahead():
            return self.pin(live)

    def pin(self, live: PublishedState) -> PublishedState:
        """Copy upstream's published state into the work area.

        Also looks where the links of the `live` state here lead, and those of upstream.
        """
        area, release_directories = self._workspace.area, self._archive.release_directories
        also = {
            place: is_dists for place, is_dists in live.places.items() if not _is_pinned_anyway(place, live)
        }
        also |= dict.fromkeys(release_directories, False)
        for _ in range(_MOST_PINS):
            area.require_in_place()
            unseen = self._workspace.upstream.pin(area.pin, also=also)
            shown = read_published(area.pin, release_directories)
            lost = shown.lost.items()
            beyond = {place: is_dists for place, is_dists in lost if not _is_pinned_anyway(place, shown)}
            if also.keys() >= beyond.keys():
                break
            also |= beyond
        return shown.with_faults(_unreadable_suites(unseen, live))

    def require_finished_upstream(self) -> None:
        """UpstreamUpdating while upstream's own run is in progress."""
        stale_after = self._archive.update_in_progress.stale_after
        own, pin = self._workspace.mirror.name, self._workspace.area.pin
        flags, stale = upstream_flags(pin, own=own, now=clock.now(), stale_after=stale_after)
        for flag in stale:
            limit = key_name("update_in_progress.stale_after", "stale_after")
            _log.warning("ignoring upstream's stale %s (older than %s)", flag, limit)
        if flags:
            raise UpstreamUpdating(f"upstream is updating itself ({', '.join(sorted(flags))})")

    def base(self, live: PublishedState) -> PublishedState:
        """The published state, if its closure is in the closure store; else nothing."""
        known = bool(live.suites) and self._workspace.closures.knows_generation(live.generation)
        return live if known else NOTHING

    def diff(
        self,
        stage: Stage,
        asked: Strategy | None,
        suites: Suites,
        live: PublishedState,
        inventory: Inventory,
        *,
        is_dry: bool = False,
    ) -> Diff:
        """What differs between the tree and the pinned state, by the cheapest strategy that can answer.

        To be called after `pin_with_manifest`, and about the state that it returned; `asked` as there.
        """
        assert self._manifest
        mark = selection_hash(self._archive)
        inputs = StrategyInputs(
            wanted=asked or self._archive.strategy,
            is_asked_for=asked is not None,
            has_suites=bool(suites.upstream.directories),
            is_new=not inventory.complete or inventory.selection != mark,
            compared_at=inventory.reconciled_at,
            now=clock.now(),
            full_every=self._archive.full_every,
        )
        context = DetectionContext(
            self._workspace,
            stage=stage,
            suites=suites,
            live=live,
            base=self.base(live),
            inventory=inventory,
            manifest=self._manifest,
            selection_hash=mark,
            is_due=inputs.is_due,
            is_dry=is_dry,
        )
        return self._detect(context, inputs)

    def _detect(self, context: DetectionContext, inputs: StrategyInputs) -> Diff:
        refusals: list[str] = []
        for choice in choices(inputs):
            if choice.strategy in self.failed_strategies:
                refusals.append(f"strategy {choice.strategy} failed twice")
                continue
            self._on_strategy(choice.strategy, "")  # also one that does not get to its end
            try:
                diff = STRATEGIES[choice.strategy](context)
            except UpstreamMoved:
                self.require_finished_upstream()  # then that explains it
                raise
            except Unusable as exc:
                _log.info("strategy %s not used: %s", choice.strategy, exc)
                refusals.append(f"strategy {choice.strategy} not used: {exc}")
                continue
            why = [diff.how] if choice.strategy is Strategy.MANIFEST else [choice.why, diff.how]
            reason = "; ".join(filter(None, [*why, *refusals]))
            self._on_strategy(choice.strategy, reason)
            _log.info("strategy %s: %s", choice.strategy, reason)
            return diff
        raise AssertionError("`full` is never unusable")
