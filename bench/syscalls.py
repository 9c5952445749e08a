"""How many system calls one site's sync costs the hub's daemon, counted by strace. Its times mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.course import Course, Scenario
from bench.report import say, table

Calls = Mapping[tuple[Scenario, str], int]  # and the contender


def count(course: Course, scenarios: Sequence[Scenario]) -> Calls:
    """One sync of each contender in each scenario."""
    found: dict[tuple[Scenario, str], int] = {}
    for scenario in scenarios:
        course.begin(scenario)
        for contender in course.of(scenario):
            with course.hub.traced() as total:
                course.run(contender, scenario)
            found[scenario, contender.name] = total[0]
            say(f"{scenario.words}, {contender.name}: {total[0]} system calls at the daemon")
    return found


def report(found: Calls) -> str:
    """The counts as a Markdown table."""
    rows = []
    for (scenario, name), calls in found.items():
        theirs = found.get((scenario, "ftpsync"))
        share = f"1/{theirs / calls:.1f}" if theirs and name != "ftpsync" else ""
        rows.append([scenario.words, name, f"{calls:,}", share])
    return table(["", "", "system calls", "of ftpsync"], rows)
