"""The options of one run, its callback, and the exit codes of its stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pushmirror.config.model import Strategy
from pushmirror.errors import Exit, PushmirrorError
from pushmirror.state.records import Stage

#: Called with a generation as soon as the tree serves it, for the run may not live to its end.
OnPublished = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of one run."""

    stage: Stage
    trigger: str  # who or what asked, for the trace: ssh, cron, manual
    allow_mass_delete: bool = False
    allow_rollback: bool = False  # of suites, to states that are older than those served here
    strategy: Strategy | None = None  # in the place of the configured one
    generation: str | None = (
        None  # that all who wait for the run have asked for; none: upstream's, whatever it is
    )


@contextmanager
def errors_by_stage(tree: Path, phase: Callable[[], Exit]) -> Iterator[None]:
    """Give an error without a more specific exit code that of the stage in which it happened."""
    try:
        yield
    except PushmirrorError as exc:
        if exc.exit_code is Exit.FAILED:
            exc.exit_code = phase()
        raise
    except OSError as exc:
        where = f" ({exc.filename})" if exc.filename else ""
        error = PushmirrorError(f"the tree {tree} cannot be read or written: {exc.strerror}{where}")
        error.exit_code = phase()
        raise error from exc
