"""`runmirrors [NAME]`: push the mirrors of runmirrors.mirror; called as archvsync's, done by our push engine.

    words ─▶ configuration, log, key, HOOK1 ─▶ the goal of the push is in the store ─▶ it returns
                                                  └─▶ in the background: push, mail ─▶ HOOK3 ─▶ retry

Guaranteed: when it returns, the push is in the store, and a push of that archive in progress serves it,
too. Pushes of different archives share nothing (archvsync's bug 26). With `-f -k mhop` it returns when the
staged sites have stage 1, or after PUSHDELAY; at once if there are none (27).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pushmirror.archvsync_commands import entrypoint
from pushmirror.archvsync_commands.runmirrors_args import asked, script_name
from pushmirror.errors import Exit, UsageError

_HELP = """\
usage: {0} [NAME]
       {0} [-a NAME] [-k all|stage2|mhop] [-f]

Push to the mirrors of {0}.mirror, or {0}-NAME.mirror; see runmirrors(1), runmirrors.conf(5).

  NAME, -a NAME  read {0}-NAME.conf
  -k KIND        push mode: all, stage2 or mhop; default: PUSHKIND, or mhop
  -f             called by ftpsync; with -k mhop: only stage 1 of staged mirrors, and wait for it
  -h             show this help and exit

Exit codes: 0 the push goes on in the background, 1 usage, 5 no ssh key, 78 no configuration; else HOOK1's.
"""


def main() -> int:
    """Run as the command `runmirrors`."""
    return entrypoint.run(runmirrors)


def runmirrors(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """One call; returns its exit code."""
    try:
        call = asked(argv)
    except UsageError as exc:
        entrypoint.complain(f"invalid usage: {exc}")
        entrypoint.say(_HELP.format(script_name(argv)))
        return Exit.FAILED
    if call is None:
        entrypoint.say(_HELP.format(script_name(argv)))
        return Exit.OK
    from pushmirror.archvsync_commands.runmirrors_push import (
        PushRun,  # what is said above needs nothing of it
    )

    return PushRun.read(call, environment).carry_out()
