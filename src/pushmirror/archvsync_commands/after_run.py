"""Decide who does what follows a run: one of the callers that it served, the next if that one dies.

A run may serve many callers, and a process may carry out a run that none of its own callers requested. So
each run has a directory: the process that holds its lock does what follows, and a file in it says that the
sites have been pushed. A process that dies releases the lock without creating the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pushmirror.state.records import Run
from pushmirror.system.locks import locked
from pushmirror.system.owned_directory import state_errors

_KEPT = 50  # runs to keep; far more than can still be followed
_OVER = "over"


@dataclass(frozen=True, slots=True)
class FollowUpLock:
    """The lock of what follows a run."""

    _mark: Path

    @property
    def is_over(self) -> bool:
        """Whether it is done."""
        return (self._mark / _OVER).exists()

    def end(self) -> None:
        """Record that it is done; raises StateError."""
        with state_errors(self._mark.parents[2]):
            (self._mark / _OVER).touch()


@contextmanager
def turn_after(run: Run, state: Path) -> Iterator[FollowUpLock]:
    """Hold the lock; waits for a process that has it. Raises StateError."""
    mark = _mark(run, state)
    with state_errors(state):
        mark.mkdir(parents=True, exist_ok=True)
    _forget_old(mark.parent)
    with locked(mark):
        yield FollowUpLock(mark)


def is_followed(run: Run, state: Path) -> bool:
    """Whether what follows a run is done."""
    return FollowUpLock(_mark(run, state)).is_over


def is_being_followed(run: Run, state: Path) -> bool:
    """Whether a process does it now."""
    mark = _mark(run, state)
    if not mark.is_dir():
        return False
    with locked(mark, wait=False) as is_free:
        return not is_free


def _mark(run: Run, state: Path) -> Path:
    # A new database begins with 1 again.
    return state / "followed" / run.archive / f"{run.started_at:%Y%m%dT%H%M%S.%f}-{run.id}"


def _forget_old(directory: Path) -> None:
    for old in sorted(directory.iterdir())[:-_KEPT]:
        with suppress(OSError):
            (old / _OVER).unlink(missing_ok=True)
            old.rmdir()
