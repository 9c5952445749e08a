"""A mirror of a case's upstream: synced in each of its states, and looked at by comparison and by apt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from field.case import Odd, Step
from field.scene import NO_DELAY, OddDaemon, Scene, State
from field.served import Expected, names
from forked import ForkedSite
from pushmirror.config.model import Strategy
from pushmirror.lab.site import ARCHIVE
from pushmirror.state.suites import read_suites, suites_path, write_suites
from pushmirror.system.process import Result
from support.rsync_daemon import RsyncDaemon


@dataclass
class Mirror:
    """One that goes by a strategy."""

    scene: Scene
    strategy: Strategy
    site: ForkedSite
    daemon: RsyncDaemon
    served: State | None = None  # what is served of `odd`

    def problems(self) -> list[str]:
        """What is not as it should be after the first step that is not; empty if all are."""
        for number in range(len(self.scene.case.steps)):
            if found := self._step(number):
                return [_printable(f"step {number + 1}: {problem}") for problem in found]
        return []

    def sync(self, number: int) -> Result:
        """Upstream is in the state of a step, and the mirror is synced."""
        self.scene.offer(self.daemon, self.strategy, self.scene.state(number))
        if later := self.scene.case.steps[number].later:
            _let_time_go_by(self.site, later)
        return self.site.sync()

    def _step(self, number: int) -> list[str]:
        step, state = self.scene.case.steps[number], self.scene.state(number)
        if self.strategy is Strategy.MANIFEST and state.owner:
            return [f"the owner's sync: {state.owner}"]
        ended = self.sync(number)
        if step.odd is Odd.CURRENT:
            self.served = state
        problems = [*_answered(ended, step.exits, step.says), *self._differences(step, state)]
        if step.apt is not None:
            problems += self._judged(number, step)
        if step.again is not None and not problems:
            again = self.site.sync()
            problems = [*_answered(again, (step.again,), ""), *self._differences(step, state)]
            problems = [f"again: {problem}" for problem in problems]
        return problems

    def _differences(self, step: Step, state: State) -> Iterator[str]:
        there = names(self.site.tree)
        by_index = self.strategy is Strategy.INDEX and state is not self.scene.states[0]
        served = self.served.names if self.served else {}
        case = self.scene.case
        expected = Expected(step, state.names, served, case.mine, case.unlisted, by_index)
        yield from expected.differences(there)
        ever = {facts for each in self.scene.states for facts in each.names.values()}
        yield from (
            f"{name} is here, never at upstream"
            for name, facts in there.items()
            if facts not in ever and name not in step.loose
        )
        if step.check:
            yield from step.check(state.tree, self.site.tree)

    def _judged(self, number: int, step: Step) -> Iterator[str]:
        scene, tree = self.scene, self.site.tree
        upstream = scene.upstream_verdict(number)
        if bool(upstream) != step.apt:
            yield f"apt at upstream, expected {step.apt}: {upstream.problem or 'content'}"
        if step.good and (step.odd is Odd.ABSENT or not step.apt) and not (verdict := scene.reads_good(tree)):
            yield f"apt, good: {verdict.problem}"
        if step.odd is Odd.HELD and not (verdict := scene.reads(tree)):
            yield f"apt, odd as before: {verdict.problem}"
        if step.odd is Odd.CURRENT and step.apt:
            verdict = scene.reads_both(tree)
            if not verdict:
                yield f"apt: {verdict.problem}"
            elif not upstream.packages.items() <= verdict.packages.items():
                yield f"apt got other packages than from upstream: {sorted(verdict.packages)}"


@contextmanager
def mirroring(scene: Scene, strategy: Strategy) -> Iterator[Mirror]:
    """A mirror that goes by a strategy; only one of each for a scene."""
    directory = scene.directory / strategy.value
    options = {"keyring": str(scene.keyring)} if scene.keyring else {}
    with ExitStack() as stack:
        daemon = scene.daemon
        if scene.case.greeting:
            motd = scene.directory / f"{strategy.value}.motd"
            motd.write_bytes(scene.case.greeting)
            own = OddDaemon(scene.directory / f"{strategy.value}.rsyncd", f"--dparam=motdfile={motd}")
            daemon = stack.enter_context(own)
        site = ForkedSite(
            directory,
            scene.cli,
            upstream=daemon.url(scene.module(strategy)),
            strategy=strategy.value,
            rsync_options=[NO_DELAY],
            **{**options, **scene.case.options},
        )
        if scene.case.prepare:
            site.tree.mkdir()
            stack.enter_context(scene.case.prepare(site.tree))
        yield Mirror(scene, strategy, site, daemon)


def _let_time_go_by(site: ForkedSite, time: timedelta) -> None:
    """As if every fault had been seen so much earlier."""
    file = suites_path(site.state, ARCHIVE)
    suites = read_suites(file)
    write_suites(file, [replace(x, fault_since=x.fault_since and x.fault_since - time) for x in suites])


def _answered(ended: Result, exits: tuple[int, ...], words: str) -> Iterator[str]:
    lines = [line.removeprefix("pushmirror: ") for line in ended.errors.splitlines() if line.strip()]
    said = f"exit code {ended.exit_code}: {' / '.join(lines[-4:])[:600] or 'nothing said'}"
    if ended.exit_code not in exits:
        yield f"{said}; expected {' or '.join(map(str, exits))}"
    elif "internal error" in ended.errors or "Traceback" in ended.errors or words not in ended.errors:
        yield f"{said}; expected {words!r} and no mistake"


def _printable(text: str) -> str:
    """A name may be no text, and pytest's workers can only hand on text."""
    return text.encode("utf-8", "backslashreplace").decode()
