"""The log files of the old commands: their names, lines and rotation, and the mail at the end.

    LOG                        ours                     `Nov 22 23:46:57 HOST NAME[PID]: …`
    LOGDIR/rsync-NAME.log      rsync's arguments and figures: the logger pushmirror.rsync
    LOGDIR/rsync-NAME.error    rsync's errors: the logger pushmirror.rsync.errors

Guaranteed: two processes of one name may log at once; each mails the files that it has written to, and one
run's files are rotated once. Not the business of this module: the words.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pushmirror.archvsync_commands import mail, messages
from pushmirror.archvsync_commands.mail import Attachment, Ending, Letter, Part
from pushmirror.archvsync_config.values import Logs, Mail
from pushmirror.errors import Exit, PushmirrorError
from pushmirror.hooks import HookEvent
from pushmirror.system.locks import locked

_log = logging.getLogger(__name__)

_OURS = "pushmirror"
_RSYNC, _RSYNC_ERRORS = "pushmirror.rsync", "pushmirror.rsync.errors"
_PATIENCE_S = 10.0  # to wait for another process that rotates


def line(text: str, *, program: str, host: str | None = None, pid: int | None = None) -> str:
    """A log line as the script writes it, without the newline; one for each line of the message."""
    head = f"{time.strftime('%b %d %H:%M:%S')} {host or short_host()} {program}[{pid or os.getpid()}]: "
    return "\n".join(head + part for part in text.splitlines() or [""])


def short_host() -> str:
    """The host name as of `hostname -s`."""
    return socket.gethostname().partition(".")[0]


def rotate(file: Path, keep: int) -> None:
    """Rename FILE to FILE.0, FILE.0 to FILE.1, and so on up to FILE.<keep>.

    One process at a time; raises OSError.
    """
    with _turn(file.parent):
        _shift(file, keep)


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """Hold the lock of rotation in this directory."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(directory, patience_s=_PATIENCE_S))
        except PushmirrorError as exc:  # better twice than never
            _log.warning("the logs are rotated without a lock: %s", exc)
        yield


def _shift(file: Path, keep: int) -> None:
    for number in range(keep, 0, -1):
        before = _numbered(file, number - 1)
        if before.exists():
            before.replace(_numbered(file, number))
    if file.exists():
        file.replace(_numbered(file, 0))


def _numbered(file: Path, number: int) -> Path:
    return file.with_name(f"{file.name}.{number}")


class LogFile:
    """A log file that can be read back even if it was renamed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def open(self) -> None:
        """Create the file and its directory; raises OSError."""
        if self._handle is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_symlink():  # as the rotation does, which renames it
                self.path.unlink()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._handle = os.open(self.path, flags, 0o644)

    def add(self, text: str) -> None:
        """Add lines."""
        self.open()
        assert self._handle is not None
        os.write(self._handle, f"{text}\n".encode("utf-8", "surrogateescape"))

    @property
    def is_open(self) -> bool:
        """Whether this process has added a line."""
        return self._handle is not None

    @property
    def has_gone(self) -> bool:
        """Whether another process has rotated the file since."""
        if self._handle is None:
            return False
        try:
            return not os.path.samestat(os.fstat(self._handle), self.path.stat())
        except OSError:
            return True

    def end(self, largest: int) -> Attachment:
        """The last `largest` bytes; none if only another process has written to the file."""
        handle = self._handle
        if handle is None:
            return Attachment(self.path.name, b"")
        left_out = max(0, os.fstat(handle).st_size - largest)
        return Attachment(self.path.name, os.pread(handle, largest, left_out), left_out)

    def close(self) -> None:
        """Close the file; may be called again."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class ScriptLog:
    """ftpsync's logs during a run, then the mail, if one is due, and the rotation.

    Raises PushmirrorError if a log cannot be written.
    """

    def __init__(self, logs: Logs, mail: Mail, *, name: str, program: str | None = None) -> None:
        self._logs = logs
        self._mail = mail
        self.program = program or name
        self._error_told = False
        self._attached: list[tuple[logging.Logger, logging.Handler, int]] = []
        self._files = {
            Part.LOG: LogFile(logs.file),
            Part.RSYNC: LogFile(logs.directory / f"rsync-{name}.log"),
            Part.RSYNC_ERRORS: LogFile(logs.directory / f"rsync-{name}.error"),
        }
        self.exit_code: int = Exit.OK  # for the caller to print at the end

    def note(self, text: str) -> None:
        """Add a line to the log; a full disk does not end the run."""
        try:
            self._files[Part.LOG].add(self.line(text))
        except OSError as exc:
            _log.warning("cannot log: %s: %s", exc.strerror, text)

    def line(self, text: str) -> str:
        """A line in the log's form."""
        return line(text, program=self.program)

    def error(self, text: str, body: str = "") -> None:
        """Add a line to the log and mail it at once, with `body`."""
        self.note(text)
        self._mail_error(text, body or text)

    def on_hook(self, event: HookEvent) -> None:
        """Log an event of a hook; a failure is mailed, too."""
        text = messages.line_of_hook(event)
        _log.info("%s", text)  # so that the run's own log has it, too
        if messages.is_failed(event):
            self._mail_error(text, text)

    def _mail_error(self, text: str, body: str) -> None:
        self._error_told = True
        if self._mail.to:
            mail.send(Letter(self._mail.to, self._heading(f"ERROR: {text}"), body))

    def __enter__(self) -> Self:
        try:
            self._logs.directory.mkdir(parents=True, exist_ok=True)
            self._files[Part.LOG].open()
        except OSError as exc:
            raise PushmirrorError(
                f"cannot log to {exc.filename or self._logs.file}: {exc.strerror}",
                hint="LOGDIR and LOG set the place of the logs",
            ) from exc
        self._attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is not None and self.exit_code == Exit.OK:
            self.exit_code = Exit.FAILED
        try:
            self._tell()
            self._rotate()
        finally:
            self._detach()
            for file in self._files.values():
                file.close()

    def _tell(self) -> None:
        complained = bool(self._files[Part.RSYNC_ERRORS].end(1).data)
        due = mail.due(self._mail, Ending(self.exit_code, complained, self._error_told))
        if due is not None:
            attached = tuple(self._files[part].end(mail.LARGEST) for part in due.parts)
            mail.send(Letter(self._mail.to, self._heading(due.subject), due.subject, attached))

    def _rotate(self) -> None:
        with _turn(self._logs.directory):
            were_rotated = self._files[Part.LOG].has_gone
            for file in self._files.values():
                try:
                    if not (file.has_gone if file.is_open else were_rotated):
                        _shift(file.path, self._logs.keep)
                except OSError as exc:
                    _log.warning("%s cannot be rotated: %s", file.path, exc.strerror)

    def _heading(self, subject: str) -> str:
        return mail.heading(self.program, short_host(), subject)

    # the log of everything else

    def _attach(self) -> None:
        self._add(_OURS, _Lines(self._files[Part.LOG], self.line, logging.INFO))
        self._add(_RSYNC, _Lines(self._files[Part.RSYNC], _as_rsync, logging.DEBUG))
        self._add(_RSYNC_ERRORS, _Lines(self._files[Part.RSYNC_ERRORS], str, logging.DEBUG))

    def _add(self, name: str, handler: logging.Handler) -> None:
        logger = logging.getLogger(name)
        self._attached.append((logger, handler, logger.level))
        logger.addHandler(handler)
        if logger.getEffectiveLevel() > handler.level:
            logger.setLevel(handler.level)

    def _detach(self) -> None:
        for logger, handler, level in self._attached:
            logger.removeHandler(handler)
            logger.setLevel(level)
        self._attached.clear()


class _Lines(logging.Handler):
    """A logging handler that adds lines to a file."""

    def __init__(self, file: LogFile, form: Callable[[str], str], level: int) -> None:
        super().__init__(level)
        self._file = file
        self._form = form

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # a full disk costs the line; logging itself would print a traceback for each
            self._file.add(self._form(self.format(record)))


def _as_rsync(text: str) -> str:
    """A line in the form of rsync's --log-file."""
    return f"{time.strftime('%Y/%m/%d %H:%M:%S')} [{os.getpid()}] {text}"
