"""First sync, no change, and an update: each contender from the same start, in turn, several times."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.archive import BigArchive, Facts
from bench.contenders import CONTENDERS, PASSWORD, USER, Contender, Ours
from bench.meter import Cost, measure
from bench.report import say, table
from pushmirror.errors import Mismatch
from pushmirror.lab.daemon import RsyncDaemon
from pushmirror.lab.site import ARCHIVE
from pushmirror.system import process

SCENARIOS = {"full": "first sync", "nochange": "no change", "update": "update"}
_OWN = ("/project/trace/*", "/Archive-Update-*", "/.~tmp~")  # of each mirror; no business of a comparison


class _Graceless(Ours):
    """ftpsync deletes at once what upstream deleted; so does this, for both to do the same work."""

    grace = "0s"


_KINDS = {**CONTENDERS, "pushmirror": _Graceless}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    scenarios: Sequence[str]
    contenders: Sequence[str]
    runs: int


@dataclass(slots=True)
class Measured:
    """All runs at one size."""

    facts: Facts
    costs: dict[tuple[str, str], list[Cost]] = field(default_factory=dict)  # (scenario, contender)


class Race:
    """One archive, one daemon, and mirrors of it."""

    def __init__(
        self, archive: BigArchive, directory: Path, daemon: RsyncDaemon, names: Sequence[str]
    ) -> None:
        self._archive = archive
        self._daemon = daemon
        self._log = directory / "run.log"
        self._traffic = directory / "traffic.log"
        self._traffic.unlink(missing_ok=True)
        options = {"transfer logging": "no", "log file": str(self._traffic)}  # no line for each file
        daemon.add_module(ARCHIVE, archive.path, {USER: PASSWORD}, options)
        self.contenders: list[Contender] = []
        for name in names:
            shutil.rmtree(directory / name, ignore_errors=True)
            self.contenders.append(_KINDS[name](directory / name, daemon, archive.keyring))
        self._at: dict[str, str] = {}  # contender -> state of its mirror

    def prepare(self, scenario: str, contender: Contender) -> None:
        """Bring upstream and the contender's mirror to where the scenario begins, at rest on disk."""
        self._archive.switch("A")
        if scenario == "full":
            contender.wipe()
            self._at[contender.name] = ""
        elif self._at.get(contender.name, "") == "":
            contender.wipe()
            self.sync(contender)
        elif self._at[contender.name] == "B":
            options = ["-aH", "--delete", *(f"--exclude={path}" for path in _OWN)]
            process.run(["rsync", *options, f"{self._archive.path}/", f"{contender.tree}/"]).check()
            contender.recall()
            self._at[contender.name] = "A"
        if scenario == "update":
            self._archive.switch("B")
        os.sync()  # nobody shall pay for what another has left unwritten

    def sync(self, contender: Contender, argv: Sequence[str] | None = None) -> Cost:
        """Run the contender once, and see that it did its work."""
        cost = measure(
            argv or contender.argv(),
            env=contender.env,
            log=self._log,
            daemon=self._daemon,
            traffic=self._traffic,
        )
        self._compare(contender)
        if not self._at.get(contender.name):
            contender.remember()
        self._at[contender.name] = self._archive.state
        return cost

    def _compare(self, contender: Contender) -> None:
        """Names, sizes, times and targets of both trees are the same, or Mismatch."""
        different: list[bytes] = []
        options = [
            "-nrlt",
            "--omit-dir-times",
            "--delete",
            "--out-format=%n",
            *(f"--exclude={p}" for p in _OWN),
        ]
        argv = ["rsync", *options, f"{self._archive.path}/", f"{contender.tree}/"]
        process.run(argv, on_line=different.append).check()
        if different:
            raise Mismatch(f"{contender.name}'s mirror differs in {len(different)} names: {different[:3]}")


def race(directory: Path, files: int, plan: Plan) -> Measured:
    """Measure at one size."""
    archive = BigArchive.at(directory, files=files)
    measured = Measured(archive.facts)
    with RsyncDaemon(directory / "rsyncd") as daemon:
        course = Race(archive, directory, daemon, plan.contenders)
        for number in range(plan.runs):
            for scenario in plan.scenarios:
                # who begins changes, so that a busy moment of the machine does not always meet the same one
                for contender in course.contenders[:: 1 if number % 2 == 0 else -1]:
                    course.prepare(scenario, contender)
                    cost = course.sync(contender)
                    measured.costs.setdefault((scenario, contender.name), []).append(cost)
                    say(
                        f"{files} files, run {number + 1}, {SCENARIOS[scenario]}, {contender.name}: "
                        f"{cost.wall_s:.2f} s, CPU {cost.cpu_s:.2f} s"
                    )
    return measured


def report(measured: Measured) -> str:
    """The runs as a Markdown table."""
    facts = measured.facts
    rows = []
    for (scenario, name), costs in measured.costs.items():
        rows.append(
            [
                SCENARIOS[scenario],
                name,
                _spread([cost.wall_s for cost in costs], "s"),
                _ratio(measured, scenario, name, "wall_s"),
                _spread([cost.cpu_s for cost in costs], "s"),
                _ratio(measured, scenario, name, "cpu_s"),
                f"{statistics.median(cost.daemon_cpu_s for cost in costs):.2f} s",
                f"{statistics.median(cost.peak_process for cost in costs) / 2**20:.0f} MiB",
                f"{statistics.median(cost.peak_all for cost in costs) / 2**20:.0f} MiB",
                f"{statistics.median(cost.received for cost in costs) / 1e6:.1f} MB",
                f"{statistics.median(cost.sent for cost in costs) / 1e6:.1f} MB",
            ]
        )
    title = (
        f"{facts.pool_files:,} pool files in {facts.directories:,} directories, {facts.packages:,} stanzas; "
        f"the update: {facts.changed_sources} sources with all their binaries, "
        f"{facts.added:,} pool files come, {facts.removed:,} go"
    )
    head = ["", "", "wall", "of ftpsync", "CPU", "of ftpsync", "CPU at the daemon", "largest process"]
    return f"{title}\n\n{table([*head, 'all processes', 'received', 'sent'], rows)}"


def _spread(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):.2f} {unit} ({min(values):.2f}-{max(values):.2f})"


def _ratio(measured: Measured, scenario: str, name: str, what: str) -> str:
    """Pair by pair against ftpsync's run of the same number, then the median."""
    theirs = measured.costs.get((scenario, "ftpsync"), [])
    if name == "ftpsync" or not theirs:
        return ""
    pairs = zip(measured.costs[scenario, name], theirs, strict=True)
    return f"{statistics.median(getattr(ours, what) / getattr(their, what) for ours, their in pairs):.2f}"
