"""`ftpsync-cron [ARCHIVE]`: for timers, without pushes: a run only if upstream has changed.

Guaranteed: upstream is asked by rsync, with the same transport, host and path as the run; so neither a web
server nor a trace of the host's name is needed, and TO may have its default (archvsync's bug 30). In doubt
there is a run; during another run it ends at once, because the next call checks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pushmirror import __version__
from pushmirror.archvsync_commands import entrypoint
from pushmirror.archvsync_commands.ftpsync_config import asked
from pushmirror.errors import Exit, PushmirrorError

if TYPE_CHECKING:
    from pushmirror.archvsync_commands.ftpsync_run import SyncRun

_TRIGGER = "cron"
_HELP = """\
usage: ftpsync-cron [ARCHIVE]

Run `ftpsync -T cron sync:archive:ARCHIVE` if upstream's state differs from this mirror; see
ftpsync-cron(1). Exit codes: 0 nothing to do, else ftpsync's.
"""


def main() -> int:
    """Run as the command `ftpsync-cron`."""
    return entrypoint.run(ftpsync_cron)


def ftpsync_cron(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """One call; returns its exit code."""
    options, words = entrypoint.split(argv[1:])
    if options:
        entrypoint.say(_HELP if "--help" in options else f"ftpsync-cron (pushmirror {__version__})")
        return Exit.OK
    from pushmirror.archvsync_commands.ftpsync import carry_out
    from pushmirror.archvsync_commands.ftpsync_config import configured
    from pushmirror.archvsync_commands.ftpsync_run import SyncRun

    ftpsync = str(Path(entrypoint.script(argv)).with_name("ftpsync"))  # whatever our own name is
    arguments = asked([f"sync:archive:{words[0] if words else ''}"], _TRIGGER, {})
    call = configured(ftpsync, arguments, environment)
    run = SyncRun(ftpsync, call, environment)
    return Exit.OK if _has_nothing_to_do(run) else carry_out(run)


def _has_nothing_to_do(run: SyncRun) -> bool:
    """Whether upstream has nothing new; False if that cannot be found out: the run reports why."""
    try:
        return run.is_under_way() or run.is_current()
    except PushmirrorError:
        return False
