"""The SQLite file of an inventory.

Guaranteed: a transaction is atomic. A file that is damaged or of another version is replaced by an empty one,
since everything in it can be read again from the tree; the damaged one is kept as FILE.damaged. A reader
needs no lock and changes nothing; a file that cannot be used is then an empty, incomplete inventory. All
other errors are StateErrors with a hint.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pushmirror.archive.paths import Entry
from pushmirror.errors import StateError
from pushmirror.inventory.tables import (
    VERSION,
    InventoryFacts,
    Row,
    entries_in,
    make_tables,
    ranges_below,
    read_facts,
    rows_in,
)
from pushmirror.inventory.transaction import Transaction
from pushmirror.system.sqlite import BUSY_S, RebuildableFile, require_version, version

_CACHE_KB = 8000
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class InventoryDb(RebuildableFile):
    """The file, open in one process."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, "the inventory", source="the tree")
        self._read_only = read_only
        if read_only:
            self._connection = _opened_to_read(path)
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StateError(
                f"cannot create {path.parent}: {exc.strerror}",
                hint="make sure that the state directory belongs to the user who runs pushmirror",
            ) from exc
        self._connection = self.open_or_begin_anew(_opened)
        self._distrust_another_boot()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def facts(self) -> InventoryFacts:
        """The row of facts about the whole tree."""
        with self.advised():
            return read_facts(self._connection)

    def ask(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.advised():
            return self._connection.execute(sql, values).fetchall()

    def rows(self) -> Iterator[Row]:
        """All entries as they are stored, in manifest order."""
        for one in ranges_below(""):
            with self.advised():
                yield from rows_in(self._connection, one)

    def below(self, directory: str) -> Iterator[Entry]:
        """All entries below a directory, in manifest order."""
        for one in ranges_below(directory):
            with self.advised():
                yield from entries_in(self._connection, one)

    @contextmanager
    def changing(self, *, durable: bool = False) -> Iterator[Transaction]:
        """One transaction; a durable one, and all before it, survives a power cut."""
        with self.advised():
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                change = Transaction(self._connection)
                yield change
                change.finish()
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def damaged(self, exc: Exception) -> StateError:
        """The error of a damaged file, which is put aside unless it is only read."""
        if not self._read_only:
            return super().damaged(exc)
        return StateError(f"the inventory {self.path} is damaged: {exc}", hint="the next sync rebuilds it")

    def _distrust_another_boot(self) -> None:
        """After a power cut the tree may lack what was recorded here: a full scan is needed."""
        boot = _boot()
        if self.facts().boot != boot:
            with self.changing() as change:
                change.note(boot=boot, whole=False)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        connection.execute("PRAGMA journal_mode = WAL")
        if version(connection) == 0:
            _make(connection)
        _require_ours(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _opened_to_read(path: Path) -> sqlite3.Connection:
    """The connection; to an empty database if the file is missing, unusable or of another boot."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    make_tables(connection)
    with suppress(sqlite3.DatabaseError):
        uri = f"{path.absolute().as_uri()}?mode=ro"
        found = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
        with ExitStack() as unless_used:
            unless_used.callback(found.close)
            _require_ours(found)
            if read_facts(found).boot == _boot():
                unless_used.pop_all()
                connection.close()
                return found
    return connection


def _make(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if version(connection) == 0:  # no other process was faster
        make_tables(connection)
    connection.execute("COMMIT")


def _require_ours(connection: sqlite3.Connection) -> None:
    require_version(connection, VERSION)
    read_facts(connection)


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
