"""Triggers by the program ssh with runmirrors' command line, and its log lines.

Guaranteed: the arguments are those of the script byte by byte, except for archvsync's bug 25; only exit
code 0 is a success (24); ssh gets no password of ours (29). HOOK2 runs between two hosts: the first trigger
of the next host waits for it, and is sent also if it fails (28).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from pushmirror.archvsync_commands import messages
from pushmirror.archvsync_commands.runmirrors_sites import CurrentSites
from pushmirror.archvsync_config.values import MirrorLine, Runmirrors
from pushmirror.config.model import Site
from pushmirror.errors import HookFailed, ProgramFailed, ProgramMissing, TriggerFailed
from pushmirror.hooks import Hook, HookEvent, as_ours, inherited, run_hook_beside
from pushmirror.push.trigger import without_generation
from pushmirror.push.trigger_sender import Answer
from pushmirror.state.records import Stage
from pushmirror.system import async_process

_NEEDED = ("SSH_AUTH_SOCK",)  # beside the usual environment, and what runmirrors.conf exports
_HOOK_S = 3600.0  # limit of HOOK2
_CALLED = {Stage.STAGE1: "first stage", Stage.STAGE2: "second stage", Stage.ALL: "normal"}


def script_argv(line: MirrorLine, runmirrors: Runmirrors, words: str) -> list[str]:
    """The command line of a trigger; `words` begin with their blank."""
    user = [] if line.user is None else ["-o", f"user={line.user}"]
    protocol = [] if line.protocol is None else [f"-{line.protocol}"]
    settings = ("BatchMode=yes", "ServerAliveInterval=45", "ConnectTimeout=45", "PasswordAuthentication=no")
    ours = [word for setting in settings for word in ("-o", setting)]
    keys = ["-i", line.key, *line.ssh_options]
    return ["ssh", "-n", line.host, *user, *ours, *runmirrors.ssh_options, *keys, *protocol, words]


def called(stage: Stage) -> str:
    """The script's name of a trigger in its logs."""
    return f"{_CALLED[stage]} trigger"


class Notes(Protocol):
    """The log of a push."""

    def note(self, text: str) -> None:
        """In the log."""

    def error(self, text: str, body: str = "") -> None:
        """In the log, and in a mail."""

    def line(self, text: str) -> str:
        """A line in the log's form."""


class OpensshSender:
    """A `TriggerSender` for one push; each trigger is an ssh of its own: no connections stay open."""

    def __init__(self, sites: CurrentSites, notes: Notes, environment: Mapping[str, str]) -> None:
        self._sites = sites
        self._notes = notes
        self._environment = environment
        self._begun: set[str] = set()  # the sites that were triggered
        self.said: dict[str, str] = {}  # the last answer, by site
        self._turn = asyncio.Lock()  # of first triggers, in order

    async def trigger(self, site: Site, words: str) -> Answer:
        """See `TriggerSender.trigger`."""
        line, stage = self._sites.line(site.name), Stage(words.rpartition(":")[2])
        words = without_generation(words)
        if site.name in self._begun:
            return await self._send(line, stage, words)
        self._begun.add(site.name)
        _append(self._log_of(line), time.strftime("%a %b %e %H:%M:%S UTC %Y", time.gmtime()))
        return await self._send_first(line, stage, words)

    async def release(self, site: Site) -> None:
        """See `TriggerSender.release`."""

    async def close(self) -> None:
        """See `TriggerSender.close`."""

    def begin_again(self) -> None:
        """Begin another push: every site counts as not triggered yet."""
        self._begun.clear()

    async def _send_first(self, line: MirrorLine, stage: Stage, words: str) -> Answer:
        async with self._turn:
            self._notes.note(f"Trigger {line.name}")
            started = asyncio.Event()
            sending = asyncio.create_task(self._send(line, stage, words, started))
            try:
                await _either(started, sending)
                self._notes.note(f"Trigger for {line.name} done")
                await self._between_two_hosts()
            except BaseException:
                await _ended(sending)
                raise
        try:
            return await sending
        finally:
            await _ended(sending)

    async def _send(
        self, line: MirrorLine, stage: Stage, words: str, started: asyncio.Event | None = None
    ) -> Answer:
        log = self._log_of(line)
        _append(log, self._notes.line(f"Sending {called(stage)}"))
        runmirrors = self._sites.runmirrors
        argv = script_argv(line, runmirrors, words)
        env = {name: self._environment[name] for name in _NEEDED if name in self._environment}
        env |= inherited(self._sites.for_programs)
        async with _within(runmirrors.push.timeout.total_seconds(), line):
            ended = await async_process.run(
                argv, env=env, cwd=Path.home(), on_start=lambda _: started.set() if started else None
            )
        output = ended.output.decode("utf-8", "replace")
        self.said[line.name] = output
        _append(log, output)
        if ended.exit_code < 0:
            raise TriggerFailed(f"{line.host}: the program ssh was killed by signal {-ended.exit_code}")
        return Answer(ended.exit_code, output)

    async def _between_two_hosts(self) -> None:
        argv = self._sites.runmirrors.hooks[1]
        if argv:
            await run_hook(2, argv, self._notes, self._environment)

    def _log_of(self, line: MirrorLine) -> Path:
        return self._sites.runmirrors.logs.directory / f"{line.name}.log"


async def run_hook(number: int, argv: tuple[str, ...], notes: Notes, environment: Mapping[str, str]) -> int:
    """Run a hook with its output to the log; logs and returns its exit code."""

    def note(event: HookEvent) -> None:
        (notes.error if messages.is_failed(event) else notes.note)(messages.line_of_hook(event, number))

    hook = Hook(f"HOOK{number}", argv, as_ours(environment), Path.home(), _HOOK_S)
    try:
        await run_hook_beside(hook, note)
    except HookFailed as exc:
        return exc.code
    return 0


@asynccontextmanager
async def _within(seconds: float, line: MirrorLine) -> AsyncIterator[None]:
    """Translate errors of a trigger without an answer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as exc:
        raise TriggerFailed(f"{line.host} did not finish its run within {seconds:.0f} s") from exc
    except (ProgramMissing, ProgramFailed) as exc:
        raise TriggerFailed(f"{line.host}: {exc}", hint=exc.hint) from exc


async def _either(started: asyncio.Event, sending: asyncio.Task[Answer]) -> None:
    waiting = asyncio.ensure_future(started.wait())
    try:
        await asyncio.wait({waiting, sending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _ended(sending: asyncio.Task[Answer]) -> None:
    sending.cancel()
    await asyncio.wait({sending})


def _append(log: Path, text: str) -> None:
    if not text:
        return
    data = text if text.endswith("\n") else f"{text}\n"
    with suppress(OSError), log.open("a", encoding="utf-8", errors="replace") as file:
        file.write(data)  # a full disk does not prevent a trigger
