"""One hub and mirrors of it: brings all to where a scenario begins, lets one run, looks at what it made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from bench.contenders import make
from bench.hub import Hub
from bench.meter import Cost, measure
from bench.mirror import Contender, Upstream
from bench.ours import Ours
from bench.peers import Bare, Debmirror
from pushmirror.errors import Mismatch
from pushmirror.system import process

_OWN = ("/project/trace/*", "/Archive-Update-*", "/.~tmp~")  # of each mirror; no business of a comparison
_GRACE = "0s"  # ftpsync deletes at once what upstream deleted; so do ours here, to do the same work


class Scenario(StrEnum):
    """What is measured."""

    FIRST = "first"
    NO_CHANGE = "nochange"
    IF_CHANGED = "ifchanged"  # `sync --if-changed`, as a timer asks
    UPDATE = "update"

    @property
    def words(self) -> str:
        return _TITLES[self]


_TITLES = {
    Scenario.FIRST: "first sync",
    Scenario.NO_CHANGE: "no change",
    Scenario.IF_CHANGED: "no change, `--if-changed`",
    Scenario.UPDATE: "update",
}


class Course:
    """The hub runs; each contender has its mirror below `directory`, and reaches the hub by `upstream`."""

    def __init__(
        self, hub: Hub, directory: Path, names: Sequence[str], *, upstream: Upstream | None = None
    ) -> None:
        self.hub = hub
        self._directory = directory
        self._log = directory / "run.log"
        self.contenders = {
            name: make(name, directory / name, upstream or hub.upstream, grace=_GRACE) for name in names
        }
        self._at = dict.fromkeys(self.contenders, "")  # state of each mirror
        for contender in self.contenders.values():
            if isinstance(contender, Debmirror):
                contender.suites = hub.archive.suites

    def of(self, scenario: Scenario) -> list[Contender]:
        """Those that it makes sense for."""
        return [contender for contender in self.contenders.values() if _takes_part(contender, scenario)]

    def begin(self, scenario: Scenario, names: Collection[str] | None = None) -> Cost | None:
        """Bring upstream and (all) mirrors to where the scenario begins; what the hub's taking stock cost."""
        self.hub.switch("A")
        for contender in self.of(scenario):
            if names is not None and contender.name not in names:
                continue
            if scenario is Scenario.FIRST:
                contender.wipe()
                self._at[contender.name] = ""
            else:
                self._bring_to_a(contender)
        stock = self.hub.switch("B") if scenario is Scenario.UPDATE else None
        os.sync()  # nobody shall pay for what another has left unwritten
        return stock

    def run(self, contender: Contender, scenario: Scenario, argv: Sequence[str] | None = None) -> Cost:
        """Run the contender once, and see that it did its work."""
        argv = argv or contender.argv()
        if scenario is Scenario.IF_CHANGED:
            argv = [*argv, "--if-changed"]
        serving, exit_codes = self.hub.serving, self.hub.archive.exit_codes
        cost = measure(argv, env=contender.env, log=self._log, serving=serving, exit_codes=exit_codes)
        self._compare(contender)
        if not self._at[contender.name]:
            contender.remember()
        self._at[contender.name] = self.hub.archive.state
        return cost

    def close(self) -> None:
        """Remove the mirrors: there is room for a few at a time only."""
        for name in self.contenders:
            shutil.rmtree(self._directory / name)
            shutil.rmtree(self._directory / f"{name}.kept", ignore_errors=True)

    def _bring_to_a(self, contender: Contender) -> None:
        before = self._at[contender.name]
        if before == "B":
            self._undo_update(contender)
        elif before == "":
            contender.wipe()
            if isinstance(contender, Bare | Debmirror):
                _copy(self.hub.archive.path, contender.tree)
            if isinstance(contender, Bare):
                contender.tell(*self._update(contender))
            else:
                self.run(contender, Scenario.FIRST)
        self._at[contender.name] = "A"

    def _undo_update(self, contender: Contender) -> None:
        """What B has alone goes, what A has alone comes: at once, where a scan would take its time."""
        new, gone = self._update(contender)
        for path in set(new) - set(gone):
            (contender.tree / path).unlink()
        old = [path for path in self.hub.archive.only["A"] if _is_of(contender, path)]
        _copy(self.hub.archive.path, contender.tree, old)
        contender.recall()

    def _update(self, contender: Contender) -> tuple[list[str], list[str]]:
        """What a mirror has to fetch, and to remove, from A to B."""
        only = self.hub.archive.only
        gone = sorted({*only["A"]} - {*only["B"]})
        return [path for path in only["B"] if _is_of(contender, path)], gone

    def _compare(self, contender: Contender) -> None:
        """Names, sizes, times and targets are the same, but for a suite held back, or Mismatch."""
        different = [line for part in contender.parts for line in self._differences(contender, part)]
        for suite in {*self.hub.archive.suites} - {self.hub.archive.held}:
            name = f"dists/{suite}/InRelease"
            if (self.hub.archive.path / name).read_bytes() != (contender.tree / name).read_bytes():
                different.append(name.encode())
        if different:
            raise Mismatch(f"{contender.name}'s mirror differs in {len(different)} names: {different[:3]}")

    def _differences(self, contender: Contender, part: str) -> list[bytes]:
        different: list[bytes] = []
        options = ["-nrlt", "--omit-dir-times", "--delete", "--out-format=%n"]
        held = [f"/{top}/{self.hub.archive.held}" for top in ("dists", "zzz-dists") if self.hub.archive.held]
        excludes = [f"--exclude={path}" for path in (*_OWN, *held)]
        argv = ["rsync", *options, *excludes, f"{self.hub.archive.path / part}/", f"{contender.tree / part}/"]
        process.run(argv, on_line=different.append).check()
        return different


def _takes_part(contender: Contender, scenario: Scenario) -> bool:
    if isinstance(contender, Bare):
        return scenario is Scenario.UPDATE
    if isinstance(contender, Debmirror):
        return scenario in {Scenario.NO_CHANGE, Scenario.UPDATE}
    return scenario is not Scenario.IF_CHANGED or isinstance(contender, Ours)


def _is_of(contender: Contender, path: str) -> bool:
    return any(not part or path.startswith(f"{part}/") for part in contender.parts)


def _copy(source: Path, to: Path, paths: Sequence[str] | None = None) -> None:
    """Copy a tree, or some of its names."""
    to.mkdir(parents=True, exist_ok=True)
    chosen = [] if paths is None else ["--files-from=-"]
    names: Iterator[str] = (f"{path}\n" for path in paths or ())
    argv = ["rsync", "-aH", *chosen, f"{source}/", f"{to}/"]
    process.run(argv, stdin="".join(names).encode()).check()
