"""What a part of the campaign is given, what it counts, and the table of all of them.

A part draws every fault from `Trial.random`, which depends on the seed and the part's name alone: the same
seed draws the same faults, though a busy machine may meet them at other moments. How many it makes is its
full number times `Trial.scale`; its deadline only keeps a slow machine from working for hours, and the table
says when it cut a part short.
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pushmirror.errors import Exit

_KEPT = 20  # messages of each part


@dataclass(slots=True)
class Tally:
    """What one part came to; what is promised to be zero is in `ZERO`."""

    part: str
    tries: int = 0  # runs of a command, triggers, inputs that were read
    faults: int = 0  # of these: with a fault
    samples: int = 0  # looks at a served tree
    broken: int = 0  # samples in which something was missing or wrong
    lost: int = 0  # pushes that led to no run, or sites that never became current
    hangs: int = 0  # no answer within the limit
    internal: int = 0  # exit code 70, a traceback, a crash
    leaks: int = 0  # secrets told, files touched outside, processes left, memory beyond its bound
    seconds: float = 0.0
    cut: bool = False  # ended by its deadline
    remarks: list[str] = field(default_factory=list)  # what is told beside the table
    needs: str = ""  # what this machine lacks, so that the part was left out
    messages: list[str] = field(default_factory=list)  # the first of what went wrong

    @property
    def failed(self) -> bool:
        return any(getattr(self, name) for name in ZERO)


ZERO = ("broken", "lost", "hangs", "internal", "leaks")
_COUNTS = ("tries", "faults", "samples", *ZERO)


@dataclass(slots=True)
class Trial:
    """One part of the campaign under way."""

    part: str
    seed: int
    directory: Path  # empty, and the part's own
    scale: float  # 1.0 is the whole campaign; the short form of the tests has much less
    limit_s: float
    tally: Tally = field(init=False)
    random: Random = field(init=False)
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self.tally = Tally(self.part)
        self.random = Random(f"{self.seed} {self.part}")
        self._started = time.monotonic()

    def times(self, full: int, *, least: int = 1) -> Iterator[int]:
        """Numbers from 0 for each try of a part that makes `full` in a whole campaign, until its deadline."""
        for number in range(max(least, round(full * self.scale))):
            if time.monotonic() - self._started > self.limit_s:
                self.tally.cut = True
                return
            yield number

    def wrong(self, kind: str, what: str) -> None:
        """Count one of `ZERO`, and keep what was seen."""
        setattr(self.tally, kind, getattr(self.tally, kind) + 1)
        if len(self.tally.messages) < _KEPT:
            self.tally.messages.append(f"{kind}: {what} (seed {self.seed})")

    def cannot(self, why: str) -> None:
        """This machine cannot do it: the table says so."""
        self.tally.needs = why

    def ended(self, code: int, output: str, what: str) -> None:
        """Count a run of a command by how it ended: its exit code, its output, and what was done to it."""
        self.tally.tries += 1
        if code == Exit.SOFTWARE or "Traceback (most recent call last)" in output:
            self.wrong("internal", f"{what}: exit code {code}: {output[-500:]}")

    def require_unbroken(self, problems: Iterable[str], what: str) -> None:
        """Count one look at a served tree, with what was wrong in it."""
        self.tally.samples += 1
        if found := list(problems):
            self.wrong("broken", f"{what}: {'; '.join(found[:3])}")


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of attack."""

    about: str  # one line, of `--help`
    run: Callable[[Trial], None]
    limit_s: float  # of the whole campaign


def carry_out(parts: Mapping[str, Part], seed: int, directory: Path, scale: float) -> Iterator[Tally]:
    """Run parts one after the other, each in a directory of its own."""
    for name, part in parts.items():
        place = directory / name
        place.mkdir(parents=True)
        trial = Trial(name, seed, place, scale, part.limit_s)
        started = time.monotonic()
        try:
            part.run(trial)
        except Exception as exc:  # noqa: BLE001  the other parts are to be seen, too
            at = traceback.extract_tb(exc.__traceback__)[-1]
            trial.wrong("internal", f"the campaign itself: {exc!r} at {Path(at.filename).name}:{at.lineno}")
        trial.tally.seconds = time.monotonic() - started
        yield trial.tally


def table(tallies: Iterable[Tally]) -> str:
    """Markdown, a row for each part, and what else is to be told."""
    tallies = list(tallies)
    head = ["part", *_COUNTS, "minutes"]
    rows = [[one.part, *(f"{getattr(one, name):,}" for name in _COUNTS), _minutes(one)] for one in tallies]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    remarks = [f"- {one.part}: {remark}" for one in tallies for remark in one.remarks]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), *([""] if remarks else []), *remarks])


def values(tally: Tally) -> dict[str, object]:
    """One part for `--json`."""
    return dataclasses.asdict(tally)


def _minutes(tally: Tally) -> str:
    if tally.needs:
        return f"left out: {tally.needs}"
    return f"{tally.seconds / 60:.1f}{' (cut)' if tally.cut else ''}"
