"""Scan the whole tree and compare it with the inventory; only differences are kept and corrected.

The tree is scanned in small shares, taken from one stack by this process and, where that is worth their
start, others beside it. Each compares directory by directory with the inventory's file, so that neither the
tree nor the inventory is ever in memory. Differences are corrected share by share, in one transaction each: a
kill loses nothing of it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from stat import S_IFREG, S_IMODE, S_ISDIR, S_ISREG
from typing import Any

from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.layout import DIRECTORY_MODE, FILE_MODE, TRACES
from pushmirror.archive.paths import Entry, Kind
from pushmirror.errors import UnreadableTree
from pushmirror.inventory.db import InventoryDb
from pushmirror.inventory.drift import Drift
from pushmirror.inventory.tables import NUMBER_OF, counts_in, entry_of, path_of, row_from
from pushmirror.progress import Progress
from pushmirror.system import clock
from pushmirror.system.process import die_with_parent

_ENOUGH = 2000  # names in one answer; what is not walked then goes back on the stack
_SIZE, _MTIME = 6, 8  # of a stat_result as a tuple: whole seconds, and quicker than by name
_FILE, _DIRECTORY = NUMBER_OF[Kind.FILE], NUMBER_OF[Kind.DIRECTORY]
_GOOD_FILE = S_IFREG | FILE_MODE
_PERMISSIONS = 0o777  # of a directory; whatever else it has is no client's business
_NOT_ENTERED = TRACES.encode()

_Known = dict[bytes, tuple[Any, ...]]  # by name: (name, kind, size, mtime, target)


@dataclass(slots=True)
class ScanResult:
    """What a share of the tree holds that its inventory has otherwise."""

    left: list[bytes] = field(default_factory=list)  # directories that still have to be walked
    names_seen: int = 0
    files_seen: int = 0
    found: list[Entry] = field(default_factory=list)  # new, or something else than the inventory says
    gone: list[str] = field(default_factory=list)  # each with all that was below it
    modes: list[tuple[str, int]] = field(
        default_factory=list
    )  # names whose mode is wrong, with the right one
    # All that is there, when the inventory is known to have nothing:
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    digest: TreeDigest = field(default_factory=TreeDigest)
    files: int = 0
    size: int = 0  # bytes

    def begin_with(self, entry: Entry) -> None:
        """One more name of an inventory that has none."""
        self.rows.append(row_from(entry))
        self.digest.add(entry)
        self.files += entry.kind is Kind.FILE
        self.size += entry.size


class Scanner:
    """Walks a tree beside the file of its inventory; without a file, beside an empty one."""

    def __init__(self, tree: Path, file: Path | None) -> None:
        self.facts = (tree, file)  # to make another one of
        self._root = os.fsencode(tree) + b"/"
        self._names: sqlite3.Connection | None = None
        if file is not None:
            uri = f"{file.absolute().as_uri()}?mode=ro"
            self._names = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)

    def close(self) -> None:
        """Let go of the inventory."""
        if self._names is not None:
            self._names.close()

    def walk(self, directories: list[bytes]) -> ScanResult:
        """Walk these directories and all below them, until there is enough to tell.

        UnreadableTree if one of them cannot be read: nobody knows what is in it.
        """
        walked = ScanResult(left=list(directories))
        while walked.left and walked.names_seen < _ENOUGH:
            directory = walked.left.pop()
            try:
                self._walk_one(directory, walked)
            except PermissionError as exc:
                place = os.fsdecode(self._root + directory)
                raise UnreadableTree(
                    f"the directory {place} cannot be read: {exc.strerror}",
                    hint="let the user who runs pushmirror read it, or move it out of the tree",
                ) from exc
        return walked

    def _walk_one(self, directory: bytes, walked: ScanResult) -> None:
        try:
            listing = os.scandir(self._root + directory)
        except (FileNotFoundError, NotADirectoryError):
            if not directory:
                raise
            walked.gone.append(directory.decode("utf-8", "surrogateescape"))
        else:
            with listing:
                self._compare(directory, listing, walked)

    def _compare(self, directory: bytes, listing: Iterator[os.DirEntry[bytes]], walked: ScanResult) -> None:
        """Compare what is in one directory; all the time goes here, so no name costs more than it must."""
        prefix = directory + b"/" if directory else b""
        known = self._known(directory)
        for item in listing:
            name = item.name
            row = known.get(name)
            walked.names_seen += 1
            if item.is_file(follow_symlinks=False):
                walked.files_seen += 1
                if row is not None and (mode := _mode_of_same(item, row)):
                    del known[name]
                    if mode != _GOOD_FILE:
                        walked.modes.append((path_of(directory, name), FILE_MODE))
                    continue
            elif row is not None and row[1] == _DIRECTORY and item.is_dir(follow_symlinks=False):
                del known[name]
                if prefix + name != _NOT_ENTERED:
                    walked.left.append(prefix + name)
                if not _is_open(item):
                    walked.modes.append((path_of(directory, name), DIRECTORY_MODE))
                continue
            if self._look(directory, item, row, walked):
                known.pop(name, None)
        walked.gone.extend(path_of(directory, name) for name in known)

    def _look(
        self, directory: bytes, item: os.DirEntry[bytes], row: tuple[Any, ...] | None, walked: ScanResult
    ) -> bool:
        """Tell of a name that is new, or may be something else than before; whether it counts."""
        path = path_of(directory, item.name)
        if not counts_in(directory.decode("utf-8", "surrogateescape"), path.rpartition("/")[2]):
            return False
        place = item.path
        try:
            status = item.stat(follow_symlinks=False)
            entry = entry_of(path, status, lambda: os.readlink(place))  # noqa: PTH115  bytes, as they are
        except FileNotFoundError:
            return False
        if entry is None:
            return False
        if S_ISDIR(status.st_mode) and path != TRACES:
            walked.left.append(path.encode("utf-8", "surrogateescape"))
        walked.modes.extend(_wrong_mode(path, status.st_mode))
        if self._names is None:
            walked.begin_with(entry)
        elif row is None or row[1:] != row_from(entry)[2:6]:
            walked.found.append(entry)
        return True

    def _known(self, directory: bytes) -> _Known:
        if self._names is None:
            return {}
        sql = "SELECT name, kind, size, mtime, target FROM names WHERE directory = ?"
        return {row[0]: row for row in self._names.execute(sql, (directory,))}


def _mode_of_same(item: os.DirEntry[bytes], row: tuple[Any, ...]) -> int:
    """The type and mode of a file that is what its row says; 0 if it is not."""
    try:
        status = item.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    is_same = row[1] == _FILE and row[2] == status[_SIZE] and row[3] == status[_MTIME]
    return status.st_mode if is_same else 0


def _is_open(item: os.DirEntry[bytes]) -> bool:
    try:
        mode = item.stat(follow_symlinks=False).st_mode
    except FileNotFoundError:
        return True  # who walks it will see
    return mode & _PERMISSIONS == DIRECTORY_MODE


def _wrong_mode(path: str, mode: int) -> Iterator[tuple[str, int]]:
    """A name with the mode that it should have, if it has another."""
    if S_ISREG(mode) and S_IMODE(mode) != FILE_MODE:
        yield path, FILE_MODE
    elif S_ISDIR(mode) and mode & _PERMISSIONS != DIRECTORY_MODE:
        yield path, DIRECTORY_MODE


_WORTH_PROCESSES = 40_000  # names from which a second process pays for its start
_MOST_PROCESSES = 8  # more wait for the disk, and for this one, that puts right what they find
_SHARE = 50  # directories handed out at once; what is below them comes back when there is too much of it


def reconcile(file: InventoryDb, tree: Path, *, progress: Progress, workers: int | None) -> Drift:
    """Make the inventory equal to the tree, and complete; see `Inventory.reconcile`."""
    drift, facts = Drift(), file.facts()
    begins = not (facts.whole or facts.sealed or file.ask("SELECT 1 FROM names LIMIT 1"))
    progress.step("scanning the tree", files=facts.files if facts.whole else None)
    expected = facts.files if facts.whole else 0
    with file.advised(), closing(Scanner(tree, None if begins else file.path)) as walker:
        for walked in _walk(walker, workers or processes(), expected=expected):
            _take(walked, file, drift)
            progress.advance(files=walked.files_seen)
    with file.changing() as change:
        change.note(whole=True, reconciled_at=clock.now().timestamp())
        change.execute("DELETE FROM expected")
    return drift if facts.whole else Drift(modes=drift.modes)


def processes() -> int:
    """How many processes scan a tree by default."""
    return min(os.cpu_count() or 1, _MOST_PROCESSES)


def _take(walked: ScanResult, file: InventoryDb, drift: Drift) -> None:
    """Correct what one share of the scan found; modes are left to the caller."""
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


def _walk(walker: Scanner, workers: int, *, expected: int) -> Iterator[ScanResult]:
    """The results of all shares of the tree, in no particular order."""
    stack, seen = [b""], 0
    while stack and (workers == 1 or max(seen, expected) < _WORTH_PROCESSES):
        walked = walker.walk(_share(stack))
        stack.extend(walked.left)
        seen += walked.names_seen
        yield walked
    if stack:
        yield from _walk_together(walker, stack, workers)


def _walk_together(walker: Scanner, stack: list[bytes], workers: int) -> Iterator[ScanResult]:
    context = get_context("spawn")
    pool = ProcessPoolExecutor(workers - 1, context, initializer=_begin, initargs=walker.facts)
    with pool:
        under_way: set[Future[ScanResult]] = set()
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


_walker: Scanner  # of a process that helps


def _begin(tree: Path, file: Path | None) -> None:
    global _walker  # noqa: PLW0603  what a process of a pool works with has no other place
    die_with_parent()  # a pool does not notice that its owner was killed
    _walker = Scanner(tree, file)


def _walk_share(directories: list[bytes]) -> ScanResult:
    return _walker.walk(directories)
