"""Whether a push may be answered without a run: what it announces is what the tree serves already.

Guaranteed: upstream is not asked, and nobody is waited for. When in doubt, no: a run then finds out. So it
is of a plain tree, for only a listing of all of it tells its generation. Not the business of this module:
whether upstream has something newer by now, which the push did not ask.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pushmirror.config.model import Archive
from pushmirror.errors import Exit, PushmirrorError
from pushmirror.fetch.selection import selection_hash
from pushmirror.state.records import Outcome, Stage
from pushmirror.system.locks import is_held
from pushmirror.tree.published_state import read_published

if TYPE_CHECKING:
    from pushmirror.state.store import Store

_RUNS = 20  # looked at: of these one should have published


def is_already_served(archive: Archive, generation: str, store: Store) -> bool:
    """Whether the tree serves this generation, and there is nothing that a run would have to right.

    A run that is under way may be about to publish something newer: that it is served now stays true.
    """
    served = store.latest_generation(archive.name)
    if archive.upstream is None or served is None or served.digest != generation:
        return False
    return (
        not store.pending(archive.name)
        and _is_intact(archive, generation, store)
        and _is_in_tree(archive, generation)
    )


def _is_intact(archive: Archive, generation: str, store: Store) -> bool:
    """Whether the last run that was to publish ended well with this, of what is mirrored now.

    One that held suites back did not, or published some without files that upstream lacked: the next one
    looks at them again.
    """
    runs = store.runs(archive.name, limit=_RUNS)
    if any(run.outcome is Outcome.RUNNING for run in runs) and not is_held(archive.path):
        return False  # its process is gone: nobody knows how far it came
    last = next((run for run in runs if run.ended_at and run.stage is not Stage.STAGE1), None)
    return (
        last is not None
        and (last.outcome, last.exit_code, last.generation) == (Outcome.SUCCEEDED, Exit.OK, generation)
        and not last.stats.get("missing_upstream")
        and last.stats.get("selection") == selection_hash(archive)
    )


def _is_in_tree(archive: Archive, generation: str) -> bool:
    """Whether its Release files are those that the tree has, whatever somebody has done to it."""
    with suppress(OSError, PushmirrorError):
        return read_published(archive.path, archive.release_directories).generation == generation
    return False
