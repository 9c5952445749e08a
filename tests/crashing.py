"""One run of an engine in a process of its own that ends, as by kill -9, before a certain one of its changes.

A change is a name that is made, renamed or removed, two directories that are swapped, or a transaction of the
inventory: between two of them a kill finds the same. Before each that is about the served tree, the judge
takes a sample of it, so that no broken instant goes unseen. Not seen: what rsync does in the work area.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from pushmirror.config.model import Archive, Mirror, Strategy
from pushmirror.errors import PushmirrorError
from pushmirror.inventory.db import InventoryDb
from pushmirror.lab.judge import Judge
from pushmirror.progress import Silent
from pushmirror.state.records import Stage
from pushmirror.sync.engine import Engine
from pushmirror.sync.request import RunRequest
from pushmirror.system.beneath import Beneath
from pushmirror.workspace import StatePaths

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link"}
_CRASHED = 99
_LIMIT_S = 120  # of one run
_MOST = 5  # samples' problems that are kept


@dataclass(frozen=True, slots=True)
class Run:
    """What is to be run."""

    archive: Archive
    paths: StatePaths
    strategy: Strategy
    stage: Stage = Stage.ALL
    ends_before: int = 0  # this change; 0: it comes to its end
    about: str = ""  # a regular expression: only changes with such a name in the tree count and are judged


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    error: str = ""
    strategy: str = ""
    why: str = ""
    changes: int = 0
    crashed: bool = False
    broken: tuple[str, ...] = ()


class Runner:
    """Carries out runs, one after the other, in children of a process without threads."""

    def __enter__(self) -> Self:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()

    def run(self, run: Run) -> Ended:
        """One run."""
        self._pipe.send(run)
        assert self._pipe.poll(_LIMIT_S), f"a run took longer than {_LIMIT_S} s: {run}"
        ended = self._pipe.recv()
        assert isinstance(ended, Ended)
        return ended


def _serve(pipe: Connection) -> None:
    context = get_context("spawn")
    while True:
        try:
            run = pipe.recv()
        except EOFError:
            return
        ours, theirs = context.Pipe()
        child = os.fork()
        if child == 0:
            _run(run, theirs)
        theirs.close()
        ended = Ended()
        while True:
            try:
                ended = ours.recv()
            except EOFError:
                break
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code not in {0, _CRASHED}:
            ended = replace(ended, error=f"ended with {code}")
        pipe.send(replace(ended, crashed=code == _CRASHED))


def _run(run: Run, pipe: Connection) -> None:
    """The child: carry out the run, and end."""
    engine = Engine(run.archive, Mirror(name="site.lab.example.org"), paths=run.paths, progress=Silent())
    observer = _Observer(run)
    job = RunRequest(run.archive.name, run.stage, "manual", allow_mass_delete=True, strategy=run.strategy)
    error = ""
    try:
        with observer.watching(pipe):
            engine.run(job, lambda _: None)
    except PushmirrorError as exc:
        error = f"{exc} ({exc.exit_code})"
    except BaseException as exc:  # noqa: BLE001  whatever it is, the test has to hear of it
        error = repr(exc)
    report = engine.report
    pipe.send(replace(observer.seen(), error=error, strategy=report.strategy, why=report.why))
    os._exit(0)


def _paths(event: str, args: tuple[Any, ...]) -> Iterator[str]:
    """The paths of an audit event, whose arguments may be names in directories by handle."""
    match event, args:
        case (("os.rename" | "os.link"), (one, other, in_one, in_other)):
            yield from (_path(one, in_one), _path(other, in_other))
        case "os.mkdir", (name, _, directory):
            yield _path(name, directory)
        case "os.symlink", (_, name, directory):
            yield _path(name, directory)
        case _, (name, directory):
            yield _path(name, directory)


def _path(name: str | bytes | Path, directory: int) -> str:
    return (
        os.fsdecode(name)
        if directory == -1
        else f"{Path(f'/proc/self/fd/{directory}').readlink()}/{os.fsdecode(name)}"
    )


class _Observer:
    """Sees each change that is about to be made, and judges the tree; ends the process when it is time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tree = os.fspath(run.archive.path)
        self._judge = Judge(run.archive.path)
        self._changes = 0
        self._broken: list[str] = []
        self._lock = threading.RLock()
        self._on = False

    def seen(self) -> Ended:
        return Ended(changes=self._changes, broken=tuple(self._broken))

    @contextmanager
    def watching(self, pipe: Connection) -> Iterator[None]:
        self._pipe = pipe
        self._count_exchanges()
        self._count_transactions()
        sys.addaudithook(self._audit)
        self._on = True
        try:
            yield
        finally:
            self._on = False
            self._sample()

    def _count_exchanges(self) -> None:
        original = Beneath.exchange

        def exchange(beneath: Beneath, one: str, other: str) -> bool:
            self._change(f"{beneath.root}/{one}", f"{beneath.root}/{other}")
            return original(beneath, one, other)

        Beneath.exchange = exchange  # type: ignore[method-assign]

    def _count_transactions(self) -> None:
        original = InventoryDb.changing

        @contextmanager
        def changing(file: InventoryDb, **options: Any) -> Iterator[Any]:
            with original(file, **options) as change:
                yield change
                self._change(os.fspath(file.path))

        InventoryDb.changing = changing  # type: ignore[assignment, method-assign]

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self._on and event in _CHANGES:
            self._change(*_paths(event, args))

    def _change(self, *paths: str) -> None:
        with self._lock:  # whoever else wants to change something waits until it was judged
            in_tree = [path for path in paths if path.startswith(f"{self._tree}/") and "/.~tmp~" not in path]
            counts = not self._run.about or any(re.search(self._run.about, path) for path in in_tree)
            self._changes += counts
            if in_tree and counts:
                self._sample(f"before change {self._changes}, {' '.join(paths)}: ")
            if counts and self._changes == self._run.ends_before:
                self._pipe.send(self.seen())
                os._exit(_CRASHED)

    def _sample(self, where: str = "at the end: ") -> None:
        is_begun = (self._run.archive.path / "dists").is_dir()
        if is_begun and not any(self._run.archive.path.glob("dists/*/InRelease")):
            return  # nobody can be led to anything yet
        if len(self._broken) < _MOST:
            self._broken += [where + problem for problem in self._judge.sample()]
