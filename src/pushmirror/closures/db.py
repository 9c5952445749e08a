"""The SQLite file of the closure store: blocks of indices, the files that each refers to, generations.

    blocks       the lines `PATH TAB SIZE TAB DIGEST` of one block, by the SHA256 of its text
    prints       the fingerprints of the paths in a row of blocks, sorted, and beside each its block
    indices      the blocks of an index, in order
    generations  the indices of a generation, by key, and its own files, by name

Guaranteed: transactions are atomic and survive a power cut. A file that is damaged or of another version is
replaced by an empty one, since everything in it can be read again from the indices; the damaged one is kept
as FILE.damaged. Several threads may use one.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pushmirror.errors import StateError
from pushmirror.system.batched import batched
from pushmirror.system.sqlite import BUSY_S, RebuildableFile, require_version, version

_T = TypeVar("_T")
_VERSION = 1
_MANY = 200  # rows asked for at a time
_TABLES = """
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, lines BLOB NOT NULL
);
CREATE TABLE prints (
    first INTEGER PRIMARY KEY, last INTEGER NOT NULL, prints BLOB NOT NULL, blocks BLOB NOT NULL
);
CREATE TABLE indices (key TEXT PRIMARY KEY, blocks BLOB NOT NULL);
CREATE TABLE generations (
    digest TEXT PRIMARY KEY,
    replaced REAL NOT NULL,
    indices TEXT NOT NULL,
    names BLOB NOT NULL,
    prints BLOB NOT NULL
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


class Block(NamedTuple):
    """A block to add."""

    digest: bytes
    lines: bytes
    prints: Sequence[int]  # the fingerprint of each path


class Prints(NamedTuple):
    """The paths of some blocks, by fingerprint."""

    prints: memoryview  # sorted 64-bit numbers
    blocks: memoryview  # beside each the number of the block that it is in


class ClosureDb(RebuildableFile):
    """The open file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "the closure store", source="the indices")
        self._lock = threading.RLock()
        self._connection = self.open_or_begin_anew(_opened)
        self.close = weakref.finalize(self, self._connection.close)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction of this thread and those that it waits for."""
        self._do("BEGIN IMMEDIATE")
        try:
            yield
            self._do("COMMIT")
        except BaseException:
            with suppress(StateError):
                self._do("ROLLBACK")
            raise

    def ask(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._lock, self.advised():
            return self._connection.execute(sql, values).fetchall()

    def do(self, sql: str, values: Sequence[object] = ()) -> None:
        """Execute a statement, in a transaction of its own unless there is one."""
        self._do(sql, values)

    def numbers_of(self, digests: Sequence[bytes]) -> dict[bytes, int]:
        """The numbers of those of the blocks that are known."""
        found: dict[bytes, int] = {}
        for part in batched(digests, _MANY):
            sql = f"SELECT digest, id FROM blocks WHERE digest IN ({_marks(part)})"  # noqa: S608  question marks
            found |= self.ask(sql, part)
        return found

    def lines_of(self, numbers: Iterable[int]) -> Iterator[bytes]:
        """The lines of blocks, block by block."""
        for part in batched(sorted(numbers), _MANY):
            sql = f"SELECT lines FROM blocks WHERE id IN ({_marks(part)})"  # noqa: S608  as above
            yield from (lines for (lines,) in self.ask(sql, part))

    def add_blocks(self, blocks: Iterable[Block]) -> None:
        """Remember blocks, and where their paths are."""
        prints: list[tuple[int, int]] = []
        added: list[int] = []
        with self._lock, self.advised():
            for block in blocks:
                done = self._connection.execute(
                    "INSERT INTO blocks (digest, lines) VALUES (?, ?) ON CONFLICT DO NOTHING",
                    (block.digest, block.lines),
                )
                if done.rowcount and done.lastrowid is not None:  # else another index has it, too
                    added.append(done.lastrowid)
                    prints += [(number, done.lastrowid) for number in block.prints]
            if prints:
                self._add_prints(added[0], added[-1], prints)

    def all_prints(self) -> Iterator[Prints]:
        """Where all paths are, part by part."""
        for (first,) in self.ask("SELECT first FROM prints"):
            for _, prints, blocks in self.ask(
                "SELECT first, prints, blocks FROM prints WHERE first = ?", (first,)
            ):
                yield Prints(memoryview(prints).cast("Q"), memoryview(blocks).cast("I"))

    def forget_blocks_but(self, wanted: set[int]) -> None:
        """Forget all blocks but these; the prints of such are thinned out when most of them are gone."""
        gone = [number for (number,) in self.ask("SELECT id FROM blocks") if number not in wanted]
        if not gone:
            return
        with self._lock, self.advised():
            self._connection.executemany("DELETE FROM blocks WHERE id = ?", ((number,) for number in gone))
        for first, last in self.ask("SELECT first, last FROM prints"):
            ((left,),) = self.ask("SELECT count(*) FROM blocks WHERE id BETWEEN ? AND ?", (first, last))
            if left <= (last - first + 1) // 2:
                self._thin_out(first, last, wanted)

    def _thin_out(self, first: int, last: int, wanted: set[int]) -> None:
        ((prints, blocks),) = self.ask("SELECT prints, blocks FROM prints WHERE first = ?", (first,))
        pairs = zip(memoryview(prints).cast("Q"), memoryview(blocks).cast("I"), strict=True)
        left = [pair for pair in pairs if pair[1] in wanted]
        self._do("DELETE FROM prints WHERE first = ?", (first,))
        if left:
            self._add_prints(first, last, left)

    def _add_prints(self, first: int, last: int, pairs: list[tuple[int, int]]) -> None:
        pairs.sort()
        prints, blocks = array("Q", (pair[0] for pair in pairs)), array("I", (pair[1] for pair in pairs))
        self._do("INSERT INTO prints VALUES (?, ?, ?, ?)", (first, last, prints.tobytes(), blocks.tobytes()))

    def _do(self, sql: str, values: Sequence[object] = ()) -> None:
        with self._lock, self.advised():
            self._connection.execute(sql, values)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        for setting in ("cache_size = -8000", "journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {setting}")
        if version(connection) == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        connection.execute("SELECT * FROM facts").fetchall()
        require_version(connection, _VERSION)
    except BaseException:
        connection.close()
        raise
    return connection


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
