"""The packed parts of a manifest: the listing of a whole tree, and the change from one state to another.

docs/manifest.md has the format. Guaranteed of what is read: it has the size and the SHA256 that the head
names, it unpacks to no more than so many entries can need, every path belongs into a tree, every link stays
inside, no name is there twice, and nothing is missing at the end. A snapshot is read and written in little
memory, whatever its length. Not the business of this module: whether an entry's directory is listed too, and
whether what results has the state that the head names; who applies a manifest must look.

A snapshot is the hot path (millions of entries), so there are two readers of it, as for Packages: the quick
one takes blocks of lines in which all is ordinary and gives up on any doubt, the careful one is the rule
itself and knows what to complain about.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pushmirror.archive.compression import MAX_LINE, blocks_of_lines, check
from pushmirror.archive.paths import MAX_PATH, Entry, Kind, decoded, encoded, link_stays_inside, tree_path
from pushmirror.archive.release import MAX_SIZE
from pushmirror.errors import BadPath, MalformedFile, UnknownVersion

MAX_ENTRIES = 2**25  # of a snapshot: 33 million
MAX_DIRECTORIES = (
    2**20
)  # of a snapshot; each costs as much as some twenty files, and Debian's tree has 60,000
MAX_CHANGE_ENTRIES = 250_000  # read at once into memory: about 100 MB
_MAX_SNAPSHOT = 2**33  # bytes when unpacked
MAX_CHANGE = 2**26  # packed or unpacked
_MAX_MTIME = 2**63 - 1  # seconds; what a kernel can tell
_SNAPSHOT, _CHANGE = b"pushmirror-snapshot", b"pushmirror-change"
_VERSION = b"1"


@dataclass(frozen=True, slots=True)
class Part:
    """A packed file of a manifest."""

    name: str  # in the manifest's directory
    size: int  # bytes, packed
    sha256: str
    entries: int


@dataclass(frozen=True, slots=True)
class Change:
    """What makes one state of a tree into another; an entry that is replaced is in both."""

    removed: tuple[Entry, ...]  # as they were
    added: tuple[Entry, ...]  # as they are

    def __len__(self) -> int:
        return len(self.removed) + len(self.added)


def order_of(path: str) -> tuple[bytes, bytes]:
    """The sort key of the manifest's order: the directory's bytes ("" for top names), then the name's."""
    directory, _, name = path.encode("utf-8", "surrogateescape").rpartition(b"/")
    return directory, name


# --- Writing ----------------------------------------------------------------------------------------------

_LETTERS = {Kind.FILE: "f", Kind.LINK: "l", Kind.DIRECTORY: "d"}
_BATCH = 4096  # entries that are packed at a time


def render_change(change: Change) -> bytes:
    """A change as it is served, packed."""
    marked = [("-", entry) for entry in change.removed] + [("+", entry) for entry in change.added]
    marked.sort(key=lambda one: (order_of(one[1].path), one[0] == "+"))
    return b"".join(_packed(_CHANGE, iter(marked)))


def pack_snapshot(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The listing of a whole tree as it is served, packed, piece by piece.

    The entries are in the manifest's order, and such as `read_snapshot` takes; neither is looked at here.
    """
    return _packed(_SNAPSHOT, (("", entry) for entry in entries))


def _packed(title: bytes, marked: Iterator[tuple[str, Entry]]) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=31)  # gzip without a name and a time: the same entries, the same bytes
    yield packer.compress(b"%b %b\n" % (title, _VERSION))
    lines: list[str] = []
    directory, count = "", 0
    for mark, entry in marked:
        parent, _, name = entry.path.rpartition("/")
        if parent != directory:
            directory = parent
            lines.append(f"/\t{directory}\n")
        lines.append(f"{mark}{_LETTERS[entry.kind]}\t{name}{_facts(entry)}\n")
        count += 1
        if count % _BATCH == 0:
            yield packer.compress(encoded("".join(lines)))
            lines.clear()
    lines.append(f"end\t{count}\n")
    yield packer.compress(encoded("".join(lines)))
    yield packer.flush()


def _facts(entry: Entry) -> str:
    if entry.kind is Kind.FILE:
        return f"\t{entry.size}\t{entry.mtime}\t{entry.sha256 or '-'}"
    return f"\t{entry.target}" if entry.kind is Kind.LINK else ""


# --- Reading ----------------------------------------------------------------------------------------------


def read_change(data: bytes, part: Part, *, where: str) -> Change:
    """What a packed change says. Raises MalformedFile, BadPath and Mismatch, naming `where`."""
    check(data, size=part.size, sha256=part.sha256, where=where)
    if part.entries > MAX_CHANGE_ENTRIES:
        raise MalformedFile(f"{where}: expected at most {MAX_CHANGE_ENTRIES} entries, found {part.entries}")
    lines = _Lines(_CHANGE, part, where)
    removed: list[Entry] = []
    added: list[Entry] = []
    for block in _blocks([data], part, where, MAX_CHANGE):
        for raw in block[:-1].split(b"\n"):
            added_here = raw.startswith(b"+")
            marked = lines.number > 0 and raw.startswith((b"+", b"-"))
            entry = lines.read(raw[1:] if marked else raw, added_here if marked else None)
            if entry and not marked:
                raise lines.wrong("an entry marked + or -", raw)
            if entry:
                (added if added_here else removed).append(entry)
    lines.finish()
    return Change(tuple(removed), tuple(added))


def read_snapshot(chunks: Iterable[bytes], part: Part, *, where: str) -> Iterator[Entry]:
    """The entries of a packed listing, in the manifest's order, whose bytes come in chunks.

    What it yields counts only once it has come to its end: size, hash and completeness are known then. Raises
    MalformedFile, BadPath and Mismatch, naming `where`.
    """
    lines = _Lines(_SNAPSHOT, part, where)
    for block in _blocks(chunks, part, where, _MAX_SNAPSHOT):
        quick = _quick(block, lines)
        yield from _careful(block, lines) if quick is None else quick
    lines.finish()


def _blocks(chunks: Iterable[bytes], part: Part, where: str, at_most: int) -> Iterator[bytes]:
    """The text in blocks of whole lines; at worst each entry is in a directory of its own."""
    allowed = min(at_most, 2 * (part.entries + 1) * MAX_LINE)
    return blocks_of_lines(chunks, size=part.size, sha256=part.sha256, at_most=allowed, where=where)


def _careful(block: bytes, lines: _Lines) -> Iterator[Entry]:
    for raw in block[:-1].split(b"\n"):
        if entry := lines.read(raw, None):
            yield entry


class _Lines:
    """The lines of one part, one after the other: their rules, and what must hold between them."""

    def __init__(self, title: bytes, part: Part, where: str) -> None:
        self._title = title
        self.allowed = part.entries
        self._where = where
        self.number = 0  # of the line that was read last
        self.directory = b""
        self.prefix = ""  # the directory as a part of paths, with its slash
        self.last: tuple[bytes, bool] | None = None  # the name that came last in this directory, and how
        self.entries = 0
        self._directories = 0  # lines that enter one or name one
        self.ended = False

    def read(self, raw: bytes, added: bool | None) -> Entry | None:
        """The entry of a line, without its mark; None for the lines between."""
        self.number += 1
        if self.number == 1:
            require_title(raw, self._title, where=self._where)
            return None
        if self.ended:
            raise self.wrong("nothing after the end", raw)
        letter, *fields = raw.split(b"\t")
        if added is None and letter == b"/" and len(fields) == 1:
            self._enter(fields[0])
            return None
        if added is None and letter == b"end" and len(fields) == 1:
            self._end(fields[0])
            return None
        if len(fields) != _FIELDS.get(letter):
            raise self.wrong("an entry", raw)
        path = self._path(fields[0], bool(added))
        self.entries += 1
        if self.entries > self.allowed:
            raise self.wrong(f"no more than {self.allowed} entries", raw)
        if letter == b"d":
            self._count_directory(raw)
            return Entry(path, Kind.DIRECTORY)
        return self._link(path, fields[1]) if letter == b"l" else self._file(path, *fields[1:])

    def finish(self) -> None:
        """Raise MalformedFile unless the last line was the end."""
        if not self.ended:
            raise MalformedFile(f"{self._where}: expected an end line; truncated")

    def wrong(self, expected: str, raw: bytes) -> MalformedFile:
        """The error about the line that was read last."""
        return MalformedFile(f"{self.at}: expected {expected}, found {raw[:80]!r}")

    @property
    def at(self) -> str:
        return f"{self._where}: line {self.number}"

    def _enter(self, raw: bytes) -> None:
        if raw <= self.directory:
            raise self.wrong("a directory that comes after the one before", raw)
        self._count_directory(raw)
        path = decoded(raw)
        if tree_path(path, where=self.at) != path:
            raise BadPath(f"{self.at}: expected a path without ./, found {raw[:80]!r}")
        self.directory, self.prefix, self.last = raw, f"{path}/", None

    def _count_directory(self, raw: bytes) -> None:
        self._directories += 1
        if self._directories > 2 * MAX_DIRECTORIES:
            raise self.wrong(f"no more than {MAX_DIRECTORIES} directories", raw)

    def _end(self, raw: bytes) -> None:
        if raw != b"%d" % self.entries or self.entries != self.allowed:
            raise self.wrong(f"{self.allowed} entries, of which {self.entries} were there", raw)
        self.ended = True

    def _path(self, raw: bytes, added: bool) -> str:
        if b"/" in raw:
            raise BadPath(f"{self.at}: expected a name without a slash, found {raw[:80]!r}")
        if self.last and (raw, added) <= self.last:
            raise self.wrong("a name that comes after the one before", raw)
        self.last = (raw, added)
        return tree_path(self.prefix + decoded(raw), where=self.at)

    def _link(self, path: str, raw: bytes) -> Entry:
        target = decoded(raw)
        if len(raw) > MAX_PATH or not link_stays_inside(path, target):
            raise BadPath(f"{self.at}: expected a link that stays in the tree, found {raw[:80]!r}")
        return Entry(path, Kind.LINK, target=target)

    def _file(self, path: str, size: bytes, mtime: bytes, sha256: bytes) -> Entry:
        if not (_SIZE.fullmatch(size) and _MTIME.fullmatch(mtime) and _SHA256.fullmatch(sha256)):
            raise self.wrong("size, time and SHA256", b"\t".join((size, mtime, sha256)))
        if int(size) > MAX_SIZE or abs(int(mtime)) > _MAX_MTIME:
            raise self.wrong("a sane size and time", b"\t".join((size, mtime)))
        return Entry(path, Kind.FILE, int(size), int(mtime), "", "" if sha256 == b"-" else sha256.decode())


_FIELDS = {b"f": 4, b"l": 2, b"d": 1}
_SIZE = re.compile(rb"0|[1-9][0-9]{0,15}")
_MTIME = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_SHA256 = re.compile(rb"[0-9a-f]{64}|-")


def require_title(raw: bytes, title: bytes, *, where: str) -> None:
    """Raise unless a first line names this format in the version that is known here."""
    found, _, version = raw.partition(b" ")
    if found != title or not re.fullmatch(rb"[1-9][0-9]{0,8}", version):
        raise MalformedFile(f"{where}: expected {title.decode()}, found {raw[:80]!r}")
    if version != _VERSION:
        raise UnknownVersion(
            f"{where}: expected version {_VERSION.decode()} of {title.decode()}, found {version.decode()}",
            hint="install a newer pushmirror to read it",
        )


# --- The quick reader -------------------------------------------------------------------------------------

# A line of a file with nothing unusual in it, or else a line of any other kind.
_QUICK = re.compile(
    r"^(?:f\t([^\t/\n]{1,255})\t(0|[1-9][0-9]{0,14})\t(0|-?[1-9][0-9]{0,17})\t([0-9a-f]{64}|-)|([^f\n].*))$",
    re.MULTILINE,
)
_NOT_PLAIN = re.compile(rb"[^ -~\n\t]")  # what is left sorts the same as text and as bytes
_DOTS = (b"\t.\t", b"\t..\t")


def _quick(block: bytes, lines: _Lines) -> list[Entry] | None:
    """The entries of a block in which all files are ordinary; None, and nothing done, in any other case."""
    if not _is_ordinary(block, lines):
        return None
    matches: list[tuple[str, str, str, str, str]] = _QUICK.findall(block.decode("ascii"))
    if len(matches) != block.count(b"\n") or lines.entries + len(matches) > lines.allowed:
        return None
    entries: list[Entry] = []
    prefix, last = lines.prefix, lines.last[0].decode() if lines.last else ""
    for name, size, mtime, sha256, other in matches:
        if other:
            lines.last = (last.encode(), False) if last else None
            entry = lines.read(other.encode(), None)
            prefix, last = lines.prefix, lines.last[0].decode() if lines.last else ""
            if entry:
                entries.append(entry)
            continue
        lines.number += 1
        if name <= last:
            raise lines.wrong("a name that comes after the one before", name.encode())
        if len(prefix) + len(name) > MAX_PATH:
            raise BadPath(f"{lines.at}: expected a path of at most {MAX_PATH} bytes, found a longer one")
        last = name
        lines.entries += 1
        entries.append(
            Entry(prefix + name, Kind.FILE, int(size), int(mtime), "", "" if sha256 == "-" else sha256)
        )
    lines.last = (last.encode(), False) if last else None
    return entries


def _is_ordinary(block: bytes, lines: _Lines) -> bool:
    """Whether a block is worth the quick reader: neither the first nor the last, and all printable ASCII."""
    return (
        lines.number > 0
        and not lines.ended
        and b"\nend\t" not in b"\n" + block
        and block.isascii()
        and not _NOT_PLAIN.search(block)
        and not any(dots in block for dots in _DOTS)
        and (lines.last is None or lines.last[0].isascii())
    )
