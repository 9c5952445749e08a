"""`ftpsync [-T TRIGGER] [WORD…]`: one run of an archive, called as archvsync's script, done by our runner.

    words ─▶ configuration ─▶ tree, log ─▶ run: hooks 1 to 3, sync ─▶ hook 4 ─▶ callback ─▶ sites ─▶ hook 5
                                  └──────────── whatever happens: mail, rotated logs ─────────────────────┘

Guaranteed: exit codes, trace and flags are ftpsync's. A request during a run waits for the run that serves
it, whatever its kind (archvsync's bugs 14 to 16); it is refused only while a real ftpsync works on the
tree. RSYNC_PASSWORD is written to a file of mode 0600 and passed to no other program (bug 29).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pushmirror import __version__
from pushmirror.archvsync_commands import entrypoint
from pushmirror.archvsync_commands.ftpsync_config import asked
from pushmirror.errors import Exit, PushmirrorError, Stopped

if TYPE_CHECKING:
    from pushmirror.archvsync_commands.ftpsync_run import SyncRun
    from pushmirror.archvsync_commands.logs import ScriptLog

_HELP = """\
usage: ftpsync [-v] [--dry-run] [-T TRIGGER] [WORD ...]

Update the archive of ftpsync.conf, as archvsync's ftpsync does; see ftpsync(1) and ftpsync.conf(5).

  -T TRIGGER   trigger name for the trace file; default: ssh, if there are words from ssh
  -v           print which configuration was read, and what of it has no counterpart
  --dry-run    print the same and what a run would change in the tree; change nothing, push to nobody
  --help       show this help and exit
  --version    show the version of pushmirror and exit

Words; those of $SSH_ORIGINAL_COMMAND come first, later ones take precedence:
  sync:archive:NAME  sync:stage1  sync:stage2  sync:all  sync:mhop  sync:callback

Exit codes: 0 done, 1 refused, 3 stage 1 failed, 4 stage 2 failed, 64 usage, 78 no configuration;
else that of a hook that failed.
"""


def main() -> int:
    """Run as the command `ftpsync`."""
    return entrypoint.run(ftpsync)


def ftpsync(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """One call; returns its exit code."""
    options, words = entrypoint.split(argv[1:], "T:v", ("help", "version", "dry-run"))
    if "--help" in options or "--version" in options:
        entrypoint.say(_HELP if "--help" in options else f"ftpsync (pushmirror {__version__})")
        return Exit.OK
    arguments = asked(words, options.get("-T"), environment)
    for word in arguments.ignored:
        entrypoint.say(f"Unknown option {word} ignored")
    from pushmirror.archvsync_commands.ftpsync_config import (
        configured,  # what is said above needs nothing of it
    )
    from pushmirror.archvsync_commands.ftpsync_run import SyncRun

    script = entrypoint.script(argv)
    call = configured(script, arguments, environment)
    run, is_dry = SyncRun(script, call, environment), "--dry-run" in options
    if is_dry or "-v" in options:
        call.explain()
    return foretell(run) if is_dry else carry_out(run)


def foretell(run: SyncRun) -> int:
    """Print what a run would do."""
    from pushmirror.cli.sync import foretell

    run.go_where_hooks_are_run()
    foretell(run.archive.name, run.preview(), way_out="--max-delete in RSYNC_OPTIONS2")
    return Exit.OK


def carry_out(run: SyncRun) -> int:
    """One run with its log and mail; returns the exit code."""
    from pushmirror.archvsync_commands.logs import ScriptLog
    from pushmirror.state.backups import back_up_daily

    run.go_where_hooks_are_run()
    run.make_tree()
    if run.is_turned_away():
        return Exit.FAILED
    ftpsync = run.call.ftpsync
    with ScriptLog(ftpsync.logs, ftpsync.mail, name=ftpsync.name, program=run.call.program) as log:
        log.note("Mirrorsync start")
        log.exit_code = Exit.FAILED  # unless we get to an end
        try:
            log.exit_code = run.carry_out(log)
        except (PushmirrorError, Stopped) as exc:
            log.exit_code = exc.exit_code
            _note(exc, log)
            raise
        finally:
            log.note(f"Mirrorsync done{' with errors' if log.exit_code else ''}")
    back_up_daily(run.call.config.state.database_url, run.call.config.state.directory)
    return log.exit_code


def _note(exc: PushmirrorError | Stopped, log: ScriptLog) -> None:
    """Log what ended a run; the caller prints it on standard error."""
    log.note(str(exc))
    if isinstance(exc, PushmirrorError) and exc.hint:
        log.note(f"hint: {exc.hint}")
