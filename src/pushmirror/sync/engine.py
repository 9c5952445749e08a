"""One run of one archive: pin, detect changes, fetch, verify, publish, delete.

    pin ──▶ diff ──▶ prefetch ──▶ stage indices ──▶ closure on disk? ──▶ publish ──▶ delete
     ▲               (stage 1 ends here)                  │                            │
     └────────── upstream moved on: a new attempt ◀───────┴───── upstream is newer ◀───┘

Guaranteed at every instant: what the served Release files refer to is in the tree. A run succeeds only when
the generation it published is upstream's at its end. The caller holds the tree's lock; the engine knows
nothing of requests, databases or terminals.
"""

from __future__ import annotations

import logging
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from pushmirror.archive.generation import short
from pushmirror.archive.layout import DISTS, POOL, TRACES, ZZZ_DISTS
from pushmirror.archive.paths import Entry
from pushmirror.changes.strategy import ChangeDetector
from pushmirror.config.model import Archive, Mirror, Strategy
from pushmirror.config.upstream_url import Scheme
from pushmirror.errors import (
    Behind,
    ConfigError,
    ConnectionFailed,
    Exit,
    Mismatch,
    UpstreamError,
    UpstreamMoved,
    UpstreamUpdating,
    key_name,
)
from pushmirror.fetch.selection import selection_hash
from pushmirror.hooks import Hook, OnHook, log_hook, run_hook
from pushmirror.inventory.diff import Diff
from pushmirror.progress import Progress
from pushmirror.state.records import Stage
from pushmirror.sync.attempt import Attempt
from pushmirror.sync.deletion import Deletion, DeletionPlanner, together
from pushmirror.sync.kind_changes import KindChanges, plan_kind_changes
from pushmirror.sync.prefetch import prefetch
from pushmirror.sync.report import Report, architectures_of, trace_of
from pushmirror.sync.request import OnPublished, RunRequest, errors_by_stage
from pushmirror.sync.staging import Staging
from pushmirror.sync.suite_check import SuiteCheck
from pushmirror.sync.tracking import InventoryTracker
from pushmirror.system import clock
from pushmirror.tree.publish import Publisher, PublishPlan
from pushmirror.tree.release_signatures import check_keyrings
from pushmirror.tree.suites import Suites
from pushmirror.tree.traces import has_traces, upstream_hierarchy
from pushmirror.tree.work_area import WorkArea, way_out
from pushmirror.tree.writer import TreeWriter
from pushmirror.workspace import StatePaths, Workspace

_log = logging.getLogger(__name__)
_PAUSE = timedelta(seconds=0.2)  # before the second attempt; twice as long before each further one
_MOST_DOUBLINGS = 6  # of the pause after a connection that failed
_JITTER = (0.8, 1.2)  # times that pause, so that sites that lost their hub together do not come back together


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do now."""

    fetch: tuple[Entry, ...]
    publish: tuple[str, ...]  # names that would change, in the order of publishing
    delete: Deletion
    generation: str  # upstream's
    live: str  # the generation served now
    strategy: str = ""  # that found this out; a run may use another, which compares less
    why: str = ""  # the reason for this strategy
    held: Mapping[str, str] = field(
        default_factory=dict
    )  # suites whose Release files have a fault: the fault


class Engine:
    """Runs one archive."""

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
        self._tree = archive.path
        self._progress = progress
        self._on_hook = on_hook
        self._workspace = workspace = Workspace.of(archive, mirror, paths, progress)
        self._upstream, self._area = workspace.upstream, workspace.area
        self._closures, self._traces = workspace.closures, workspace.traces
        self._tracker = InventoryTracker(archive, paths, progress)
        self._publisher = Publisher(self._tree, self._area, self._tracker.recording)
        self._staging = Staging(workspace, self._publisher)
        self._deletion = DeletionPlanner(workspace)
        self.report = Report(started=clock.now(), selection=selection_hash(archive))
        self._detector = ChangeDetector(workspace, self.report.note_strategy)
        self._check = SuiteCheck(workspace, self._detector)
        self._phase = Exit.STAGE1
        self._most_rounds = archive.rounds  # for the strategies that were tried until now
        self._aim = ""  # the generation that the attempt works towards, once it is known
        self._lost: tuple[str, str, frozenset[str]] | None = None  # in the last attempt, and its aim

    def run(self, request: RunRequest, on_published: OnPublished) -> Report:
        """Bring the tree to upstream's state (or, for stage 1, prefetch what its indices will refer to).

        Raises a PushmirrorError whose exit code is that of the stage that failed; the served tree is then as
        complete as before. Raises Behind when upstream kept moving on.
        """
        with errors_by_stage(self._tree, lambda: self._phase):
            self._prepare()
            with self._working(request):
                self._run_hook("before_sync", {"stage": request.stage.value, "trigger": request.trigger})
                self._try_until_current(request, on_published)
        return self.report

    def _run_hook(self, name: str, facts: Mapping[str, str]) -> None:
        run_hook(Hook.of(self._archive, name, facts), self._on_hook)

    def preview(self, request: RunRequest) -> Preview:
        """What a run would fetch, publish and delete; nothing is changed."""
        with errors_by_stage(self._tree, lambda: self._phase):
            self._require_usable()
            return self._preview(request)

    def is_current(self) -> bool:
        """Whether upstream publishes what is served here, as far as its Release files and traces show.

        Other changes, such as of a file of a plain tree whose origin leaves no trace, are not seen; then the
        answer is no. Nothing is changed.
        """
        with errors_by_stage(self._tree, lambda: self._phase):
            self._require_usable()
            with tempfile.TemporaryDirectory(prefix="pushmirror-") as directory:
                workspace = replace(self._workspace, area=WorkArea(Path(directory)))
                live, pin = workspace.read_served(), workspace.area.pin
                shown = ChangeDetector(workspace, self.report.note_strategy).pin(live)
                return (
                    (bool(shown.directories) or (pin / TRACES / "master").is_file())
                    and not workspace.suite_memory.held
                    and not self._closures.missing()
                    and shown.generation == live.generation
                    and not self._traces.serial_differs(pin)
                )

    def _preview(self, request: RunRequest) -> Preview:
        with tempfile.TemporaryDirectory(prefix="pushmirror-") as directory, self._tracker.open(is_dry=True):
            workspace = self._workspace.for_preview(Path(directory))
            workspace.area.open()
            detector = ChangeDetector(workspace, self.report.note_strategy)
            live = workspace.read_served()
            pinned = detector.pin_with_manifest(request.strategy, live)
            suites = SuiteCheck(workspace, detector).check(request, pinned, live)
            diff = detector.diff(
                request.stage, request.strategy, suites, live, self._tracker.inventory, is_dry=True
            )
            self._require_no_ways_out(diff)
            suites.restrict(diff)
        target = suites.target
        return Preview(
            fetch=tuple(sorted([*diff.early, *diff.missing.values(), *diff.changed.values()])),
            publish=tuple(diff.names_in_publishing_order()),
            delete=Deletion()
            if request.stage is Stage.STAGE1
            else self._deletion.preview(diff, live, target, allow_mass=request.allow_mass_delete),
            generation=target.generation,
            live=live.generation,
            strategy=self.report.strategy,
            why=self.report.why,
            held={where or ".": fault.reason for where, fault in suites.faults.items()},
        )

    # -- the story of a run ---------------------------------------------------------------------------

    def _try_until_current(self, request: RunRequest, on_published: OnPublished) -> None:
        moved: tuple[str, str] | None = None  # the generation aimed at, and what was wrong with it
        waits = failures = 0
        while self.report.rounds < self._most_rounds:
            try:
                if self._attempt(request, on_published):
                    return
                moved = None
            except UpstreamUpdating as exc:
                waits += 1
                self.report.rounds -= 1
                self._wait_for_upstream(exc, waits)
            except ConnectionFailed as exc:
                failures += 1
                self.report.rounds -= 1
                self._wait_to_retry(exc, failures)
            except (UpstreamMoved, Mismatch) as exc:
                if self._aim and moved == (self._aim, str(exc)) and not self._fall_back():
                    raise  # upstream has not changed: it is damaged
                _log.info("starting over: %s", exc)
                moved = (self._aim, str(exc))
                clock.sleep(_PAUSE * 2 ** (self.report.rounds - 1))  # upstream may be in the middle of it
        last = moved[1] if moved else f"generation {short(self.report.generation)} is published here"
        raise Behind(
            f"upstream moved on {self.report.rounds} times while it was being fetched; {last}",
            hint="try again; if this repeats, upstream changes faster than this connection can follow, or is"
            " inconsistent",
        )

    def _attempt(self, request: RunRequest, on_published: OnPublished) -> bool:
        """One attempt; returns whether the run has reached its goal."""
        self.report.rounds += 1
        self._phase, self._aim = Exit.STAGE1, ""
        started = time.monotonic()
        attempt = self._pin_and_diff(request)
        self._tracker.prepare_for(attempt.diff)
        prefetch(attempt, self._workspace, self._publisher, indexed=self._staging.indexed)
        self.report.landed += attempt.landed
        self.report.seconds_stage1 += time.monotonic() - started
        if request.stage is Stage.STAGE1:
            self._account_for_lost(attempt)
            self._run_hook("after_stage1", self.report.facts())
            self._tracker.publish_manifest(self._workspace.read_served().generation)
            self._write_trace(request)
            self.report.prepared = "" if attempt.incomplete else attempt.pinned.generation
            return not attempt.incomplete
        if request.stage is Stage.ALL:
            self._run_hook("after_stage1", self.report.facts())

        self._phase = Exit.STAGE2
        started = time.monotonic()
        self._detector.require_finished_upstream()
        self._staging.stage(attempt)
        self._check.require_any(attempt.suites, request.stage)
        self._check.require_nothing_dropped(attempt)
        self._account_for_lost(attempt)
        foreign_traces_changed = self._publish(request, attempt)
        self._tracker.arrived(attempt.diff, complete=not attempt.incomplete)
        self._remember_suites(attempt.suites)
        self._tracker.publish_manifest(self.report.generation)
        self._traces.lower_flag()  # sites that are pushed now would wait until it is gone
        on_published(self.report.generation)
        deleted = self._delete(request, attempt)
        if deleted:
            self._tracker.publish_manifest(self.report.generation)
        current = self._is_current(request, attempt)
        self.report.seconds_stage2 += time.monotonic() - started
        changed = self.report.published or deleted or foreign_traces_changed
        if changed or self._traces.generation() != self.report.generation:
            self._write_trace(request)
        if current:
            self._run_hook("after_publish", self.report.facts())
        return current

    def _prepare(self) -> None:
        """Check the configuration before anything is touched."""
        self._require_usable()
        if self._archive.keyring == ():
            _log.info("signatures are not checked: %s is not set", key_name("keyring"))

    def _require_usable(self) -> None:
        upstream, authorities = self._archive.upstream, self._archive.tls_ca
        if upstream is None:
            raise ConfigError(
                f"the archive {self._archive.name} has no upstream to sync from",
                hint=f"add {key_name('upstream')} to [archives.{self._archive.name}]",
            )
        check_keyrings(self._archive.keyring)
        if upstream.scheme is Scheme.RSYNCS and not authorities.exists():
            raise ConfigError(f"{authorities} does not exist", hint=f"check {key_name('tls_ca')}")

    @contextmanager
    def _working(self, request: RunRequest) -> Iterator[None]:
        """Hold the work area and the flag of a run; a failed run and stage 1 leave fetched files."""
        self._traces.raise_flag()
        self._upstream.stillness.file = self._workspace.paths.stalled
        keep_new = True
        try:
            self._area.open()
            self._closures.keep_time(self._archive.grace.total_seconds())
            self._traces.make_room(TreeWriter(self._area))
            with self._tracker.open():
                yield
            # What was fetched of a suite that is held back is not fetched again at each run.
            keep_new = request.stage is Stage.STAGE1 or bool(self.report.held)
        finally:
            self._upstream.stillness.over()
            self._area.close(keep_new=keep_new)
            self._traces.lower_flag()
            self.report.take_traffic(self._upstream.traffic)

    # -- learn ----------------------------------------------------------------------------------------

    def _pin_and_diff(self, request: RunRequest) -> Attempt:
        """Pin upstream's published state and detect what differs here."""
        self._progress.step("asking upstream")
        live = self._workspace.read_served()
        suites = self._check.pin_and_check(request, live)
        shown = suites.upstream
        self._aim = shown.generation
        self._check.require_any(suites, request.stage)
        remaining = live.only({*suites.target.suites, *shown.directories})  # one that upstream dropped stays
        if self._closures.knows_generation(remaining.generation):  # for its grace, unchanged
            live = remaining
        if suites.dropped:
            _log.warning(
                "upstream removed suites, kept here for their grace period: %s", ", ".join(suites.dropped)
            )
        self._progress.step("comparing")
        diff = self._detector.diff(request.stage, request.strategy, suites, live, self._tracker.inventory)
        self._require_no_ways_out(diff)
        suites.restrict(diff)
        diff.deviates |= bool(suites.faults)
        if diff.files_upstream == 0 and not shown.directories and not has_traces(self._area.pin):
            path = key_name("upstream.path", "the path in `upstream`")
            raise UpstreamError("upstream's tree is empty", hint=f"check {path}")
        _log.info(
            "diff: %d files upstream; %d to add, %d to change, %d only here",
            *(diff.files_upstream, len(diff.early) + len(diff.missing)),
            *(len(diff.changed), len(diff.extras)),
        )
        return Attempt(suites, live, self._detector.base(live), diff)

    def _require_no_ways_out(self, diff: Diff) -> None:
        """Refuse to put a directory in the place of a link to another disk: upstream makes no such links."""
        names = diff.directories if diff.covers_all else _tops(self._tree)
        for path in names:
            if (to := way_out(self._tree, path)) is not None:
                raise ConfigError(
                    f"{self._tree / path} is a link to {to}, out of the tree, and upstream has a directory"
                    " there; expected a directory",
                    hint=f"remove the link and mount the disk there instead: mount --bind {to}"
                    f" {self._tree / path}",
                )

    def _remember_suites(self, suites: Suites) -> None:
        self._check.remember(suites)
        self.report.held = {directory or ".": fault.reason for directory, fault in suites.faults.items()}
        self.report.missing = sum(map(len, suites.missing.values()))
        if suites.faults:
            held = [one for where, one in suites.upstream.suites.items() if where in suites.faults]
            self._area.drop_by_hash(
                {
                    path
                    for one in held
                    for listed in one.release.files.values()
                    for path in one.copies_of(listed)
                }
            )

    def _account_for_lost(self, attempt: Attempt) -> None:
        """Note files that did not arrive for an unknown reason: they cause another attempt, once.

        If the same files are lost in two attempts, the strategy or upstream is wrong.
        """
        suites = attempt.suites
        explained = {path for paths in suites.missing.values() for path in paths}
        explained.update(path for fault in suites.faults.values() for path in fault.missing)
        left = frozenset(attempt.lost - explained - attempt.diff.refused - self._upstream.unreadable)
        if not left:
            return
        towards = (suites.upstream.generation, attempt.diff.digest, left)
        if self._lost == towards and not self._fall_back():
            _log.warning("%d files cannot be fetched from upstream, such as %s", len(left), min(left))
            return
        attempt.incomplete = True
        self._lost = towards

    def _fall_back(self) -> bool:
        """Give up the strategy that failed twice; returns whether a more thorough one is left."""
        if self.report.strategy in {"", Strategy.FULL}:
            return False
        taken = Strategy(self.report.strategy)
        _log.warning("strategy %s failed twice; falling back", taken)
        self._detector.failed_strategies.add(taken)
        self._most_rounds = self.report.rounds + self._archive.rounds
        return True

    def _wait_for_upstream(self, reason: UpstreamUpdating, waits: int) -> None:
        limits = self._archive.update_in_progress
        if waits > limits.retries:
            raise UpstreamError(
                f"{reason}, still after {limits.retries} retries",
                hint="ask the upstream operator whether its flag was left behind by a crash",
            )
        _log.info("%s; checking again in %s", reason, limits.wait)
        self._progress.step(f"waiting for upstream ({waits} of {limits.retries})")
        clock.sleep(limits.wait)

    def _wait_to_retry(self, reason: ConnectionFailed, failures: int) -> None:
        """Wait after a failed connection. Fetched files stay in the work area; upstream is pinned anew."""
        most = self._archive.retries
        if failures > most:
            if most:
                reason.args = (f"{reason}, still after {most} retr{'y' if most == 1 else 'ies'}",)
            raise reason
        pause = self._archive.retry_after * 2 ** min(failures - 1, _MOST_DOUBLINGS)
        pause *= random.uniform(*_JITTER)  # noqa: S311  nothing secret
        self._upstream.stillness.looked(has_moved=False)
        _log.warning("%s; trying again in %.0f s (%d of %d)", reason, pause.total_seconds(), failures, most)
        self._progress.step(f"trying again in {pause.total_seconds():.0f} s ({failures} of {most})")
        clock.sleep(pause)

    # -- publish and delete ---------------------------------------------------------------------------

    def _publish(self, request: RunRequest, attempt: Attempt) -> bool:
        """Publish the staged state; returns whether upstream's traces changed."""
        diff = attempt.diff
        self._closures.replaced(attempt.live.generation)  # from here on, its grace counts for all who ask
        kinds = self._settle_kinds(request, attempt)
        attempt.withheld = kinds.withheld
        attempt.staged -= {path for path in attempt.staged if kinds.leave(path)}
        self._traces.raise_flag()  # an earlier attempt may have lowered it
        self._progress.step("publishing", files=len(attempt.staged) + len(diff.links))
        self._closures.add_names(attempt.live.generation, kinds.carried)
        self._tracker.publishing(diff)
        changed = self._traces.copy_foreign(self._area.pin)
        at_once = attempt.at_once()
        suites = attempt.pinned.suites
        change = PublishPlan(
            attempt.staged,
            diff.links,
            diff.directories,
            at_once=at_once,
            elsewhere={where: suites[where].elsewhere for where in at_once},
            suite_links={path for path in diff.links if path in attempt.suites.upstream.links},
            release_files=attempt.pinned.release_files.keys(),
            become_directories=kinds.become_directories,
            carried=kinds.carried,
            dropped=self._publisher.dropped_release_files(attempt.pinned),
        )
        self.report.published += self._publisher.publish(change)
        self._publisher.drop_release_files(attempt.pinned)
        self._publisher.correct_modes(diff.modes)
        self._area.forget_landed()
        self.report.generation = attempt.pinned.generation or diff.generation
        self.report.architectures = architectures_of(attempt.pinned, self._tree)
        return changed

    def _settle_kinds(self, request: RunRequest, attempt: Attempt) -> KindChanges:
        """Plan the changes of kind; a directory is replaced only if everything in it may be deleted."""
        diff = attempt.diff
        protected = self._deletion.protected(diff.in_the_way)
        kinds = plan_kind_changes(
            diff,
            attempt.staged,
            self._tree,
            self._area,
            needed=lambda paths: self._deletion.referred_to(paths, attempt.pinned) | protected,
            decide=lambda paths: self._deletion.guarded(
                paths, (), files_here=diff.files_here, allow_mass=request.allow_mass_delete
            ),
        )
        if kinds.stuck:
            raise Mismatch(
                f"upstream has a file or link where {kinds.stuck[0]} is a directory here, but"
                f" {kinds.withheld.reason}",
                hint=f"if upstream really changed it: {self._way_out}",
            )
        return kinds

    def _delete(self, request: RunRequest, attempt: Attempt) -> int:
        """Delete what upstream no longer has and no recent index refers to; returns the number of files."""
        decided = self._deletion.after_publishing(
            attempt.diff, attempt.suites, allow_mass=request.allow_mass_delete
        )
        decided = together(decided, attempt.withheld)
        self.report.withheld, self.report.withheld_reason = decided.withheld, decided.reason
        self.report.kept, self.report.lost = decided.kept, len(decided.lost)
        if decided.lost:
            _log.warning(
                "%d files named by upstream's indices are missing or different upstream, such as %s; kept",
                *(len(decided.lost), decided.lost[0]),
            )
        self._closures.note_withheld(decided.withheld_paths)
        if decided.withheld:
            self.report.withheld_reason += f"; if upstream really removed them: {self._way_out}"
            what = f"{decided.withheld} FILES WERE NOT DELETED" if decided.paths else "NOTHING WAS DELETED"
            _log.warning("%s: %s", what, self.report.withheld_reason)
        if decided.paths:
            self._progress.step("deleting", files=len(decided.paths))
        deleted = self._publisher.delete(decided.paths, attempt.diff.extra_directories)
        self.report.deleted += deleted
        self._closures.prune(live=attempt.pinned.generation, grace_s=self._archive.grace.total_seconds())
        return deleted

    @property
    def _way_out(self) -> str:
        command = "sync --allow-mass-delete"
        return key_name(command, f"pushmirror sync {self._archive.name} --allow-mass-delete")

    def _is_current(self, request: RunRequest, attempt: Attempt) -> bool:
        """Whether the published state is the requested one, or upstream's current one.

        Upstream is asked again: that a transfer succeeded does not prove it.
        """
        if attempt.incomplete:
            return False
        if self._check.new_problems(attempt.suites):
            return False  # upstream may have been in the middle of publishing
        if request.generation and request.generation == self.report.generation:
            return True
        if not (attempt.landed or attempt.staged or attempt.diff.links):
            return True  # the listing, Release files and all, was just made, and found nothing to do
        if not attempt.pinned.suites:
            return False  # a plain tree has nothing to ask for but another listing
        self._progress.step("asking upstream")
        self._aim = ""  # whatever is wrong with upstream from here on is not about this state
        return self._detector.pin(attempt.live).generation == attempt.suites.upstream.generation

    # -- traces ---------------------------------------------------------------------------------------

    def _write_trace(self, request: RunRequest) -> None:
        self.report.take_traffic(self._upstream.traffic)
        trace = trace_of(
            self.report,
            self._archive,
            self._workspace.mirror,
            stage=request.stage,
            trigger=request.trigger,
            traces=self._traces,
            pinned=self._area.pin,
        )
        self._traces.write(
            trace,
            stage=request.stage,
            upstream_host=trace.upstream,
            upstream_hierarchy=upstream_hierarchy(self._area.pin),
        )


def _tops(tree: Path) -> list[str]:
    """The top directories of packages and indices, and the names in them."""
    tops = (DISTS, ZZZ_DISTS, POOL)
    return [*tops, *(str(path.relative_to(tree)) for top in tops for path in sorted((tree / top).glob("*")))]
