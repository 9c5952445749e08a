"""One call of runmirrors, down to its exit code; `runmirrors_background` continues in the background.

Each call has a new log, in the script's form, with the warnings of all parts; errors are mailed. Neither a
slow
mail nor a full disk delays a trigger."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from pushmirror.archvsync_commands import entrypoint, logs, mail, runmirrors_sites
from pushmirror.archvsync_commands.mail import Letter
from pushmirror.archvsync_commands.runmirrors_args import RunmirrorsArgs, of_ftpsync
from pushmirror.archvsync_commands.runmirrors_sites import CurrentSites, PushMode
from pushmirror.archvsync_commands.runmirrors_ssh import run_hook
from pushmirror.archvsync_config.values import Runmirrors
from pushmirror.background_push import wait_for_stage1
from pushmirror.config.model import State
from pushmirror.errors import Exit, PushmirrorError
from pushmirror.hooks import as_ours
from pushmirror.ownership import become_owner_of
from pushmirror.state.store import Store, open_store
from pushmirror.system import clock, detached, signals

_OURS = "pushmirror"


class PushLog(logging.Handler):
    """The log of a call, in a `with` block."""

    def __init__(self, runmirrors: Runmirrors) -> None:
        super().__init__(logging.WARNING)
        self._name = runmirrors.name
        self._to = runmirrors.mail.to
        self._file = logs.LogFile(runmirrors.logs.file)
        self._mails: ThreadPoolExecutor | None = None  # no thread before the first one

    @classmethod
    def begun(cls, runmirrors: Runmirrors) -> PushLog:
        """Begin a new log and rotate the old ones; raises PushmirrorError if it cannot be written.

        The background process does not begin one: it adds to the call's.
        """
        settings = runmirrors.logs
        log = cls(runmirrors)
        try:
            settings.directory.mkdir(parents=True, exist_ok=True)
            logs.rotate(settings.file, settings.keep)
            log._file.open()
        except OSError as exc:
            raise PushmirrorError(f"cannot write the log {settings.file}: {exc.strerror}") from exc
        return log

    def __enter__(self) -> Self:
        logging.getLogger(_OURS).addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mails:
            self._mails.shutdown()
        logging.getLogger(_OURS).removeHandler(self)
        self._file.close()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.note(self.format(record))

    def line(self, text: str) -> str:
        """A line as the log has it."""
        return logs.line(text, program=self._name)

    def note(self, text: str) -> None:
        """Add a line."""
        with suppress(OSError):
            if self._file.has_gone:  # a later call has begun a new log; its reader looks there
                self._file.close()
            self._file.add(self.line(text))

    def error(self, text: str, body: str = "") -> None:
        """Add a line, and mail it."""
        self.note(text)
        if not self._to:
            return
        subject = mail.heading(self._name, logs.short_host(), f"ERROR: {text}")
        self._mails = self._mails or ThreadPoolExecutor(1)
        self._mails.submit(mail.send, Letter(self._to, subject, body or text))


NO_KEY = 5
_BACKGROUND = "pushmirror.archvsync_commands.runmirrors_background"


def push_from_ftpsync(
    argv0: str, *, archive_option: str, archive: str, kind: str, environment: Mapping[str, str]
) -> int:
    """Do as `runmirrors [-a ARCHIVE_OPTION] -f -k KIND` for an archive whose generation is in the store.

    `argv0` is the ftpsync's. Returns 0, 1, 5 or 78, or HOOK1's exit code; errors are printed on standard
    error.
    """
    try:
        call = of_ftpsync(argv0, archive_option, kind)
        return PushRun.read(call, environment, archive=archive).carry_out()
    except PushmirrorError as exc:
        entrypoint.complain_of(exc)
        return exc.exit_code


@dataclass(frozen=True)
class PushRun:
    """One call with its configuration."""

    call: RunmirrorsArgs
    archive: str  # our name of it
    is_known: bool  # whether the caller was told that the goal is in the store
    sites: CurrentSites
    environment: Mapping[str, str]  # of who called

    @classmethod
    def read(
        cls,
        call: RunmirrorsArgs,
        environment: Mapping[str, str],
        *,
        archive: str | None = None,
        state: Path | None = None,
    ) -> PushRun:
        """Read the configuration; `archive` is our name if the store has it already. Raises ConfigError."""
        settings = State(directory=state) if state else State()
        if said := become_owner_of(settings.directory):
            entrypoint.complain(said)
        name = archive or runmirrors_sites.archive_of(call, environment)
        sites = CurrentSites(partial(runmirrors_sites.read, call, environment), name, settings)
        return cls(call, name, archive is not None, sites, environment)

    def carry_out(self) -> int:
        """Carry out what the caller waits for; returns the exit code."""
        with PushLog.begun(self.runmirrors) as notes:
            code = self._begin(notes)
            notes.note("Mirrorpush continues in the background" if code == Exit.OK else "Mirrorpush done")
        return code

    @property
    def runmirrors(self) -> Runmirrors:
        """The configuration."""
        return self.sites.runmirrors

    @property
    def course(self) -> PushMode:
        """The mode of the push."""
        return PushMode(self.call.kind or self.runmirrors.kind, self.call.from_ftpsync)

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
        if code := self._hook_1(notes):
            return code
        state = self.sites.state
        try:
            with closing(open_store(state.database_url, state.directory)) as store:
                self._aim(store)
                self._push_on()
                if self.course.is_ahead:
                    self._wait(store, notes)
        except PushmirrorError as exc:
            notes.error(exc.with_hint)
            return Exit.FAILED
        return Exit.OK

    def _hook_1(self, notes: PushLog) -> int:
        environment = {**self.environment, **self.sites.for_programs}
        argv = self.runmirrors.hooks[0]
        return signals.run(run_hook(1, argv, notes, environment)) if argv else 0

    def _aim(self, store: Store) -> None:
        """Store the goal and the mode of the push; a process that pushes the archive already sees it."""
        self.sites.take(self.course)
        pushed = self.sites().sites_of(self.archive)
        if not self.is_known:
            runmirrors_sites.aim(store, self.archive, pushed, self.course, clock.now())
        elif self.course.is_stage2:
            runmirrors_sites.stage1_was_had(store, self.archive, pushed)

    def _push_on(self) -> None:
        """Start the background process."""
        # -P: else Python would import modules from the current directory, perhaps another user's.
        argv = [sys.executable, "-P", "-m", _BACKGROUND, str(Path.cwd()), str(self.sites.state.directory)]
        log = self.runmirrors.logs.file
        try:
            detached.start([*argv, self.archive, *self.call.words], log=log, env=as_ours(self.environment))
        except OSError as exc:
            raise PushmirrorError(f"cannot write the log {log}: {exc.strerror}") from exc

    def _wait(self, store: Store, notes: PushLog) -> None:
        """Wait until stage 1 of an mhop push is done, or PUSHDELAY is over."""
        if not wait_for_stage1(self.sites, store, self.archive):
            limit_s = self.runmirrors.push.deadline.total_seconds()
            notes.error(f"Stage 1 of our mirrors was not finished after {limit_s:.0f} seconds")
