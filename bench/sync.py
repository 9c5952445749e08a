"""First sync, no change, and an update: all contenders from the same start, in turn, several times."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import syscalls
from bench.archive import BigArchive, Facts, Shape
from bench.course import Course, Scenario
from bench.hub import Hub
from bench.meter import Cost
from bench.report import say, spread, table

_STOCK = "hub takes stock"
Run = tuple[Scenario, str]  # and the contender


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    scenarios: Sequence[Scenario]
    contenders: Sequence[str]
    runs: int
    first_runs: int = 1  # of the first sync, which takes longest
    traced: Sequence[Scenario] = ()  # run once more, for the number of system calls


@dataclass(slots=True)
class Measured:
    """All runs at one size."""

    facts: Facts
    costs: dict[Run, list[Cost]] = field(default_factory=dict)
    took: dict[Run, str] = field(default_factory=dict)  # the strategy, where there are several
    stock: list[Cost] = field(default_factory=list)  # of the hub, after the update
    first_stock: Cost | None = None  # of the hub, of a tree that it knows nothing of
    calls: syscalls.Calls = field(default_factory=dict)  # of the hub's daemon

    def walls(self, scenario: Scenario, name: str) -> list[float]:
        """Seconds of each run; empty if there was none."""
        return [cost.wall_s for cost in self.costs.get((scenario, name), ())]

    def cpu(self, scenario: Scenario, name: str) -> float:
        """Seconds of processor time at both ends, in the middle of all runs."""
        return statistics.median(cost.cpu_s + cost.daemon_cpu_s for cost in self.costs[scenario, name])

    def note(self, course: Course, scenario: Scenario, name: str) -> Cost:
        """Run a contender once, and keep what it cost."""
        contender = course.contenders[name]
        cost = course.run(contender, scenario)
        self.costs.setdefault((scenario, name), []).append(cost)
        if took := contender.took():
            self.took[scenario, name] = took
        cpu = f"CPU {cost.cpu_s:.2f} s, at the daemon {cost.daemon_cpu_s:.2f} s"
        say(f"{self.facts.pool_files} files, {scenario.words}, {name}: {cost.wall_s:.2f} s, {cpu}")
        return cost


def race(archives: Path, directory: Path, shape: Shape, plan: Plan) -> Measured:
    """Measure at one size."""
    archive = BigArchive.at(archives, shape)
    with Hub(directory / "hub", archive) as hub:
        measured = Measured(archive.facts, first_stock=hub.first_stock())
        course = Course(hub, directory, plan.contenders)
        compete(course, plan, measured)
        measured.calls = syscalls.count(course, plan.traced)
        course.close()
    return measured


def compete(course: Course, plan: Plan, measured: Measured) -> None:
    """Run all scenarios."""
    for scenario in plan.scenarios:
        for number in range(plan.first_runs if scenario is Scenario.FIRST else plan.runs):
            stock = course.begin(scenario)
            if stock:
                measured.stock.append(stock)
            # who begins changes, so that a busy moment of the machine does not always meet the same one
            for contender in course.of(scenario)[:: 1 if number % 2 == 0 else -1]:
                measured.note(course, scenario, contender.name)


def report(measured: Measured) -> str:
    """The runs as a Markdown table."""
    rows = [_row(measured, run, costs) for run, costs in measured.costs.items()]
    if measured.first_stock:
        rows.append([f"{_STOCK} for the first time", "", *_cells([measured.first_stock])])
    if measured.stock:
        rows.append([f"{_STOCK} after the update", "", *_cells(measured.stock)])
    head = ["", "", "wall", "of ftpsync", "CPU", "of ftpsync", "CPU at the daemon", "largest process"]
    more = ["all processes", "the daemon's", "received", "sent"]
    calls = f"\n\n{syscalls.report(measured.calls)}" if measured.calls else ""
    return f"{measured.facts}\n\n{table([*head, *more], rows)}{calls}"


def ratio(measured: Measured, scenario: Scenario, name: str, other: str) -> list[float]:
    """How many times as long one takes as another, pair by pair of the runs with the same number."""
    pairs = zip(measured.walls(scenario, name), measured.walls(scenario, other), strict=False)
    return [ours / theirs for ours, theirs in pairs]


def _row(measured: Measured, run: Run, costs: list[Cost]) -> list[str]:
    scenario, name = run
    took = measured.took.get(run, name)
    theirs = measured.costs.get((scenario, "ftpsync"), []) if name != "ftpsync" else []
    return [
        scenario.words,
        name if took == name else f"{name} (took {took})",
        *_cells(costs, theirs),
    ]


def _cells(costs: Sequence[Cost], theirs: Sequence[Cost] = ()) -> list[str]:
    def middle(value: Callable[[Cost], float]) -> float:
        return statistics.median(map(value, costs))

    def of_theirs(value: Callable[[Cost], float]) -> str:
        ratios = [value(ours) / value(their) for ours, their in zip(costs, theirs, strict=False)]
        return f"{statistics.median(ratios):.3f}" if ratios else ""

    return [
        f"{spread([cost.wall_s for cost in costs])} s",
        of_theirs(lambda cost: cost.wall_s),
        f"{spread([cost.cpu_s for cost in costs])} s",
        of_theirs(lambda cost: cost.cpu_s),
        f"{middle(lambda cost: cost.daemon_cpu_s):.2f} s",
        f"{middle(lambda cost: cost.peak_process) / 2**20:.0f} MiB",
        f"{middle(lambda cost: cost.peak_all) / 2**20:.0f} MiB",
        f"{middle(lambda cost: cost.daemon_peak) / 2**20:.0f} MiB",
        f"{middle(lambda cost: cost.received) / 1e6:.1f} MB",
        f"{middle(lambda cost: cost.sent) / 1e6:.1f} MB",
    ]
