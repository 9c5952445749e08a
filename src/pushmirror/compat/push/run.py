"""One call of an old runmirrors, down to its exit code, and what of it goes on in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic

from pushmirror.compat import session
from pushmirror.compat.push import files, goal
from pushmirror.compat.push.log import PushLog
from pushmirror.compat.push.sites import Course, CurrentSites
from pushmirror.compat.push.told import Told
from pushmirror.compat.push.wire import ScriptWire, run_hook
from pushmirror.compat.runmirrors import Call
from pushmirror.config.legacy.values import Runmirrors
from pushmirror.config.model import State
from pushmirror.errors import Exit, PushmirrorError, Stopped
from pushmirror.push.decide import Decision
from pushmirror.push.engine import finished, settled
from pushmirror.push.pushes import Pushes
from pushmirror.push.turn import Turn
from pushmirror.push.watch import Watch
from pushmirror.state.backups import back_up_daily
from pushmirror.state.store import Store, open_store
from pushmirror.system import clock, detached, loop
from pushmirror.system.detached import Tell
from pushmirror.whose import become_owner_of

NO_KEY = 5
_READY, _STAGE1 = "ready", "stage1"
_LOOK_S = 0.2  # between two looks at what another process does


class Patience:
    """How long sites that fail are tried again, counted from the last call."""

    def __init__(self, turn: Turn, patience: timedelta) -> None:
        self._turn = turn
        self._patience_s = patience.total_seconds()
        self._asked = turn.last_asked()
        self._until = monotonic() + self._patience_s

    def __call__(self, decision: Decision) -> bool:
        """Whether a push is over: all is done, or it has been tried for long enough."""
        asked = self._turn.last_asked()
        if asked != self._asked:
            self._asked, self._until = asked, monotonic() + self._patience_s
        return finished(decision) or (settled(decision) and monotonic() >= self._until)


@dataclass(frozen=True)
class PushRun:
    """One call with its configuration."""

    call: Call
    archive: str  # our name of it
    is_known: bool  # whether the caller knows that what is to be pushed is in the store
    sites: CurrentSites
    environment: Mapping[str, str]  # with what the configuration has programs inherit

    @classmethod
    def read(
        cls,
        call: Call,
        environment: Mapping[str, str],
        *,
        archive: str | None = None,
        state: Path | None = None,
    ) -> PushRun:
        """Read the configuration; `archive` is our name of what the store has already. Raises ConfigError."""
        told = State(directory=state) if state else State()
        if said := become_owner_of(told.directory):
            session.complain(said)
        name = archive or files.archive_of(call, environment)
        sites = CurrentSites(partial(files.read, call, environment), name, told)
        return cls(call, name, archive is not None, sites, {**environment, **sites.for_programs})

    def carry_out(self) -> int:
        """Do what is asked for, as far as the caller waits for it; returns the exit code."""
        with PushLog.begun(self.runmirrors) as notes:
            code = self._begin(notes)
            notes.note("Mirrorpush goes on in the background" if code == Exit.OK else "Mirrorpush done")
        return code

    @property
    def runmirrors(self) -> Runmirrors:
        """The configuration."""
        return self.sites.runmirrors

    @property
    def course(self) -> Course:
        """How sites are to be woken."""
        return Course(self.call.kind or self.runmirrors.kind, self.call.from_ftpsync)

    def _begin(self, notes: PushLog) -> int:
        if not self.runmirrors.key.is_file():
            notes.error(f"SSH Key {self.runmirrors.key} does not exist")
            return NO_KEY
        inside = "true" if self.call.from_ftpsync else "false"
        notes.note(f"Pushing leaf mirrors. Inside ftpsync: {inside}. Pushkind: {self.course.kind}")
        for warning in (*self.runmirrors.warnings, *self.runmirrors.mirror_warnings):
            notes.note(f"warning: {warning}")
        if not self.runmirrors.lines:
            notes.note(f"warning: there is no mirror in {self.call.name}.mirror")
        if code := self._hook(1, notes):
            return code
        beside = partial(self._push_beside, notes)
        return self._wait(detached.go_on(beside, log=self.runmirrors.logs.file), notes)

    def _wait(self, word: detached.Word, notes: PushLog) -> int:
        """Until the push cannot be lost any more; of an mhop push, until its stage 1 is over."""
        if word.hear() != _READY:
            return Exit.FAILED  # which it has noted
        if self.course.is_ahead:
            deadline = self.runmirrors.push.deadline
            if word.hear(deadline.total_seconds()) != _STAGE1:
                notes.error(
                    f"Stage 1 of our mirrors was not over after {deadline.total_seconds():.0f} seconds"
                )
        return Exit.OK

    def _hook(self, number: int, notes: PushLog) -> int:
        argv = self.runmirrors.hooks[number - 1]
        return loop.run(run_hook(number, argv, notes, self.environment)) if argv else 0

    # -- in the background ------------------------------------------------------------------------------

    def _push_beside(self, notes: PushLog, tell: Tell) -> int:
        """All of it, for nobody but the log and the mail; returns an exit code that nobody sees."""
        with notes:  # a copy of our caller's
            try:
                self._tell_of_ignored(notes)  # not before: a mail takes a thread
                self._push(notes, tell)
            except Stopped as exc:
                notes.note(f"{exc}; what is not pushed waits for the next push")
                return exc.exit_code
            except PushmirrorError as exc:
                message = f"{exc}; {exc.hint}" if exc.hint else str(exc)
                notes.error(message)
                return exc.exit_code
            except Exception as exc:
                notes.error(f"a mistake in pushmirror: {type(exc).__name__}: {exc}")
                raise  # its traceback goes to the log
            finally:
                notes.note("Mirrorpush done")
        return Exit.OK

    def _tell_of_ignored(self, notes: PushLog) -> None:
        """One mail, however many mirrors are not woken for a mistake in their lines."""
        if lines := self.runmirrors.ignored:
            file = f"{self.call.name}.mirror"
            what = "a line" if len(lines) == 1 else f"{len(lines)} lines"
            notes.error(f"{what} of {file} cannot be used, and nobody is woken for that", "\n".join(lines))

    def _push(self, notes: PushLog, tell: Tell) -> None:
        state = self.sites.state
        with closing(open_store(state.database_url, state.directory)) as store:
            self._aim(store)
            tell(_READY)
            wire = ScriptWire(self.sites, notes, self.environment)
            watch = Told(notes, self.sites, wire, on_stage1=partial(tell, _STAGE1))
            pushes = Pushes(self.sites, store, watch, wire=lambda _: wire)
            loop.run(self._carried_out(pushes, watch, notes))
        back_up_daily(state.database_url, state.directory)

    async def _carried_out(self, pushes: Pushes, watch: Watch, notes: PushLog) -> None:
        """Everybody is woken, HOOK3, and who failed is tried again; by another process that is at it, too."""
        retry_for = self.runmirrors.push.retry_for
        until, is_told = monotonic() + retry_for.total_seconds(), False
        while not await pushes.push(self.archive, settled):
            if not is_told:
                notes.note(f"Another process is pushing {self.archive}; it was asked to wake who lacks it")
                is_told = True
            view = pushes.view(self.archive)
            watch.looked(view)
            if settled(view.decision) or monotonic() >= until:
                break
            await asyncio.sleep(_LOOK_S)
        if hook := self.runmirrors.hooks[2]:
            await run_hook(3, hook, notes, self.environment)
        await pushes.push(self.archive, Patience(pushes.turn(self.archive), retry_for))

    def _aim(self, store: Store) -> None:
        """Remember what is to be pushed, and how; whoever pushes the archive at the moment sees it."""
        self.sites.take(self.course)
        woken = self.sites().sites_of(self.archive)
        if not self.is_known:
            goal.aim(store, self.archive, woken, self.course, clock.now())
        elif self.course.is_stage2:
            goal.stage1_was_had(store, self.archive, woken)
