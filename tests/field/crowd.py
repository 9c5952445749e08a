"""Many odd suites in one archive: each has a fate of its own, and none of them is any other's business.

A crowd is a case whose `odd` are many: all its cases have as many steps, and one sync is for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from field.apt import Verdict
from field.builder import Upstream
from field.case import Case, Odd, Step
from field.mirror import Mirror
from field.scene import State
from field.served import Expected, Tree, names
from pushmirror.config.model import Strategy

STRATEGIES = tuple(one for one in Strategy if one is not Strategy.AUTO)


def crowd(name: str, cases: Sequence[Case]) -> Case:
    """A case that has all of these in one archive."""
    steps = zip(*(case.steps for case in cases), strict=True)
    together = tuple(_together([case.name for case in cases], each) for each in steps)
    options = cases[0].options
    return Case(name, together, mine=("dists", "pool"), options=options, strategies=STRATEGIES)


def _together(suites: Sequence[str], steps: Sequence[Step]) -> Step:
    def build(up: Upstream, n: int) -> None:
        for suite, step in zip(suites, steps, strict=True):
            step.build(up.calling(suite), n)

    exits = max(max(step.exits) for step in steps)  # one suite that is held back is enough
    return Step(
        build,
        (exits,),
        again=exits if any(step.again is not None for step in steps) else None,
        later=max(step.later for step in steps),
        unserved=tuple(pattern for step in steps for pattern in step.unserved),
        loose=tuple(pattern for step in steps for pattern in step.loose),
    )


@dataclass
class Crowd:
    """A mirror of a crowd."""

    mirror: Mirror
    cases: Sequence[Case]
    _served: dict[str, Tree] = field(default_factory=dict)  # what is served of each suite

    def problems(self) -> list[str]:
        """What is not as it should be after the first step that is not."""
        for number, step in enumerate(self.mirror.scene.case.steps):
            ended = self.mirror.sync(number)
            found = [] if ended.exit_code in step.exits else [f"exit code {ended.exit_code}: {ended.errors}"]
            if not self.mirror.scene.reads_good(self.mirror.site.tree):
                found.append("apt does not take good")
            there = names(self.mirror.site.tree)
            found += self._beside(number, step, there)
            for case in self.cases:
                found += [f"{case.name}: {problem}" for problem in self._of(case, number, there)]
            if step.again is not None and not found:
                again = self.mirror.site.sync()
                found = [] if again.exit_code == step.again else [f"again: {again.exit_code}: {again.errors}"]
            if found:
                return [f"step {number + 1}: {problem}" for problem in found]
        return []

    def _beside(self, number: int, step: Step, there: Tree) -> Iterator[str]:
        """What is not as it should be with what belongs to no suite."""
        upstream = _outside(self.mirror.scene.state(number).names)
        by_index = self.mirror.strategy is Strategy.INDEX and number > 0
        yield from Expected(step, upstream, {}, (), (), by_index).differences(_outside(there))

    def _of(self, case: Case, number: int, there: Tree) -> Iterator[str]:
        """What is not as it should be with one suite."""
        state, step = self.mirror.scene.state(number), _renamed(case, number)
        mine = (f"dists/{case.name}", f"pool/{case.name}")
        upstream = _below(state.names, mine)
        if step.odd is Odd.CURRENT:
            self._served[case.name] = upstream
        by_index = self.mirror.strategy is Strategy.INDEX and number > 0
        unlisted = [_of_suite(pattern, case) for pattern in case.unlisted]
        expected = Expected(step, upstream, self._served.get(case.name, {}), mine, unlisted, by_index)
        yield from expected.differences(_below(there, mine))
        if step.apt is not None:
            yield from self._judged(case, step, state)

    def _judged(self, case: Case, step: Step, state: State) -> Iterator[str]:
        upstream = self._reads(case, state.tree)
        if bool(upstream) != step.apt:
            yield f"apt at upstream, expected {step.apt}: {upstream.problem or 'content'}"
        if step.odd is Odd.HELD or (step.odd is Odd.CURRENT and step.apt):
            ours = self._reads(case, self.mirror.site.tree)
            if not ours:
                yield f"apt: {ours.problem}"
            elif step.odd is Odd.CURRENT and ours.packages != upstream.packages:
                yield f"apt got other packages than from upstream: {sorted(ours.packages)}"

    def _reads(self, case: Case, tree: Path) -> Verdict:
        scene = self.mirror.scene
        return scene.apt.reads((tree, f"{case.name} main"), packages=case.packages, keyring=scene.keyring)


def _renamed(case: Case, number: int) -> Step:
    step = case.steps[number]
    return replace(step, unserved=tuple(_of_suite(pattern, case) for pattern in step.unserved))


def _of_suite(pattern: str, case: Case) -> str:
    return pattern.replace("dists/odd/", f"dists/{case.name}/").replace("pool/main/", f"pool/{case.name}/")


def _outside(tree: Tree) -> Tree:
    return {name: tree[name] for name in tree if not name.startswith(("dists", "pool", "zzz-dists"))}


def _below(tree: Tree, directories: Sequence[str]) -> Tree:
    found = (name for name in tree if any(name == one or name.startswith(f"{one}/") for one in directories))
    return {name: tree[name] for name in found}
