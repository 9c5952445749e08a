"""Who does what follows a run: one of those whom it served, whoever comes first.

A run may serve many calls, and a process may carry out a run that none of its own calls asked for; so neither
"who ran" nor "who asked" tells. Each run has a mark that can be made only once.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pushmirror.errors import StateError
from pushmirror.state.records import Run

_KEPT = 50  # marks; far more than there are runs that somebody still has to come back from


def is_first_after(run: Run, state: Path) -> bool:
    """Whether nobody else has done, or is doing, what follows a run; says so only once."""
    directory = state / "followed" / run.archive
    mark = directory / f"{run.started_at:%Y%m%dT%H%M%S.%f}-{run.id}"  # a new database counts from 1 again
    try:
        directory.mkdir(parents=True, exist_ok=True)
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError as exc:
        raise StateError(
            f"{mark} cannot be made: {exc.strerror}", hint=f"who runs this has to own all below {state}"
        ) from exc
    for old in sorted(directory.iterdir())[:-_KEPT]:
        with suppress(OSError):
            old.unlink()
    return True
