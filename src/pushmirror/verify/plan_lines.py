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
from operator import itemgetter
from typing import NamedTuple

from pushmirror.archive.paths import decoded, encoded, strongest

NUL = b"\0"
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


def key_of_fields(fields: list[str]) -> bytes:
    """The same of a line that is decoded and split."""
    return encoded(f"{fields[0]}\0{fields[1]}")


def line_of_file(directory: str, name: str, size: str, digest: str, what: str) -> bytes:
    """The line for a file in an index; `size` in digits, empty if it is not listed."""
    return encoded(f"{directory}\0{name}\0{what}\0{size}\0{digest}\0\0")


def own_line(directory: bytes) -> bytes:
    """A directory's own line."""
    return b"%b\0\0h\0\0\0\0" % directory


def lines_of_directory(path: str) -> list[bytes]:
    """The lines for a directory that something is in."""
    lines = [own_line(encoded(path))]
    if path:
        directory, _, name = path.rpartition("/")
        lines.append(encoded(f"{directory}\0{name}\0i\0\0\0\0"))
    return lines


def key_in(line: bytes) -> bytes:
    """The `key_of` a line."""
    return line[: line.index(NUL, line.index(NUL) + 1)]


#: The fields of a line as far as `merged` splits it: directory, name, kind, size, digest, and the others.
Fields = list[bytes]


def merged(lines: Iterable[bytes]) -> Iterator[tuple[bytes, Fields]]:
    """One line for each name, of lines of which those for one name come together; and its fields."""
    last = b""
    fields: Fields = [NUL, NUL]  # no name's
    several: list[bytes] = []
    for line in lines:
        if line == last:
            continue
        now = line.split(NUL, 5)
        if now[1] == fields[1] and now[0] == fields[0]:
            several = several or [last]
            several.append(line)
        elif several:
            yield _together(several)
            several = []
        elif last:
            yield last, fields
        last, fields = line, now
    if several:
        yield _together(several)
    elif last:
        yield last, fields


def _together(lines: list[bytes]) -> tuple[bytes, Fields]:
    """One line of several for the same name: indices count more than the inventory."""
    line = _best(lines)
    return line, line.split(NUL, 5)


def _best(lines: list[bytes]) -> bytes:
    said = sorted((line.split(NUL) for line in lines), key=lambda fields: _PRECEDENCE.index(fields[2]))
    first = said[0]
    files = [fields for fields in said if fields[2] in b"fo"]
    if not files:
        return NUL.join(first)
    files.sort(key=lambda fields: fields[5] != b"")  # only the inventory knows times
    size = next((fields[3] for fields in files if fields[3]), b"")
    by_index = {fields[4] for fields in files if not fields[5]}
    hashes = strongest(by_index) or strongest(fields[4] for fields in files)
    return NUL.join([*first[:3], size, b",".join(sorted(hashes)), files[-1][5], b""])


def parse(fields: list[str]) -> Expected:
    """A line that `merged` gave, decoded and split."""
    directory, name, what, size, digest, mtime, target = fields
    return Expected(
        directory,
        name,
        LineKind(what),
        int(size) if size else None,
        digest,
        int(mtime) if mtime else None,
        target,
    )


def fields_of(one: Expected) -> list[str]:
    """The opposite of `parse`."""
    size, mtime = ("" if number is None else str(number) for number in (one.size, one.mtime))
    return [one.directory, one.name, one.what, size, one.digest, mtime, one.target]


def expectations(lines: Iterable[bytes]) -> dict[str, Expected]:
    """What some names should be, by path, of lines in any order."""
    found = [parse(decoded(line).split("\0")) for line, _ in merged(sorted(lines))]
    return {one.path: one for one in found if one.what is not LineKind.HERE}


def by_directory(text: bytes) -> Iterator[tuple[str, list[list[str]]]]:
    """The fields of the lines of a piece of a plan, one directory after the other."""
    lines = [line.split("\0") for line in decoded(text).split("\n")[:-1]]
    for directory, group in groupby(lines, key=itemgetter(0)):
        yield directory, list(group)
