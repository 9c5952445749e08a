"""Scenes with more than one archive, or with something between hub and site."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench import sync, syscalls
from bench.archive import BigArchive, Shape
from bench.course import Course, Scenario
from bench.hub import Hub
from bench.link import Link
from bench.sync import Measured, Plan


@dataclass(frozen=True, slots=True)
class Grown:
    """The same update of an archive, and of one twice as large."""

    usual: Measured
    twice: Measured


def twice_as_large(archives: Path, directory: Path, shape: Shape, names: Sequence[str], runs: int) -> Grown:
    """The update, by turns here and there; then the system calls at both daemons."""
    with ExitStack() as stack:
        courses, found = [], []
        for one in (shape, replace(shape, suites=2 * shape.suites)):
            place = directory / f"x{one.suites}"
            hub = stack.enter_context(Hub(place / "hub", BigArchive.at(archives, one)))
            found.append(Measured(hub.archive.facts, first_stock=hub.first_stock()))
            courses.append(Course(hub, place, names))
        for _ in range(runs):
            for course, measured in zip(courses, found, strict=True):
                sync.compete(course, Plan([Scenario.UPDATE], names, runs=1), measured)
        for course, measured in zip(courses, found, strict=True):
            measured.calls = syscalls.count(course, [Scenario.UPDATE])
            course.close()
    return Grown(*found)


def one_by_one(archives: Path, directory: Path, shape: Shape, names: Sequence[str]) -> Measured:
    """First sync, no change and update, once each, of an archive that leaves no room for many mirrors."""
    scenarios = [Scenario.FIRST, Scenario.NO_CHANGE, Scenario.UPDATE]
    archive = BigArchive.at(archives, shape)
    with Hub(directory / "hub", archive) as hub:
        measured = Measured(archive.facts, first_stock=hub.first_stock())
        for name in names:
            course = Course(hub, directory, [name])
            sync.compete(course, Plan(scenarios, [name], runs=1), measured)
            course.close()
    return measured


def far_away(archives: Path, directory: Path, shape: Shape, names: Sequence[str], runs: int) -> Measured:
    """The same over a long line."""
    scenarios = [Scenario.FIRST, Scenario.NO_CHANGE, Scenario.UPDATE]
    archive = BigArchive.at(archives, shape)
    with Hub(directory / "hub", archive) as hub, Link().to(hub.port) as port:
        measured = Measured(archive.facts, first_stock=hub.first_stock())
        course = Course(hub, directory, names, upstream=replace(hub.upstream, port=port))
        sync.compete(course, Plan(scenarios, names, runs=runs, first_runs=runs), measured)
        course.close()
    return measured
