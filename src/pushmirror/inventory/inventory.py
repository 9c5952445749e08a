"""The inventory: the content of our tree by name, so that a push costs what changed and not a scan.

    begin_changes(paths) ──▶ the tree changes ──▶ refresh(): these names are read again  (changes recorded)
    reconcile(): the whole disk is scanned and differences are corrected      (complete again; drift reported)

Guaranteed: names that may be changing are recorded on disk before they change, so that a killed process
leaves nothing wrong, only names to read again. A query costs what it returns. One process changes an
inventory at a time: the one that holds the tree's lock. Not the business of this module: upstream, except the
digest of its state that we follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pushmirror.archive.generation import TreeDigest, short
from pushmirror.archive.layout import OURS
from pushmirror.archive.manifest_parts import Change, order_of
from pushmirror.archive.paths import Entry, Kind, decoded, encoded
from pushmirror.errors import StateError
from pushmirror.inventory.db import InventoryDb
from pushmirror.inventory.drift import Drift
from pushmirror.inventory.scan import reconcile
from pushmirror.inventory.tables import (
    COLUMNS,
    ENTRY,
    NUMBER_OF,
    Row,
    counts,
    entry_from,
    marks,
    path_of,
    row_from,
)
from pushmirror.inventory.transaction import NameRefresher
from pushmirror.progress import Progress
from pushmirror.system.sqlite import reads

_BATCH = 5000  # names in one transaction
_DIRECTORY = NUMBER_OF[Kind.DIRECTORY]


class Inventory:
    """The inventory of one tree."""

    def __init__(self, file: Path, *, read_only: bool = False) -> None:
        """Open it, or create an empty one. StateError if that fails.

        With `read_only` nothing is created or changed; a file that cannot be used is an incomplete inventory.
        """
        self._file = InventoryDb(file, read_only=read_only)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the whole ------------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether it was compared with the whole tree once, and told of every change since."""
        return self._file.facts().whole

    @property
    def state(self) -> str:
        """The digest of all its entries; see TreeDigest."""
        return self._file.facts().state

    @property
    def files(self) -> int:
        """How many files there are."""
        return self._file.facts().files

    @property
    def size(self) -> int:
        """How many bytes they have together."""
        return self._file.facts().size

    @property
    @reads
    def reconciled_at(self) -> datetime | None:
        """When the whole disk was last scanned."""
        at = self._file.facts().reconciled_at
        return None if at is None else datetime.fromtimestamp(at, UTC)

    @property
    def followed(self) -> str:
        """The state of upstream's tree that ours last reached; empty if none, or after local changes."""
        return self._file.facts().followed

    @property
    def selection(self) -> int:
        """The `selection_hash` of what was mirrored then."""
        return self._file.facts().selection

    @property
    def target(self) -> str:
        """The state that our tree is changing to from the followed one; empty if it was reached."""
        return self._file.facts().heading

    def start_transition(self, state: str) -> None:
        """Record that our tree starts changing towards this state of upstream's."""
        with self._file.changing(durable=True) as change:
            change.note(heading=state)

    def arrive_at(self, state: str, selection: int) -> None:
        """Record that our tree reached this state of upstream's, but for what is held; empty: none."""
        with self._file.changing() as change:
            change.note(followed=state, heading="", selection=selection)

    @reads
    def hold(self, entries: Iterable[Entry]) -> None:
        """Store the entries, and no others, that upstream has and we do not; only changes are written."""
        wanted = {entry.path: entry for entry in entries}
        kept = self.held()
        if wanted == kept:
            return
        gone = [path for path, entry in kept.items() if wanted.get(path) != entry]
        new = [entry for path, entry in wanted.items() if kept.get(path) != entry]
        with self._file.changing() as change:
            change.execute_each("DELETE FROM held WHERE directory = ? AND name = ?", map(order_of, gone))
            sql = f"INSERT INTO held ({ENTRY}) VALUES ({marks(COLUMNS)})"  # noqa: S608  names of columns
            change.execute_each(sql, map(row_from, new))

    def mark_incomplete(self) -> None:
        """Mark it as incomplete: the disk differs, and a full scan is needed."""
        with self._file.changing() as change:
            change.note(whole=False)

    def clear(self) -> None:
        """Remove everything."""
        with self._file.changing() as change:
            change.begin_anew()

    @reads
    def holds(self, state: str) -> bool:
        """Whether our tree, but for what upstream has not and what is held, is this state of upstream's."""
        digest = TreeDigest(self.state)
        for row in self._file.ask(f"SELECT {ENTRY} FROM names WHERE extra = 1"):  # noqa: S608  names of columns
            entry = entry_from(row)
            assert entry is not None
            digest.remove(entry)
        extras = {*self._extras("TRUE")}
        for path, entry in self.held().items():
            ours = self.get(path)
            if ours is not None and path not in extras:
                digest.remove(ours)
            digest.add(entry)
        if digest.hexdigest() == state:
            return True
        for path in OURS:  # they are here also when upstream has no traces
            digest.remove(Entry(path, Kind.DIRECTORY))
            if digest.hexdigest() == state:
                return True
        return False

    # -- names ----------------------------------------------------------------------------------------

    @reads
    def get(self, path: str) -> Entry | None:
        """The entry of a path."""
        sql = f"SELECT {ENTRY} FROM names WHERE directory = ? AND name = ?"  # noqa: S608  names of columns
        rows = self._file.ask(sql, order_of(path))
        return entry_from(rows[0]) if rows else None

    def below(self, directory: str) -> Iterator[Entry]:
        """All entries below a directory, in manifest order; not the directory's own."""
        return self._file.below(directory)

    def entries(self) -> Iterator[Entry]:
        """All entries, in manifest order."""
        return self._file.below("")

    def rows(self) -> Iterator[Row]:
        """The same as they are stored, for those that read all of them."""
        return self._file.rows()

    @reads
    def directories(self) -> list[bytes]:
        """The path of every directory but the top one, as on the disk."""
        rows = self._file.ask(f"SELECT directory, name FROM names WHERE kind = {_DIRECTORY}")  # noqa: S608  a number
        return [directory + b"/" + name if directory else name for directory, name in rows]

    @reads
    def links(self) -> dict[str, str]:
        """Every symbolic link and its target."""
        # A literal 1, NUMBER_OF[Kind.LINK]: SQLite takes the index only if it can see the condition.
        rows = self._file.ask("SELECT directory, name, target FROM names WHERE kind = 1")
        return {
            path_of(directory, name): target.decode("utf-8", "surrogateescape")
            for directory, name, target in rows
        }

    @reads
    def held(self) -> dict[str, Entry]:
        """What the followed state of upstream's has otherwise than our tree, by path; see `hold`."""
        rows = self._file.ask(f"SELECT {ENTRY} FROM held")  # noqa: S608  names of columns
        return {entry.path: entry for entry in filter(None, map(entry_from, rows))}

    @reads
    def extras(self) -> list[str]:
        """Files and links that upstream does not have."""
        return self._extras(f"kind <> {_DIRECTORY}")

    @reads
    def extra_directories(self) -> list[str]:
        """Directories that upstream does not have."""
        return self._extras(f"kind = {_DIRECTORY}")

    @reads
    def set_extras(self, files: Iterable[str], directories: Iterable[str]) -> None:
        """Store that upstream lacks these files, links and directories, but has all others; only changes
        are written.
        """
        wanted = {*files, *directories}
        marked = set(self._extras("TRUE"))
        if wanted == marked:
            return
        with self._file.changing() as change:
            for is_extra, paths in ((0, marked - wanted), (1, wanted - marked)):
                sql = f"UPDATE names SET extra = {is_extra} WHERE directory = ? AND name = ?"  # noqa: S608  0 or 1
                change.execute_each(sql, map(order_of, paths))

    def _extras(self, condition: str) -> list[str]:
        rows = self._file.ask(f"SELECT directory, name FROM names WHERE extra = 1 AND {condition}")  # noqa: S608  see above
        return [path_of(directory, name) for directory, name in rows]

    # -- change ---------------------------------------------------------------------------------------

    @property
    def needs_refresh(self) -> bool:
        """Whether names were announced as changing and not read again yet."""
        return bool(self._file.ask("SELECT 1 FROM expected LIMIT 1"))

    def begin_changes(self, paths: Iterable[str]) -> None:
        """Record that these names may change from now on; survives a kill and a power cut."""
        with self._file.changing(durable=True) as change:
            rows = ((encoded(path),) for path in paths if counts(path))
            change.execute_each("INSERT OR IGNORE INTO expected VALUES (?)", rows)

    def refresh(self, tree: Path, hashes: Mapping[str, str] | None = None) -> None:
        """Read every recorded name from the disk again.

        A name that is gone is removed with all below it; directories above a new one are added. A file's hash
        is known if `hashes` has the SHA256 of what was put there.
        """
        known = hashes or {}
        while batch := self._file.ask(f"SELECT path FROM expected ORDER BY path LIMIT {_BATCH}"):  # noqa: S608  a number
            disk = NameRefresher(tree)
            with self._file.changing() as change:
                for (name,) in batch:
                    path = decoded(name)
                    disk.refresh(path, change, sha256=known.get(path, ""))
                change.execute_each("DELETE FROM expected WHERE path = ?", batch)

    def reconcile(self, tree: Path, *, progress: Progress, workers: int | None = None) -> Drift:
        """Compare with the whole disk and correct what differs; the inventory is complete afterwards.

        If anything differed, no state of upstream's is followed any more. `workers` is the number of
        processes (default: one for each core, up to eight, where that is worth it). UnreadableTree if a
        directory cannot be read; what was found until then is corrected.
        """
        self.refresh(tree)
        return reconcile(self._file, tree, progress=progress, workers=workers)

    # -- the manifest ---------------------------------------------------------------------------------

    @property
    def manifest_state(self) -> str:
        """The state that was last published in a manifest; empty if the changes since are unknown."""
        return self._file.facts().sealed

    @reads
    def pending_change(self) -> Change | None:
        """The change since that state; None if it is unknown: a whole listing is needed."""
        if not self.manifest_state:
            return None
        both = [(before, now) for before, now in self._touched() if before != now]
        removed = tuple(before for before, _ in both if before is not None)
        return Change(removed, tuple(now for _, now in both if now is not None))

    def set_manifest_state(self, state: str) -> None:
        """Record that a manifest describes this state, which is the current one; changes are kept from
        here on.
        """
        with self._file.changing() as change:
            if state != change.state:
                raise StateError(
                    f"state {short(state)} was published, but the tree's is {short(change.state)}"
                )
            change.forget_touched(sealed=state)

    def _touched(self) -> list[tuple[Entry | None, Entry | None]]:
        then, now = (
            ", ".join(f"{table}.{column}" for column in ENTRY.split(", ")) for table in ("touched", "names")
        )
        sql = f"SELECT {then}, {now} FROM touched LEFT JOIN names USING (directory, name)"  # noqa: S608  names of columns
        rows = self._file.ask(f"{sql} ORDER BY touched.directory, touched.name")
        half = len(ENTRY.split(", "))
        return [(entry_from(row[:half]), entry_from(row[half:])) for row in rows]
