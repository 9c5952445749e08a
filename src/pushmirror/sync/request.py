"""A request for a run, the callback of a run, and the exit codes of its stages."""

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
class RunRequest:
    """A request for a run; one run serves all that wait."""

    archive: str
    stage: Stage
    trigger: str  # who or what asked, also for the trace: ssh, cron, manual
    mhop: bool = False
    client: str = ""  # address
    words: str = ""  # of the trigger, as received
    allow_mass_delete: bool = False
    allow_rollback: bool = False  # of suites, to states that are older than those served here
    allow_empty_tree: bool = False  # although an archive was published in it
    strategy: Strategy | None = None  # instead of the configured one
    generation: str | None = None  # the digest of what a push announces; None: whatever upstream has

    @property
    def is_special(self) -> bool:
        """Whether it needs a run with permissions or a strategy that other requests do not have."""
        allowed = self.allow_mass_delete or self.allow_rollback or self.allow_empty_tree
        return allowed or self.strategy is not None


@contextmanager
def errors_by_stage(tree: Path, phase: Callable[[], Exit]) -> Iterator[None]:
    """Give errors without a specific exit code the exit code of the stage in which they happened."""
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
