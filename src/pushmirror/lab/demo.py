"""The demo: an archive changes, and all its mirrors follow without ever being broken.

`run` is the whole of it. Guaranteed: a verdict without problems means that every mirror was compared with the
owner's tree and checked by gpgv; what pushmirror reports of itself is no evidence. Not the business of this
module: how the steps are printed (`cli.lab_console`), how a mirror is checked (`lab.verify`).
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import resource_tracker
from time import monotonic
from typing import Protocol

from pushmirror.config.model import PushKind
from pushmirror.errors import PushmirrorError
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.network import Network, Node
from pushmirror.lab.packages import ARCHITECTURES
from pushmirror.lab.passage import Call, Now, Passage, Passed
from pushmirror.lab.site import ARCHIVE
from pushmirror.lab.verify import SHORT, Standing, files_of, generation_of, owner_now, verify
from pushmirror.lab.watch import Watcher
from pushmirror.progress import Silent
from pushmirror.runner import Runner
from pushmirror.state.records import Request, Stage
from pushmirror.sync.request import RunRequest
from pushmirror.system import clock

_LOOK_S = 0.2  # between two looks at where everybody is
_LIMIT_S = 3600.0  # for one push, far beyond need: a mirror that keeps failing ends the wait


class Board(Protocol):
    """Shows what each mirror does, while it changes."""

    def show(self, everybody: Sequence[Now]) -> None:
        """Show this from now on."""


class Narrator(Protocol):
    """Shows the steps of the demo."""

    def title(self, words: str) -> None:
        """Begin a step."""

    def fact(self, name: str, words: str, *, good: bool | None = None) -> None:
        """Show a fact; `good` is the result of its check, None without one."""

    def working(self, name: str, words: str) -> AbstractContextManager[object]:
        """Show that something is being done, until the end of the block."""

    def board(self) -> AbstractContextManager[Board]:
        """Show a push in progress, until the end of the block."""

    def chart(self, passed: Sequence[Passed]) -> None:
        """Show when each mirror was triggered and became current."""


@dataclass(frozen=True, slots=True)
class Barrier:
    """Where stage 2 waited until all sites of a hub had stage 1; in seconds from the change."""

    hub: str
    last_stage1_s: float  # confirmed
    first_stage2_s: float  # sent

    @property
    def was_kept(self) -> bool:
        return self.last_stage1_s <= self.first_stage2_s


@dataclass(frozen=True, slots=True)
class Pushed:
    """One change of the archive, and how it reached all mirrors."""

    generation: str
    archive_serial: int
    mirrors: tuple[Passed, ...]
    barriers: tuple[Barrier, ...]
    seconds: float  # until the last mirror was current, or nobody waited for it any more

    @property
    def late(self) -> list[Passed]:
        """The mirrors that do not serve it."""
        return [one for one in self.mirrors if one.current_s is None]


@dataclass(slots=True)
class Verdict:
    """The result of the demo; without problems everything was verified."""

    problems: list[str] = field(default_factory=list)
    pushes: list[Pushed] = field(default_factory=list)  # the first one is the first fetch
    samples: int = 0  # of the served trees while the archive changed, not during the first fetch
    broken: int = 0  # samples with a fault, those of the first fetch included
    machines: tuple[Standing, ...] = ()  # the owner, then each mirror after the one above it
    seconds: float = 0.0


def describe_archive(archive: LabArchive, narrator: Narrator) -> None:
    """Show what the archive has."""
    files = files_of(archive.path)
    size = sum(path.lstat().st_size for path in files)
    pool = f"{len(archive.pool_files):,} in the pool"
    narrator.fact("files", f"{len(files):,}, {pool}; {size / 1e6:.1f} MB")
    narrator.fact("suites", ", ".join(f"{suite.codename} ({suite.alias})" for suite in archive.suites))
    narrator.fact("for", ", ".join((*ARCHITECTURES, "all", "source")))
    narrator.fact("signed", f"by a key made for it; generation {generation_of(archive.path)}")


def describe_network(made: Network, narrator: Narrator) -> None:
    """Show who pushes whom."""
    narrator.fact("owner", "makes the archive and pushes to the hub")
    for node in made.mirrors:
        name = f"{'  ' * (node.place.depth - 1)}{node.name}"
        narrator.fact(name, f"pushed by {node.place.above} {_in_words(made, node)}")


def _in_words(made: Network, node: Node) -> str:
    """How a mirror is pushed."""
    if node.place.push is PushKind.ALL:
        return "at once"
    if node.place.is_hub:
        return f"in stages, together with its {len(made.below(node))} sites (mhop)"
    return "in stages (mhop)" if node.place.push is PushKind.MHOP else "in stages"


def run(made: Network, narrator: Narrator, *, changes: int) -> Verdict:
    """The whole demo, in a network that has been started."""
    return _Demo(made, narrator, Verdict()).run(changes)


def change(made: Network, narrator: Narrator) -> Pushed:
    """Change the archive, and push it to all mirrors."""
    with narrator.working("change", "the archive's owner publishes"):
        did = made.archive.update()
    what = f"{len(did.added)} package files arrive, {len(did.removed)} go"
    narrator.fact("change", f"{what}; archive serial {did.serial}")
    return push(made, narrator)


def push(made: Network, narrator: Narrator) -> Pushed:
    """Run the owner's sync, as cron or a hook does after a change, and wait until all mirrors are done."""
    began = clock.now()
    with narrator.board() as board:
        made.owner.mirror.sync().check()
        served = made.owner.served
        assert served is not None
        passage = Passage(made, served.digest, began)
        _follow(passage, board)
    narrator.fact("owner", f"`pushmirror sync` scans the tree: generation {served.digest[:SHORT]}")
    passed = tuple(passage.passed())
    barriers = tuple(Barrier(*found) for found in passage.barriers(passed))
    done = Pushed(served.digest, made.archive.serial, passed, barriers, _since(began))
    _describe(done, narrator)
    return done


def _describe(done: Pushed, narrator: Narrator) -> None:
    narrator.chart(done.mirrors)
    for one in done.mirrors:
        if one.strategy_text:
            narrator.fact(one.name, one.strategy_text)
    if done.barriers and not done.late:  # with late sites, the deadline may have ended the barrier
        words = "each hub began stage 2 when all its sites had stage 1"
        narrator.fact("barrier", words, good=all(one.was_kept for one in done.barriers))
    count, current = len(done.mirrors), len(done.mirrors) - len(done.late)
    words = f"{current} of {count} mirrors, after {done.seconds:.1f} s"
    narrator.fact("current", words, good=None if done.late else True)


def _follow(passage: Passage, board: Board) -> None:
    until = monotonic() + _LIMIT_S
    while monotonic() < until:
        everybody = passage.now()
        board.show(everybody)
        if passage.is_over(everybody):
            return
        time.sleep(_LOOK_S)


@dataclass(slots=True)
class _Demo:
    made: Network
    narrator: Narrator
    verdict: Verdict

    def run(self, changes: int) -> Verdict:
        started = monotonic()
        with _watching(self.made) as watcher:
            self.first_fetch()
            before = watcher.samples
            self.change_and_push(changes)
            self.let_grace_end()
            self.ask_watcher(watcher, before)
        self.verify()
        self.verdict.seconds = round(monotonic() - started, 1)
        return self.verdict

    def first_fetch(self) -> None:
        self.narrator.title(
            "The owner runs `pushmirror sync`; all mirrors fetch the archive for the first time"
        )
        self.judge(push(self.made, self.narrator))

    def change_and_push(self, changes: int) -> None:
        for number in range(1, changes + 1):
            of = f" ({number} of {changes})" if changes > 1 else ""
            self.narrator.title(f"The archive changes, and a push goes down to the last site{of}")
            self.judge(change(self.made, self.narrator))

    def judge(self, done: Pushed) -> None:
        """Note what went wrong in a push."""
        self.verdict.pushes.append(done)
        for one in done.late:
            last = one.calls[-1] if one.calls else None
            self.problem(f"{one.name} did not become current: {in_words(last)}")
        for one in done.mirrors:
            self.verdict.problems += [
                f"{one.name}: {call.stage} failed ({_code(call)}): {call.answer}"
                for call in one.calls
                if call.has_failed
            ]
        self.verdict.problems += [
            f"{one.hub} sent stage 2 before all its sites had stage 1"
            for one in done.barriers
            if not one.was_kept
        ]

    def let_grace_end(self) -> None:
        self.narrator.title("Removed files are deleted everywhere after the grace period")
        self.narrator.fact("grace", "36 h, for clients with older indices; now 0 h")
        deleted = 0
        for node in self.made.mirrors:  # a hub before its sites: they would fetch its old files again
            with self.narrator.working(node.name, "sync"):
                # In a tree this small, the limit on deletions would withhold them.
                node.mirror.configure(grace="0s", delete={"max_share": 1.0})
                answer = _sync_here(node)
            if answer.exit_code != 0:
                self.problem(f"{node.name}: the sync after its grace failed: {answer.message}")
            deleted += int(node.store.runs(ARCHIVE, limit=1)[0].stats.get("deleted", 0))
        self.narrator.fact("deleted", f"{deleted} files on {len(self.made.mirrors)} mirrors")

    def ask_watcher(self, watcher: Watcher, before: int) -> None:
        self.narrator.title("A client was reading every served tree all the time")
        self.verdict.samples, self.verdict.broken = watcher.samples - before, watcher.broken
        mirrors = len(self.made.mirrors)
        counted = f"{self.verdict.samples:,} samples of {mirrors} trees, and all through the first fetch"
        self.narrator.fact("looked", counted)
        seen = f"{self.verdict.broken} samples in which a file was missing or wrong"
        self.narrator.fact("broken", seen, good=not self.verdict.broken)
        self.verdict.problems += [f"a served tree was broken: {one}" for one in watcher.messages]
        if self.verdict.samples < mirrors:
            self.problem("some served trees were not read while the archive changed")

    def verify(self) -> None:
        self.narrator.title("Every mirror is compared with the owner; hashes and signatures are checked")
        current = {one.name: one.current_s for one in self.verdict.pushes[-1].mirrors}
        machines = [owner_now(self.made)]
        for node in self.made.mirrors:
            with self.narrator.working(node.name, "comparing byte for byte, hashing, checking signatures"):
                found = verify(self.made, node, current[node.name])
            problems = found.problems
            if found.standing.generation != machines[0].generation:
                problems.append(f"{node.name} serves {found.standing.generation or 'nothing'}")
            files, signed = found.standing.files, found.signed
            words = f"{files:,} files as the owner's, byte for byte; {signed} signatures good"
            words = f"{len(problems)} problems" if problems else words
            self.narrator.fact(node.name, words, good=not problems)
            self.verdict.problems += problems
            machines.append(found.standing)
        self.verdict.machines = tuple(machines)

    def problem(self, words: str) -> None:
        self.verdict.problems.append(words)


def _code(call: Call) -> str:
    return "no answer" if call.exit_code is None else str(call.exit_code)


def in_words(last: Call | None) -> str:
    """What happened to the last trigger of a mirror that is late."""
    if last is None:
        return "it was not triggered"
    if last.ended_s is None:
        return f"it was triggered after {last.sent_s:.1f} s and has not answered yet"
    if last.exit_code is None:
        return f"its last trigger had no answer: {last.answer or 'the push process is gone'}"
    return f"its last trigger ended with exit code {last.exit_code}: {last.answer or 'no output'}"


def _sync_here(node: Node) -> Request:
    """Sync in this process: starting another one would take as long as the sync."""
    logging.getLogger("pushmirror").addHandler(logging.NullHandler())  # the mirror has its own log file
    return Runner(node.config, node.store, Silent()).submit(RunRequest(ARCHIVE, Stage.ALL, trigger="manual"))


def _since(began: datetime) -> float:
    return round((clock.now() - began).total_seconds(), 1)


@contextmanager
def _watching(made: Network) -> Iterator[Watcher]:
    with ExitStack() as stack:
        with _interrupts_blocked():
            trees = [node.tree for node in made.mirrors]
            watcher = stack.enter_context(Watcher(*trees, gently=True))
        try:
            yield watcher
        except BaseException:
            with suppress(PushmirrorError):  # the same signal may have ended the watcher, too
                stack.close()
            raise


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Children started in the block ignore Ctrl-C: we end them in the right order."""
    resource_tracker.ensure_running()  # starting it later would reset the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
