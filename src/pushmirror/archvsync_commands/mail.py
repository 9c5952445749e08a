"""Mails about a run of an old command: whether one is due, its text, and sending it.

Guaranteed: several recipients are a valid header (archvsync.md, 31), attachments are bounded, and a mail that
cannot be sent is a warning in the log, never an error.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from enum import Enum

from pushmirror.archvsync_config.values import Mail
from pushmirror.errors import PushmirrorError
from pushmirror.system import process

_log = logging.getLogger(__name__)

LARGEST = 1024 * 1024  # bytes of an attachment
_PROGRAM = "/usr/sbin/sendmail"
_TIME_LIMIT_S = 60.0
#: Lines end with \n: sendmail converts them. All is ASCII, for any MTA.
_POLICY = SMTP.clone(linesep="\n", cte_type="7bit")


class Part(Enum):
    """A log that may be attached."""

    LOG = "the script's"
    RSYNC = "rsync's"
    RSYNC_ERRORS = "what rsync complained of"


@dataclass(frozen=True, slots=True)
class Ending:
    """The result of a run of ftpsync."""

    exit_code: int
    rsync_complained: bool = False
    error_told: bool = False  # in a mail of its own, during the run


@dataclass(frozen=True, slots=True)
class Due:
    """A mail that is due."""

    subject: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a mail."""

    name: str
    data: bytes  # UTF-8 where possible
    left_out: int = 0  # bytes before these


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail."""

    to: tuple[str, ...]
    subject: str
    body: str
    attachments: tuple[Attachment, ...] = ()


def due(mail: Mail, ending: Ending) -> Due | None:
    """The mail at the end of a run of ftpsync; None if none is wanted."""
    subject, parts = "ERROR", [Part.LOG]
    if not mail.to:
        return None
    if ending.rsync_complained:
        subject, parts = "ERROR: rsync errors", [Part.RSYNC_ERRORS, Part.LOG]
    elif ending.exit_code == 0 and mail.errors_only:
        return None
    elif ending.exit_code == 0 and not ending.error_told:
        subject = "SUCCESS"
    return Due(subject, (*parts, *([Part.RSYNC] if mail.full_logs else [])))


def heading(program: str, host: str, subject: str) -> str:
    """A subject with the script's name and host, on one line."""
    return " ".join(f"[{program}@{host}] {subject}".split())


def render(letter: Letter) -> bytes:
    """The mail's text for sendmail."""
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = _clean(letter.subject)
    message["To"] = ", ".join(_clean(address) for address in letter.to)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"{_clean(letter.body)}\n")
    for attachment in letter.attachments:
        message.add_attachment(_text(attachment), filename=_clean(attachment.name), disposition="inline")
    return message.as_bytes()


def send(letter: Letter, *, program: str | None = None, environment: Mapping[str, str] = os.environ) -> bool:
    """Send a mail by sendmail; returns whether it was accepted.

    `program` replaces sendmail; else the words of the variable SENDMAIL, split as by a shell.
    """
    try:
        sendmail = [program] if program else shlex.split(environment.get("SENDMAIL", "")) or [_PROGRAM]
        argv = [*sendmail, "-i", "--", *letter.to]
        process.run(argv, stdin=render(letter), timeout_s=_TIME_LIMIT_S).check()
    except (PushmirrorError, ValueError) as exc:  # ValueError: an address no header can hold, an open quote
        _log.warning("the mail to %s was not sent: %s", _listed(letter.to), exc)
        return False
    return True


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def _text(attachment: Attachment) -> str:
    note = f"[the first {attachment.left_out} bytes are omitted]\n" if attachment.left_out else ""
    return note + attachment.data.decode("utf-8", "replace")


def _clean(text: str) -> str:
    """The text without bytes that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
