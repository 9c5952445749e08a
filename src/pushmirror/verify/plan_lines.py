"""What one name should be, from indices and the inventory, as a line of bytes that sorts as trees are read.

    DIRECTORY NUL NAME NUL KIND NUL SIZE NUL DIGEST NUL MTIME NUL TARGET

Lines sort by directory and then by name (a NUL is less than any byte of a name): in one directory after the
other, as disks like it. Names of a tree have neither NUL nor newline (`archive.paths.tree_path`). What is not
known is empty. Each directory has a line of its own with an empty NAME, before those of its names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from pushmirror.archive.paths import Entry, Kind, decoded, encoded, strongest

_NUL = b"\0"
_PRECEDENCE = b"foldih"


class LineKind(StrEnum):
    """What a name should be; if sources differ, the first here counts."""

    FILE = "f"
    OPTIONAL = "o"  # a file that indices name, be it mirrored or not
    LINK = "l"
    DIRECTORY = "d"
    IMPLIED = "i"  # a directory that nobody names, but something in it
    HERE = "h"  # the directory's own line, without a name


class Expected(NamedTuple):
    """What one name should be."""

    directory: str
    name: str
    what: LineKind
    size: int | None = None  # bytes
    digest: str = ""  # of whatever kind; several, with commas, where indices disagree
    mtime: int | None = None  # of a file of which there is no hash
    target: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it should be a file, if it exists."""
        return self.what in {LineKind.FILE, LineKind.OPTIONAL}

    @property
    def disputed(self) -> bool:
        """Whether indices list it with different hashes."""
        return "," in self.digest

    @property
    def path(self) -> str:
        """Relative to the tree."""
        return f"{self.directory}/{self.name}" if self.directory else self.name


def key_of(path: str) -> bytes:
    """The start of the lines of a path; compares as the lines do."""
    directory, _, name = path.rpartition("/")
    return encoded(f"{directory}\0{name}")


def line_of_file(directory: str, name: str, size: str, digest: str, what: str) -> bytes:
    """The line for a file in an index; `size` in digits, empty if it is not listed."""
    return encoded(f"{directory}\0{name}\0{what}\0{size}\0{digest}\0\0")


def lines_of_directory(path: str) -> list[bytes]:
    """The lines for a directory that something is in."""
    own = [encoded(f"{path}\0\0h\0\0\0\0")]
    if path:
        directory, _, name = path.rpartition("/")
        own.append(encoded(f"{directory}\0{name}\0i\0\0\0\0"))
    return own


def lines_of_entry(entry: Entry) -> list[bytes]:
    """The lines for an entry of the inventory."""
    directory, _, name = entry.path.rpartition("/")
    where = f"{directory}\0{name}"
    if entry.kind is Kind.FILE:
        return [encoded(f"{where}\0f\0{entry.size}\0{entry.sha256}\0{entry.mtime}\0")]
    if entry.kind is Kind.LINK:
        return [encoded(f"{where}\0l\0\0\0\0{entry.target}")]
    return [encoded(f"{where}\0d\0\0\0\0")]


def key_in(line: bytes) -> bytes:
    """The `key_of` a line."""
    return line[: line.index(_NUL, line.index(_NUL) + 1)]


def merged(lines: Iterable[bytes]) -> Iterator[bytes]:
    """One line for each name, of sorted lines."""
    last, key = b"", b""
    several: list[bytes] = []
    for line in lines:
        if line == last:
            continue  # packages for all architectures are in every index
        last = line
        if key and line.startswith(key):
            several.append(line)
            continue
        if several:
            yield several[0] if len(several) == 1 else _together(several)
        several = [line]
        key = key_in(line) + _NUL
    if several:
        yield several[0] if len(several) == 1 else _together(several)


def _together(lines: list[bytes]) -> bytes:
    """One line of several for the same name: indices count more than the inventory."""
    said = sorted((line.split(_NUL) for line in lines), key=lambda fields: _PRECEDENCE.index(fields[2]))
    first = said[0]
    files = [fields for fields in said if fields[2] in b"fo"]
    if not files:
        return _NUL.join(first)
    files.sort(key=lambda fields: fields[5] != b"")  # only the inventory knows times
    size = next((fields[3] for fields in files if fields[3]), b"")
    by_index = {fields[4] for fields in files if not fields[5]}
    hashes = strongest(by_index) or strongest(fields[4] for fields in files)
    return _NUL.join([*first[:3], size, b",".join(sorted(hashes)), files[-1][5], b""])


def parse(line: str) -> Expected:
    """A line that `merged` gave, decoded."""
    directory, name, what, size, digest, mtime, target = line.split("\0")
    return Expected(
        directory,
        name,
        LineKind(what),
        int(size) if size else None,
        digest,
        int(mtime) if mtime else None,
        target,
    )


def expectations(lines: Iterable[bytes]) -> dict[str, Expected]:
    """What some names should be, by path, of lines in any order."""
    found = [parse(decoded(line)) for line in merged(sorted(lines))]
    return {one.path: one for one in found if one.what is not LineKind.HERE}


def by_directory(text: bytes) -> Iterator[tuple[str, list[Expected]]]:
    """The lines of a piece of a plan, one directory after the other."""
    lines = map(parse, decoded(text).split("\n")[:-1])
    for directory, group in groupby(lines, key=lambda one: one.directory):
        yield directory, list(group)
