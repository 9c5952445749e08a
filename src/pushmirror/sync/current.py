"""Whether a push needs no run: the tree serves already what the push announces.

Guaranteed: upstream is not asked and no lock is waited for. In doubt the answer is no, and a run finds out;
for a plain tree it is always no, because only a full listing gives its generation. Whether upstream has
something newer by now is not checked: the push did not ask for it.
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

_RUNS = 20  # the latest; one of them should have published


def is_already_served(archive: Archive, generation: str, store: Store) -> bool:
    """Whether the tree serves this generation, and a run would have nothing to correct.

    A current run may be about to publish something newer; the answer stays true.
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
    """Whether the last run that published ended well with this generation and the present filters.

    Not if it held suites back, or published some without files that upstream lacked: the next run checks them
    again.
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
    """Whether the tree still has its Release files."""
    with suppress(OSError, PushmirrorError):
        return read_published(archive.path, archive.release_directories).generation == generation
    return False
