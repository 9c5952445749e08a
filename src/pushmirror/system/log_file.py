"""A log file whose write errors do not end a run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LogFile(logging.FileHandler):
    """A logging handler; opened at the first line; `failed` is the first error of writing."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, encoding="utf-8", errors="backslashreplace", delay=True)
        self.failed: OSError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`; it may have to be opened."""
        with self._losing_lines():
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  its name there
        """See `logging.Handler`, which would print a traceback for each line."""
        exc = sys.exc_info()[1]
        if isinstance(exc, OSError):
            self.failed = self.failed or exc
        else:
            super().handleError(record)

    def close(self) -> None:
        """See `logging.Handler`; what is buffered may have no room."""
        with self._losing_lines():
            super().close()

    @contextmanager
    def _losing_lines(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            self.failed = self.failed or exc
