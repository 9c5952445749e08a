"""The log of runmirrors: a new one for each call, lines as the script's, errors mailed as they happen.

Guaranteed: a mail that takes its time holds no trigger up; nor does a full disk.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

from pushmirror.compat import logs, mail
from pushmirror.compat.mail import Letter
from pushmirror.config.legacy.values import Runmirrors
from pushmirror.errors import PushmirrorError

_OURS = "pushmirror"


class PushLog(logging.Handler):
    """The log until the end of a block; warnings of all our parts go there, too."""

    def __init__(self, runmirrors: Runmirrors) -> None:
        super().__init__(logging.WARNING)
        self._name = runmirrors.name
        self._to = runmirrors.mail.to
        self._file = logs.LogFile(runmirrors.logs.file)
        self._mails: ThreadPoolExecutor | None = None  # no thread before the first one

    @classmethod
    def begun(cls, runmirrors: Runmirrors) -> PushLog:
        """A new log; the former ones are rotated. Raises PushmirrorError when it cannot be written.

        What a call has in the background is made without this: it adds to the log.
        """
        told = runmirrors.logs
        log = cls(runmirrors)
        try:
            told.directory.mkdir(parents=True, exist_ok=True)
            logs.rotate(told.file, told.keep)
            log._file.open()
        except OSError as exc:
            raise PushmirrorError(f"the log {told.file} cannot be written: {exc.strerror}") from exc
        return log

    def __enter__(self) -> Self:
        logging.getLogger(_OURS).addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mails:
            self._mails.shutdown()
        logging.getLogger(_OURS).removeHandler(self)
        self._file.close()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.note(self.format(record))

    def line(self, text: str) -> str:
        """A line as the log has it."""
        return logs.line(text, program=self._name)

    def note(self, text: str) -> None:
        """Add a line."""
        with suppress(OSError):
            if self._file.has_gone:  # a later call has begun a new log, and its reader looks there
                self._file.close()
            self._file.add(self.line(text))

    def error(self, text: str, body: str = "") -> None:
        """Add a line, and mail it."""
        self.note(text)
        if not self._to:
            return
        subject = mail.heading(self._name, logs.short_host(), f"ERROR: {text}")
        self._mails = self._mails or ThreadPoolExecutor(1)
        self._mails.submit(mail.send, Letter(self._to, subject, body or text))
