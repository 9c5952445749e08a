"""The interface between the push engine and ssh. `push/ssh/client.py` implements it for asyncssh and ssh,
`archvsync_commands/runmirrors_ssh.py` for runmirrors' command line.
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
#: Exit codes of a shell, and those that ftpsync and pushmirror share.
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
    """The last meaningful line; empty: none.

    ftpsync's message that it ignores a word of ours is not meaningful.
    """
    lines = (line.strip() for line in reversed(output.splitlines()))
    return next((line for line in lines if line and not _IGNORED.fullmatch(line)), "")


@dataclass(frozen=True, slots=True)
class Answer:
    """A site's answer to a trigger."""

    exit_code: int  # only 0 confirms; negative: the signal that ended the site's command
    output: str  # standard output and error as they came, the last MAX_OUTPUT bytes

    @property
    def last_words(self) -> str:
        """The last meaningful line of the site, or the meaning of its exit code."""
        return last_line(self.output)[:_MOST_WORDS] or _MEANING.get(self.exit_code, "it said nothing")


class TriggerSender(Protocol):
    """Sends triggers to sites."""

    async def trigger(self, site: Site, words: str) -> Answer:
        """Send a trigger and wait for the answer.

        Raises TriggerFailed if there is none: the site cannot be reached, has another host key
        (HostKeyChanged), rejects the login, the connection was lost, or it took too long.
        """

    async def release(self, site: Site) -> None:
        """Close a site's connection: it gets no trigger for now."""

    async def close(self) -> None:
        """Close all connections."""
