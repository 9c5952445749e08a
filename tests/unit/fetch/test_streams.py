"""Batches of files, and the threads that fetch them: no transfer, and threads that end each other."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pushmirror.archive.paths import Entry, Kind
from pushmirror.errors import UpstreamFull
from pushmirror.fetch.streams import in_batches, in_streams, streams_for
from pushmirror.system import process
from pushmirror.system.process import CancelToken

_LIMIT_S = 10.0  # of a test that fails
MB = 1_000_000


def entries(count: int, size: int = 0, per_directory: int = 10) -> list[Entry]:
    return [Entry(f"pool/{n // per_directory:05}/{n:07}", Kind.FILE, size) for n in range(count)]


def cut(files: list[Entry], *, streams: int = 4, longest: int = 20_000) -> list[list[Entry]]:
    size = sum(entry.size for entry in files)
    return list(in_batches(files, files=len(files), size=size, streams=streams, longest=longest))


def waits(job: int, stop: CancelToken | None) -> int:
    """A job that ends only when it is told to."""
    assert stop is not None
    until = threading.Event()
    for _ in range(int(_LIMIT_S / 0.01)):
        if stop.is_set():
            raise RuntimeError(f"{job} was told to end")
        until.wait(0.01)
    raise AssertionError("nobody told it to end")


@pytest.mark.parametrize(
    ("files", "size", "streams"),
    [(1, 0, 1), (1999, 49 * MB, 1), (2000, 0, 4), (3, 50 * MB, 4), (0, 0, 1)],
)
def test_few_files_and_bytes_are_worth_one_stream(files: int, size: int, streams: int) -> None:
    assert streams_for(files, size, most=4) == streams


@pytest.mark.parametrize(
    ("files", "batches"),
    [
        (entries(0), 0),
        (entries(100), 1),  # not worth another connection
        (entries(100, 2 * MB), 4),
        (entries(30_000), 4),
        (entries(1000, 20 * MB), 16),
        (entries(50_000, per_directory=10**6), 3),  # a directory is cut only where it is too long
    ],
)
def test_a_row_is_cut_into_batches_that_are_worth_it(files: list[Entry], batches: int) -> None:
    found = cut(files)
    assert len(found) == batches
    assert [entry for batch in found for entry in batch] == files


def test_batches_get_shorter_so_that_all_streams_end_together() -> None:
    lengths = [len(batch) for batch in cut(entries(1000, 5 * MB))]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > 4 * lengths[-1]


def test_no_batch_has_more_names_than_an_rsync_takes_well() -> None:
    assert max(len(batch) for batch in cut(entries(100_000), longest=2000)) == 2000


def test_hard_links_stay_in_one_batch() -> None:
    suite = "dists/sid/main"
    files = [
        Entry(f"{suite}/binary-{arch}/by-hash/{kind}/{n}", Kind.FILE, 20 * MB)
        for arch in range(3)
        for kind in ("MD5Sum", "SHA256")
        for n in range(9)
    ]
    assert [{entry.path.split("/")[3] for entry in batch} for batch in cut(files)] == [
        {f"binary-{arch}"} for arch in range(3)
    ]


@pytest.mark.parametrize("streams", [1, 2, 7])
def test_every_job_is_done_once_and_taken_in_the_calling_thread(streams: int) -> None:
    taken: list[tuple[int, int]] = []
    in_streams(
        range(50),
        lambda job, _: -job,
        lambda got: taken.append((got, threading.get_ident())),
        streams=streams,
    )
    assert sorted(taken) == [(-job, threading.get_ident()) for job in reversed(range(50))]


def test_the_first_failure_ends_the_others_and_is_what_is_raised() -> None:
    def work(job: int, stop: CancelToken | None) -> int:
        if job == 2:
            raise ValueError("two")
        return waits(job, stop)

    with pytest.raises(ValueError, match="two"):
        in_streams(range(100), work, lambda _: None, streams=3)
    assert threading.active_count() == 1


def test_whatever_interrupts_the_caller_ends_the_streams() -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_streams(range(100), lambda job, stop: job if job < 1 else waits(job, stop), interrupted, streams=3)
    assert threading.active_count() == 1


def test_a_signal_ends_the_programs_of_all_streams(tmp_path: Path) -> None:
    def work(job: int, stop: CancelToken | None) -> None:
        file = tmp_path / f"{job}"
        process.run(["sh", "-c", f"echo $$ >{file}.new; mv {file}.new {file}; exec sleep 60"], stop=stop)

    def interrupt() -> None:
        until = time.monotonic() + _LIMIT_S
        while len(running()) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    def running() -> set[int]:  # a directory that changes while it is read may tell of a name twice
        return {int(file.read_text()) for file in tmp_path.glob("?")}

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        in_streams(range(9), work, lambda _: None, streams=3)
    assert len(running()) == 3
    for pid in running():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_jobs_that_cannot_be_told_are_an_error() -> None:
    def jobs() -> Iterator[int]:
        yield 1
        raise OSError("the spool is gone")

    with pytest.raises(OSError, match="spool"):
        in_streams(jobs(), lambda job, _: job, lambda _: None, streams=2)


class Full:
    """An upstream that takes so many connections at a time; they last until as many streams have tried."""

    def __init__(self, most: int, tries: int) -> None:
        self.most, self.open, self.refused = most, 0, 0
        self.lock, self.barrier = threading.Lock(), threading.Barrier(tries)

    def work(self, job: int, _: CancelToken | None) -> int:
        with self.lock:
            self.open += 1
            is_full = self.open > self.most
            self.refused += is_full
        try:
            if job < self.barrier.parties:
                with suppress(threading.BrokenBarrierError):
                    self.barrier.wait(_LIMIT_S)
                self.barrier.abort()  # the first of each stream were at the same time, and that is enough
            if is_full:
                raise UpstreamFull(f"refused {job}")
            return job
        finally:
            with self.lock:
                self.open -= 1


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_streams_that_upstream_refuses_leave_their_batches_to_the_others(most: int) -> None:
    upstream, taken = Full(most, tries=4), list[int]()
    in_streams(range(20), upstream.work, taken.append, streams=4)
    assert sorted(taken) == list(range(20)) and upstream.refused >= 4 - most


def test_an_upstream_that_refuses_the_last_stream_is_an_error() -> None:
    upstream = Full(0, tries=3)
    with pytest.raises(UpstreamFull, match="refused"):
        in_streams(range(20), upstream.work, lambda _: None, streams=3)
    assert upstream.refused == 4 and threading.active_count() == 1


def test_who_is_refused_when_the_others_have_just_ended_tries_once_more() -> None:
    ended, tried = threading.Event(), list[int]()

    def work(job: int, _: CancelToken | None) -> int:
        if job == 0:
            return job
        tried.append(job)
        if len(tried) == 1:
            assert ended.wait(_LIMIT_S)
            raise UpstreamFull
        return job

    def jobs() -> Iterator[int]:
        yield from range(2)
        ended.set()  # asked by the stream that then has nothing to do, before any other may ask

    in_streams(jobs(), work, lambda _: None, streams=2)
    assert tried == [1, 1]


def test_results_do_not_pile_up_before_whoever_takes_them() -> None:
    begun, taken, most = [0], [0], [0]

    def work(job: int, _: CancelToken | None) -> int:
        begun[0] += 1
        most[0] = max(most[0], begun[0] - taken[0])
        return job

    def take(_: int) -> None:
        taken[0] += 1

    in_streams(range(200), work, take, streams=2)
    assert taken[0] == 200 and most[0] <= 2 * 2 + 1
