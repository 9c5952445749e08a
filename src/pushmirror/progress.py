"""Progress reports of a run: a terminal draws them, a log writes them down, a test listens.

A Protocol, so that the engine does not depend on terminals.
"""

from __future__ import annotations

import logging
from typing import Protocol

_log = logging.getLogger(__name__)


class Progress(Protocol):
    """Receives the steps of a run."""

    def step(self, name: str, *, files: int | None = None, size: int | None = None) -> None:
        """A new step begins; `files` and `size` (bytes) are what it has to do, where that is known."""

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """So much of the step is done."""


class Logged:
    """Logs each step and passes everything on."""

    def __init__(self, audience: Progress) -> None:
        self._audience = audience

    def step(self, name: str, *, files: int | None = None, size: int | None = None) -> None:
        """A new step begins."""
        counted = "" if files is None else f", {files} files"
        weighed = "" if size is None else f", {size} bytes"
        _log.info("%s%s%s", name, counted, weighed)
        self._audience.step(name, files=files, size=size)

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """So much of the step is done."""
        self._audience.advance(files=files, size=size)


class Silent:
    """Ignores everything."""

    def step(self, name: str, *, files: int | None = None, size: int | None = None) -> None:
        """Ignored."""

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """Ignored."""
