"""The command line: finds the command, and turns each error into one message and one exit code.

Guaranteed: `pushmirror --help` imports no command; a signal unwinds the stack, so that every `finally` runs,
child processes are stopped and locks are released before the process exits. Files that we or our child
processes create are never writable by others, whatever the umask is.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from pushmirror.cli.context import Session
from pushmirror.errors import Exit, PushmirrorError, Stopped
from pushmirror.system.clock import allow_deep_directories
from pushmirror.system.signals import unwind_on_signals

#: Errors that tell of a disk or of limits, not of a mistake of ours.
_OF_THE_MACHINE = {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_OF_THE_MACHINE |= {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
_PIPE = 141  # SIGPIPE, as a shell reports it
_OTHERS_WRITE = 0o022

#: name -> (module:function, short help); modules are imported when their verb is called.
VERBS = {
    "init": ("pushmirror.cli.init:init", "Create a configuration, an ssh key and the directories."),
    "import": (
        "pushmirror.cli.import_command:import_",
        "Import ftpsync, runmirrors and rsyncd configuration.",
    ),
    "check": ("pushmirror.cli.check:check", "Check the installation and suggest fixes."),
    "sync": ("pushmirror.cli.sync:sync", "Update archives from upstream."),
    "push": (
        "pushmirror.cli.push:push",
        "Push to sites that are out of date and wait until they are current.",
    ),
    "receive": ("pushmirror.cli.receive:receive", "Handle a push (forced command of an ssh key)."),
    "serve": ("pushmirror.cli.serve:serve", "Run the rsync daemon and push to sites until all are current."),
    "status": ("pushmirror.cli.status:status", "Show the health of archives and sites."),
    "suites": ("pushmirror.cli.status:suites", "List the suites of each archive, and which are held back."),
    "history": ("pushmirror.cli.history:history", "List past runs."),
    "log": ("pushmirror.cli.history:log", "Print the log of a run."),
    "verify": (
        "pushmirror.cli.verify:verify",
        "Read every file again and compare hashes; repair with --repair.",
    ),
    "site": ("pushmirror.cli.site:site", "Manage the sites that mirror from here: add, list, kit, pause …"),
    "state": ("pushmirror.cli.state:state", "Check, back up and restore the state database."),
    "lab": ("pushmirror.cli.lab:lab", "Run a demo network on this machine."),
}


class Verbs(click.Group):
    """The commands, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module, _, function = VERBS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), function)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Configuration directory or file. Default: $PUSHMIRROR_CONFIG, "
    "/etc/pushmirror or ~/.config/pushmirror.",
)
@click.version_option(package_name="pushmirror", message="%(prog)s %(version)s")
@click.pass_context
def pushmirror(ctx: click.Context, config_path: Path | None) -> None:
    """Push mirroring of Debian-style package archives: served mirrors that are never broken."""
    ctx.obj = Session(config_path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code."""
    gc.set_threshold(100_000, 20, 50)  # what is made here is kept: looking for garbage in it costs a tenth
    unwind_on_signals()
    allow_deep_directories()
    os.umask(os.umask(_OTHERS_WRITE) | _OTHERS_WRITE)
    before = sys.stdout
    try:
        result = pushmirror.main(
            args=None if argv is None else list(argv), prog_name="pushmirror", standalone_mode=False
        )
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit:
        if sys.stdout is before:
            raise
        return _reader_gone()  # click made this of a BrokenPipeError, and wrapped stdout
    except (Exception, Stopped, KeyboardInterrupt) as exc:  # noqa: BLE001  the one place where everything ends
        return _explain(exc)
    return result if isinstance(result, int) else Exit.OK


def _explain(exc: BaseException) -> int:
    match exc:
        case click.ClickException():
            exc.show()
            if isinstance(exc, click.NoSuchOption) and exc.option_name == "--config" and exc.ctx:
                _say(f"hint: put --config before the command: pushmirror --config PATH {exc.ctx.info_name}")
            return Exit.USAGE
        case click.Abort() | KeyboardInterrupt():
            _say("interrupted")
            return Exit.INTERRUPTED
        case Stopped():
            _say(str(exc))
            return exc.exit_code
        case PushmirrorError():
            for line in str(exc).splitlines():
                _say(line)
            if exc.hint:
                _say(f"hint: {exc.hint}")
            return exc.exit_code
        case OSError() if exc.errno in _OF_THE_MACHINE:
            _say(f"{exc.filename or 'a file, or the output,'} cannot be read or written: {exc.strerror}")
            _let_go_of_output()
            return Exit.FAILED
    _say(f"internal error: {type(exc).__name__}: {exc}")
    _say(f"hint: please report this, with {_keep_traceback(exc)}")
    return Exit.SOFTWARE


def _reader_gone() -> int:
    """`pushmirror history | head`: exit quietly, also when Python flushes its buffers."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return _PIPE


def _let_go_of_output() -> None:
    """Close stdout: at exit Python would write the rest again and fail with a code of its own."""
    for handle, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, handle)
            os.close(nowhere)


def _say(line: str) -> None:
    with suppress(OSError):  # a file on a full disk
        click.echo(f"pushmirror: {line}", err=True)


def _keep_traceback(exc: BaseException) -> str:
    """Write the traceback to a file readable by this user only; returns words for where it is."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(exc))
    try:
        handle, name = tempfile.mkstemp(prefix="pushmirror-", suffix=".traceback")
        with os.fdopen(handle, "w") as file:
            file.write(text)
    except OSError:
        click.echo(text, err=True)
        return "the traceback above"
    return f"the traceback in {name}"
