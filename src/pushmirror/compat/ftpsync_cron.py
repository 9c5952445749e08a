"""`ftpsync-cron [ARCHIVE]`: for timers, where nobody pushes us: a run only when upstream has something else.

Guaranteed: what is asked is upstream's rsync itself, by the same transport, host and path as the run that
follows; so neither a web server nor a trace of the host's name is needed there, and TO may be left at its
default (archvsync's bug 30). When in doubt, there is a run; but while one is under way, nobody waits here for
its end, for the next call looks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pushmirror import __version__
from pushmirror.compat import entrypoint
from pushmirror.compat.ftpsync_config import asked
from pushmirror.errors import Exit, PushmirrorError

if TYPE_CHECKING:
    from pushmirror.compat.ftpsync_run import SyncRun

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
    from pushmirror.compat.ftpsync import carry_out
    from pushmirror.compat.ftpsync_config import configured
    from pushmirror.compat.ftpsync_run import SyncRun

    ftpsync = str(Path(entrypoint.script(argv)).with_name("ftpsync"))  # whatever our own name is
    wish = asked([f"sync:archive:{words[0] if words else ''}"], _TRIGGER, {})
    told = configured(ftpsync, wish, environment)
    run = SyncRun(ftpsync, told, environment)
    return Exit.OK if _has_nothing_to_do(run) else carry_out(run)


def _has_nothing_to_do(run: SyncRun) -> bool:
    """Who cannot tell runs, and the run says why."""
    try:
        return run.is_under_way() or run.is_current()
    except PushmirrorError:
        return False
