"""The part `fuzz`: everything that reads what comes from outside, and inputs that nobody would write.

    corpus ──▶ mutate ──▶ a reader ──▶ a value that keeps its promises, or an error of the project's own

Guaranteed: the same seed draws the same inputs, whatever the number of processes. What a reader does besides
is counted (any other exception: internal; too long: hangs; a name outside: leaks; a value that contradicts
itself: broken), made small, and kept in the corpus, where the tests find it until it is mended, and after.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from types import FrameType

from faults.campaign import Trial
from faults.mutate import mutated
from faults.readers import READERS
from faults.readers.judged import OutsideError, Reader, WrongError

CORPUS = Path(__file__).parents[1] / "tests" / "data" / "fuzz"
FULL = 1_000_000  # inputs of a whole campaign
LIMIT_S = 5.0  # of processor time for one input: a reader that takes longer hangs
_LARGEST_SEED = 5000  # bytes
_CHUNK = 500  # inputs that are drawn from one seed and counted at once
_STUCK_S = 120.0  # of a chunk, by the clock: not even the limit could end it
_MEMORY = 2 * 1024**3  # bytes of a process
_TRIES_TO_SHRINK = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """What a reader did with an input that it must not do."""

    kind: str  # of the tally's ZERO
    what: str  # one line
    place: str  # the same for the same mistake


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some inputs of one reader."""

    reader: str
    number: int
    inputs: int


@dataclass(slots=True)
class Outcome:
    """What came of a chunk."""

    chunk: Chunk
    refused: int = 0  # inputs that ended in an error as they may
    failures: dict[str, tuple[Failure, bytes]] = field(default_factory=dict)  # by place, the first of each
    counted: dict[str, int] = field(default_factory=dict)  # failures, by kind


class HungError(BaseException):
    """One input took too long; not an Exception, so that no reader takes it for one of its own."""


# --- One input --------------------------------------------------------------------------------------------


def tried(reader: Reader, data: bytes, *, limit_s: float = LIMIT_S) -> Failure | bool:
    """Whether a reader took an input, or refused it as it may; or what it did besides."""
    try:
        with _limited(limit_s):
            reader.read(data)
    except reader.allowed:
        return False
    except OutsideError as exc:
        return Failure("leaks", f"a name outside: {exc}", "outside")
    except WrongError as exc:
        return Failure("broken", str(exc), f"wrong {str(exc)[:30]}")
    except HungError:
        return Failure("hangs", f"no answer within {limit_s:.0f} s", "hangs")
    except Exception as exc:  # noqa: BLE001  that is what is looked for
        frames = traceback.extract_tb(exc.__traceback__)
        at = next((one for one in reversed(frames) if "pushmirror" in one.filename), frames[-1])
        place = f"{type(exc).__name__} at {Path(at.filename).name}:{at.lineno}"
        return Failure("internal", f"{place}: {str(exc)[:200]!a}", place)
    return True


class _limited:  # noqa: N801  used as a function; a generator would cost twice the time
    """Raises HungError when what is done within takes too much processor time. Of the main thread only."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s

    def __enter__(self) -> None:
        signal.signal(signal.SIGPROF, _hung)
        signal.setitimer(signal.ITIMER_PROF, self._limit_s)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _hung(_signal: int, _frame: FrameType | None) -> None:
    raise HungError


@cache
def seeds_of(name: str) -> tuple[bytes, ...]:
    """The kept inputs of a reader, good ones and those that once failed, but for such as only cost time."""
    kept = (file.read_bytes() for file in sorted((CORPUS / name).iterdir()))
    return tuple(data for data in kept if len(data) <= _LARGEST_SEED)


# --- Many of them -----------------------------------------------------------------------------------------


def carried_out(chunk: Chunk, seed: int, *, readers: Mapping[str, Reader] = READERS) -> Outcome:
    """Draw and read the inputs of a chunk."""
    reader, seeds = readers[chunk.reader], seeds_of(chunk.reader)
    random = Random(f"{seed} {chunk.reader} {chunk.number}")
    outcome = Outcome(chunk)
    for _ in range(chunk.inputs):
        data = mutated(random, seeds)
        result = tried(reader, data)
        if result is False:
            outcome.refused += 1
        elif isinstance(result, Failure):
            outcome.counted[result.kind] = outcome.counted.get(result.kind, 0) + 1
            if result.place not in outcome.failures:
                outcome.failures[result.place] = (result, _shrunk(reader, data, result))
    return outcome


def _shrunk(reader: Reader, data: bytes, failure: Failure) -> bytes:
    """A smaller input with which the same goes wrong, by taking out ever smaller pieces."""
    if failure.kind == "hangs":
        return data
    size = len(data) // 2
    tries = count()
    while size and next(tries) < _TRIES_TO_SHRINK:
        for at in range(0, len(data), size):
            smaller = data[:at] + data[at + size :]
            result = tried(reader, smaller)
            if isinstance(result, Failure) and result.place == failure.place:
                data = smaller
                break
            if next(tries) >= _TRIES_TO_SHRINK:
                break
        else:
            size //= 2
    return data


def chunks(inputs: int) -> Iterator[Chunk]:
    """So many inputs for all readers together, each reader's turn after the other."""
    each = max(1, inputs // len(READERS))
    for number in range((each + _CHUNK - 1) // _CHUNK):
        for name in READERS:
            yield Chunk(name, number, min(_CHUNK, each - number * _CHUNK))


# --- In several processes ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Worker:
    """A process with its share of the chunks; another one goes on behind the chunk that ended it."""

    seed: int
    share: list[Chunk]  # that are not answered yet, the current one first
    process: multiprocessing.process.BaseProcess = field(init=False)
    answers: Connection = field(init=False)
    since: float = field(init=False)  # the last answer

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin, or go on, with what is left."""
        context = multiprocessing.get_context("spawn")
        self.answers, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(theirs, self.seed, self.share), daemon=True)
        self.process.start()
        theirs.close()
        self.since = time.monotonic()

    def answer(self) -> Outcome:
        """The outcome of the current chunk; if the process died of it, that is the outcome."""
        try:
            outcome: Outcome = self.answers.recv()
        except (EOFError, OSError):
            return self._lost("internal", "ended its process")
        self.share.pop(0)
        self.since = time.monotonic()
        return outcome

    def failed_strategies(self) -> Outcome:
        """The outcome of a chunk that does not end."""
        return self._lost("hangs", f"no answer within {_STUCK_S:.0f} s")

    def _lost(self, kind: str, what: str) -> Outcome:
        self.end()
        chunk = self.share.pop(0)
        failure = Failure(kind, f"an input of chunk {chunk.number}: {what}", what)
        if self.share:
            self.start()
        return Outcome(chunk, 0, {what: (failure, b"")}, {kind: 1})

    def end(self) -> None:
        """Let go of the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.answers.close()


def _work(answers: Connection, seed: int, share: list[Chunk]) -> None:
    """A worker's life."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for chunk in share:
        answers.send(carried_out(chunk, seed))


def _outcomes(seed: int, inputs: int, is_over: Callable[[], bool]) -> Iterator[Outcome]:
    """What comes of all chunks, as it comes; ends early when it is over."""
    todo = list(chunks(inputs))
    processes = min(len(os.sched_getaffinity(0)), len(todo))
    workers = [_Worker(seed, todo[n::processes]) for n in range(processes)]
    try:
        while busy := [worker for worker in workers if worker.share]:
            if is_over():
                return
            ready = wait([worker.answers for worker in busy], timeout=1.0)
            for worker in busy:
                if worker.answers in ready:
                    yield worker.answer()
                elif time.monotonic() - worker.since > _STUCK_S:
                    yield worker.failed_strategies()
    finally:
        for worker in workers:
            worker.end()


def run(trial: Trial) -> None:
    """Read a million inputs, in as many processes as there are processors."""
    kept: set[str] = set()
    deadline = time.monotonic() + trial.limit_s

    def is_over() -> bool:
        trial.tally.cut = time.monotonic() > deadline
        return trial.tally.cut

    for outcome in _outcomes(trial.seed, round(FULL * trial.scale), is_over):
        tally = trial.tally
        tally.tries += outcome.chunk.inputs
        tally.faults += outcome.refused
        for place, (failure, data) in outcome.failures.items():
            outcome.counted[failure.kind] -= 1
            where = _keep(outcome.chunk.reader, data) if f"{outcome.chunk.reader} {place}" not in kept else ""
            kept.add(f"{outcome.chunk.reader} {place}")
            trial.wrong(failure.kind, f"{outcome.chunk.reader}: {failure.what}{where}")
        for kind, more in outcome.counted.items():
            setattr(tally, kind, getattr(tally, kind) + more)


def _keep(reader: str, data: bytes) -> str:
    """Add an input to the corpus; where it is."""
    if not data:
        return ""
    file = CORPUS / reader / f"failed-{hashlib.sha256(data).hexdigest()[:12]}"
    file.write_bytes(data)
    return f"; kept as {file.relative_to(CORPUS.parents[2])}"
