"""Several transfers at a time: how files are divided into batches, and threads that run one transfer each.

    files ──in_batches──▶ batch ─▶ stream 1 ─┐
                          batch ─▶ stream 2 ─┼─▶ take(result), in the calling thread
                          batch ─▶ stream 3 ─┘

Guaranteed: when `in_streams` returns or raises, no stream is at work and no program of one is left; the first
that fails, or whatever interrupts the caller, ends the others. Only a stream that upstream accepts no more
connection from hands its batch back and ends by itself, as long as another one can go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Generic, TypeVar

from pushmirror.archive.paths import Entry
from pushmirror.errors import UpstreamFull
from pushmirror.system.process import CancelToken

_log = logging.getLogger(__name__)
_FEW_FILES, _FEW_BYTES = 2_000, 50_000_000  # a second connection would cost more than it gains
_PER_FILE = 10_000  # bytes that could be sent in the time that a file takes, whatever its size
_LEAST = 10_000_000  # weight of a batch that is worth the ten round trips of a connection, ...
_WORTH = 200_000_000  # ... and of one that need not be cut any more
_LARGEST = 2_000_000_000  # after so much, what has come is checked and lands
_LOOK_S = 0.05

Job = TypeVar("Job")
Got = TypeVar("Got")


def streams_for(files: int, size: int, *, most: int) -> int:
    """How many streams are useful for so many files of so many bytes together."""
    return 1 if files < _FEW_FILES and size < _FEW_BYTES else most


def in_batches(
    entries: Iterable[Entry], *, files: int, size: int, streams: int, longest: int
) -> Iterator[list[Entry]]:
    """Cut a row of files into parts for so many streams; `files` and `size` (bytes) are those of the row.

    They come in rounds of one for each stream, all of one length, and most of what is left goes into each
    round: so all streams end at about the same time, and few connections are made. A directory stays
    together, for rsync sees hard links only within one transfer; by-hash directories stay with what they
    copy. No part has more than `longest` names.
    """
    left = size + files * _PER_FILE
    share, cut = _share(left, streams), 0
    batch: list[Entry] = []
    weight, group = 0, ""
    for entry in entries:
        here = _group(entry.path)
        if batch and ((weight >= share and here != group) or len(batch) == longest):
            yield batch
            left, cut = left - weight, cut + 1
            batch, weight = [], 0
            if cut % streams == 0:
                share = _share(left, streams)
        batch.append(entry)
        weight += entry.size + _PER_FILE
        group = here
    if batch:
        yield batch


def _share(left: int, streams: int) -> int:
    """The weight of each batch of a round, of what is left."""
    even = left // streams
    return max(even, _LEAST) if even <= _WORTH else min(even * 3 // 4, _LARGEST)


def _group(path: str) -> str:
    return path.rpartition("/")[0].partition("/by-hash/")[0]


def in_streams(
    jobs: Iterable[Job],
    work: Callable[[Job, CancelToken | None], Got],
    take: Callable[[Got], None],
    *,
    streams: int,
) -> None:
    """Do each job in one of so many threads, and hand what comes of it to `take`, in the calling thread.

    `work` ends early, with an error, when its Stop is set; the first error of all is raised here.
    UpstreamFull is one only where no other stream is left; until then that job is another's. One stream is
    no thread at all.
    """
    if streams <= 1:
        for job in jobs:
            take(work(job, None))
        return
    with CancelToken() as stop:
        crew = _Crew(iter(jobs), work, stop, streams)
        try:
            crew.start()
            for found in crew.found():
                take(found)
        finally:
            stop.set()
            crew.join()


@dataclass(frozen=True, slots=True)
class _Done(Generic[Got]):
    got: Got


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


@dataclass(frozen=True, slots=True)
class _Job(Generic[Job]):
    what: Job
    alone: bool  # no other stream was left when it was begun


class _Jobs(Generic[Job]):
    """The jobs of one `in_streams`, and how many streams are left that do them."""

    def __init__(self, jobs: Iterator[Job], streams: int) -> None:
        self._jobs = jobs
        self._back: list[Job] = []
        self._streams = streams
        self._one_at_a_time = threading.Lock()  # an iterator is not for several threads at once

    def next(self) -> _Job[Job] | None:
        """The next job; None if there is none, and the stream ends."""
        with self._one_at_a_time:
            found = [self._back.pop()] if self._back else list(_next(self._jobs))
            if found:
                return _Job(found[0], alone=self._streams == 1)
            self._streams -= 1
            return None

    def hand_back(self, job: _Job[Job]) -> bool:
        """Upstream is full: True if the stream ends and another one does its job.

        False: it is the last one and has to do the job itself. The others have ended since, and with them
        their connections; if there were none, UpstreamFull is raised.
        """
        with self._one_at_a_time:
            if self._streams == 1:
                return False
            self._back.append(job.what)
            self._streams -= 1
            _log.info("upstream accepts no more connections; using at most %d from now on", self._streams)
            return True


class _Crew(Generic[Job, Got]):
    """The threads of one `in_streams`."""

    def __init__(
        self,
        jobs: Iterator[Job],
        work: Callable[[Job, CancelToken | None], Got],
        stop: CancelToken,
        streams: int,
    ) -> None:
        self._jobs = _Jobs(jobs, streams)
        self._work = work
        self._stop = stop
        # Bounded: whoever takes what came may be slower than all who fetch. None: a stream is through.
        self._results: Queue[_Done[Got] | _Failed | None] = Queue(maxsize=streams)
        self._threads = [threading.Thread(target=self._stream, name=f"stream {n}") for n in range(streams)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def found(self) -> Iterator[Got]:
        """The results of the jobs, as they are done. Raises the first error."""
        running = len(self._threads)
        while running:
            match self._results.get():
                case _Done(got):
                    yield got
                case _Failed(error):
                    raise error
                case None:
                    running -= 1

    def join(self) -> None:
        """Wait for the threads, which have been told to stop; further results are dropped."""
        for thread in self._threads:
            while thread.is_alive():
                with suppress(Empty):
                    while True:
                        self._results.get_nowait()
                thread.join(_LOOK_S)

    def _stream(self) -> None:
        try:
            while not self._stop.is_set():
                job = self._jobs.next()
                if job is None or not self._do(job):
                    break
        except BaseException as exc:  # noqa: BLE001  it is raised in the calling thread
            self._results.put(_Failed(exc))
        self._results.put(None)

    def _do(self, job: _Job[Job]) -> bool:
        """Do a job; returns whether this stream continues."""
        try:
            got = self._work(job.what, self._stop)
        except UpstreamFull:
            if self._jobs.hand_back(job):
                return False
            if job.alone:
                raise
            got = self._work(job.what, self._stop)
        self._results.put(_Done(got))
        return True


def _next(jobs: Iterator[Job]) -> Iterator[Job]:
    """The next job, if there is one."""
    with suppress(StopIteration):
        yield next(jobs)
