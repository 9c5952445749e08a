"""One run of ftpsync after its configuration was read, down to its exit code.

The runner changes the tree; this module does what surrounds that, in the script's order.
Guaranteed: what follows a run (hook 4, the push to the sites) is done by one of the callers that it served,
and by the next one if that fails or dies.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from pushmirror.archive.layout import TRACES, UPDATING
from pushmirror.archvsync_commands import entrypoint
from pushmirror.archvsync_commands.after_run import is_being_followed, is_followed, turn_after
from pushmirror.archvsync_commands.ftpsync_config import FtpsyncCall
from pushmirror.archvsync_commands.logs import ScriptLog
from pushmirror.archvsync_commands.messages import of_withheld
from pushmirror.archvsync_config.places import ScriptPaths
from pushmirror.config.model import Archive
from pushmirror.errors import Exit, HookFailed, PushmirrorError
from pushmirror.hooks import Hook, run_hook
from pushmirror.progress import Silent
from pushmirror.runner import Runner, hook_exit_code
from pushmirror.state.records import Request, Run, Stage
from pushmirror.state.store import open_store
from pushmirror.sync.engine import Preview
from pushmirror.sync.request import RunRequest
from pushmirror.system.beneath import Beneath
from pushmirror.system.locks import locked

# -- exit codes of ftpsync (archvsync.md, 2) ---


#: Our codes that stay; one for held suites is a success, as ftpsync publishes them with their fault.
_ITS_OWN: dict[int, Exit] = {
    **{code: code for code in (Exit.OK, Exit.FAILED, Exit.STAGE1, Exit.STAGE2, Exit.CONFIG)},
    Exit.HELD: Exit.OK,
}


def exit_code_of(answer: Request, run: Run | None, stage: Stage) -> int:
    """The exit code of a request's answer: 0, 1, 3, 4, or that of the hook that failed."""
    hook = hook_exit_code(run) if run else None
    if hook is not None:
        return hook
    code = answer.exit_code
    if code is None:
        return Exit.FAILED
    if code == Exit.STAGE1 and stage is Stage.STAGE2:
        return Exit.STAGE2  # it has no stage 1 that could fail
    if code in _ITS_OWN:
        return _ITS_OWN[code]
    if code == Exit.UNAVAILABLE:  # rsync is not installed: a shell ends with 127, and so does stage 1
        return Exit.STAGE2 if stage is Stage.STAGE2 else Exit.STAGE1
    return Exit.STAGE1 if stage is Stage.STAGE1 else Exit.STAGE2  # such as 75: upstream kept changing


# Whether archvsync's own ftpsync is at work on a tree: with it there is no sharing.
#
# It knows no lock but the pid in a flag file, which proves nothing by itself: the process may be gone, and
# the pid another one's (archvsync's bug 17). So the process is looked at.


def real_ftpsync_on(tree: Path, mirror: str) -> int | None:
    """The process of archvsync's own ftpsync that has raised this mirror's flag, if it still runs."""
    try:
        pid = int((tree / f"{UPDATING}{mirror}").read_text("ascii", "replace"))
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except (OSError, ValueError):
        return None
    is_bash = Path(argv[0]).name.startswith("bash")
    return pid if is_bash and any(Path(word).name.startswith("ftpsync") for word in argv[1:]) else None


@dataclass(frozen=True, slots=True)
class _Answer:
    """The runner's answer to a call."""

    exit_code: int
    run: Run | None  # the run that served it, perhaps another process's


@dataclass(frozen=True, slots=True)
class SyncRun:
    """One call."""

    argv0: str
    call: FtpsyncCall
    environment: Mapping[str, str]

    def carry_out(self, log: ScriptLog) -> int:
        """Carry the call out; returns the exit code."""
        if client := self._client():
            log.note(f"We got pushed from {client}")
        for warning in self.call.ftpsync.warnings:
            log.note(f"warning: {warning}")
        if self.call.asked.callback and self.archive.callback is None:
            log.error("Callback requested, but CALLBACKHOST or CALLBACKKEY is missing: no callback")
        answer = self._synced(log)
        if answer.exit_code != Exit.OK or answer.run is None:
            return answer.exit_code
        try:
            return self._follow(answer.run, log)
        except HookFailed as exc:
            return exc.code  # logged and mailed before

    @property
    def archive(self) -> Archive:
        """The archive, as our model has it."""
        return self.call.ftpsync.archive

    def make_tree(self) -> None:
        """Create TO and its parents, as the script does; raises PushmirrorError."""
        tree = self.archive.path
        try:
            tree.mkdir(parents=True, exist_ok=True)
            with suppress(NotADirectoryError):  # a link, which the run replaces by a directory
                Beneath(tree).make_directories(TRACES)
        except OSError as exc:
            raise PushmirrorError(f"cannot create TO={self.archive.path}: {exc.strerror}") from exc

    def go_where_hooks_are_run(self) -> None:
        """Change to BASEDIR, as the script does, if it is set; raises PushmirrorError."""
        call = self.call.variables.get("BASEDIR")
        place = Path(call) if call else ScriptPaths.of(self.environment, self.argv0).here
        try:
            if place != Path.cwd():  # it may be another user's, and not readable
                os.chdir(place)
        except OSError as exc:
            raise PushmirrorError(f"cannot enter BASEDIR={place}: {exc.strerror}") from exc

    def is_under_way(self) -> bool:
        """Whether a run, or what follows the last one, is in progress; does not wait."""
        tree = self.archive.path
        if not tree.is_dir():
            return False
        if real_ftpsync_on(tree, self.call.config.mirror.name) is not None:
            return True
        with locked(tree, wait=False) as is_free:
            if not is_free:
                return True
        last = self._last_run()
        return last is not None and is_being_followed(last, self.call.config.state.directory)

    def is_current(self) -> bool:
        """Whether upstream has nothing new, and what follows the last run is done."""
        config, last = self.call.config, self._last_run()
        if last is None or not (last.stage is Stage.STAGE1 or is_followed(last, config.state.directory)):
            return False
        with closing(open_store(config.state.database_url, config.state.directory)) as store:
            return Runner(config, store, Silent()).is_current(self.archive.name)

    def is_turned_away(self) -> bool:
        """Whether archvsync's own script works on the tree; prints that."""
        pid = real_ftpsync_on(self.archive.path, self.call.config.mirror.name)
        if pid is not None:
            entrypoint.say(f"{self.archive.path} is being updated by archvsync's ftpsync, process {pid}")
        return pid is not None

    def preview(self) -> Preview:
        """What a run would do; nothing is changed."""
        config = self.call.config
        with closing(open_store(config.state.database_url, config.state.directory)) as store:
            return Runner(config, store, Silent()).preview(self._request())

    def _request(self) -> RunRequest:
        asked = self.call.asked
        return RunRequest(
            self.archive.name,
            asked.stage,
            trigger=asked.trigger,
            mhop=asked.mhop,
            client=self._client(),
            words=asked.words,
        )

    def _client(self) -> str:
        return self.environment.get("SSH_CONNECTION", "").partition(" ")[0]

    # -- the story of a run ---------------------------------------------------------------------------

    def _synced(self, log: ScriptLog) -> _Answer:
        """Hooks 1 to 3 and the sync, by our run or by the one that serves us."""
        config, asked = self.call.config, self.call.asked
        with closing(open_store(config.state.database_url, config.state.directory)) as store:
            runner = Runner(config, store, Silent(), on_hook=log.on_hook)
            answer = runner.submit(self._request())
            run = store.run(answer.run_id) if answer.run_id is not None else None
        if answer.run_id not in runner.runs:  # messages of another process's run are in its log only
            log.note(answer.message)
        return _Answer(exit_code_of(answer, run, asked.stage), run)

    def _last_run(self) -> Run | None:
        config = self.call.config
        with closing(open_store(config.state.database_url, config.state.directory)) as store:
            return next(iter(store.runs(self.archive.name, limit=1)), None)

    def _follow(self, run: Run, log: ScriptLog) -> int:
        """What follows the sync, once for all callers that the run served.

        The caller of stage 1 of an mhop push has to wait for our sites, so it pushes them itself.
        """
        is_stage1 = run.stage is Stage.STAGE1
        if is_stage1 and self.call.asked.mhop:
            return self._do_what_follows(self.call.asked.push, log)
        with turn_after(run, self.call.config.state.directory) as turn:
            if turn.is_over:
                self._call_back()
                return Exit.OK
            self._tell_what_was_withheld(run, log)
            return self._do_what_follows("" if is_stage1 else run.stage.value, log, on_told=turn.end)

    def _do_what_follows(self, kind: str, log: ScriptLog, on_told: Callable[[], None] = lambda: None) -> int:
        """Hook 4, callback, sites, hook 5; `on_told` is called when the sites are pushed, or need not be."""
        run_hook(Hook.of(self.archive, "before_push", {}), log.on_hook)
        self._call_back()
        if not kind or not self.call.ftpsync.is_hub:
            on_told()
            return Exit.OK
        log.note(f"Pushing to our mirrors: {kind}")
        code = self._push_sites(kind)
        if code == Exit.OK:
            on_told()
            run_hook(Hook.of(self.archive, "after_push", {}), log.on_hook)
        return code

    def _tell_what_was_withheld(self, run: Run, log: ScriptLog) -> None:
        """Mail about withheld deletions: the run itself is a success."""
        if files := int(run.stats.get("withheld_deletions", 0)):
            file = str(self.call.variables.file or "the environment")
            log.error(*of_withheld(files, self.call.variables.get("RSYNC_OPTIONS2"), file))

    def _call_back(self) -> None:
        if self.call.asked.callback and self.archive.callback:
            from pushmirror.push.callback import call_back

            call_back(self.archive.callback, hostname=self._hostname())

    def _push_sites(self, kind: str) -> int:
        from pushmirror.archvsync_commands.runmirrors_push import push_from_ftpsync

        return push_from_ftpsync(
            self.argv0,
            archive_option=self.call.asked.archive,
            archive=self.archive.name,
            kind=kind,
            environment=self.environment,
        )

    def _hostname(self) -> str:
        """The value of a shell's HOSTNAME."""
        return self.environment.get("HOSTNAME") or socket.gethostname()
