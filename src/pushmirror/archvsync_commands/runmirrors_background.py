"""The background process of runmirrors: push, mail, HOOK3, retry.

The goal of the push is in the store before it starts; so it can be ended at any time, and the next call
continues. Log and mail have a line for each trigger, and one mail for each mirror that fails.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic

from pushmirror.archvsync_commands import entrypoint, runmirrors_sites
from pushmirror.archvsync_commands.runmirrors_args import RunmirrorsArgs
from pushmirror.archvsync_commands.runmirrors_push import PushLog
from pushmirror.archvsync_commands.runmirrors_sites import CurrentSites
from pushmirror.archvsync_commands.runmirrors_ssh import Notes, OpensshSender, called, run_hook
from pushmirror.config.model import State
from pushmirror.errors import Exit, PushmirrorError, Stopped
from pushmirror.push.decide import Decision, Send, Targets
from pushmirror.push.engine import PushSnapshot, is_finished, is_quiet
from pushmirror.push.lock import PushLock
from pushmirror.push.pushes import PushCoordinator
from pushmirror.state.backups import back_up_daily
from pushmirror.state.records import SiteState
from pushmirror.state.store import open_store
from pushmirror.system import signals


class RunmirrorsObserver:
    """A `PushObserver`."""

    def __init__(self, notes: Notes, sites: CurrentSites, sender: OpensshSender) -> None:
        self._notes = notes
        self._sites = sites
        self._sender = sender
        self._aim: Targets | None = None
        self._reported: set[str] = set()  # sites that failed for this goal

    def on_decision(self, view: PushSnapshot) -> None:
        """See `Watch.looked`."""
        if view.goal.aim != self._aim:
            self._aim = view.goal.aim
            self._reported.clear()
            self._sender.begin_again()

    def on_answer(self, send: Send, site_state: SiteState, seconds: float) -> None:  # noqa: ARG002 - theirs
        """See `Watch.answered`."""
        name, what = send.site.name, called(send.stage)
        host = self._sites.line(name).host
        if site_state.exit_code == 0:
            self._reported.discard(name)
            self._notes.note(f"{what} succeeded: {host}")
            return
        how = "no answer" if site_state.exit_code is None else f"exit code {site_state.exit_code}"
        text = f"{what} failed: {host}"
        if name in self._reported:
            self._notes.note(f"{text} ({how}): {site_state.last_words}")
            return
        self._reported.add(name)
        self._notes.error(text, f"{how}: {site_state.last_words}\n\n{self._sender.said.get(name, '')}")


_LOOK_S = 0.2  # between two checks of another process's progress


def main() -> int:
    """Run as the process that `PushRun` starts."""
    return entrypoint.run(_push)


def _push(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    directory, state, archive, *call = argv[1:]
    with suppress(OSError):
        os.chdir(directory)  # the caller's, for relative paths
    read = partial(runmirrors_sites.read, RunmirrorsArgs.of(call), environment)
    sites = CurrentSites(read, archive, State(directory=Path(state)))
    os.chdir("/")  # so that no file system is kept busy
    return BackgroundPush(archive, sites, environment).carry_out()


class Patience:
    """How long failed sites are retried, counted from the last call."""

    def __init__(self, turn: PushLock, patience: timedelta) -> None:
        self._turn = turn
        self._patience_s = patience.total_seconds()
        self._asked = turn.last_request()
        self._until = monotonic() + self._patience_s

    def __call__(self, decision: Decision) -> bool:
        """Whether a push is over: all sites are done, or it was retried for long enough."""
        asked = self._turn.last_request()
        if asked != self._asked:
            self._asked, self._until = asked, monotonic() + self._patience_s
        return is_finished(decision) or (is_quiet(decision) and monotonic() >= self._until)


@dataclass(frozen=True)
class BackgroundPush:
    """The push of one call; its results go to the log and to mail only."""

    archive: str  # our name of the archive
    sites: CurrentSites
    environment: Mapping[str, str]  # of the caller

    def carry_out(self) -> int:
        """Push, HOOK3 and retries; returns an exit code, which is not used."""
        with PushLog(self.sites.runmirrors) as notes:
            try:
                self._tell_of_ignored(notes)
                self._push(notes)
            except Stopped as exc:
                notes.note(f"{exc}; the next push will push the rest")
                return exc.exit_code
            except PushmirrorError as exc:
                notes.error(exc.with_hint)
                return exc.exit_code
            except Exception as exc:
                notes.error(f"internal error: {type(exc).__name__}: {exc}")
                raise  # its traceback goes to the log
            finally:
                notes.note("Mirrorpush done")
        return Exit.OK

    def _tell_of_ignored(self, notes: PushLog) -> None:
        """One mail about all mirrors with an unusable line."""
        found = self.sites.runmirrors
        if lines := found.ignored:
            file = f"{found.name}.mirror"
            what = "a line" if len(lines) == 1 else f"{len(lines)} lines"
            notes.error(f"{what} of {file} ignored, not triggered", "\n".join(lines))

    def _push(self, notes: PushLog) -> None:
        state = self.sites.state
        environment = {**self.environment, **self.sites.for_programs}
        with closing(open_store(state.database_url, state.directory)) as store:
            sender = OpensshSender(self.sites, notes, environment)
            watch = RunmirrorsObserver(notes, self.sites, sender)
            pushes = PushCoordinator(self.sites, store, watch, sender=lambda _: sender)
            signals.run(self._carried_out(pushes, watch, notes, environment))
        back_up_daily(state.database_url, state.directory)

    async def _carried_out(
        self,
        pushes: PushCoordinator,
        watch: RunmirrorsObserver,
        notes: PushLog,
        environment: Mapping[str, str],
    ) -> None:
        """Push all sites, run HOOK3, retry failed sites; or another process that pushes does."""
        runmirrors = self.sites.runmirrors
        retry_for = runmirrors.push.retry_for
        until, is_told = monotonic() + retry_for.total_seconds(), False
        while not await pushes.push(self.archive, is_quiet):
            if not is_told:
                notes.note(f"Another process is pushing {self.archive}; it will push to these mirrors, too")
                is_told = True
            view = pushes.view(self.archive)
            watch.on_decision(view)
            if is_quiet(view.decision) or monotonic() >= until:
                break
            await asyncio.sleep(_LOOK_S)
        if hook := runmirrors.hooks[2]:
            await run_hook(3, hook, notes, environment)
        await pushes.push(self.archive, Patience(pushes.turn(self.archive), retry_for))


if __name__ == "__main__":
    raise SystemExit(main())
