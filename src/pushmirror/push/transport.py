"""How a trigger reaches a site: the seam between deciding and ssh.

A Protocol, so that the engine knows nothing of connections; `push/ssh/client.py` has the real one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from pushmirror.config.model import Site

MAX_OUTPUT = 64 * 1024  # bytes of a site's answer that are kept
_MOST_WORDS = 300  # characters of an answer's last line that are shown
_ITS_LOG = "see its log (of ftpsync: ~/.local/log/ftpsync)"
_IGNORED = re.compile(r"Unknown option '?\S+'? ignored\.?")
#: Of the exit codes of a shell, and of those that ftpsync and pushmirror share.
_MEANING = {
    0: "",
    1: f"no output; ftpsync exits with 1 when it is locked or misconfigured: {_ITS_LOG}",
    3: f"no output; stage 1 failed there: {_ITS_LOG}",
    4: f"no output; stage 2 failed there: {_ITS_LOG}",
    6: "no output; it is current, except for suites that it holds back",
    78: "no output; it has no valid configuration for this archive",
    126: "its forced command cannot be run",
    127: "its forced command was not found",
    255: "its ssh or forced command failed",
}


def last_line(output: str) -> str:
    """The last line that means something; empty: there is none.

    That a word of ours is ignored, as ftpsync says of each that it does not know, is no reason for anything.
    """
    lines = (line.strip() for line in reversed(output.splitlines()))
    return next((line for line in lines if line and not _IGNORED.fullmatch(line)), "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a site said to a trigger."""

    exit_code: int  # only 0 confirms; negative: the signal that ended the site's command
    output: str  # standard output and error as they came, the last MAX_OUTPUT bytes

    @property
    def last_words(self) -> str:
        """The last line that the site said and that means something, or what its exit code means."""
        return last_line(self.output)[:_MOST_WORDS] or _MEANING.get(self.exit_code, "it said nothing")


class Transport(Protocol):
    """Carries triggers to sites."""

    async def trigger(self, site: Site, words: str) -> Answer:
        """Wake a site and wait for its answer.

        Raises TriggerFailed when there is none: it cannot be reached, shows another host key
        (HostKeyChanged), does not let us in, the connection was lost, or it took longer than allowed.
        """

    async def release(self, site: Site) -> None:
        """Nothing more is to be sent to a site for now: let go of its connection."""

    async def close(self) -> None:
        """Let go of everything."""
