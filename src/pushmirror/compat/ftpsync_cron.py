"""`ftpsync-cron [ARCHIVE]`: for timers, where nobody pushes us: a run only when upstream has something else.

Guaranteed: what is asked is upstream's rsync itself, by the same transport, host and path as the run that
follows; so neither a web server nor a trace of the host's name is needed there, and TO may be left at its
default (archvsync's bug 30). When in doubt, there is a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from pushmirror import __version__
from pushmirror.compat import session
from pushmirror.compat.asked import asked
from pushmirror.errors import Exit, PushmirrorError

if TYPE_CHECKING:
    from pushmirror.compat.sync_run import SyncRun

_TRIGGER = "cron"
_HELP = """\
usage: ftpsync-cron [ARCHIVE]

Do as `ftpsync -T cron sync:archive:ARCHIVE` if upstream has another state than the mirror here; see
ftpsync-cron(1). Exit codes: 0 nothing to do, else ftpsync's.
"""


def main() -> int:
    """Run as the command `ftpsync-cron`."""
    return session.run(ftpsync_cron)


def ftpsync_cron(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """One call; returns its exit code."""
    given = session.split(argv[1:], "", long=("help", "version"))
    if given.options:
        session.say(_HELP if "help" in given.options else f"ftpsync-cron (pushmirror {__version__})")
        return Exit.OK
    from pushmirror.compat.configured import configured
    from pushmirror.compat.ftpsync import carry_out
    from pushmirror.compat.sync_run import SyncRun

    ftpsync = argv[0].removesuffix("-cron")
    wish = asked([f"sync:archive:{given.words[0] if given.words else ''}"], _TRIGGER, {})
    told = configured(ftpsync, wish, environment)
    run = SyncRun(ftpsync, told, environment)
    return Exit.OK if _is_current(run) else carry_out(run)


def _is_current(run: SyncRun) -> bool:
    """Whether there is nothing to do; who cannot tell runs, and the run says why."""
    from pushmirror.hub import Hub
    from pushmirror.state.sql import open_store
    from pushmirror.sync.progress import Silent

    config = run.told.config
    try:
        with closing(open_store(config.state.database_url, config.state.directory)) as store:
            return Hub(config, store, Silent()).is_current(run.archive.name)
    except PushmirrorError:
        return False
