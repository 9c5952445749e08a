"""The whole disk against the inventory: only what differs is told, and put right.

The tree is walked in shares, small ones taken from one stack, by this process and, where that is worth their
start, others beside it. Each compares directory by directory with the file of the inventory itself, so that
neither the tree nor the inventory is ever in memory. What is told of is put right share by share, in one
transaction each: a kill loses nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

from pushmirror.sync.account.drift import Drift
from pushmirror.sync.account.file import InventoryFile
from pushmirror.sync.account.walking import Walked, Walker
from pushmirror.sync.progress import Progress
from pushmirror.system import clock
from pushmirror.system.process import die_with_parent

_WORTH_PROCESSES = 40_000  # names from which a second process pays for its start
_MOST_PROCESSES = 8  # more wait for the disk, and for this one, that puts right what they find
_SHARE = 50  # directories handed out at once; what is below them comes back when there is too much of it


def reconcile(file: InventoryFile, tree: Path, *, progress: Progress, workers: int | None) -> Drift:
    """Make the inventory what the tree is, and whole; see `Inventory.reconcile`."""
    drift, facts = Drift(), file.facts()
    begins = not (facts.whole or facts.sealed or file.ask("SELECT 1 FROM names LIMIT 1"))
    progress.step("taking stock of the tree", files=facts.files if facts.whole else None)
    expected = facts.files if facts.whole else 0
    with file.advised(), closing(Walker(tree, None if begins else file.path)) as walker:
        for walked in _walk(walker, workers or processes(), expected=expected):
            _take(walked, file, drift)
            progress.advance(files=walked.files_seen)
    with file.changing() as change:
        change.note(whole=True, reconciled_at=clock.now().timestamp())
        change.execute("DELETE FROM expected")
    return drift if facts.whole else Drift(modes=drift.modes)


def processes() -> int:
    """How many look at a tree, if nobody says."""
    return min(os.cpu_count() or 1, _MOST_PROCESSES)


def _take(walked: Walked, file: InventoryFile, drift: Drift) -> None:
    """Put right what one share of the walk found; modes are the business of who asked."""
    drift.add_modes(walked.modes)
    if not (walked.rows or walked.found or walked.gone):
        return
    with file.changing() as change:
        change.note(followed="")
        change.fill(walked.rows, walked.digest, files=walked.files, size=walked.size)
        for path in walked.gone:
            change.remove(path, drift.missing.add)
        for entry in walked.found:
            before = change.put(entry, drift.missing.add)
            (drift.changed if before else drift.extra).add(entry.path)


def _walk(walker: Walker, workers: int, *, expected: int) -> Iterator[Walked]:
    """What all shares of the tree hold; in no particular order."""
    stack, seen = [b""], 0
    while stack and (workers == 1 or max(seen, expected) < _WORTH_PROCESSES):
        walked = walker.walk(_share(stack))
        stack.extend(walked.left)
        seen += walked.names_seen
        yield walked
    if stack:
        yield from _walk_together(walker, stack, workers)


def _walk_together(walker: Walker, stack: list[bytes], workers: int) -> Iterator[Walked]:
    context = get_context("spawn")
    pool = ProcessPoolExecutor(workers - 1, context, initializer=_begin, initargs=walker.facts)
    with pool:
        under_way: set[Future[Walked]] = set()
        try:
            while stack or under_way:
                while stack and len(under_way) < 2 * (workers - 1):
                    under_way.add(pool.submit(_walk_share, _share(stack)))
                done, under_way = wait(under_way, timeout=0 if stack else None, return_when=FIRST_COMPLETED)
                both = [future.result() for future in done]
                if stack and not done:
                    both.append(walker.walk(_share(stack)))  # rather than wait for the others
                for walked in both:
                    stack.extend(walked.left)
                    yield walked
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _share(stack: list[bytes]) -> list[bytes]:
    """Take the last directories off the stack: depth first, it stays low."""
    share = stack[-_SHARE:]
    del stack[-_SHARE:]
    return share


_walker: Walker  # of a process that helps


def _begin(tree: Path, file: Path | None) -> None:
    global _walker  # noqa: PLW0603  what a process of a pool works with has no other place
    die_with_parent()  # a pool does not notice that its owner was killed
    _walker = Walker(tree, file)


def _walk_share(directories: list[bytes]) -> Walked:
    return _walker.walk(directories)
