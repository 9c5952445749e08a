"""One run of an old ftpsync whose configuration has been read, down to its exit code.

What it does to the tree is the hub's; what is here is the order of things around that, as the script has it.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from pushmirror.compat import session
from pushmirror.compat.configured import Configured
from pushmirror.compat.following import is_first_after
from pushmirror.compat.foreign import real_ftpsync_on
from pushmirror.compat.logs import ScriptLog
from pushmirror.compat.outcome import exit_code_of
from pushmirror.config.model import Archive
from pushmirror.errors import Exit, HookFailed, PushmirrorError
from pushmirror.hooks import run_hook
from pushmirror.hub import Hub, Wish
from pushmirror.state.records import Run, Stage
from pushmirror.state.sql import open_store
from pushmirror.sync.parts import TRACES
from pushmirror.sync.progress import Silent

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the hub made of a call."""

    exit_code: int
    run: Run | None  # that served it, maybe another process's


@dataclass(frozen=True, slots=True)
class SyncRun:
    """One call."""

    argv0: str
    told: Configured
    environment: Mapping[str, str]

    def carry_out(self, log: ScriptLog) -> int:
        """Do what is asked for; returns the exit code."""
        if client := self._client():
            log.note(f"We got pushed from {client}")
        for warning in self.told.ftpsync.warnings:
            log.note(f"warning: {warning}")
        if self.told.asked.callback and self.archive.callback is None:
            log.error("Asked to call back, but CALLBACKHOST or CALLBACKKEY is missing: nobody is called")
        answer = self._synced()
        if answer.exit_code != Exit.OK:
            return answer.exit_code
        try:
            return self._follow(answer, log)
        except HookFailed as exc:
            log.error(str(exc))  # noqa: TRY400  the log of a script
            return exc.code

    @property
    def archive(self) -> Archive:
        """The archive, as our model has it."""
        return self.told.ftpsync.archive

    def make_tree(self) -> None:
        """TO and its parents, as the script makes them; raises PushmirrorError."""
        try:
            (self.archive.path / TRACES).mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise PushmirrorError(f"TO={self.archive.path} cannot be made: {exc.strerror}") from exc

    def is_turned_away(self) -> bool:
        """Whether archvsync's own script is at work here; then says so."""
        pid = real_ftpsync_on(self.archive.path, self.told.config.mirror.name)
        if pid is not None:
            session.say(f"{self.archive.path} is being updated by archvsync's ftpsync, process {pid}")
        return pid is not None

    def _client(self) -> str:
        return self.environment.get("SSH_CONNECTION", "").partition(" ")[0]

    # -- the story of a run ---------------------------------------------------------------------------

    def _synced(self) -> _Answer:
        """Hooks 1 to 3 and the sync, by our run or by the one that covers us."""
        config, asked = self.told.config, self.told.asked
        wish = Wish(
            self.archive.name,
            asked.stage,
            trigger=asked.trigger,
            mhop=asked.mhop,
            client=self._client(),
            words=asked.words,
        )
        store = open_store(config.state.database_url, config.state.directory)
        try:
            answer = Hub(config, store, Silent()).serve(wish)
            run = store.run(answer.run_id) if answer.run_id is not None else None
        finally:
            store.close()
        _log.info("%s %s: %s", self.archive.name, asked.stage.value, answer.message)
        return _Answer(exit_code_of(answer, run, asked.stage), run)

    def _follow(self, answer: _Answer, log: ScriptLog) -> int:
        """What comes after the sync: hook 4, callback, sites, hook 5."""
        is_first = answer.run is not None and is_first_after(answer.run, self.told.config.state.directory)
        push = self._push(answer, is_first=is_first)
        if is_first or push:
            run_hook(self.archive, "before_push", {})
        if self.told.asked.callback and self.archive.callback:
            from pushmirror.push.callback import call_back

            call_back(self.archive.callback, hostname=self._hostname())
        if not push or not self.told.ftpsync.is_hub:
            return Exit.OK
        log.note(f"Waking our mirrors: {push}")
        code = self._push_sites(push)
        if code == Exit.OK:
            run_hook(self.archive, "after_push", {})
        return code

    def _push(self, answer: _Answer, *, is_first: bool) -> str:
        """What sites are pushed for: by one for all whom the run served.

        But who asked for stage 1 of an mhop push has to wait for our sites, and so does it himself.
        """
        if answer.run is not None and answer.run.stage is Stage.STAGE1:
            return self.told.asked.push if self.told.asked.mhop else ""
        return answer.run.stage.value if answer.run is not None and is_first else ""

    def _push_sites(self, kind: str) -> int:
        from pushmirror.compat.runmirrors import push_from_ftpsync

        return push_from_ftpsync(
            self.argv0,
            archive_option=self.told.asked.archive,
            archive=self.archive.name,
            kind=kind,
            environment=self.environment,
        )

    def _hostname(self) -> str:
        """As a shell's HOSTNAME."""
        return self.environment.get("HOSTNAME") or socket.gethostname()
