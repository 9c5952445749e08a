"""The tables of an inventory, and how an entry becomes a row of one.

    names     what is in the tree; `extra`: upstream has it not
    expected  names that may be changing now
    held      what upstream has under names that are otherwise here, or not, though its state is followed
    touched   names that changed since the last manifest, with what they were then (no kind: not there)
    facts     one row: what is known of the whole

Their order is that of manifests: by the bytes of the directory, then of the name.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any, NamedTuple

from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.layout import LOST, OURS, TRACES, WORK, is_local
from pushmirror.archive.manifest_parts import order_of
from pushmirror.archive.paths import MAX_PATH, Entry, Kind, link_stays_inside, tree_path
from pushmirror.errors import BadPath
from pushmirror.system.files import mtime_of

# -- names: which of them count, and their entries ---
#
# A name counts if every mirror has it alike: no local name (`is_local`), and nothing that a list cannot have
# (control characters, links out of the tree, devices).


_SURELY_SHORT = MAX_PATH // 8  # characters, of four bytes at most: there is room for a name
_NO_GLANCE = {"", TRACES}  # directories that hold names of a run


def path_of(directory: bytes, name: bytes) -> str:
    """The path of a name in a directory, both as they are on the disk; see `listing.order_of`."""
    joined = directory + b"/" + name if directory else name
    return joined.decode("utf-8", "surrogateescape")


def counts(path: str) -> bool:
    """Whether a name counts, as far as the path tells."""
    if is_local(path):
        return False
    try:
        return tree_path(path, where="") == path
    except BadPath:
        return False


def counts_in(directory: str, name: str) -> bool:
    """The same of what is on the disk in a directory that counts: nearly always told at a glance."""
    if directory not in _NO_GLANCE and name.isascii() and name.isprintable() and name not in {WORK, LOST}:
        return len(directory) < _SURELY_SHORT or counts(f"{directory}/{name}")
    return counts(f"{directory}/{name}" if directory else name)


def entry_of(path: str, found: os.stat_result, target: Callable[[], bytes]) -> Entry | None:
    """What the disk says of a name whose path counts; None if it is something that does not.

    `target` reads where it leads, if it is a link.
    """
    if S_ISREG(found.st_mode):
        return Entry(path, Kind.FILE, found.st_size, mtime_of(found))
    if S_ISDIR(found.st_mode) or (S_ISLNK(found.st_mode) and path in OURS):
        return Entry(path, Kind.DIRECTORY)
    if S_ISLNK(found.st_mode):
        leads_to = target().decode("utf-8", "surrogateescape")
        if link_stays_inside(path, leads_to):
            return Entry(path, Kind.LINK, target=leads_to)
    return None


VERSION = 2
TABLES = ("names", "held", "expected", "touched", "facts")
COLUMNS = ("directory", "name", "kind", "size", "mtime", "target", "sha256")  # of an entry
ENTRY = ", ".join(COLUMNS)

SCHEMA = """
CREATE TABLE names (
    directory BLOB NOT NULL, name BLOB NOT NULL,
    kind INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, target BLOB NOT NULL,
    sha256 BLOB, extra INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (directory, name)
) WITHOUT ROWID;
CREATE INDEX links ON names (directory, name, target) WHERE kind = 1;
CREATE INDEX extras ON names (directory, name, kind) WHERE extra = 1;
CREATE TABLE held (
    directory BLOB NOT NULL, name BLOB NOT NULL,
    kind INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, target BLOB NOT NULL, sha256 BLOB,
    PRIMARY KEY (directory, name)
) WITHOUT ROWID;
CREATE TABLE expected (path BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE touched (
    directory BLOB NOT NULL, name BLOB NOT NULL,
    kind INTEGER, size INTEGER, mtime INTEGER, target BLOB, sha256 BLOB,
    PRIMARY KEY (directory, name)
) WITHOUT ROWID;
CREATE TABLE facts (
    whole INTEGER NOT NULL, state TEXT NOT NULL, files INTEGER NOT NULL, size INTEGER NOT NULL,
    reconciled_at REAL, followed TEXT NOT NULL, heading TEXT NOT NULL, selection INTEGER NOT NULL,
    sealed TEXT NOT NULL, pending INTEGER NOT NULL, boot TEXT NOT NULL
);
"""

_KINDS = (Kind.FILE, Kind.LINK, Kind.DIRECTORY)
NUMBER_OF = {kind: number for number, kind in enumerate(_KINDS)}

_PAGE = 1000  # rows
_BEYOND_ALL = b"\xff" * 256  # after every directory: a component has 255 bytes at most

#: An entry as it is stored: the values of COLUMNS.
Row = tuple[bytes, bytes, int, int, int, bytes, bytes | None]

#: Directories from the first up to, but not, the second.
Range = tuple[bytes, bytes]


class InventoryFacts(NamedTuple):
    """What is known of the whole inventory, beside its names."""

    whole: bool = False
    state: str = TreeDigest().hexdigest()
    files: int = 0
    size: int = 0  # bytes
    reconciled_at: float | None = None  # seconds since the epoch
    followed: str = ""
    heading: str = ""
    selection: int = 0
    sealed: str = ""  # the state of the last manifest; empty: what changed since then is not remembered
    pending: int = 0  # names that were touched since then
    boot: str = ""  # of the machine, when it was last opened


def entry_from(row: Sequence[Any]) -> Entry | None:
    """The entry of a row with the columns of ENTRY; None if it has no kind."""
    directory, name, kind, size, mtime, target, sha256 = row
    if kind is None:
        return None
    leads_to = target.decode("utf-8", "surrogateescape")
    return Entry(
        path_of(directory, name), _KINDS[kind], size, mtime, leads_to, sha256.hex() if sha256 else ""
    )


def row_from(entry: Entry) -> Row:
    """The columns of ENTRY."""
    target = entry.target.encode("utf-8", "surrogateescape")
    sha256 = bytes.fromhex(entry.sha256) or None
    return (*order_of(entry.path), NUMBER_OF[entry.kind], entry.size, entry.mtime, target, sha256)


def marks(values: Sequence[object]) -> str:
    """A question mark for each value."""
    return ", ".join("?" * len(values))


def ranges_below(directory: str) -> list[Range]:
    """The directories whose entries are below one: itself, and those in it; `d-x` is between them."""
    if not directory:
        return [(b"", _BEYOND_ALL)]
    encoded = directory.encode("utf-8", "surrogateescape")
    return [(encoded, encoded + b"\0"), (encoded + b"/", encoded + b"0")]


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables, with nothing in them."""
    for statement in SCHEMA.split(";\n"):
        connection.execute(statement)
    connection.execute(f"INSERT INTO facts VALUES ({marks(InventoryFacts())})", InventoryFacts())  # noqa: S608  question marks
    connection.execute(f"PRAGMA user_version = {VERSION}")


def read_facts(connection: sqlite3.Connection) -> InventoryFacts:
    """What is known of the whole. sqlite3.DatabaseError if there is no such row."""
    rows = connection.execute(f"SELECT {', '.join(InventoryFacts._fields)} FROM facts").fetchall()  # noqa: S608  names
    if len(rows) != 1:
        raise sqlite3.DatabaseError("table facts is empty")
    whole, *others = rows[0]
    return InventoryFacts(bool(whole), *others)


def entries_in(connection: sqlite3.Connection, directories: Range) -> Iterator[Entry]:
    """The entries in a range of directories."""
    return filter(None, map(entry_from, rows_in(connection, directories)))


def rows_in(connection: sqlite3.Connection, directories: Range) -> Iterator[Row]:
    """The same as rows, page by page: whoever reads them in peace blocks nobody."""
    sql = f"SELECT {ENTRY} FROM names WHERE (directory, name) > (?, ?) AND directory < ?"  # noqa: S608  as above
    sql += f" ORDER BY directory, name LIMIT {_PAGE}"
    first, beyond = directories
    after = (first, b"")
    while rows := connection.execute(sql, (*after, beyond)).fetchall():
        yield from rows
        after = rows[-1][0], rows[-1][1]
