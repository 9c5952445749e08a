"""Ten thousand triggers of all kinds for one receiver, by ssh and by its forced command; upstream moves.

Promised: whoever waits for an answer gets the true one, from a run that began after the question, or at once
because what the trigger named is served; a run serves all who waited at its begin, so that there are no more
runs than needed, and none beside another; what was asked by a caller who died is done all the same; at the
end the receiver has what upstream has, nothing waits, no process is left and none was large. No word of a
trigger gets to a shell.
"""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from random import Random

from acceptance.processes import descendants
from downstream import naming
from faults.campaign import Trial
from faults.network import Upstream
from forked import Cli, ForkedSite, serving
from pushmirror.errors import Exit, ProgramFailed, StateError
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.services import Sshd, new_key, wait_until
from pushmirror.lab.site import ARCHIVE
from pushmirror.push.callback import caller
from pushmirror.push.trigger import CHECK, parse_trigger, words_of
from pushmirror.state.records import Outcome, Request, Run, Stage
from pushmirror.state.store import open_store
from pushmirror.system import clock, process
from pushmirror.tree.published_state import read_published
from support.rsync_daemon import RsyncDaemon
from trees import Dates, dates_of_suites

_TRIGGERS = 10_000
_AT_ONCE = 24
_UPDATE_EVERY = 150  # triggers
_BY_SSH, _KILLED = 0.02, 0.01  # shares: through sshd, and of callers that are killed before they are answered
_KILLED_AFTER_S = 2.0  # at most
_LONGEST_S = 240.0  # until an answer; two runs of a second or two each are enough, but for the load
_GONE_S = 60.0
_LARGEST_KIB = 400 * 1024  # of any process; one that has all modules and does nothing has 70,000
_APART = timedelta(seconds=1)  # by which a request has come before a run for certain: it is read and written
_KINDS = (
    "sync:stage1",
    "sync:stage2",
    "sync:all",
    "sync:stage1 sync:stage2",
    "sync:all sync:mhop",
    "sync:stage1 sync:mhop",
    "sync:stage2 sync:mhop",
    "sync:all sync:callback",
    "",
)
_ARCHIVES = (
    "",
    "",
    f"sync:archive:{ARCHIVE}",
    "sync:archive:",
    "sync:archive:nosuch",
    "sync:archive:../../etc",
)
_ELSE = (CHECK, "callback:site.example.org", "callback:")
#: `CANARY` is a file that appears as soon as a shell looks at one of these.
_JUNK = (
    "",
    ";touch CANARY",
    "$(touch CANARY)",
    "`touch CANARY`",
    "|touch CANARY",
    "&& touch CANARY #",
    "\ntouch CANARY\n",
    "'; touch CANARY; '",
    '"; touch CANARY; "',
    ">CANARY",
    "* ~root ${IFS} -v --config=/etc --help",
    "sync:generation:0123 sync:nonsense sync: :",
    "\N{SNOWMAN} \x1b[31m \r \u202e",
)


@dataclass(frozen=True, slots=True)
class _Sent:
    """One trigger, as its caller saw it."""

    number: int
    words: str
    is_killed: bool
    code: int | None  # none: no answer in time, or it was killed
    output: str
    sent_at: Dates  # upstream's, when it was sent
    found: Dates  # the receiver's, when it was answered


class _Scene:
    """A receiver, its upstream, and how both are reached."""

    def __init__(self, trial: Trial, cli: Cli, stack: ExitStack) -> None:
        self.trial = trial
        self.cli = cli
        directory = trial.directory
        self.canary = directory / "canary"
        archive = Upstream.create(directory / "archive", packages=10)
        assert isinstance(archive, Upstream)
        self.archive = archive
        daemon = stack.enter_context(RsyncDaemon(directory / "rsyncd"))
        daemon.add_module(ARCHIVE, archive.path)
        daemon.add_module(f"{ARCHIVE}.manifest", archive.manifest)
        state = {"directory": str(directory / "receiver/state"), "keep_runs": 1_000_000}
        self.site = ForkedSite(
            directory / "receiver", cli, upstream=daemon.url(ARCHIVE), sections={"state": state}, grace="0s"
        )
        self.sshd = stack.enter_context(Sshd(directory / "sshd"))
        command = shlex.join(self.site.argv("receive"))
        self.sshd.authorize(new_key(directory / "key"), command=command, options=("restrict",))
        self.publishing: list[tuple[datetime, datetime]] = []  # when upstream was, from and until
        self._changing = threading.Lock()
        self._generations = [read_published(self.archive.path).generation]

    def update(self) -> None:
        with self._changing:
            began = clock.now()
            self.archive.update()
            self.publishing.append((began, clock.now()))
            self._generations.append(read_published(self.archive.path).generation)

    def send(self, number: int) -> _Sent:
        """One trigger, and its answer."""
        random = Random(f"{self.trial.seed} trigger {number}")
        if number % _UPDATE_EVERY == _UPDATE_EVERY - 1:
            self.update()
        with self._changing:
            sent_at = dates_of_suites(self.archive.path)
            words = _drawn(random, number, self._generations).replace("CANARY", str(self.canary))
        is_killed, code, output = random.random() < _KILLED, None, ""
        limit_s = random.random() * _KILLED_AFTER_S if is_killed else _LONGEST_S
        with suppress(ProgramFailed):
            if not is_killed and random.random() < _BY_SSH:
                argv = [*self.sshd.ssh_argv(self.trial.directory / "key"), words]
                result = process.run(argv, timeout_s=limit_s)
            else:
                env = {"SSH_ORIGINAL_COMMAND": words, "SSH_CONNECTION": "192.0.2.7 4711 192.0.2.8 22"}
                result = self.cli.run(["--config", str(self.site.etc), "receive"], env=env, timeout_s=limit_s)
            code, output = result.exit_code, f"{result.output.decode('utf-8', 'replace')}{result.errors}"
        return _Sent(number, words, is_killed, code, output, sent_at, dates_of_suites(self.site.tree))


def run(trial: Trial) -> None:
    """Send them all, a crowd at a time; then ask the receiver's memory what became of each."""
    with ExitStack() as stack:
        scene = _Scene(trial, stack.enter_context(serving()), stack)
        scene.site.sync().check()
        largest = stack.enter_context(_Largest())
        sent = _storm(scene)
        scene.update()
        last = scene.site.run("receive", "sync:all")
        if last.exit_code != Exit.OK:
            trial.wrong("lost", f"the last trigger: exit code {last.exit_code}: {last.errors[-300:]}")
        _judge(scene, sent)
        if largest.kib > _LARGEST_KIB:
            trial.wrong("leaks", f"a process had {largest.kib} KiB")


def _storm(scene: _Scene) -> list[_Sent]:
    numbers, sent, taking = scene.trial.times(_TRIGGERS, least=2 * _AT_ONCE), list[_Sent](), threading.Lock()

    def next_number() -> int | None:
        with taking:
            return next(numbers, None)

    def work(_: int) -> None:
        while (number := next_number()) is not None:
            sent.append(scene.send(number))

    with ThreadPoolExecutor(_AT_ONCE) as crowd:
        list(crowd.map(work, range(_AT_ONCE)))
    return sorted(sent, key=lambda one: one.number)


def _drawn(random: Random, number: int, generations: Sequence[str]) -> str:
    if random.random() < 0.05:
        return random.choice(_ELSE)
    named = ""
    if random.random() < 0.3:
        other = random.choice([random.choice(generations), f"{random.getrandbits(256):064x}"])
        named = f"sync:generation:{random.choice([generations[-1], other])}"
    junk = random.choice(_JUNK)
    if random.random() < 0.02:
        junk = "x" * random.randrange(50_000) if random.random() < 0.5 else "y " * random.randrange(10_000)
    return f"push-{number} {random.choice(_ARCHIVES)} {named} {random.choice(_KINDS)} {junk}"


def _judge(scene: _Scene, sent: Sequence[_Sent]) -> None:
    trial = scene.trial
    requests, runs, pending = _remembered(scene.site)
    by_number = {_number_of(one): one for one in requests}
    for one in sent:
        trial.tally.faults += one.is_killed
        trial.ended(-1 if one.code is None else one.code, one.output, f"{one.words[:100]!r}")
        if one.code is None:
            if not one.is_killed:
                trial.wrong("hangs", f"{one.words[:100]!r} had no answer within {_LONGEST_S} s")
        elif why := _untrue(one, by_number.get(one.number), runs, scene.publishing):
            trial.wrong("lost", f"{one.words[:100]!r}: {why}")
    for why in [*_runs_too_many(requests, list(runs.values())), *(f"{one} still waits" for one in pending)]:
        trial.wrong("lost", why)
    trial.require_unbroken(broken(scene.site.tree, thorough=True), "at the end")
    for difference in same_tree(scene.archive.path, scene.site.tree)[:3]:
        trial.wrong("lost", f"the receiver is not current: {difference}")
    if scene.canary.exists():
        trial.wrong("leaks", "a shell has looked at the words of a trigger")
    if not wait_until(lambda: not naming(scene.site.directory), limit_s=_GONE_S):
        trial.wrong("leaks", f"processes are left: {naming(scene.site.directory)}")


def _untrue(
    one: _Sent,
    request: Request | None,
    runs: dict[int, Run],
    publishing: Sequence[tuple[datetime, datetime]],
) -> str:
    """What is wrong with an answer, if anything.

    Suites are held back only by a run that met upstream in the middle of publishing.
    """
    spoken = words_of(one.words, ())
    wanted = parse_trigger(spoken)
    is_known = wanted.archive in {"", ARCHIVE}
    if caller(spoken) is not None or CHECK in spoken or not is_known:
        expected = Exit.OK if is_known else Exit.USAGE
        return "" if one.code == expected else f"exit code {one.code}, expected {expected:d}"
    if request is None:
        return "it was never asked for"
    run = runs.get(request.run_id) if request.run_id else None
    allowed = {Exit.OK, Exit.BEHIND, *([Exit.HELD] if run and _is_beside(run, publishing) else [])}
    if one.code not in allowed or one.code != request.exit_code:
        return f"exit code {one.code}, answer {request.exit_code}: {request.message}"
    if run is None:
        is_true = request.generation is not None and request.message.startswith("already at")
        return "" if is_true else f"no run, for {request.message!r}"
    is_for_newest = wanted.stage is not Stage.STAGE1 and wanted.generation is None
    if one.code == Exit.OK and is_for_newest and _is_older(one.found, one.sent_at):
        return f"upstream was at {one.sent_at}, the answer came at {one.found}"
    return _untrue_of_run(request, run)


def _untrue_of_run(request: Request, run: Run) -> str:
    if run.exit_code != request.exit_code or run.stage not in {request.stage, Stage.ALL}:
        return f"its run of {run.stage} had exit code {run.exit_code}, itself {request.exit_code}"
    if run.started_at < request.arrived_at:
        return f"its run had begun {request.arrived_at - run.started_at} before"
    return ""


def _is_beside(run: Run, spans: Sequence[tuple[datetime, datetime]]) -> bool:
    ended_at = run.ended_at or run.started_at
    return any(began <= ended_at and run.started_at <= ended for began, ended in spans)


def _is_older(found: Dates, than: Dates) -> bool:
    return any(found.get(suite, date) < date for suite, date in than.items())


def _runs_too_many(requests: Sequence[Request], runs: Sequence[Run]) -> Iterator[str]:
    """Runs that nobody had asked for, that were beside each other, or that passed over who waited."""
    whole = sorted((one for one in runs if one.outcome in {Outcome.SUCCEEDED, Outcome.FAILED}), key=_begin)
    served = {one.run_id for one in requests}
    first = whole[0].id if whole else 0  # was asked for by hand
    yield from (f"run {one.id} served nobody" for one in whole if one.id not in served and one.id != first)
    for one, after in pairwise(whole):
        if one.ended_at is None or one.ended_at > after.started_at:
            yield f"run {one.id} and run {after.id} were at work together"
    for request in requests:
        if request.run_id is None:
            continue
        passed = [one.id for one in whole if one.started_at > request.arrived_at + _APART]
        if passed and passed[0] < request.run_id:
            yield f"request {request.id} was served by run {request.run_id}, though run {passed[0]} had come"


def _begin(one: Run) -> datetime:
    return one.started_at


def _remembered(site: ForkedSite) -> tuple[list[Request], dict[int, Run], list[Request]]:
    """All requests, all runs by number, and the requests that still wait."""
    store, requests = open_store(f"sqlite:///{site.state / 'state.sqlite'}", site.state), list[Request]()
    try:
        with suppress(StateError):  # after the last one
            for number in count(1):
                requests.append(store.request(number))
        runs = store.runs(ARCHIVE, limit=1_000_000)
        return requests, {one.id: one for one in runs}, store.pending(ARCHIVE)
    finally:
        store.close()


def _number_of(request: Request) -> int:
    first = request.words.partition(" ")[0]
    return int(first.removeprefix("push-")) if first.startswith("push-") else -1


class _Largest:
    """Looks at the memory of all that we started, to the end of its block."""

    def __init__(self) -> None:
        self.kib = 0
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._enough.wait(1):
            started = time.monotonic()
            self.kib = max([self.kib, *map(peak_kib, descendants(os.getpid()))])
            self._enough.wait(10 * (time.monotonic() - started))  # it is not to be what costs most

    def __enter__(self) -> _Largest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()


def peak_kib(pid: int) -> int:
    """The most memory that a process ever had; 0 when it has ended."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    return 0
