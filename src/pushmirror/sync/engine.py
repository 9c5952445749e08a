"""One run of one archive, told from the top: pin, survey, fetch, verify, publish, delete.

    pin ──▶ survey ──▶ fetch early ──▶ stage indices ──▶ closure on disk? ──▶ publish ──▶ delete
     ▲                  (stage 1 ends here)                   │                            │
     └────────── upstream moved on: a new round ◀─────────────┴───── upstream is newer ◀───┘

Guaranteed at every instant: what the served Release files refer to is in the tree. A run succeeds only
when the generation it published is upstream's at its end. The caller holds the tree's lock; the engine
knows nothing of requests, databases or terminals.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.index import File
from pushmirror.archive.selection import STAGE1_RULES, Selection
from pushmirror.config.model import Archive, Mirror
from pushmirror.errors import (
    Behind,
    ConfigError,
    Exit,
    Mismatch,
    PushmirrorError,
    UpstreamError,
    UpstreamMoved,
    UpstreamUpdating,
)
from pushmirror.state.records import Stage
from pushmirror.sync import deletion, vouch
from pushmirror.sync.deletion import Deletion
from pushmirror.sync.hooks import run_hook
from pushmirror.sync.indices import Indices
from pushmirror.sync.ledger import Ledger
from pushmirror.sync.parts import Part, is_suite_file, part_of
from pushmirror.sync.progress import Progress
from pushmirror.sync.publish import Publisher
from pushmirror.sync.published import NOTHING, Published, read_published
from pushmirror.sync.report import Report, trace_of
from pushmirror.sync.rsync import Entry
from pushmirror.sync.signatures import check_keyrings, check_signatures
from pushmirror.sync.survey import Comparison, Survey, bytes_of, scanner
from pushmirror.sync.traces import Traces, upstream_flags, upstream_hierarchy
from pushmirror.sync.upstream import Upstream, selection_rules
from pushmirror.sync.work import WorkArea
from pushmirror.system import clock
from pushmirror.system.files import link_or_copy, sync_file_system

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """What one run is to do."""

    stage: Stage
    trigger: str  # who or what asked, for the trace: ssh, cron, manual
    allow_mass_delete: bool = False
    allow_empty_tree: bool = False  # though an archive was published in it


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do now."""

    fetch: tuple[Entry, ...]
    publish: tuple[str, ...]  # names that would change, in the order of publishing
    delete: Deletion
    generation: str  # upstream's
    live: str  # the generation served now


@dataclass(slots=True)
class _Round:
    """What one round has learnt and done; a new one starts with nothing."""

    pinned: Published
    live: Published
    base: Published  # the live state, if the ledger vouches for its indices
    survey: Survey
    staged: set[str] = field(default_factory=set)
    incomplete: bool = False  # something vanished while it was fetched


class Engine:
    """Runs one archive."""

    def __init__(self, archive: Archive, mirror: Mirror, *, ledger: Path, progress: Progress) -> None:
        """`ledger` is the directory where the closures of this archive's generations are remembered."""
        self._archive = archive
        self._tree = archive.path
        self._mirror = mirror
        self._progress = progress
        self._upstream = Upstream(archive, progress)
        self._area = WorkArea(self._tree)
        self._ledger = Ledger(ledger)
        self._traces = Traces(self._tree, mirror.name)
        self._publisher = Publisher(self._tree, self._area)
        self._phase = Exit.STAGE1
        self._selection = Selection(tuple(selection_rules(archive)))
        self.report = Report(started=clock.now())

    def run(self, job: Job) -> Report:
        """Bring the tree to upstream's state (or, for stage 1, fetch ahead what its indices will refer to).

        Raises a PushmirrorError whose exit code tells the stage that failed; the served tree is then as
        whole as before. Raises Behind when upstream kept moving on.
        """
        with self._errors_by_stage():
            self._prepare()
            with self._working(job):
                run_hook(self._archive, "before_sync", {"stage": job.stage.value, "trigger": job.trigger})
                self._rounds(job)
        return self.report

    def preview(self, job: Job) -> Preview:
        """What a run would fetch, publish and delete; nothing is changed."""
        check_keyrings(self._archive.keyring)
        with tempfile.TemporaryDirectory(prefix="pushmirror-") as directory:
            pin, empty = Path(directory, "pin"), Path(directory, "empty")
            empty.mkdir()
            self._upstream.pin(pin)
            tree = self._tree if self._tree.is_dir() else empty
            live, pinned = read_published(tree), read_published(pin)
            survey = self._survey(job, tree=tree, empty=empty, plain=not pinned.suites)
        return Preview(
            fetch=tuple(sorted([*survey.missing.values(), *survey.changed.values()])),
            publish=tuple(survey.names_in_publishing_order()),
            delete=self._deletion(job, survey, live) if job.stage is not Stage.STAGE1 else Deletion(),
            generation=pinned.generation,
            live=live.generation,
        )

    # -- the story of a run ---------------------------------------------------------------------------

    def _rounds(self, job: Job) -> None:
        moved: Exception | None = None
        waits = 0
        while self.report.rounds < self._archive.rounds:
            try:
                if self._round(job):
                    return
                moved = None
            except UpstreamUpdating as exc:
                waits += 1
                self.report.rounds -= 1
                self._wait_for_upstream(exc, waits)
            except (UpstreamMoved, Mismatch) as exc:
                _log.info("starting over: %s", exc)
                moved = exc
        raise Behind(
            f"upstream moved on {self.report.rounds} times while it was being fetched"
            + (
                f"; the last time: {moved}"
                if moved
                else f"; generation {self.report.generation[:12]} is live here"
            ),
            hint="try again; if it stays so, upstream changes too fast for this line, or is damaged",
        )

    def _round(self, job: Job) -> bool:
        """One attempt; whether the run has reached its aim."""
        self.report.rounds += 1
        self._phase = Exit.STAGE1
        started = time.monotonic()
        round_ = self._look(job)
        self._fetch_early(round_.survey)
        self.report.seconds_stage1 += time.monotonic() - started
        if job.stage is Stage.STAGE1:
            run_hook(self._archive, "after_stage1", self._facts())
            self._write_trace(job)
            return not round_.incomplete
        if job.stage is Stage.ALL:
            run_hook(self._archive, "after_stage1", self._facts())

        self._phase = Exit.STAGE2
        started = time.monotonic()
        self._require_finished_upstream()
        self._stage(round_)
        foreign_traces_changed = self._publish(round_)
        deleted = self._delete(job, round_)
        current = self._is_current(round_)
        self.report.seconds_stage2 += time.monotonic() - started
        if self.report.published or deleted or foreign_traces_changed or not self._traces.own.exists():
            self._write_trace(job)
        if current:
            run_hook(self._archive, "after_publish", self._facts())
        return current

    def _prepare(self) -> None:
        """Refuse what cannot work before anything is touched."""
        if self._archive.upstream is None:
            raise ConfigError(
                f"the archive {self._archive.name} has no upstream to sync from",
                hint=f"add `upstream` to [archives.{self._archive.name}]",
            )
        check_keyrings(self._archive.keyring)
        if self._archive.keyring == ():
            _log.info("signatures are not checked: the archive has no keyring")
        self.report.strategy, self.report.why = "full", "rsync's listing of the whole tree"
        self.report.rsync = str(self._upstream.version)

    @contextmanager
    def _working(self, job: Job) -> Iterator[None]:
        """The work area and the flag of a run. What was fetched outlives a run that failed, and stage 1."""
        self._traces.raise_flag()
        keep_new = True
        try:
            self._area.open()
            yield
            keep_new = job.stage is Stage.STAGE1
        finally:
            self._area.close(keep_new=keep_new)
            self._traces.lower_flag()
            self.report.take_traffic(self._upstream.traffic)

    # -- learn ----------------------------------------------------------------------------------------

    def _look(self, job: Job) -> _Round:
        """Pin upstream's published state and learn what differs here."""
        self._progress.step("asking upstream")
        pinned, live = self._pin(), read_published(self._tree)
        if live.suites and not pinned.suites:
            raise UpstreamError(
                "upstream has no Release files at all, though the tree here was mirrored from some",
                hint="upstream looks emptied or unmounted; nothing was changed here",
            )
        self._progress.step("comparing")
        survey = self._survey(job, tree=self._tree, empty=self._area.empty, plain=not pinned.suites)
        if survey.files_upstream == 0 and not pinned.suites:
            raise UpstreamError("upstream's tree is empty", hint="check the path in `upstream`")
        _log.info(
            "upstream has %d files; %d are missing here, %d differ, %d are only here",
            *(survey.files_upstream, len(survey.missing), len(survey.changed), len(survey.extras)),
        )
        known = bool(live.suites) and self._ledger.knows_generation(live.generation)
        return _Round(pinned, live, live if known else NOTHING, survey)

    def _pin(self) -> Published:
        self._upstream.pin(self._area.pin)
        return read_published(self._area.pin)

    def _survey(self, job: Job, *, tree: Path, empty: Path, plain: bool) -> Survey:
        scan = scanner(tree, leave_out=self._traces.is_left_out)
        comparison = Comparison(tree, scan, digest=TreeDigest() if plain else None)
        rules = STAGE1_RULES if job.stage is Stage.STAGE1 else ()
        self._upstream.listing(comparison.take, empty=empty, rules=rules)
        return comparison.finish()

    def _require_finished_upstream(self) -> None:
        """Stage 2 of upstream has to be over before ours begins."""
        oldest = clock.now() - self._archive.update_in_progress.stale_after
        flags, stale = upstream_flags(self._area.pin, own=self._mirror.name, stale_before=oldest)
        for flag in stale:
            _log.warning("upstream's %s is older than stale_after and was left behind: ignored", flag)
        if flags:
            raise UpstreamUpdating(f"upstream is updating itself ({', '.join(sorted(flags))})")

    def _wait_for_upstream(self, reason: UpstreamUpdating, waits: int) -> None:
        limits = self._archive.update_in_progress
        if waits > limits.retries:
            raise UpstreamError(
                f"{reason}, still after {limits.retries} retries",
                hint="ask the upstream operator whether its flag was left behind by a crash",
            )
        _log.info("%s; looking again in %s", reason, limits.wait)
        self._progress.step(f"waiting for upstream ({waits} of {limits.retries})")
        clock.sleep(limits.wait)

    # -- fetch and verify -----------------------------------------------------------------------------

    def _fetch_early(self, survey: Survey) -> None:
        """Fetch what the stage-1 filter lets through; new names go into the tree at once."""
        early = {Part.EARLY, Part.REST}
        missing = {path: entry for path, entry in survey.missing.items() if part_of(path) in early}
        changed = {path: entry for path, entry in survey.changed.items() if part_of(path) in early}
        if missing or changed:
            files = len(missing) + len(changed)
            self._progress.step("fetching", files=files, size=bytes_of(missing) + bytes_of(changed))
        if changed:
            self._upstream.fetch(changed, self._area.new, basis=self._tree)
        if missing:
            self._upstream.fetch(missing, self._area.new)
        landed = self._publisher.land(missing)
        for path in landed:
            del survey.missing[path]
        self.report.landed += len(landed)

    def _stage(self, round_: _Round) -> None:
        """Get everything that is to be published into the work area, and its closure onto the disk."""
        pinned, survey = round_.pinned, round_.survey
        for suite in pinned.suites.values():
            base = round_.base.suites.get(suite.directory)
            if self._archive.keyring and (base is None or base.texts != suite.texts):
                check_signatures(suite, self._area.pin, self._archive.keyring)
        indices = Indices(tree=self._tree, area=self._area, survey=survey, pinned=pinned, base=round_.base)
        indices.get(self._upstream)
        self._stage_others(round_, indices)
        round_.staged |= indices.staged | self._stage_release_files(round_)
        if pinned.suites and pinned.generation != round_.base.generation:
            self._require_closure(round_, indices)
        elif pinned.suites:
            self._require_repairs(round_)

    def _stage_others(self, round_: _Round, indices: Indices) -> None:
        """Fetch what no Release file lists; what vanished meanwhile makes the run look again."""
        survey = round_.survey
        wanted = {**survey.missing, **survey.changed}
        others = [
            entry for path, entry in wanted.items() if path not in indices.staged and not is_suite_file(path)
        ]
        late = [entry.path for entry in others if part_of(entry.path) is Part.INDEX]
        if late:
            self._progress.step("indices", files=len(late))
            self._upstream.fetch(late, self._area.new)
        came = self._publisher.came(others)
        round_.staged |= came
        if len(came) < len(others):
            lost = [entry.path for entry in others if entry.path not in came]
            _log.info("%d files changed or vanished at upstream meanwhile: %s …", len(lost), lost[0])
            round_.incomplete = True

    def _stage_release_files(self, round_: _Round) -> set[str]:
        """Stage the pinned Release files that differ from those in the tree."""
        live = round_.live.release_files
        changed = {path for path, text in round_.pinned.release_files.items() if live.get(path) != text}
        changed |= {path for path in round_.survey.changed if path in round_.pinned.release_files}
        for path in changed:
            source = self._area.pin / path
            link_or_copy(source, self._area.new / path, mtime=int(source.stat().st_mtime))
        return changed

    def _require_closure(self, round_: _Round, indices: Indices) -> None:
        """Have every file that the new indices add, with its size and, if it came from upstream, its hash."""
        self._progress.step("reading indices")
        readable = vouch.read_closures(round_.pinned, indices, self._ledger)
        known = vouch.readable_of(round_.base, self._ledger)
        added = {
            path: file
            for path, file in vouch.additions(readable, known, self._ledger).items()
            if self._selection.wants(path)
        }
        self._fetch_again(round_, vouch.lacking(added.values(), self._tree, round_.staged, self._area))
        ours = (self._area.landed() | round_.staged) & added.keys()
        self._progress.step("verifying", files=len(ours))
        files = [added[path] for path in ours]
        self._fetch_again(round_, vouch.wrong(files, self._tree, round_.staged, self._area))
        self._remember(round_.pinned, indices, readable)

    def _require_repairs(self, round_: _Round) -> None:
        """The indices are those we know, but files of their closure came anew: check these."""
        ours = {path for path in self._area.landed() | round_.staged if part_of(path) is Part.EARLY}
        if not ours:
            return
        known = vouch.readable_of(round_.pinned, self._ledger)
        files = vouch.named(ours, known.values(), self._ledger)
        self._fetch_again(round_, vouch.wrong(files, self._tree, round_.staged, self._area))

    def _fetch_again(self, round_: _Round, files: list[File]) -> None:
        """Fetch files that are missing or wrong by their names; Mismatch if upstream has no right ones."""
        if not files:
            return
        _log.info("%d files of the closure are missing or wrong, first %s", len(files), files[0].path)
        for file in files:
            (self._area.new / file.path).unlink(missing_ok=True)  # rsync would take it for right
        self._progress.step("fetching", files=len(files), size=sum(file.size for file in files))
        self._upstream.fetch((file.path for file in files), self._area.new)
        came = {file.path for file in files if self._area.fetched(file.path)}
        wrong = vouch.wrong(files, self._area.new, came, self._area)
        if wrong:
            raise Mismatch(
                f"upstream has {len(wrong)} files missing or not as its indices say (size {wrong[0].size},"
                f" SHA256 {wrong[0].sha256}): {wrong[0].path}"
            )
        round_.staged |= came

    def _remember(self, pinned: Published, indices: Indices, readable: dict[tuple[str, str], str]) -> None:
        """Let the ledger know the new generation before anybody can see it."""
        paths = {path for wanted in indices.wanted() for path in (wanted.path, *wanted.copies)}
        self._ledger.remember_generation(
            pinned.generation, sorted(paths | pinned.release_files.keys()), readable.values()
        )
        sync_file_system(self._ledger.directory)

    # -- publish and delete ---------------------------------------------------------------------------

    def _publish(self, round_: _Round) -> bool:
        """Make the staged state the served one; returns whether upstream's traces changed."""
        survey = round_.survey
        blocked = deletion.decide(
            survey.obstructing, (), files_here=survey.files_here, limits=self._archive.delete
        )
        if blocked.withheld:
            raise Mismatch(f"upstream has a file or link where a directory is here: {blocked.reason}")
        self._progress.step("publishing", files=len(round_.staged) + len(survey.links))
        self._ledger.replaced(round_.live.generation)
        changed = self._traces.copy_foreign(self._area.pin)
        self.report.published += self._publisher.publish(round_.staged, survey.links, survey.directories)
        self._publisher.correct_modes(survey.modes)
        self._area.forget_landed()
        self.report.generation = round_.pinned.generation or survey.digest
        return changed

    def _delete(self, job: Job, round_: _Round) -> int:
        """Remove what upstream no longer has and no recent index refers to; returns how many files."""
        decided = self._deletion(job, round_.survey, round_.pinned)
        self.report.withheld, self.report.withheld_reason = decided.withheld, decided.reason
        self.report.kept = decided.kept
        if decided.withheld:
            _log.warning("NOTHING WAS DELETED: %s; what was published stays live", decided.reason)
        if decided.paths:
            self._progress.step("deleting", files=len(decided.paths))
        deleted = self._publisher.delete(decided.paths, round_.survey.extra_directories)
        self.report.deleted += deleted
        self._ledger.prune(live=round_.pinned.generation, grace_s=self._archive.grace.total_seconds())
        return deleted

    def _deletion(self, job: Job, survey: Survey, live: Published) -> Deletion:
        doomed = deletion.candidates(survey.extras, self._archive.protect)
        kept: set[str] = set()
        if doomed and live.suites:
            grace_s = self._archive.grace.total_seconds()
            kept = self._ledger.referred_to(doomed, live=live.generation, grace_s=grace_s)
        if job.allow_mass_delete:
            return Deletion(tuple(path for path in doomed if path not in kept), kept=len(kept))
        return deletion.decide(doomed, kept, files_here=survey.files_here, limits=self._archive.delete)

    def _is_current(self, round_: _Round) -> bool:
        """Whether what is published is upstream's state now: asked again, for an exit code proves nothing."""
        if round_.incomplete:
            return False
        if not round_.pinned.suites:
            return not (round_.staged or round_.survey.links)  # the listing just made found nothing to do
        self._progress.step("asking upstream")
        return self._pin().generation == round_.pinned.generation

    # -- traces, hooks, errors ------------------------------------------------------------------------

    def _write_trace(self, job: Job) -> None:
        self.report.take_traffic(self._upstream.traffic)
        trace = trace_of(self.report, self._archive, self._mirror, trigger=job.trigger, traces=self._traces)
        assert self._archive.upstream is not None
        self._traces.write(
            trace,
            stage1_only=job.stage is Stage.STAGE1,
            upstream_host=self._archive.upstream.host,
            upstream_hierarchy=upstream_hierarchy(self._area.pin),
        )

    def _facts(self) -> dict[str, str]:
        return {"generation": self.report.generation, "published": str(self.report.published)}

    @contextmanager
    def _errors_by_stage(self) -> Iterator[None]:
        """An error without a more telling exit code ends with that of the stage it happened in."""
        try:
            yield
        except PushmirrorError as exc:
            if exc.exit_code is Exit.FAILED:
                exc.exit_code = self._phase
            raise
        except OSError as exc:
            where = f" ({exc.filename})" if exc.filename else ""
            error = PushmirrorError(f"the tree {self._tree} cannot be written: {exc.strerror}{where}")
            error.exit_code = self._phase
            raise error from exc
