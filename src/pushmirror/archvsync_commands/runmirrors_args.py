"""The command line of runmirrors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from getopt import GetoptError, getopt

from pushmirror.archvsync_config.places import config_name
from pushmirror.errors import UsageError

_FROM_FTPSYNC = "from-ftpsync"


@dataclass(frozen=True, slots=True)
class RunmirrorsArgs:
    """One call."""

    argv0: str
    name: str  # of the configuration: runmirrors, runmirrors-security
    archive_option: str
    kind: str  # empty: as configured
    from_ftpsync: bool

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments of the background process; `of` parses them."""
        inside = _FROM_FTPSYNC if self.from_ftpsync else ""
        return (self.argv0, self.name, self.archive_option, self.kind, inside)

    @classmethod
    def of(cls, words: Sequence[str]) -> RunmirrorsArgs:
        """The call of these `words`."""
        argv0, name, archive_option, kind, inside = words
        return cls(argv0, name, archive_option, kind, from_ftpsync=inside == _FROM_FTPSYNC)


def asked(argv: Sequence[str]) -> RunmirrorsArgs | None:
    """Parse a command line; None: help. Raises UsageError."""
    argv0, script, words = argv[0], script_name(argv), argv[1:]
    if not words or not words[0].startswith("-"):
        archive = words[0] if words else ""
        return RunmirrorsArgs(argv0, _named(script, archive), archive, "", from_ftpsync=False)
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
    return RunmirrorsArgs(argv0, name, archive, kind, from_ftpsync=inside)


def of_ftpsync(argv0: str, archive_option: str, kind: str) -> RunmirrorsArgs:
    """The call `runmirrors [-a ARCHIVE_OPTION] -f -k KIND` by an ftpsync, with the runmirrors beside it."""
    return RunmirrorsArgs(
        argv0, _named("runmirrors", archive_option), archive_option, kind, from_ftpsync=True
    )


def script_name(argv: Sequence[str]) -> str:
    """The name that a command was called by."""
    return os.path.basename(argv[0])  # noqa: PTH119  a name, no path


def _options(words: Sequence[str]) -> list[tuple[str, str]]:
    try:
        return getopt(list(words), "a:k:fh")[0]
    except GetoptError as exc:
        raise UsageError(str(exc)) from exc


def _named(script: str, archive: str) -> str:
    return config_name(f"{script}-{archive}" if archive else script)  # logs have it, too
