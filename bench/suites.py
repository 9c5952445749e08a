"""Thirty suites, one of them broken: what does a run cost, beside one in which that suite is good?

Two upstreams with the same update; in one the last suite's new Release lists an index as nobody has it.
Each pair of runs follows the other at once: the update, and a run that meets the same upstream once more.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.archive import BigArchive, Last, Shape
from bench.course import Course, Scenario
from bench.hub import Hub
from bench.meter import Cost
from bench.report import say, spread, table
from pushmirror.lab.dists import Layout

_SUITES = 30
_MOST = 1.1  # times a run without the broken one
_TITLES = ("the update", "once more")


@dataclass(frozen=True, slots=True)
class Pair:
    """The same run at both upstreams."""

    what: str
    contender: str
    good: Cost
    broken: Cost


def shape(files: int, *, bodies: bool, layout: Layout) -> Shape:
    """So many pool files in all suites together."""
    return Shape(files // _SUITES, _SUITES, bodies=bodies, layout=layout)


def race(archives: Path, directory: Path, shape: Shape, names: Sequence[str], runs: int) -> list[Pair]:
    """Measure both by turns; who begins changes."""
    with ExitStack() as stack:
        courses = []
        for last in (Last.NEW, Last.BROKEN):
            archive = BigArchive.at(archives, dataclasses.replace(shape, last=last))
            place = directory / f"suites-{last}"
            hub = stack.enter_context(Hub(place / "hub", archive))
            hub.first_stock()
            courses.append(Course(hub, place, names))
        pairs = [pair for number in range(runs) for name in names for pair in _pairs(courses, name, number)]
        for course in courses:
            course.close()
    return pairs


def report(pairs: Sequence[Pair]) -> str:
    """The runs as a Markdown table."""
    rows = []
    for what, name in dict.fromkeys((pair.what, pair.contender) for pair in pairs):
        mine = [pair for pair in pairs if (pair.what, pair.contender) == (what, name)]
        for kind, value in _KINDS.items():
            good, broken = ([value(cost) for cost in costs] for costs in _costs(mine))
            ratio = statistics.median(theirs / ours for ours, theirs in zip(good, broken, strict=True))
            hit = "yes" if ratio <= _MOST else "NO"
            rows.append([what, name, kind, f"{spread(good)} s", f"{spread(broken)} s", f"{ratio:.2f}", hit])
    return table(["", "", "", "all good", "one broken", "ratio", f"<= {_MOST}"], rows)


def values(pairs: Sequence[Pair]) -> object:
    """All of it, for JSON."""
    return [dataclasses.asdict(pair) for pair in pairs]


def _pairs(courses: Sequence[Course], name: str, number: int) -> list[Pair]:
    costs: list[list[Cost]] = [[], []]
    for which in (0, 1) if number % 2 == 0 else (1, 0):
        course = courses[which]
        course.begin(Scenario.UPDATE, [name])
        for what in _TITLES:
            cost = course.run(course.contenders[name], Scenario.UPDATE)
            costs[which].append(cost)
            say(f"{name}, {('all good', 'one broken')[which]}, {what}: {cost.wall_s:.2f} s")
    return [Pair(what, name, *both) for what, *both in zip(_TITLES, *costs, strict=True)]


def _costs(pairs: Sequence[Pair]) -> tuple[list[Cost], list[Cost]]:
    return [pair.good for pair in pairs], [pair.broken for pair in pairs]


_KINDS: dict[str, Callable[[Cost], float]] = {
    "wall": lambda cost: cost.wall_s,
    "CPU": lambda cost: cost.cpu_s + cost.daemon_cpu_s,
}
