"""The table of targets: what was aimed at, what was measured, hit or missed.

Hit or missed is by wall time, as the targets are. Where programs are compared, the ratio of the processor
time of both ends stands beside it: that one can be trusted on a busy machine, too.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.course import Scenario
from bench.report import spread, table
from bench.scenes import Grown
from bench.startup import Times
from bench.sync import Measured, ratio
from bench.verify import Read

_MEMORY = 300e6  # bytes
_START_S = 0.3


@dataclass(slots=True)
class Results:
    """Everything that was measured; what was not is not there."""

    usual: Measured | None = None
    grown: Grown | None = None
    large: Measured | None = None
    far: Measured | None = None
    verify: Sequence[Read] = ()
    startup: Times = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One target."""

    what: str
    target: str
    measured: str
    hit: bool


def report(results: Results) -> str:
    """The rows for which there are measurements, as a Markdown table."""
    rows = [*_of_update(results.usual), *_of_no_change(results.usual), *_of_growth(results.grown)]
    rows += [*_of_calls(results), *_of_distance(results.far), *_of_memory(results.large)]
    rows += [_verify(one) for one in results.verify]
    rows += [_start(name, values) for name, values in results.startup.items()]
    cells = [[row.what, row.target, row.measured, "hit" if row.hit else "MISSED"] for row in rows]
    return table(["what", "target", "measured", ""], cells)


def _of_update(measured: Measured | None) -> list[Row]:
    goals = [
        ("manifest", "ftpsync", 1 / 15),
        ("manifest", "bare", 2.0),
        ("index", "ftpsync", 1 / 6),
        ("index", "debmirror", 1 / 4),
        ("full", "ftpsync", 1 / 2),
    ]
    return [row for goal in goals if measured for row in _times(measured, Scenario.UPDATE, *goal)]


def _of_no_change(measured: Measured | None) -> list[Row]:
    names = ("manifest", "index")
    scenarios = (Scenario.NO_CHANGE, Scenario.IF_CHANGED)
    return [
        row
        for scenario in scenarios
        for name in names
        if measured
        for row in _times(measured, scenario, name, "ftpsync", 1 / 40)
    ]


def _times(measured: Measured, scenario: Scenario, name: str, other: str, limit: float) -> list[Row]:
    """How many times as long one takes as another; no row if one of them did not run."""
    base = Scenario.NO_CHANGE if scenario is Scenario.IF_CHANGED else scenario
    ours, theirs = measured.walls(scenario, name), measured.walls(base, other)
    ratios = [our / their for our, their in zip(ours, theirs, strict=False)]
    if not ratios:
        return []
    cpu = measured.cpu(scenario, name) / measured.cpu(base, other)
    text = f"{_share(statistics.median(ratios))}: {spread(ours)} s, {spread(theirs)} s; CPU {_share(cpu)}"
    what = f"{scenario.words}, {_taken(measured, scenario, name)}, of {other}"
    return [Row(what, f"<= {_share(limit)}", text, statistics.median(ratios) <= limit)]


def _of_growth(grown: Grown | None) -> list[Row]:
    rows = []
    for name in ("manifest", "index") if grown else ():
        assert grown
        small, large = grown.usual.walls(Scenario.UPDATE, name), grown.twice.walls(Scenario.UPDATE, name)
        if small and large:
            middle = statistics.median(b / a for a, b in zip(small, large, strict=True))
            text = f"{middle:.2f}x: {spread(large)} s, {spread(small)} s"
            what = f"update of an archive twice as large, {_taken(grown.twice, Scenario.UPDATE, name)}"
            rows.append(Row(what, "<= 1.1x the time", text, middle <= 1.1))
    return rows


def _of_calls(results: Results) -> list[Row]:
    rows = []
    for name in ("manifest", "index"):
        calls = results.usual.calls if results.usual else {}
        ours, theirs = calls.get((Scenario.UPDATE, name)), calls.get((Scenario.UPDATE, "ftpsync"))
        if ours and theirs:
            text = f"{_share(ours / theirs)}: {ours:,} of {theirs:,}"
            what = f"system calls at the hub's daemon, update, {name}"
            rows.append(Row(what, "<= 1/40 of ftpsync's", text, ours / theirs <= 1 / 40))
        if results.grown:
            small = results.grown.usual.calls.get((Scenario.UPDATE, name))
            large = results.grown.twice.calls.get((Scenario.UPDATE, name))
            if small and large:
                text = f"{large / small:.2f}x: {large:,} of {small:,}"
                rows.append(
                    Row(f"the same, archive twice as large, {name}", "1x", text, large / small <= 1.1)
                )
    return rows


def _of_distance(measured: Measured | None) -> list[Row]:
    rows = []
    for name in ("manifest", "index", "full") if measured else ():
        assert measured
        faster = [1 / one for one in ratio(measured, Scenario.FIRST, name, "ftpsync")]
        if faster:
            ours, theirs = (measured.walls(Scenario.FIRST, one) for one in (name, "ftpsync"))
            text = f"{statistics.median(faster):.2f}x: {spread(ours)} s, {spread(theirs)} s"
            what = f"first sync, 100 ms round trip, {_taken(measured, Scenario.FIRST, name)}"
            rows.append(Row(what, ">= 3x ftpsync", text, statistics.median(faster) >= 3))
    return rows


def _of_memory(measured: Measured | None) -> list[Row]:
    rows = []
    for (scenario, name), costs in measured.costs.items() if measured else ():
        assert measured
        if name != "ftpsync":
            site, hub = max(cost.peak_all for cost in costs), max(cost.daemon_peak for cost in costs)
            text = f"{site / 1e6:.0f} MB at the site, {hub / 1e6:.0f} MB at the daemon"
            what = f"memory, {measured.facts.pool_files:,} files, {scenario.words}, "
            what += _taken(measured, scenario, name)
            rows.append(Row(what, "<= 300 MB", text, max(site, hub) <= _MEMORY))
    if measured:
        stocks = [cost for cost in (measured.first_stock, *measured.stock) if cost]
        peak = max(cost.peak_all for cost in stocks)
        rows.append(
            Row("memory, the hub's taking stock", "<= 300 MB", f"{peak / 1e6:.0f} MB", peak <= _MEMORY)
        )
    return rows


def _verify(one: Read) -> Row:
    ours, theirs = (spread(one.wall_s[name]) for name in ("verify", "sha256sum"))
    text = f"{one.ratio:.2f}x: {ours} s, {theirs} s"
    what = f"verify, {one.files:,} {one.what}"
    return Row(what, ">= 0.9x sha256sum on all cores", text, one.ratio >= 0.9)


def _start(name: str, values: Sequence[float]) -> Row:
    what = f"start-up: `pushmirror {name}`{'' if name == '--help' else ' reaching its work'}"
    return Row(what, f"<= {_START_S} s", f"{spread(values)} s", statistics.median(values) <= _START_S)


def _taken(measured: Measured, scenario: Scenario, name: str) -> str:
    """The strategy, and which one came out of it if that is another."""
    took = measured.took.get((scenario, name), name)
    return f"`{name}`" if took == name else f"`{name}` (took `{took}`)"


def _share(ratio_: float) -> str:
    return f"1/{1 / ratio_:.3g}" if ratio_ < 1 else f"{ratio_:.2f}x"
