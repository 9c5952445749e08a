"""The runner: requests become runs, one at a time for each archive, and each request gets its true result.

    request ──▶ queue ──▶ (tree's lock) ──▶ one run for all that wait ──▶ every caller its answer
                             ▲                                                │
                             └──── requests that came meanwhile: the next run ┘

Whoever holds the lock serves all waiting requests. A request that arrives during a run is not answered by
that run, whatever its kind: what it announces may be newer than what the run has seen (archvsync's bugs 14
and 15). If a process dies, its requests stay in the queue, and the next process serves them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pushmirror.archive.generation import short
from pushmirror.archive.layout import is_content
from pushmirror.config.model import Archive, Config
from pushmirror.errors import (
    ConfigError,
    Damaged,
    Exit,
    HookFailed,
    PushmirrorError,
    Stopped,
    key_name,
)
from pushmirror.fetch.selection import selection_hash
from pushmirror.ownership import require_ours
from pushmirror.progress import Logged, Progress
from pushmirror.push.trigger import combined
from pushmirror.state.records import OWNER_SCAN, Outcome, Request, Run
from pushmirror.state.suites import suites_path
from pushmirror.sync.current import is_already_served
from pushmirror.sync.request import RunRequest
from pushmirror.system import clock, locks
from pushmirror.system.log_file import LogFile
from pushmirror.system.owned_directory import state_errors

if TYPE_CHECKING:  # what only a run needs is imported when there is one
    from pushmirror.hooks import OnHook
    from pushmirror.state.store import Store
    from pushmirror.sync.engine import Engine, Preview
    from pushmirror.sync.owner import OwnerScan
    from pushmirror.sync.report import Report
    from pushmirror.workspace import StatePaths

_log = logging.getLogger(__name__)
_BY_CTRL_C = ("stopped by SIGINT", Exit.INTERRUPTED)
_FORGET_EVERY = 50  # requests answered without a run: old ones are forgotten then, as each run does
_MOST_RUNS = 100  # that one process does for others before it goes home


class Runner:
    """Runs the archives of this machine."""

    def __init__(
        self, config: Config, store: Store, progress: Progress, *, on_hook: OnHook | None = None
    ) -> None:
        self._config = config
        self._store = store
        self._progress = progress
        self._on_hook = on_hook
        self.runs: set[int] = set()  # the numbers of those that this process has done

    def preview(self, request: RunRequest) -> Preview:
        """What a run would do; neither the tree nor the store is touched."""
        return self._engine(self._config.archives[request.archive]).preview(request)

    def is_current(self, archive: str) -> bool:
        """Whether a run would find nothing to do, as far as can be told cheaply; in doubt, no.

        Only upstream's Release files and traces are fetched. The answer is always no without upstream, while
        a request waits, and unless the last run succeeded, less than `full_every` ago and with the present
        filters, and its trace is still the one in the tree. Nothing is changed or stored; errors of upstream
        are left for a run to report.
        """
        one = self._config.archives[archive]
        if one.upstream is None or self._store.pending(archive):
            return False
        runs, served = self._store.runs(archive, limit=1), self._store.latest_generation(archive)
        if not runs or runs[0].outcome is not Outcome.SUCCEEDED or served is None:
            return False
        is_recent = timedelta() <= clock.now() - runs[0].started_at < one.full_every
        if not is_recent or runs[0].stats.get("selection") != selection_hash(one):
            return False
        from pushmirror.tree.traces import Traces

        if Traces(one.path, self._config.mirror.name).generation() != served.digest:
            return False
        try:
            return self._engine(one).is_current()
        except PushmirrorError as exc:
            _log.info("cannot ask upstream of %s for changes: %s", archive, exc)
            return False

    def submit(self, request: RunRequest) -> Request:
        """Store a request, have it answered by the run that covers it, ours or another process's, and return
        it with its result.

        A push for the generation that is served here already is answered at once, without a run.
        """
        archive = self._config.archives[request.archive]
        require_ours(self._config.state.directory, archive)
        if (
            request.generation
            and not request.is_special
            and is_already_served(archive, request.generation, self._store)
        ):
            stored = self._add(request, answer=f"already at {short(request.generation)}")
            if stored.id % _FORGET_EVERY == 0:
                self.prune_runs(archive)
            return stored
        self._make_tree(archive)
        stored = self._add(request)
        self._set_required_flag(archive)
        with self.tree_lock(archive):
            self._store.recover(archive.name)
            stored = self._store.request(stored.id)
            if stored.exit_code is not None and request.is_special:
                stored = self._add(request)  # the run that served it did not have its permissions
            if stored.exit_code is None:
                self._run(archive, request)
                stored = self._store.request(stored.id)
        self._run_abandoned_requests(archive)
        return stored

    def _add(self, request: RunRequest, answer: str | None = None) -> Request:
        return self._store.add_request(
            request.archive,
            request.stage,
            mhop=request.mhop,
            trigger=request.trigger,
            client=request.client,
            words=request.words,
            generation=request.generation,
            answer=answer,
        )

    @contextmanager
    def tree_lock(self, archive: Archive) -> Iterator[None]:
        """Hold the tree's lock; reports progress if somebody else has it."""
        with locks.locked(archive.path, wait=False) as held:
            if held:
                yield
                return
        self._progress.step("waiting for the current run")
        with locks.locked(archive.path):
            yield

    def _run_abandoned_requests(self, archive: Archive) -> None:
        """Serve requests whose own process is gone; a process that still waits gets the lock first."""
        for _ in range(_MOST_RUNS):
            if not self._store.pending(archive.name):
                return
            with locks.locked(archive.path, wait=False) as held:
                if not held:
                    return  # its holder serves them
                self._store.recover(archive.name)
                if self._store.pending(archive.name):
                    self._run(archive)  # with nobody's special permissions

    def _run(self, archive: Archive, allowed: RunRequest | None = None) -> None:
        """One run for all requests that wait now; the caller holds the tree's lock.

        It has the permissions and the strategy of the request `allowed`.
        """
        waiting = self._store.pending(archive.name)
        stage = combined(request.stage for request in waiting)
        log, work = self.new_log(archive), self._work(archive)  # without these there is nothing to remember
        run = self._store.begin_run(
            archive.name,
            stage,
            strategy="" if archive.upstream else OWNER_SCAN,
            trigger=waiting[0].trigger,
            log=str(log),
            request_ids=[request.id for request in waiting],
        )
        self.runs.add(run.id)
        self._set_required_flag(archive)
        with logged_to(log):
            for one in waiting:
                _log.info(
                    "request: stage %s, trigger %s, client %s, words %a",
                    *(one.stage.value, one.trigger or "hand", one.client or "this machine", one.words),
                )
            request = replace(
                allowed or RunRequest(archive.name, stage, run.trigger),
                stage=stage,
                trigger=run.trigger,
                generation=_announced(waiting),
            )
            self._carry_out(archive, run, work, request, waiting)
        self._set_required_flag(archive)
        self.prune_runs(archive)

    def _carry_out(
        self,
        archive: Archive,
        run: Run,
        work: Engine | OwnerScan,
        request: RunRequest,
        waiting: Sequence[Request],
    ) -> None:
        def on_published(generation: str) -> None:
            was_prepared = not work.report.landed  # stage 1 had brought all that our sites could fetch ahead
            self._store.publish_generation(
                archive.name, generation, run.id, clock.now(), was_prepared=was_prepared
            )

        try:
            if not request.allow_empty_tree:
                self.require_mounted(archive)
            try:
                report = work.run(request, on_published)
            except Damaged as exc:  # once: what is made anew is not damaged
                _log.warning("%s; rebuilding it", exc)
                work = self._work(archive)
                report = work.run(request, on_published)
        except (Stopped, KeyboardInterrupt) as exc:
            self._interrupted(run, exc, work.report)
            raise
        except PushmirrorError as exc:
            if isinstance(exc, HookFailed):
                work.report.hook_exit_code = exc.code
            message = exc.with_hint
            _log.error("%s", message)
            self._end(run, Outcome.FAILED, exc.exit_code, message, work.report)
        except Exception as exc:
            _log.exception("internal error, please report")
            self._end(run, Outcome.FAILED, Exit.SOFTWARE, f"{type(exc).__name__}: {exc}", work.report)
            raise
        else:
            _log.info("done: %s", report.summary())
            mhop = any(request.mhop for request in waiting)
            code = Exit.HELD if report.held else Exit.OK
            self._end(run, Outcome.SUCCEEDED, code, report.summary(), report, for_sites=mhop)

    def _prepare(self, run: Run, report: Report, *, for_sites: bool) -> None:
        """After stage 1: record what our sites can prefetch, or that there is more than they have.

        A hub above that is itself in its stage 1 still shows its former Release files, so that nobody here
        knows the generation that the packages are for. What sites confirm then has the run's name until it is
        published.
        """
        if report.generation:
            return  # it was published, and nothing is prepared any more
        served = self._store.latest_generation(run.archive)
        known = report.prepared if not served or report.prepared != served.digest else ""
        if for_sites and (known or report.landed):
            self._store.prepare(run.archive, known or f"run {run.id}")
        elif report.landed:
            self._store.unprepare(run.archive)

    def _interrupted(self, run: Run, exc: Stopped | KeyboardInterrupt, report: Report) -> None:
        by, code = (str(exc), exc.exit_code) if isinstance(exc, Stopped) else _BY_CTRL_C
        message = f"{by}; the requests wait for the next run"
        _log.warning("%s", message)
        self._end(run, Outcome.INTERRUPTED, code, message, report)

    def _end(
        self,
        run: Run,
        outcome: Outcome,
        exit_code: Exit,
        message: str,
        report: Report,
        *,
        for_sites: bool = False,
    ) -> None:
        self._prepare(run, report, for_sites=for_sites)  # before the answer: who asked acts on it
        self._store.end_run(
            run.id,
            outcome=outcome,
            exit_code=exit_code,
            generation=report.generation or None,  # also of a run that published and then failed
            message=message,
            stats=report.numbers(),
            strategy=report.strategy,
            why=report.why,
        )

    def _work(self, archive: Archive) -> Engine | OwnerScan:
        if archive.upstream is not None:
            return self._engine(archive)
        from pushmirror.hooks import log_hook
        from pushmirror.sync.owner import OwnerScan

        paths, progress = self.state_paths(archive), Logged(self._progress)
        mirror, on_hook = self._config.mirror, self._on_hook or log_hook
        return OwnerScan(archive, mirror, paths=paths, progress=progress, on_hook=on_hook)

    def _engine(self, archive: Archive) -> Engine:
        from pushmirror.hooks import log_hook
        from pushmirror.sync.engine import Engine

        paths, progress = self.state_paths(archive), Logged(self._progress)
        mirror, on_hook = self._config.mirror, self._on_hook or log_hook
        with state_errors(self._config.state.directory):
            return Engine(archive, mirror, paths=paths, progress=progress, on_hook=on_hook)

    def state_paths(self, archive: Archive) -> StatePaths:
        """The paths of an archive's state, created if missing."""
        from pushmirror.fetch.stall import stalled_file
        from pushmirror.workspace import StatePaths

        state = self._config.state
        inventories = state.directory / "inventories"
        with state_errors(self._config.state.directory):
            inventories.mkdir(parents=True, exist_ok=True)
        return StatePaths(
            closures=state.directory / "closures" / archive.name,
            inventory=inventories / f"{archive.name}.sqlite",
            upstream_manifest=state.directory / "upstream" / archive.name,
            manifests=state.manifests / archive.name if self._config.serves_manifest(archive) else None,
            suites=suites_path(state.directory, archive.name),
            stalled=stalled_file(state.directory, archive.name),
        )

    def _make_tree(self, archive: Archive) -> None:
        """Create the tree's directory if its parent exists; without upstream the tree must exist."""
        if archive.path.is_dir():
            return
        if archive.upstream is None:
            raise ConfigError(
                f"the tree {archive.path} of archive {archive.name} does not exist",
                hint="without upstream the tree must exist: mount it, correct `path`, or add `upstream`",
            )
        try:
            archive.path.mkdir(mode=0o755)
        except OSError as exc:
            raise ConfigError(
                f"cannot create the tree {archive.path} of archive {archive.name}: {exc.strerror}",
                hint=f"create the directory for the user who runs pushmirror, or correct {key_name('path')}",
            ) from exc

    def require_mounted(self, archive: Archive) -> None:
        """ConfigError if the tree is empty although a run published in it: its disk is not mounted."""
        was = self._store.latest_generation(archive.name)
        if was is None or was.run_id is None or any(is_content(one.name) for one in archive.path.iterdir()):
            return
        raise ConfigError(
            f"the tree {archive.path} is empty, but generation {short(was.digest)} was published in it",
            hint="mount the disk, or refill the tree: pushmirror sync --refill",
        )

    def _set_required_flag(self, archive: Archive) -> None:
        """The flag Archive-Update-Required is in the tree exactly while a request waits."""
        if archive.upstream is None:
            return  # the tree is its owner's
        from pushmirror.tree.traces import Traces

        is_required = bool(self._store.pending(archive.name))
        try:
            Traces(archive.path, self._config.mirror.name).set_required(is_required=is_required)
        except OSError as exc:  # a full or read-only disk: the run itself will say so
            _log.warning("cannot set the flag Archive-Update-Required in %s: %s", archive.path, exc.strerror)

    def new_log(self, archive: Archive) -> Path:
        directory = self._config.state.logs / archive.name
        file = directory / f"{clock.now():%Y%m%dT%H%M%S.%f}-{os.getpid()}.log"
        with state_errors(self._config.state.directory):
            directory.mkdir(parents=True, exist_ok=True)
            file.touch()
        return file

    def prune_runs(self, archive: Archive) -> None:
        for run in self._store.prune(archive.name, self._config.state.keep_runs):
            try:
                if run.log:
                    Path(run.log).unlink(missing_ok=True)
            except OSError as exc:  # the state directory was another one then, or another user's
                _log.warning("cannot delete log %s of a pruned run: %s", run.log, exc.strerror)


def hook_exit_code(run: Run) -> int | None:
    """The exit code of the failed hook that ended a run; None if it ended in another way.

    ftpsync exits with it; our own exit code is the stage's, for a hook's code may mean something else with
    us.
    """
    code = run.stats.get("hook_exit_code")
    return None if code is None else int(code)


def _announced(waiting: Sequence[Request]) -> str | None:
    """The generation that all of them ask for: then it is the true answer to each.

    If one asks for another, or for whatever upstream has, only upstream itself can tell what is newest.
    """
    asked = {request.generation for request in waiting}
    return asked.pop() if len(asked) == 1 else None


@contextmanager
def logged_to(file: Path) -> Iterator[None]:
    """Copy everything that pushmirror logs to this file, as far as it can be written."""
    handler = LogFile(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("pushmirror")
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
        handler.close()
        if handler.failed:
            _log.warning("log %s is incomplete, cannot write to it: %s", file, handler.failed.strerror)
