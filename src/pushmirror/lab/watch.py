"""Samples trees by their judges, in a process of its own, again and again while they change."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

from pushmirror.errors import PushmirrorError
from pushmirror.lab.judge import SETTLE_S, Judge

_KEPT = 20  # messages
_LIMIT_S = 6 * 3600.0  # then it ends by itself
_START_S = 600.0
_GENTLY = 10  # steps of niceness
_REST_S = 0.1  # at most, after a gentle sample: as long as it took


@dataclass(frozen=True, slots=True)
class Tally:
    """What a watcher has found so far."""

    samples: int = 0  # of all trees together
    broken: int = 0  # samples with at least one problem
    messages: tuple[str, ...] = ()  # the first ones


class Watcher:
    """Samples trees in turn, from entry to exit of its block; each is sampled once before the block begins.

    `samples`, `broken` and `messages` are up to date in the block and final after it.
    """

    def __init__(
        self,
        *trees: Path,
        thorough: bool = False,
        pdiffs: bool = False,
        gently: bool = False,
        allowed: frozenset[str] = frozenset(),
        settle_s: float = SETTLE_S,
    ) -> None:
        """`gently`: at low priority, with pauses; `allowed` and `settle_s`: see Judge."""
        judges = [Judge(tree, thorough, pdiffs, allowed, settle_s) for tree in trees]
        self._tally = Tally()
        context = get_context("spawn")  # fork and threads do not go together, and tests have threads
        self._ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_watch,
            args=(theirs, judges),
            kwargs={"parent": os.getpid(), "gently": gently},
            daemon=True,
        )
        self._theirs = theirs
        self._running = False

    @property
    def samples(self) -> int:
        return self._now().samples

    @property
    def broken(self) -> int:
        return self._now().broken

    @property
    def messages(self) -> tuple[str, ...]:
        return self._now().messages

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        self._ask("tally")
        self._running = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running = False
        try:
            self._ask("stop")
        finally:
            self._process.join(5)
            self._process.kill()
            self._process.join()
            self._ours.close()

    def _now(self) -> Tally:
        if self._running:
            self._ask("tally")
        return self._tally

    def _ask(self, word: str) -> None:
        try:
            self._ours.send(word)
            if self._ours.poll(_START_S):
                self._tally = self._ours.recv()
                return
        except (EOFError, OSError) as exc:
            raise PushmirrorError("the watcher of the tree has ended; its error is printed above") from exc
        raise PushmirrorError(f"the watcher of the tree took no sample for {_START_S:.0f} s")


def _watch(pipe: Connection, judges: list[Judge], *, parent: int, gently: bool) -> None:
    if gently:
        os.nice(_GENTLY)
    samples, bad, messages = 0, 0, list[str]()
    until = time.monotonic() + _LIMIT_S
    while time.monotonic() < until and os.getppid() == parent:
        judge, began = judges[samples % len(judges)], time.monotonic()
        problems = judge.sample()
        if gently:
            time.sleep(min(time.monotonic() - began, _REST_S))
        samples += 1
        bad += bool(problems)
        which = f"sample {samples}" if len(judges) == 1 else f"sample {samples} of {judge.tree}"
        messages += [f"{which}: {problem}" for problem in problems[: _KEPT - len(messages)]]
        while samples >= len(judges) and pipe.poll():
            word = pipe.recv()
            pipe.send(Tally(samples, bad, tuple(messages)))
            if word == "stop":
                return
