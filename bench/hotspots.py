"""Where the time of one sync of ours goes: the steps of its log, and Python's profiler on all of it."""

from __future__ import annotations

import io
import itertools
import pstats
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bench.archive import BigArchive, Shape
from bench.course import Course, Scenario
from bench.hub import Hub
from bench.ours import Ours

_LINES = 30
_WIDTH = 110  # command lines are long
_STAMP = re.compile(r"^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d+)\S*\s+(.*)$")


def profile(
    archives: Path, directory: Path, shape: Shape, scenarios: Sequence[Scenario], strategies: Sequence[str]
) -> str:
    """Two runs of each: one for the log's steps, one under the profiler.

    Functions are listed with all they call, and by their own time. Time of rsync and of other processes
    shows as waiting for them.
    """
    texts = []
    with Hub(directory / "hub", BigArchive.at(archives, shape)) as hub:
        hub.first_stock()
        course = Course(hub, directory, strategies)
        for contender in course.contenders.values():
            assert isinstance(contender, Ours)
            for scenario in scenarios:
                texts += [_profile(course, contender, scenario, directory / "profile")]
        course.close()
    return "\n".join(texts)


def _profile(course: Course, ours: Ours, scenario: Scenario, output: Path) -> str:
    course.begin(scenario)
    plain = course.run(ours, scenario)
    steps = breakdown(ours.last_log(), plain.wall_s)
    course.begin(scenario)
    profiled = course.run(ours, scenario, ours.profile_argv(output))
    shown = io.StringIO()
    stats = pstats.Stats(str(output), stream=shown).strip_dirs()
    stats.sort_stats("cumulative").print_stats(_LINES).sort_stats("tottime").print_stats(_LINES)
    title = (
        f"{ours.name} (took {ours.took()}), {scenario.words}: {plain.wall_s:.2f} s, CPU {plain.cpu_s:.2f} s"
    )
    under = f"under the profiler {profiled.wall_s:.2f} s"
    return f"{title}\n\n{steps}\n\n{under}\n{shown.getvalue()}"


def breakdown(log: str, wall_s: float) -> str:
    """Each line of a run's log with the seconds until the next one, and what is outside of the log."""
    lines = [(datetime.fromisoformat(found[1].replace(",", ".")), found[2]) for found in _stamped(log)]
    steps = [((end - moment).total_seconds(), text) for (moment, text), (end, _) in itertools.pairwise(lines)]
    outside = wall_s - sum(seconds for seconds, _ in steps)
    steps.append((outside, "start-up, and what follows the last line"))
    return "\n".join(f"{seconds:8.3f} s  {text[:_WIDTH]}" for seconds, text in steps)


def _stamped(log: str) -> list[re.Match[str]]:
    return [found for line in log.splitlines() if (found := _STAMP.match(line))]
