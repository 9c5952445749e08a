"""Staged pushes to many sites: when each stage is there, what it costs the hub, and what trouble does to it.

    start ──▶ stage 1 at the first site … at the last ──▶ memory is read, the gate opens ──▶ all end stage 1
          ──▶ barrier ──▶ stage 2 at the first site … at the last

Times are the sites' own, taken as their command begins or ends, so the way through sshd is in them. Processor
time is exact, and only of the push server, whatever it leaves behind included (`reaper.py`); the sites share
the machine, and what they cost is told beside it. In trouble, one site hangs and another one is slow.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from bench import reaper
from bench.meter import family, kib
from bench.pushers import PUSHERS, Pusher
from bench.report import say, table
from bench.sites import Event, Sites, silent_place
from pushmirror.errors import ProgramFailed
from pushmirror.lab.services import wait_until
from pushmirror.system import process

_REACH_S = 240.0  # the longest that waking everybody may take
_LIMIT_S = 600.0  # of a whole push
_PATIENCE_S = 30  # in trouble: how long stage 2 waits
_SLOW_S = 40.0  # how long the slow site takes
_NEVER = float("nan")


@dataclass(frozen=True, slots=True)
class Pushed:
    """One push. Moments are seconds from its start; NaN if it never happened."""

    stage1: int  # sites that were woken for it
    stage2: int
    first_stage1_s: float  # when it began at a site
    last_stage1_s: float
    barrier_s: float  # from the end of the last stage 1 to the begin of the first stage 2
    last_stage2_s: float  # from the end of the last stage 1, too
    cpu_s: float  # user and system, of all processes of the hub
    sites_cpu_s: float  # of all sshd's and their commands
    memory: int  # bytes; all processes of the hub, while every site is open, shared pages counted once
    largest: int  # bytes; the largest process of the hub
    exit_code: int
    ended_s: float  # the command itself
    all_ended_s: float  # it and what it had started

    @property
    def cpu_per_trigger_s(self) -> float:
        """Of those that arrived."""
        return self.cpu_s / max(1, self.stage1 + self.stage2)


@dataclass(frozen=True, slots=True)
class Troubled:
    """One push to sites of which one hangs and one is slow. Moments as in `Pushed`."""

    normal: int  # sites that do neither
    normal_stage2: int  # of them, those that got stage 2
    first_stage2_s: float
    normal_have_stage2_s: float  # the last of them
    slow_has_stage1_s: float
    slow_has_stage2_s: float
    exit_code: int
    ended_s: float
    all_ended_s: float


def race(directory: Path, count: int, names: Sequence[str], runs: int) -> dict[str, list[Pushed]]:
    """Push to so many sites so many times."""
    pushed: dict[str, list[Pushed]] = {name: [] for name in names}
    with Sites(directory / "sites", count) as sites:
        pushers = [PUSHERS[name](directory, sites) for name in names]
        for number in range(runs):
            # who begins changes, so that a busy moment of the machine does not always meet the same one
            for pusher in pushers[:: 1 if number % 2 == 0 else -1]:
                cost = push(pusher, sites)
                pushed[pusher.name].append(cost)
                say(
                    f"{count} sites, run {number + 1}, {pusher.name}: all woken after "
                    f"{cost.last_stage1_s:.1f} s, barrier {cost.barrier_s:.2f} s, CPU {cost.cpu_s:.1f} s"
                )
    return pushed


def trouble(directory: Path, count: int, names: Sequence[str]) -> dict[str, Troubled]:
    """Push to so many sites once, of which one hangs and one is slow."""
    with Sites(directory / "sites", count) as sites:
        return {name: push_in_trouble(PUSHERS[name](directory, sites), sites) for name in names}


def push(pusher: Pusher, sites: Sites) -> Pushed:
    """Push to all sites once; ProgramFailed when the hub is not done in time."""
    pusher.prepare(sites.places)
    sites.forget()
    sites_before = sites.cpu_s()

    def everybody_is_woken() -> bool:
        time.sleep(0.05)  # reading the list is work for the machine, too
        return len(_at(sites.events(), "stage1", "begins")) == len(sites.places)

    with _Running(pusher, sites.directory) as hub:
        with sites.gate():
            wait_until(everybody_is_woken, limit_s=_REACH_S)
            memory = sum(kib(pid, "smaps_rollup", "Pss:") for pid in family(hub.pid) - {hub.pid})
        cost = hub.wait()
    events = sites.events()
    began = cost["began"]
    stage1, stage2 = _at(events, "stage1", "begins"), _at(events, "stage2", "begins")
    all_have_stage1 = max(_at(events, "stage1", "ends").values(), default=_NEVER)
    return Pushed(
        stage1=len(stage1),
        stage2=len(stage2),
        first_stage1_s=min(stage1.values(), default=_NEVER) - began,
        last_stage1_s=max(stage1.values(), default=_NEVER) - began,
        barrier_s=min(stage2.values(), default=_NEVER) - all_have_stage1,
        last_stage2_s=max(stage2.values(), default=_NEVER) - all_have_stage1,
        cpu_s=cost["user_s"] + cost["system_s"],
        sites_cpu_s=sites.cpu_s() - sites_before,
        memory=memory,
        largest=int(cost["largest"]),
        exit_code=int(cost["exit_code"]),
        ended_s=cost["ended_s"],
        all_ended_s=cost["all_ended_s"],
    )


def push_in_trouble(pusher: Pusher, sites: Sites) -> Troubled:
    """The same with a site that hangs, and one that takes longer than the others wait."""
    slow, *normal = sites.places[:-1]
    sites.slow_down(slow, _SLOW_S)
    try:
        with silent_place() as dead:
            pusher.prepare([dead, slow, *normal], patience_s=_PATIENCE_S)
            sites.forget()
            with _Running(pusher, sites.directory) as hub:
                cost = hub.wait()
    finally:
        sites.answer_as_usual()
    events = sites.events()
    began = cost["began"]
    stage2 = _at(events, "stage2", "begins")
    have_stage2 = [stage2[str(one)] for one in normal if str(one) in stage2]
    return Troubled(
        normal=len(normal),
        normal_stage2=len(have_stage2),
        first_stage2_s=min(stage2.values(), default=_NEVER) - began,
        normal_have_stage2_s=max(have_stage2) - began if len(have_stage2) == len(normal) else _NEVER,
        slow_has_stage1_s=_at(events, "stage1", "ends").get(str(slow), _NEVER) - began,
        slow_has_stage2_s=stage2.get(str(slow), _NEVER) - began,
        exit_code=int(cost["exit_code"]),
        ended_s=cost["ended_s"],
        all_ended_s=cost["all_ended_s"],
    )


class _Running:
    """A push server under the eyes of a reaper, which ends it when its time is over; for a `with` block."""

    def __init__(self, pusher: Pusher, directory: Path) -> None:
        self._output = directory / "cost.json"
        self._log = directory / "hub.log"
        self._output.unlink(missing_ok=True)
        program = [sys.executable, "-I", str(Path(reaper.__file__)), str(_LIMIT_S), str(self._log)]
        self._child = process.background([*program, *pusher.argv()], env=pusher.env, log=self._output)

    def __enter__(self) -> _Running:
        self._reaper = self._child.__enter__()
        self.pid = self._reaper.pid
        return self

    def __exit__(self, *_: object) -> None:
        self._child.__exit__(None, None, None)

    def wait(self) -> Mapping[str, float]:
        """What it cost, when all of it has ended."""
        if not wait_until(lambda: self._reaper.poll() is not None, limit_s=_LIMIT_S + 10):
            raise ProgramFailed("the push server was not done in time")
        cost: Mapping[str, float] = json.loads(self._output.read_text())
        if cost["all_ended_s"] >= _LIMIT_S:
            words = "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])
            raise ProgramFailed(f"the push server was not done within {_LIMIT_S:.0f} s: {words}")
        return cost


def _at(events: Sequence[Event], stage: str, what: str) -> dict[str, float]:
    """When it happened, by site."""
    return {event.site: event.at for event in events if (event.stage, event.what) == (stage, what)}


def report(pushed: Mapping[str, Sequence[Pushed]]) -> str:
    """The pushes as a Markdown table, one column for each push server."""
    rows: list[tuple[str, Callable[[Pushed], float], Callable[[float], str]]] = [
        ("stage 1 at the first site", lambda one: one.first_stage1_s, _seconds),
        ("stage 1 at the last site", lambda one: one.last_stage1_s, _seconds),
        ("last stage 1 done → first stage 2", lambda one: one.barrier_s, _seconds),
        ("last stage 1 done → all have stage 2", lambda one: one.last_stage2_s, _seconds),
        ("CPU at the hub", lambda one: one.cpu_s, _seconds),
        ("CPU at the hub, per trigger", lambda one: one.cpu_per_trigger_s, _milliseconds),
        ("CPU of all sites", lambda one: one.sites_cpu_s, _seconds),
        ("memory, every site open", lambda one: one.memory, _mebibytes),
        ("largest process", lambda one: one.largest, _mebibytes),
        ("sites that got stage 1", lambda one: one.stage1, _count),
        ("sites that got stage 2", lambda one: one.stage2, _count),
        ("exit code", lambda one: one.exit_code, _count),
    ]
    both = len(pushed) == len(PUSHERS)
    lines = []
    for title, value, shown in rows:
        values = {name: [value(one) for one in costs] for name, costs in pushed.items()}
        ratio = [_ratio(values) if shown is not _count else ""] if both else []
        lines.append([title, *(_spread(found, shown) for found in values.values()), *ratio])
    return table(["", *pushed, *(["ratio"] if both else [])], lines)


def report_trouble(troubled: Mapping[str, Troubled]) -> str:
    """What trouble did, as a Markdown table."""
    rows: dict[str, Callable[[Troubled], str]] = {
        "first stage 2": lambda one: _seconds(one.first_stage2_s),
        "all normal sites have stage 2": lambda one: _seconds(one.normal_have_stage2_s),
        "normal sites that got it": lambda one: f"{one.normal_stage2} of {one.normal}",
        "the slow site ends stage 1": lambda one: _seconds(one.slow_has_stage1_s),
        "the slow site gets stage 2": lambda one: _seconds(one.slow_has_stage2_s),
        "the command ends": lambda one: f"{_seconds(one.ended_s)}, exit code {one.exit_code}",
        "its last process ends": lambda one: _seconds(one.all_ended_s),
    }
    lines = [[title, *(shown(one) for one in troubled.values())] for title, shown in rows.items()]
    return table(["", *troubled], lines)


def _spread(values: Sequence[float], shown: Callable[[float], str]) -> str:
    middle = shown(statistics.median(values))
    low, high = shown(min(values)), shown(max(values))
    return middle if low == high else f"{middle} ({low} - {high})"


def _ratio(values: Mapping[str, Sequence[float]]) -> str:
    """Pair by pair, then the median."""
    pairs = zip(values["pushmirror"], values["runmirrors"], strict=True)
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    return f"{statistics.median(ratios):.3f}" if ratios else ""


def _seconds(value: float) -> str:
    return "never" if isnan(value) else f"{value:.2f} s"


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.1f} ms"


def _mebibytes(value: float) -> str:
    return f"{value / 2**20:.0f} MiB"


def _count(value: float) -> str:
    return f"{value:.0f}"
