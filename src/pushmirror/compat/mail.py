"""Mails about a run of an old command: whether one is due, how it is written, and how it is sent.

Guaranteed: one with several recipients is valid (archvsync.md, 31), attachments are bounded, and a mail that
cannot be sent is a warning in the log, never an error. Not the business of this module: what is in a log.
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

from pushmirror.archvsync.values import Mail
from pushmirror.errors import PushmirrorError
from pushmirror.system import process

_log = logging.getLogger(__name__)

LARGEST = 1024 * 1024  # bytes of an attachment
_PROGRAM = "/usr/sbin/sendmail"
_TIME_LIMIT_S = 60.0
#: Lines end as in any file: sendmail turns them into the network's. All is ASCII, so that any MTA takes it.
_POLICY = SMTP.clone(linesep="\n", cte_type="7bit")


class Part(Enum):
    """A log that may go with a mail."""

    LOG = "the script's"
    RSYNC = "rsync's"
    RSYNC_ERRORS = "what rsync complained of"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run of ftpsync ended."""

    exit_code: int
    rsync_complained: bool = False
    error_told: bool = False  # in a mail of its own, while it ran


@dataclass(frozen=True, slots=True)
class Due:
    """A mail that is due."""

    subject: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a mail."""

    name: str
    data: bytes  # text in UTF-8, as far as it is one
    left_out: int = 0  # bytes before these


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail."""

    to: tuple[str, ...]
    subject: str
    body: str
    attachments: tuple[Attachment, ...] = ()


def due(mail: Mail, ending: Ending) -> Due | None:
    """The mail at the end of a run of ftpsync; None if nobody wants one."""
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
    """A subject that says whose it is, on one line."""
    return " ".join(f"[{program}@{host}] {subject}".split())


def render(letter: Letter) -> bytes:
    """The mail as sendmail reads it."""
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = _clean(letter.subject)
    message["To"] = ", ".join(_clean(address) for address in letter.to)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"{_clean(letter.body)}\n")
    for attachment in letter.attachments:
        message.add_attachment(_text(attachment), filename=_clean(attachment.name), disposition="inline")
    return message.as_bytes()


def send(letter: Letter, *, program: str | None = None, environment: Mapping[str, str] = os.environ) -> bool:
    """Hand a mail to sendmail; returns whether it was taken.

    `program` takes the place of sendmail, else the words of the variable SENDMAIL, split as a shell does.
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
    """Without bytes that are no UTF-8: no mail can carry them."""
    return text.encode("utf-8", "backslashreplace").decode()
