"""Options of rsync that upstream refuses: recognized in its answers, left out, remembered.

    ask ──▶ refused --dry-run ──▶ learn ──▶ ask without it ──▶ refused --hard-links ──▶ learn ──▶ …

An operator's `refuse options` names them (the example that Debian ships has `checksum dry-run`), and an old
or another rsync at the other end does not know them. rsync names one at a time, before it has sent anything.
STATE/upstream/ARCHIVE/refused keeps them for the next runs, for `full_every`: then all of them are tried
again, as a restriction may have been lifted. fetch/rsync_command.py builds the command
lines without them.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from pushmirror.errors import OptionRefused, SilentlyClosed, UpstreamError, key_name
from pushmirror.system import clock
from pushmirror.system.files import write_atomically

REFUSED = "refused"  # the file, beside the copy of upstream's manifest

_log = logging.getLogger(__name__)
Got = TypeVar("Got")

_MOST = 50  # options that an upstream may refuse; we send fewer
_NAME = r"([A-Za-z0-9][A-Za-z0-9-]{0,50})"  # bounded, as all that another program's words are searched for
_REFUSED = (
    re.compile(rf"The server (?:is configured to refuse|does not support) --{_NAME}"),
    re.compile(rf"on remote machine: -{{1,2}}{_NAME}[^:\n]{{0,200}}: unknown option"),  # of before 3.1
    re.compile(rf"(?:unrecognized|unknown|invalid) option(?: --)? ['`]?-{{0,2}}{_NAME}"),  # openrsync
    re.compile(rf"^--{_NAME} requires protocol \d+", re.MULTILINE),  # ours says so of a very old one
)
#: Options that are sent in a bundle of letters, and their names.
LETTERS = {
    "r": "recursive",
    "l": "links",
    "t": "times",
    "p": "perms",
    "n": "dry-run",
    "H": "hard-links",
    "I": "ignore-times",
    "R": "relative",
    "z": "compress",
    "S": "sparse",
    "W": "whole-file",
    "d": "dirs",
    "c": "checksum",
    "x": "one-file-system",
    "v": "verbose",
    "B": "block-size",
    "y": "fuzzy",
    "s": "protect-args",
}
#: What a mirror cannot be made without; ftpsync asks for these, too.
ESSENTIAL = frozenset({"recursive", "links", "times"})
_INSTEAD = {
    "dry-run": "listing without it",
    "hard-links": "hard links arrive as copies",
    "ignore-times": "Release files are fetched into an empty directory",
    "files-from": "files are asked for by include rules",
    "relative": "files are asked for by include rules",
    "safe-links": "links that lead out of the tree are left out here",
    "no-iconv": "names are asked for in UTF-8",
}


def refused_option(errors: str) -> str | None:
    """The long name of the option that the rsync at the other end has refused; None if its error is
    another one.
    """
    for pattern in _REFUSED:
        if found := pattern.search(errors):
            return LETTERS.get(found[1], found[1])
    return None


def in_words(option: str) -> str:
    """What happens without this option, as a text for the operator."""
    match option:
        case "bwlimit":
            instead = f"so {key_name('bandwidth_limit')} has no effect"
        case "timeout":
            instead = f"a transfer that moves nothing for {key_name('timeout')} is ended here"
        case _:
            instead = _INSTEAD.get(option, "done without it")
    return f"upstream refuses --{option}: {instead}"


@dataclass(slots=True)
class Refusals:
    """What one upstream refuses."""

    upstream: str  # its address: another one may refuse other things
    file: Path | None = None  # where it is remembered; none: for as long as this object lives
    again_after: timedelta = timedelta(days=1)
    probe: Callable[[], Collection[str]] | None = None  # finds what is refused without a word
    _names: frozenset[str] | None = None
    _silent: frozenset[str] = frozenset()
    _learning: threading.Lock = field(default_factory=threading.Lock)  # for several streams at once

    @property
    def names(self) -> frozenset[str]:
        """The long names of the options."""
        if self._names is None:
            self._names = self._remembered()
        return self._names

    def ask(self, attempt: Callable[[frozenset[str]], Got]) -> Got:
        """Call `attempt` with the options to leave out, again for each option that upstream turns out to
        refuse.

        Raises UpstreamError for an option that is essential, or that was not even used.
        """
        while True:
            left_out = self.names
            try:
                return attempt(left_out)
            except OptionRefused as exc:
                if exc.option in ESSENTIAL or exc.option in left_out or len(left_out) >= _MOST:
                    raise UpstreamError(
                        f"upstream refuses --{exc.option}, which mirroring needs: {exc}",
                        hint="ask the upstream operator to take it out of the module's `refuse options`",
                    ) from exc
                self._learn({exc.option})
            except SilentlyClosed:
                if not (found := self._found_silently(left_out)):
                    raise
                self._learn(found)

    def _found_silently(self, left_out: frozenset[str]) -> set[str]:
        """Probe once for options that are refused silently."""
        with self._learning:
            if self.probe is not None:
                probe, self.probe = self.probe, None
                self._silent = frozenset(probe())
        return set(self._silent - left_out)

    def _learn(self, options: Collection[str]) -> None:
        with self._learning:
            for option in sorted(set(options) - self.names):
                self._names = self.names | {option}
                level = logging.WARNING if option == "bwlimit" else logging.INFO
                _log.log(level, "%s", in_words(option))
                self._remember()

    def _remembered(self) -> frozenset[str]:
        if self.file is None:
            return frozenset()
        with suppress(OSError, ValueError):  # lost or damaged: it is learnt anew
            learnt_at = datetime.fromtimestamp(self.file.stat().st_mtime, UTC)
            upstream, *names = self.file.read_text().splitlines()
            if upstream == self.upstream and timedelta() <= clock.now() - learnt_at < self.again_after:
                return frozenset(names)
        return frozenset()

    def _remember(self) -> None:
        if self.file is None:
            return
        with suppress(OSError):  # then the next run learns it anew
            self.file.parent.mkdir(parents=True, exist_ok=True)
            text = "\n".join([self.upstream, *sorted(self.names), ""])
            write_atomically(self.file, text.encode(), durable=False)
