"""Verify a tree: read everything that its Release files' closure and the inventory expect.

    look ──▶ plan ──▶ read, on all cores ──▶ findings checked again ──▶ (repair) ──▶ result stored
             │  ▲                            (under the tree's lock, against the then live closure)
             │  └── an interrupted verify continues where it stopped
             └ sorted: in the order of the disk's directories, each name once

Guaranteed: nothing in the tree is written, and its lock is not held while it is read: runs go on beside it.
What a run replaced or deleted meanwhile is no finding. Not the business of this module: repair.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from pushmirror.archive.filters import Selection
from pushmirror.closures.store import ClosureStore
from pushmirror.config.model import Archive
from pushmirror.errors import PushmirrorError
from pushmirror.fetch.selection import closure_rules
from pushmirror.inventory.inventory import Inventory
from pushmirror.progress import Progress
from pushmirror.system import clock, locks
from pushmirror.system.batched import batched
from pushmirror.verify.checkpoint import Checkpoint, VerifyResult, VerifyStore
from pushmirror.verify.plan import PLAN, Expectations, look
from pushmirror.verify.plan_lines import Expected
from pushmirror.verify.reader import Finding, Piece, Problem, Reader, Seen, begin, read_piece, warm_up
from pushmirror.verify.throttle import Throttle

_log = logging.getLogger(__name__)
_AHEAD = 64  # pieces that are given out: enough for one huge file to be read beside many others
_TELL_S = 0.2  # how often a progress hears of files that are being read
_SAVE_S = 2.0  # so much work is lost by a kill
_FRESH = timedelta(days=1)  # what a verify found is repaired without reading everything again
_AGAIN = 50_000  # findings that are looked at again at once


class Verifier:
    """Verifies one archive."""

    def __init__(
        self,
        archive: Archive,
        directory: Path,
        *,
        closures: ClosureStore,
        inventory: Inventory | None,
        progress: Progress,
        served: Callable[[], str],
    ) -> None:
        """`directory` is where its verifies are stored; `served` returns the generation that we published."""
        self._archive = archive
        self._tree = archive.path
        self._closures = closures
        self._inventory = inventory
        self._progress = progress
        self._served = served
        self._state = VerifyStore(directory)
        self._scratch = directory / "scratch"
        self._selection = Selection(tuple(closure_rules(archive)))
        self._position = Checkpoint("", clock.now())
        self._notes: tuple[str, ...] = ()
        self._weak: tuple[str, ...] = ()
        self._lacking = frozenset[str]()  # what upstream lacks, too
        self._resumed = False
        self._repaired: int | None = None  # none: nobody tried

    @contextmanager
    def working(self) -> Iterator[None]:
        """The lock and scratch space for the other methods; PushmirrorError if another verify is running."""
        with locks.locked(self._state.directory, wait=False) as held:
            if not held:
                raise PushmirrorError(
                    f"another verify of {self._archive.name} is running",
                    hint="wait until it ends, or stop it: it can continue where it stopped",
                )
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch.mkdir()
            try:
                yield
            finally:
                shutil.rmtree(self._scratch, ignore_errors=True)

    def read(
        self,
        *,
        rate: int = 0,
        restart: bool = False,
        for_repair: bool = False,
        workers: int | None = None,
    ) -> None:
        """Read everything that is not read yet; `rate` is in bytes per second, 0 for no limit.

        If interrupted, the next call continues, even if runs have published other generations meanwhile: a
        night may be too short for a tree, and the next push come sooner than the next night. For a repair,
        what a verify has just read is not read again.
        """
        self._progress.step("planning")
        sources = self._look()
        generation = sources.generation
        position = None if restart else self._state.resume(generation)
        if (
            position
            and position.ended_at
            and not (for_repair and timedelta() <= clock.now() - position.ended_at < _FRESH)
        ):
            position = None
        self._resumed = position is not None and not position.ended_at
        self._position = position or self._state.begin(generation)
        self._take(sources)
        self._position.knows_all &= not sources.notes
        if self._position.complete:
            return
        with _readers(self._tree, self._scratch / PLAN, rate, workers or os.cpu_count() or 1) as readers:
            left = sources.plan(self._scratch).after(self._position.after)
            files, size = sum(piece.files for piece in left), sum(piece.size for piece in left)
            self._progress.step("verifying", files=files, size=size)
            try:
                self._read(readers, left)
            finally:
                self._state.save(self._position)

    def look_again(self) -> int:
        """Check the findings again; returns how many problems remain.

        A run may have replaced or deleted files while they were read. The caller holds the tree's lock, and
        the inventory has no unsettled names: what a killed run left is not wrong.
        """
        self._progress.step("checking again")
        sources = self._look()
        reader = Reader(self._tree)
        self._take(sources)
        self._position.generation = sources.generation  # which may be another one by now
        problems = 0

        def still() -> Iterator[Finding]:
            nonlocal problems
            for batch in batched(self._state.findings(), _AGAIN):
                for finding in self._still(batch, sources, reader):
                    problems += finding.problem.is_error
                    yield finding

        self._state.replace(still())
        self._state.save(self._position)
        return problems

    def problems(self) -> Iterator[tuple[Finding, Expected | None]]:
        """The problems, each with what is expected; the caller still holds the lock of `look_again`."""
        sources = self._look()
        wrong = (finding for finding in self._state.findings() if finding.problem.is_error)
        for batch in batched(wrong, _AGAIN):
            known = sources.expected([finding.path for finding in batch])
            yield from ((finding, known.get(finding.path)) for finding in batch)

    def repaired(self, remaining: Iterable[Finding], number: int) -> None:
        """So many problems were repaired; these remain."""
        others = (finding for finding in self._state.findings() if not finding.problem.is_error)
        self._state.replace(chain(remaining, others))
        self._repaired = number

    def needs_another_look(self) -> bool:
        """Whether there are findings, or counts that differ from the expected ones."""
        return bool(self._notes) or next(self._state.findings(), None) is not None

    @property
    def generation(self) -> str:
        """The generation whose closure is verified."""
        return self._position.generation

    def findings(self) -> Iterator[Finding]:
        """All findings."""
        return self._state.findings()

    def finish(self) -> VerifyResult:
        """Finish the verify and store its result."""
        found = VerifyResult(
            archive=self._archive.name,
            generation=self._position.generation,
            started_at=self._position.started_at,
            ended_at=self._position.ended_at or clock.now(),
            files=self._position.files,
            size=self._position.size,
            unhashed=self._position.unhashed,
            repaired=self._repaired or 0,
            inventory=bool(self._inventory and self._inventory.complete),
            resumed=self._resumed,
            remembered=self._position.ended_at is not None,
            notes=self._notes,
            weak=self._weak,
        )
        return self._state.finish(found, self._position if self._repaired is None else None)

    def _look(self) -> Expectations:
        return look(
            self._tree,
            closures=self._closures,
            inventory=self._inventory,
            scratch=self._scratch / "closures",
            served=self._served(),
            further=self._archive.release_directories,
        )

    def _read(self, readers: _Readers, left: list[Piece]) -> None:
        saved = time.monotonic()
        for piece, seen in _in_order(readers, left, self._progress):
            self._state.add(self._judged(seen.findings))
            self._position.files += seen.files
            self._position.size += seen.size
            self._position.unhashed += seen.unhashed
            self._position.after = piece.until
            if time.monotonic() - saved > _SAVE_S:
                self._state.save(self._position)
                saved = time.monotonic()
        self._position.complete = True

    def _take(self, sources: Expectations) -> None:
        """Take over generation, notes and weak suites."""
        self._notes, self._weak = sources.notes, sources.weak
        missing = self._closures.missing().values()
        self._lacking = frozenset(sources.real(path) for paths in missing for path in paths)

    def _judged(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Drop what is missing because the configuration leaves it out; mark what upstream lacks."""
        for finding in findings:
            is_missing = finding.problem is Problem.MISSING
            if is_missing and not self._selection.wants(finding.path):
                continue
            is_there = finding.problem is Problem.UNREADABLE or not finding.problem.is_error
            is_upstreams = not is_there and finding.path in self._lacking
            yield replace(finding, problem=Problem.UPSTREAM) if is_upstreams else finding

    def _still(self, batch: Sequence[Finding], sources: Expectations, reader: Reader) -> Iterator[Finding]:
        """Those of the findings that are still true."""
        known = sources.expected([finding.path for finding in batch])
        yield from self._judged(reader.names(known))
        for finding in batch:
            is_extra = finding.problem is Problem.EXTRA and finding.path not in known
            if is_extra and os.path.lexists(self._tree / finding.path):
                yield finding


@dataclass(frozen=True, slots=True)
class _Readers:
    """Processes that read pieces of a plan."""

    pool: ProcessPoolExecutor
    read: Synchronized[int]  # bytes so far, also of pieces that are under way


class _ProgressRelay:
    """Reports to a Progress how far the readers are, also within a file.

    If a piece has fewer bytes than planned, or more, the difference is added when it is done.
    """

    def __init__(self, progress: Progress, read: Synchronized[int]) -> None:
        self._progress, self._read = progress, read
        self._told = 0  # bytes
        self._done: deque[tuple[Piece, Seen]] = deque()

    def done(self, piece: Piece, future: Future[Seen | None]) -> None:
        """A piece is done; called by a thread of the pool."""
        if not future.cancelled() and not future.exception() and (seen := future.result()):
            self._done.append((piece, seen))

    def tell(self) -> None:
        """Report what is new."""
        now = self._read.value
        files, size = 0, now - self._told
        self._told = now
        while self._done:
            piece, seen = self._done.popleft()
            files += piece.files
            size += piece.size - seen.size
        if files or size:
            self._progress.advance(files=files, size=size)


@contextmanager
def _readers(tree: Path, plan: Path, rate: int, workers: int) -> Iterator[_Readers]:
    """Processes that read pieces of a plan; told to stop at the end of the block, whatever they are at."""
    context = get_context("spawn")  # a fork of a process with threads may hang
    stop, read = context.Value("b", 0), context.Value("q", 0)
    pace = Throttle(context.Value("d", 0.0), stop, read, rate)
    pool = ProcessPoolExecutor(workers, context, initializer=begin, initargs=(tree, plan, pace))
    try:
        for _ in range(workers):
            pool.submit(warm_up)  # they start while the plan is made
        yield _Readers(pool, read)
    finally:
        stop.value = 1
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(readers: _Readers, pieces: list[Piece], progress: Progress) -> Iterator[tuple[Piece, Seen]]:
    """Each piece with its result, in order; several are read at a time."""
    todo, heard = iter(pieces), _ProgressRelay(progress, readers.read)
    under_way: deque[tuple[Piece, Future[Seen | None]]] = deque()
    try:
        while True:
            for piece in islice(todo, _AHEAD - len(under_way)):
                future = readers.pool.submit(read_piece, piece)
                future.add_done_callback(partial(heard.done, piece))
                under_way.append((piece, future))
            if not under_way:
                return
            piece, future = under_way.popleft()
            while not wait([future], timeout=_TELL_S).done:
                heard.tell()
            seen = future.result()
            heard.tell()
            assert seen is not None  # they stop only when we do
            yield piece, seen
    except BrokenProcessPool as exc:
        raise PushmirrorError(
            "a reader process was killed",
            hint="check the kernel's log for out-of-memory kills; verify continues where it stopped",
        ) from exc
