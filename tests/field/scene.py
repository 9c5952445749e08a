"""Carries out a case: builds the states of its archive, mirrors each over a real daemon, and looks at what is served.

Scene ── states: each a tree that never changes again ──▶ module CASE-STRATEGY of the daemon ──▶ a site for each strategy
  └────── apt at upstream, once for each state            and apt at the site
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

from field.apt import Apt, Verdict
from field.builder import PACKAGES, Upstream, gz
from field.case import Case, Odd, Step
from forked import Cli, ForkedSite
from pushmirror.config.model import Strategy
from pushmirror.errors import PushmirrorError
from pushmirror.lab.compare import OWN
from pushmirror.lab.daemon import RsyncDaemon
from pushmirror.lab.site import ARCHIVE
from pushmirror.state.suites import path_of, read_suites, write_suites
from upstreams import places_in, take_stock

GOOD = "good main"
NO_DELAY = "--sockopts=TCP_NODELAY"  # on both ends: each rsync of few bytes takes 20 ms, not 120
Tree = Mapping[str, tuple[object, ...]]  # path -> kind, and what counts of it


@dataclass(frozen=True)
class State:
    """Upstream at one time."""

    tree: Path
    manifest: Path
    names: Tree
    owner: str = ""  # why the owner could seal no manifest


@dataclass
class Scene:
    """A case in a directory of its own, below what apt's server shows."""

    case: Case
    directory: Path
    cli: Cli
    daemon: RsyncDaemon
    apt: Apt
    _states: list[State] = field(default_factory=list)
    _verdicts: dict[int, Verdict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.up = Upstream(self.directory / "upstream" / "tree")
        own = self.case.keyring
        self.keyring = own(self.directory) if own else self.up.keyring

    def problems(self, strategy: Strategy) -> list[str]:
        """What is not as it should be after the first step that is not; empty if all are."""
        with self.mirroring(strategy) as (site, daemon):
            last = State(site.tree, site.tree, {})
            for number, step in enumerate(self.case.steps):
                found, last = self._step(number, step, site, daemon, strategy, last)
                if found:
                    return [f"step {number + 1}: {_printable(problem)}" for problem in found]
        return []

    @contextmanager
    def mirroring(self, strategy: Strategy) -> Iterator[tuple[ForkedSite, RsyncDaemon]]:
        """A site that goes by a strategy, and the daemon above it."""
        with ExitStack() as stack:
            daemon = self.daemon
            if self.case.greeting:
                daemon = stack.enter_context(self._greeting_daemon(strategy))
            site = self._site(strategy, daemon)
            if self.case.prepare:
                site.tree.mkdir()
                stack.enter_context(self.case.prepare(site.tree))
            yield site, daemon

    def state(self, number: int) -> State:
        """The state that a step begins with; those before it are built first."""
        while len(self._states) <= number:
            n = len(self._states) + 1
            good(self.up, n)
            self.case.steps[n - 1].build(self.up, n)
            self.up.master()
            self.up.tree.chmod(0o755)
            tree, manifest = self.directory / f"{n}", self.directory / f"{n}.manifest"
            owner = self._seal(manifest)
            _copy(self.up.tree, tree)
            self._states.append(State(tree, manifest, names(tree), owner))
        return self._states[number]

    def _seal(self, manifest: Path) -> str:
        """Have the owner make a manifest of the tree; why it could not."""
        if Strategy.MANIFEST not in self.case.strategies:
            return ""
        now = self.directory / "upstream" / "manifest"
        now.mkdir(exist_ok=True)
        try:
            take_stock(self.up.tree, places_in(self.directory / "upstream", now))
        except PushmirrorError as exc:
            return str(exc)
        finally:
            _copy(now, manifest)
        return ""

    def upstream_verdict(self, number: int) -> Verdict:
        """What apt makes of `odd` at upstream."""
        if number not in self._verdicts:
            self._verdicts[number] = self.reads(self.state(number).tree)
        return self._verdicts[number]

    def reads(self, tree: Path) -> Verdict:
        """What apt makes of `odd` in a tree."""
        case = self.case
        return self.apt.reads(tree / case.root, case.line, case.packages, self.keyring)

    def reads_good(self, tree: Path) -> Verdict:
        """What apt makes of `good` in a tree."""
        return self.apt.reads(tree, GOOD, ["good"], self.keyring)

    def _site(self, strategy: Strategy, daemon: RsyncDaemon) -> ForkedSite:
        options = {"keyring": str(self.keyring)} if self.keyring else {}
        return ForkedSite(
            self.directory / strategy.value,
            self.cli,
            upstream=daemon.url(self.module(strategy)),
            rsync_options=[NO_DELAY],
            strategy=strategy.value,
            **{**options, **self.case.options},
        )

    def _greeting_daemon(self, strategy: Strategy) -> RsyncDaemon:
        file = self.directory / "motd"
        file.write_bytes(self.case.greeting)
        return OddDaemon(self.directory / f"rsyncd-{strategy}", f"--dparam=motdfile={file}")

    def module(self, strategy: Strategy) -> str:
        return f"{self.case.name}-{strategy.value}"

    def _step(
        self, number: int, step: Step, site: ForkedSite, daemon: RsyncDaemon, strategy: Strategy, last: State
    ) -> tuple[list[str], State]:
        """What is wrong after a step, and the state of `odd` that is served now."""
        state = self.state(number)
        self.offer(daemon, self.module(strategy), state)
        if strategy is Strategy.MANIFEST and state.owner:
            return [f"the owner's sync: {state.owner}"], state
        if step.later:
            let_time_go_by(site, step.later)
        result = site.sync()
        served = state if step.odd is Odd.CURRENT else last
        said = f"sync: exit code {result.exit_code}: {_last_lines(result.errors)}"
        if result.exit_code not in step.exits:
            return [
                f"{said}; expected {step.exits}; then {self._look(step, state, served, site, strategy)[:2]}"
            ], served
        if "mistake in pushmirror" in result.errors or "Traceback" in result.errors:
            return [said], served
        if step.says not in result.errors + result.output.decode("utf-8", "replace"):
            return [f"{said}: nothing says {step.says!r}"], served
        problems = self._look(step, state, served, site, strategy)
        if step.apt is not None:
            problems += self._judge(number, step, site)
        if step.again is not None and not problems:
            again = site.sync()
            if again.exit_code != step.again:
                problems.append(f"again: exit code {again.exit_code}: {_last_lines(again.errors)}")
            problems += [f"again: {problem}" for problem in self._look(step, state, served, site, strategy)]
        return [*problems, *([said] if problems else [])], served

    def offer(self, daemon: RsyncDaemon, module: str, state: State) -> None:
        """Have a module show a state."""
        daemon.add_module(module, state.tree, options=self.case.module)
        if Strategy.MANIFEST in self.case.strategies:
            daemon.add_module(f"{module}.manifest", state.manifest)

    def _look(
        self, step: Step, state: State, served: State, site: ForkedSite, strategy: Strategy
    ) -> list[str]:
        there = names(site.tree)
        problems = list(self._differences(step, state, served, there, strategy))
        ever = {name for each in self._states for name in each.names}
        problems += [
            f"{name} is here, never at upstream" for name in there if name not in ever and "/" in name
        ]
        if step.check:
            problems += step.check(state.tree, site.tree)
        return problems

    def _differences(
        self, step: Step, state: State, served: State, there: Tree, strategy: Strategy
    ) -> Iterator[str]:
        by_index = strategy is Strategy.INDEX and state is not self._states[0]

        def differs(name: str, what: tuple[object, ...]) -> bool:
            ours = there.get(name)
            if by_index and ours:  # a file that is published anew with the same content is the same one
                return without_time(ours) != without_time(what)
            return ours != what and what[0] != "other"

        for name, what in state.names.items():
            if any(fnmatchcase(name, pattern) for pattern in step.unserved):
                if there.get(name) == what:
                    yield f"{name} is served as upstream has it"
            elif self._is_mine(name):
                if step.odd is Odd.CURRENT and differs(name, what):
                    yield f"{name}: {there.get(name)}, expected {what}"
            elif not step.good or (_is_pool(name) and step.odd is not Odd.CURRENT):
                continue  # packages that only `odd` wants may be here already
            elif by_index and not name.startswith(("dists", "pool")):
                continue  # comes with the next full run
            elif differs(name, what):
                yield f"{name}: {there.get(name)}, expected {what}"
        if step.odd is Odd.HELD:
            for name, what in served.names.items():
                if (self._is_mine(name) or _is_pool(name)) and differs(name, what):
                    yield f"{name}: {there.get(name)}, expected as before {what}"
        if step.odd is Odd.ABSENT or not step.good:
            releases = [name for name in there if name.endswith(("/InRelease", "/Release"))]
            yield from (f"{name} is served" for name in releases if self._is_mine(name) or not step.good)

    def _is_mine(self, name: str) -> bool:
        return any(name == mine or name.startswith(f"{mine}/") for mine in self.case.mine)

    def _judge(self, number: int, step: Step, site: ForkedSite) -> Iterator[str]:
        upstream = self.upstream_verdict(number)
        if bool(upstream) != step.apt:
            yield f"apt at upstream, expected {step.apt}: {upstream.problem or 'content'}"
        if step.good and not (verdict := self.reads_good(site.tree)):
            yield f"apt, good: {verdict.problem}"
        if step.odd is Odd.ABSENT:
            return
        verdict = self.reads(site.tree)
        if not verdict and (step.apt or step.odd is Odd.HELD):
            yield f"apt, odd: {verdict.problem}"
        if step.odd is Odd.CURRENT and verdict and upstream and verdict.packages != upstream.packages:
            yield f"apt got other packages than from upstream: {sorted(verdict.packages)}"


class OddDaemon(RsyncDaemon):
    """One with further arguments."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._arguments = (NO_DELAY, *arguments)
        super().__init__(directory)

    def _argv(self) -> list[str]:
        return [*super()._argv(), *self._arguments]


def good(up: Upstream, n: int) -> None:
    """The suite that is ordinary, in state n."""
    up.remove("pool/main/g/good")
    packages = (up.package("good", f"1.{n}") + "\n" + up.package("good-old", "1.0") + "\n").encode()
    up.suite("dists/good", {PACKAGES: packages, f"{PACKAGES}.gz": gz(packages)}, by_hash=["SHA256"])


def names(tree: Path) -> Tree:
    """All of a tree but what each mirror has of its own."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, inside, files in os.walk(tree):
        for name in (*inside, *files):
            path = Path(directory, name)
            relative = str(path.relative_to(tree))
            if not OWN.fullmatch(relative):
                found[relative] = _about(path)
    return found


def without_time(what: tuple[object, ...]) -> tuple[object, ...]:
    """What counts of a name, but for when it was changed."""
    return what[:2] + what[3:]


def _about(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "link", os.fspath(path.readlink())
    if stat.S_ISDIR(status.st_mode):
        return ("directory",)
    if stat.S_ISREG(status.st_mode):
        return "file", status.st_size, int(status.st_mtime), sha256(path.read_bytes()).hexdigest()[:12]
    return ("other",)


def _is_pool(name: str) -> bool:
    return name == "pool" or name.startswith("pool/")


def _copy(source: Path, target: Path) -> None:
    """As `cp -al`: what is written later has new files."""
    target.mkdir()
    for directory, inside, files in os.walk(source):
        there = target / Path(directory).relative_to(source)
        for name in (*inside, *files):
            path = Path(directory, name)
            if path.is_dir() and not path.is_symlink():
                (there / name).mkdir()
                (there / name).chmod(stat.S_IMODE(path.stat().st_mode))
            else:
                os.link(path, there / name, follow_symlinks=False)


def let_time_go_by(site: ForkedSite, time: timedelta) -> None:
    """As if every fault had been seen so much earlier."""
    file = path_of(site.state, ARCHIVE)
    suites = read_suites(file)
    write_suites(file, [replace(x, fault_since=x.fault_since and x.fault_since - time) for x in suites])


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _last_lines(text: str) -> str:
    lines = [line.removeprefix("pushmirror: ") for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-4:])[:600] or "nothing said"
