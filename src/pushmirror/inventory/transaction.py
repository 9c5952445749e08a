"""A transaction on an inventory: rows, counters, digest and the pending change are updated together."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.manifest_parts import order_of
from pushmirror.archive.paths import Entry, Kind
from pushmirror.inventory.tables import (
    COLUMNS,
    ENTRY,
    TABLES,
    InventoryFacts,
    counts,
    entries_in,
    entry_from,
    entry_of,
    make_tables,
    marks,
    ranges_below,
    read_facts,
    row_from,
)

_MOST_PENDING = (
    100_000  # names touched since the last manifest; beyond, a whole listing is the cheaper answer
)
_PUT = f"""
INSERT INTO names ({ENTRY}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (directory, name) DO UPDATE SET
kind = excluded.kind, size = excluded.size, mtime = excluded.mtime, target = excluded.target,
sha256 = excluded.sha256
"""  # noqa: S608  names of columns


class Transaction:
    """One transaction; whoever began it ends it, after `finish`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._begin(read_facts(connection))

    def _begin(self, facts: InventoryFacts) -> None:
        self.facts = facts
        self._digest = TreeDigest(facts.state)
        self._files, self._size, self._pending = facts.files, facts.size, facts.pending

    def finish(self) -> None:
        """Write the facts about the whole."""
        if self._pending > _MOST_PENDING:
            self.forget_touched(sealed="")
        facts = self.facts._replace(
            state=self._digest.hexdigest(), files=self._files, size=self._size, pending=self._pending
        )
        self.execute(f"UPDATE facts SET ({', '.join(InventoryFacts._fields)}) = ({marks(facts)})", facts)  # noqa: S608  as above

    def note(self, **facts: object) -> None:
        """Change facts about the whole, by the names of their fields."""
        self.facts = self.facts._replace(**facts)  # type: ignore[arg-type]  # the caller names a field and its type

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute a statement."""
        return self._connection.execute(sql, values).fetchall()

    def execute_each(self, sql: str, values: Iterable[Sequence[object]]) -> None:
        """Execute a statement with each of the values."""
        self._connection.executemany(sql, values)

    def begin_anew(self) -> None:
        """Remove everything."""
        for table in TABLES:
            self.execute(f"DROP TABLE IF EXISTS {table}")
        make_tables(self._connection)
        self._begin(InventoryFacts(boot=self.facts.boot))

    def get(self, path: str) -> Entry | None:
        """The stored entry of a path."""
        sql = f"SELECT {ENTRY} FROM names WHERE directory = ? AND name = ?"  # noqa: S608  as above
        rows = self.execute(sql, order_of(path))
        return entry_from(rows[0]) if rows else None

    def put(self, entry: Entry, on_gone: Callable[[str], None] | None = None) -> Entry | None:
        """Store an entry; returns the previous one.

        If it is no longer a directory, what was below is removed, each name passed to `on_gone`.
        """
        before = self.get(entry.path)
        if before == entry:
            return before
        if before is not None and before.kind is Kind.DIRECTORY and entry.kind is not Kind.DIRECTORY:
            self._remove_below(entry.path, on_gone)
        self._touch(entry.path, before)
        if before is not None:
            self._count(before, -1)
        self._count(entry)
        self.execute(_PUT, row_from(entry))
        return before

    def remove(self, path: str, on_gone: Callable[[str], None] | None = None) -> bool:
        """Remove a name and all below it, each passed to `on_gone`; returns whether there was anything."""
        before = self.get(path)
        if before is None:
            return False
        if before.kind is Kind.DIRECTORY:
            self._remove_below(path, on_gone)
        self._take_out(before, on_gone)
        self.execute("DELETE FROM names WHERE directory = ? AND name = ?", order_of(path))
        return True

    def fill(self, rows: Iterable[Sequence[object]], digest: TreeDigest, *, files: int, size: int) -> None:
        """Store new entries whose digest, number and bytes are known."""
        self.execute_each(f"INSERT INTO names ({ENTRY}) VALUES ({marks(COLUMNS)})", rows)  # noqa: S608  as above
        self._digest.merge(digest)
        self._files += files
        self._size += size

    def forget_touched(self, *, sealed: str) -> None:
        """Drop the pending change: the state `sealed` was published; empty: none was."""
        self.execute("DELETE FROM touched")
        self._pending = 0
        self.note(sealed=sealed)

    @property
    def state(self) -> str:
        """The digest of all names at this moment."""
        return self._digest.hexdigest()

    def _remove_below(self, directory: str, on_gone: Callable[[str], None] | None = None) -> None:
        for one in ranges_below(directory):
            for entry in entries_in(self._connection, one):
                self._take_out(entry, on_gone)
            self.execute("DELETE FROM names WHERE directory >= ? AND directory < ?", one)

    def _take_out(self, entry: Entry, on_gone: Callable[[str], None] | None) -> None:
        self._touch(entry.path, entry)
        self._count(entry, -1)
        if on_gone is not None:
            on_gone(entry.path)

    def _count(self, entry: Entry, sign: int = 1) -> None:
        if sign > 0:
            self._digest.add(entry)
        else:
            self._digest.remove(entry)
        self._files += sign * (entry.kind is Kind.FILE)
        self._size += sign * entry.size

    def _touch(self, path: str, before: Entry | None) -> None:
        """Remember what a name was at the last manifest, unless that is known already."""
        if not self.facts.sealed:
            return
        row = (*order_of(path), *(row_from(before)[2:] if before else (None,) * (len(COLUMNS) - 2)))
        sql = f"INSERT OR IGNORE INTO touched ({ENTRY}) VALUES ({marks(COLUMNS)})"  # noqa: S608  as above
        self._pending += self._connection.execute(sql, row).rowcount


# -- reading names from the disk ---


class NameRefresher:
    """Reads names from the disk again; the tree does not change meanwhile, so each directory is read once."""

    def __init__(self, tree: Path) -> None:
        self._root = os.fsencode(tree) + b"/"
        self._seen: dict[str, Entry | None] = {"": Entry("", Kind.DIRECTORY)}  # directories, or what is there

    def refresh(self, path: str, change: Transaction, *, sha256: str) -> None:
        """Store what the disk has under a name.

        The directories above it are stored, too. Where one is missing, or is something else now, that is what
        is stored: no link is followed.
        """
        if not counts(path):
            return
        parent = path.rpartition("/")[0]
        if not self._has_directory(parent, change):
            return  # it left with the first of them that is not there
        found = self._look(path)
        if found is None:
            change.remove(path)
        elif found.kind is Kind.FILE:
            change.put(found._replace(sha256=sha256))
        else:
            change.put(found)

    def _has_directory(self, path: str, change: Transaction) -> bool:
        if path not in self._seen:
            above = path.rpartition("/")[0]
            self._seen[path] = self._directory(path, change) if self._has_directory(above, change) else None
        found = self._seen[path]
        return found is not None and found.kind is Kind.DIRECTORY

    def _directory(self, path: str, change: Transaction) -> Entry | None:
        """What is there in place of a directory, after keeping it."""
        found, before = self._look(path), change.get(path)
        if found is None:
            change.remove(path)
        elif before is None or before.facts != found.facts:
            change.put(found)
        return found

    def _look(self, path: str) -> Entry | None:
        place = self._root + path.encode("utf-8", "surrogateescape")
        try:
            return entry_of(path, os.lstat(place), lambda: os.readlink(place))  # noqa: PTH115  bytes, as they are
        except (FileNotFoundError, NotADirectoryError):
            return None
