"""The inventory's share of a plan: its rows as lines, between those of the indices.

An index counts more than the inventory, so that most rows, of files in an index, become no line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pushmirror.archive.paths import Entry, Kind
from pushmirror.inventory.tables import NUMBER_OF, Row, row_from
from pushmirror.verify.plan_lines import NUL

_END = b"\xff" * 256  # after every line: a component has 255 bytes at most
_FILE, _DIRECTORY = NUMBER_OF[Kind.FILE], NUMBER_OF[Kind.DIRECTORY]


def line_of_entry(entry: Entry) -> bytes:
    """The line for an entry of the inventory."""
    return _line_of_row(row_from(entry))


def _line_of_row(row: Row) -> bytes:
    directory, name, kind, size, mtime, target, sha256 = row
    if kind == _FILE:
        digest = sha256.hex().encode() if sha256 else b""
        return b"%b\0%b\0f\0%d\0%b\0%d\0" % (directory, name, size, digest, mtime)
    if kind == _DIRECTORY:
        return b"%b\0%b\0d\0\0\0\0" % (directory, name)
    return b"%b\0%b\0l\0\0\0\0%b" % (directory, name, target)


def with_inventory(lines: Iterator[bytes], rows: Iterable[Row]) -> Iterator[bytes]:
    """The sorted lines of indices, and between them those of the inventory that say more."""
    line = next(lines, _END)
    for row in rows:
        key = b"%b\0%b\0" % row[:2]
        while line < key:
            yield line
            line = next(lines, _END)
        if not line.startswith(key):
            yield _line_of_row(row)
        elif row[2] == _DIRECTORY and line.startswith(b"i", len(key)):
            line = _line_of_row(row)
        elif not (row[2] == _FILE and _is_enough(line[len(key) :])):
            yield _line_of_row(row)
    if line is not _END:
        yield line
        yield from lines


def _is_enough(said: bytes) -> bool:
    """Whether an index says size and hash of a file, to which the inventory adds nothing."""
    return said.startswith(b"f\0") and said[2:3] != NUL and not said.endswith(b"\0\0\0")
