"""A stalled connection: a small file that says since when a run has received nothing; `status` reads it.

The file exists only while that is so. One that a killed run left is older than the run that follows, by which
its reader knows it. When a connection is ended is not the business of this module.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

from pushmirror.errors import ConnectionFailed
from pushmirror.system import clock
from pushmirror.system.files import write_atomically

_log = logging.getLogger(__name__)
_AFTER = timedelta(seconds=30)  # at most; and at most a quarter of the time after which upstream is given up


def stalled_file(state: Path, archive: str) -> Path:
    """The file of an archive below the state directory."""
    return state / "stalled" / archive


def stalled_since(file: Path) -> datetime | None:
    """Since when the current run has received nothing; None if it receives, or there is no such run."""
    with suppress(OSError, ValueError):
        return datetime.fromisoformat(file.read_text("ascii"))
    return None


@dataclass(slots=True)
class Stillness:
    """Watches the progress of a run's connections, maybe several at a time."""

    timeout: timedelta  # after which a connection is given up
    file: Path | None = None  # none: nobody is told
    _moved_at: float | None = None  # none: nothing is expected, for there is no connection
    _is_noted: bool = False
    _telling: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Watch a connection. The time starts with it, or continues if the one before failed."""
        with self._telling:
            if self._moved_at is None:
                self._moved_at = monotonic()
        try:
            yield
        except ConnectionFailed:
            raise
        except BaseException:
            self.over()
            raise
        else:
            self.over()

    def looked(self, has_moved: bool) -> None:
        """Report whether anything was received since the last call, on a connection or between two."""
        with self._telling:
            now = monotonic()
            if has_moved or self._moved_at is None:
                self._moved_at = now
                self._forget()
            elif not self._is_noted and now - self._moved_at >= min(_AFTER, self.timeout / 4).total_seconds():
                self._note(clock.now() - timedelta(seconds=now - self._moved_at))

    def over(self) -> None:
        """Stop watching."""
        with self._telling:
            self._moved_at = None
            self._forget()

    def _note(self, since: datetime) -> None:
        self._is_noted = True
        _log.info("no data from upstream since %s", since.isoformat(timespec="seconds"))
        if self.file is None:
            return
        with suppress(OSError):  # a full disk: the run itself will say so
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, since.isoformat().encode("ascii"), durable=False)

    def _forget(self) -> None:
        if self._is_noted and self.file is not None:
            with suppress(OSError):
                self.file.unlink(missing_ok=True)
        self._is_noted = False
