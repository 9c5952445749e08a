"""`runmirrors [NAME]`: wake the mirrors of runmirrors.mirror; called as archvsync's, done by our pusher.

    words ─▶ configuration, log, key, HOOK1 ─▶ what is to be pushed is in the store ─▶ we are back
                                                  └─▶ in the background: push, mail ─▶ HOOK3 ─▶ retry

Guaranteed: when it is back, the push is in the store, and one of that archive that was under way serves it,
too. Pushes of different archives share nothing (archvsync's bug 26). With `-f -k mhop` it is back when the
staged sites have stage 1, or after PUSHDELAY; at once when there are none (27).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from getopt import GetoptError, getopt

from pushmirror.compat import session
from pushmirror.config.legacy.places import config_name
from pushmirror.errors import Exit, UsageError

_HELP = """\
usage: {0} [NAME]
       {0} [-a NAME] [-k all|stage2|mhop] [-f]

Wake the mirrors of {0}.mirror, or {0}-NAME.mirror; see runmirrors(1), runmirrors.conf(5).

  NAME, -a NAME  which configuration: {0}-NAME.conf
  -k KIND        of push: all, stage2 or mhop; default: PUSHKIND, or mhop
  -f             called by ftpsync; with -k mhop, only stage 1 of staged mirrors, and waits for it
  -h             this

Exit codes: 0 the push goes on in the background, 1 usage, 5 no ssh key, 78 no configuration; else HOOK1's.
"""


@dataclass(frozen=True, slots=True)
class Call:
    """What a command line asks for."""

    argv0: str
    name: str  # of the configuration: runmirrors, runmirrors-security
    archive_option: str
    kind: str  # empty: the configuration's
    from_ftpsync: bool


def main() -> int:
    """Run as the command `runmirrors`."""
    return session.run(runmirrors)


def runmirrors(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """One call; returns its exit code."""
    try:
        call = asked(argv)
    except UsageError as exc:
        session.complain(f"invalid usage: {exc}")
        session.say(_HELP.format(_script(argv)))
        return Exit.FAILED
    if call is None:
        session.say(_HELP.format(_script(argv)))
        return Exit.OK
    from pushmirror.compat.push.run import PushRun  # what is said above needs nothing of it

    return PushRun.read(call, environment).carry_out()


def push_from_ftpsync(
    argv0: str, *, archive_option: str, archive: str, kind: str, environment: Mapping[str, str]
) -> int:
    """Do as `runmirrors [-a ARCHIVE_OPTION] -f -k KIND` for our archive, whose generation is in the store.

    `argv0` is the ftpsync's, whose runmirrors is beside it. Returns 0, 5 or 78, or what HOOK1 ended with. In
    a process of its own, for ours may have a database and threads.
    """
    from pushmirror.compat.push.call import call

    name = _named("runmirrors", archive_option)
    wanted = Call(argv0, name, archive_option, kind, from_ftpsync=True)
    return call(wanted, archive, environment)


def asked(argv: Sequence[str]) -> Call | None:
    """What a command line asks for; none: help. Raises UsageError."""
    argv0, script, words = argv[0], _script(argv), argv[1:]
    if not words or not words[0].startswith("-"):
        archive = words[0] if words else ""
        return Call(argv0, _named(script, archive), archive, "", from_ftpsync=False)
    name, archive, kind, inside = script, "", "", False
    for option, value in _options(words):
        match option:
            case "-h":
                return None
            case "-a":
                name, archive = _named(name, value), value
            case "-k":
                kind = value or kind
            case _:
                inside = True
    return Call(argv0, name, archive, kind, from_ftpsync=inside)


def _options(words: Sequence[str]) -> list[tuple[str, str]]:
    try:
        return getopt(list(words), "a:k:fh")[0]
    except GetoptError as exc:
        raise UsageError(str(exc)) from exc


def _script(argv: Sequence[str]) -> str:
    return os.path.basename(argv[0])  # noqa: PTH119  a name, no path


def _named(script: str, archive: str) -> str:
    return config_name(f"{script}-{archive}" if archive else script)  # logs have it, too
