"""Who does what follows a run: one of those whom it served, and another one if that one does not end it.

A run may serve many calls, and a process may carry out a run that none of its own calls asked for; so neither
"who ran" nor "who asked" tells. Each run has a directory: who holds its lock is following it, and a file in
it says that the sites have been told. A process that dies lets go of the lock, and has not made the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pushmirror.state.records import Run
from pushmirror.system.locks import locked
from pushmirror.system.owned_directory import state_errors

_KEPT = 50  # runs; far more than somebody still has to come back from
_OVER = "over"


@dataclass(frozen=True, slots=True)
class FollowUpLock:
    """At what follows a run."""

    _mark: Path

    @property
    def is_over(self) -> bool:
        """Whether somebody has done it."""
        return (self._mark / _OVER).exists()

    def end(self) -> None:
        """Nobody has to do it any more; raises StateError."""
        with state_errors(self._mark.parents[2]):
            (self._mark / _OVER).touch()


@contextmanager
def turn_after(run: Run, state: Path) -> Iterator[FollowUpLock]:
    """While nobody else does what follows a run; waits for who does. Raises StateError."""
    mark = _mark(run, state)
    with state_errors(state):
        mark.mkdir(parents=True, exist_ok=True)
    _forget_old(mark.parent)
    with locked(mark):
        yield FollowUpLock(mark)


def is_followed(run: Run, state: Path) -> bool:
    """Whether what follows a run has been done."""
    return FollowUpLock(_mark(run, state)).is_over


def is_being_followed(run: Run, state: Path) -> bool:
    """Whether somebody does so now."""
    mark = _mark(run, state)
    if not mark.is_dir():
        return False
    with locked(mark, wait=False) as is_free:
        return not is_free


def _mark(run: Run, state: Path) -> Path:
    # A new database counts from 1 again.
    return state / "followed" / run.archive / f"{run.started_at:%Y%m%dT%H%M%S.%f}-{run.id}"


def _forget_old(directory: Path) -> None:
    for old in sorted(directory.iterdir())[:-_KEPT]:
        with suppress(OSError):
            (old / _OVER).unlink(missing_ok=True)
            old.rmdir()
