"""What the indices refer to: Packages, Sources and the Index of a pdiff directory, to lists of files.

Guaranteed: each stanza gives its files or MalformedFile is raised; none is skipped, because a pool file that
is not seen here is a file that may be deleted. Other fields are not judged. Packages is the project's hot
path (millions of stanzas), so there are two readers of it: `_quick_packages` takes blocks in which all is
ordinary and gives up on any doubt, `_careful_packages` is the rule itself and knows what to complain about.
Not the business of this module: which indices there are (closure.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from pushmirror.archive.contents import check, decompress, family
from pushmirror.archive.paths import MAX_COMPONENT, tree_path
from pushmirror.archive.release import MAX_SIZE, checked_size
from pushmirror.errors import MalformedFile

__all__ = ["UNKNOWN", "File", "IndexKind", "check", "decompress", "kind_of", "read_index"]

_BLOCK = 1024 * 1024  # bytes; larger blocks leave the processor's cache
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
UNKNOWN = -1
_Stanza = dict[str, list[str]]  # by lower-case field name: its values, one unless the field is doubled


class File(NamedTuple):
    """A file that an index refers to."""

    path: str  # relative to the tree root
    size: int  # bytes; UNKNOWN where the index does not say
    digest: str  # the strongest hash that is listed, in hexadecimal digits (see digests.py)


class IndexKind(Enum):
    """The kinds of files that refer to others."""

    PACKAGES = "Packages"
    SOURCES = "Sources"
    DIFF_INDEX = "Index"  # X.diff/Index: the patches beside it
    CHECKSUMS = "SHA256SUMS"  # of an installer: its images

    @property
    def is_relative(self) -> bool:
        """Whether the names in it are relative to its own directory."""
        return self in {IndexKind.DIFF_INDEX, IndexKind.CHECKSUMS}


def kind_of(path: str) -> IndexKind | None:
    """What kind of index a path names, in whatever compression; None for any other file."""
    directory, _, name = family(path).rpartition("/")
    if name == "Packages":
        return IndexKind.PACKAGES
    if name == "Sources":
        return IndexKind.SOURCES
    if name == "SHA256SUMS" and directory.endswith("/images"):
        return IndexKind.CHECKSUMS
    return IndexKind.DIFF_INDEX if name == "Index" and directory.endswith(".diff") else None


def read_index(kind: IndexKind, data: bytes, *, base: str, where: str) -> list[File]:
    """The files that an index refers to.

    `data` is uncompressed; `base` is the directory that its names are relative to: "" for names from the tree
    root, the index's own directory for a relative one. Raises MalformedFile and BadPath, naming `where`.
    """
    if not data:
        return []
    if not data.endswith(b"\n"):
        raise MalformedFile(f"{where}: expected a newline at the end, it is cut off")
    if kind is IndexKind.PACKAGES:
        return _packages(data, base, where)
    if kind is IndexKind.SOURCES:
        return _sources(data, base, where)
    if kind is IndexKind.CHECKSUMS:
        return _checksums(data, base, where)
    return _diff_index(data, base, where)


# --- Packages ---------------------------------------------------------------------------------------------

# One match per interesting line, and one per blank line: stanza after stanza the same four, or doubt. A
# folded value is taken with the start of its next line, which makes it one that is not plain.
_INTERESTING = re.compile(
    rb"^(?:(Filename|Size|SHA256):[ \t]*([^\n]*(?:\n[ \t])?)|\n)", re.MULTILINE | re.IGNORECASE
)
_NOT_PLAIN = re.compile(rb"[^!-~\n]")  # all but printable ASCII, the blank among the rest
_NOT_HEX = re.compile(rb"[^0-9a-f]")


def _packages(data: bytes, base: str, where: str) -> list[File]:
    files: list[File] = []
    for block in _blocks(data):
        found = _quick_packages(block, base)
        files += _careful_packages(block, base, where, len(files)) if found is None else found
    return files


def _blocks(data: bytes) -> Iterator[bytes]:
    """The data cut after blank lines; each block ends in one."""
    start = 0
    while start < len(data):
        cut = data.find(b"\n\n", start + _BLOCK)
        end = len(data) if cut < 0 else cut + 2
        block = data[start:end]
        yield block if block.endswith(b"\n\n") else block + b"\n"
        start = end


def _quick_packages(block: bytes, base: str) -> list[File] | None:
    """The files of a block in which all is ordinary; None when anything is not, be it wrong or only rare."""
    matches = _INTERESTING.findall(block)
    names = [name for name, _ in matches]
    if not names or len(names) % 4 or names != names[:4] * (len(names) // 4):
        return None
    order = [name.lower() for name in names[:4]]
    if sorted(order) != [b"", b"filename", b"sha256", b"size"] or order[3]:
        return None
    paths, sizes, hashes = (
        [value for _, value in matches[order.index(name) :: 4]] for name in (b"filename", b"size", b"sha256")
    )
    if not (_plain_paths(paths) and _plain_sizes(sizes) and _plain_hashes(hashes)):
        return None
    names_text = b"\n".join(paths).decode("ascii").split("\n")
    if base:
        names_text = [f"{base}/{name}" for name in names_text]
    return list(map(File, names_text, map(int, sizes), b"\n".join(hashes).decode("ascii").split("\n")))


def _plain_paths(paths: list[bytes]) -> bool:
    """Whether all are such that tree_path would return them as they are; looked at all at once for speed."""
    text = b"\n" + b"\n".join(paths) + b"\n"
    suspicious = (b"\n\n", b"\n/", b"\n.", b"//", b"/.", b"/\n")
    return (
        not any(bad in text for bad in suspicious)
        and not _NOT_PLAIN.search(text)
        and max(map(len, paths)) <= MAX_COMPONENT
    )


def _plain_sizes(sizes: list[bytes]) -> bool:
    return all(sizes) and b"".join(sizes).isdigit() and max(map(len, sizes)) < len(str(MAX_SIZE))


def _plain_hashes(hashes: list[bytes]) -> bool:
    return set(map(len, hashes)) == {64} and not _NOT_HEX.search(b"".join(hashes))


def _careful_packages(data: bytes, base: str, where: str, before: int) -> list[File]:
    return [
        _file(_one(stanza, "Filename", at), _one(stanza, "Size", at), _one(stanza, "SHA256", at), base, at)
        for stanza, at in _stanzas(data, where, before)
    ]


# --- Sources and pdiffs -----------------------------------------------------------------------------------


def _sources(data: bytes, base: str, where: str) -> list[File]:
    files: list[File] = []
    count = 0
    for block in _blocks(data):
        for stanza, at in _stanzas(block, where, count):
            count += 1
            directory = _directory(_one(stanza, "Directory", at), at)
            below = "/".join(part for part in (base, directory) if part)
            files += _list(_lines(stanza, "Checksums-Sha256", at), below, at)
    return files


def _directory(raw: str, where: str) -> str:
    """A Directory field; flat repositories write "." there."""
    return "" if raw in {".", "./"} else tree_path(raw.removesuffix("/"), where=where)


def _diff_index(data: bytes, base: str, where: str) -> list[File]:
    """The patches as they are on disk: SHA256-Download, whose names end in .gz.

    SHA256-Patches names the same patches unpacked. Where an older tool wrote only those, nothing is known by
    which a patch file could be checked; apt takes the whole index when a patch cannot be had, so such an
    Index refers to nothing here.
    """
    files: list[File] = []
    for stanza, at in _stanzas(data, where, 0):
        if "sha256-download" in stanza:
            files += _list(_lines(stanza, "SHA256-Download", at), base, at)
    return files


def _checksums(data: bytes, base: str, where: str) -> list[File]:
    """The images of an installer: `hash  ./name` lines, as sha256sum writes them."""
    files = []
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        sha256, _, name = line.partition(" ")
        if name[:1] not in {" ", "*"} or not _SHA256.fullmatch(sha256):
            raise MalformedFile(f"{where}: expected 'hash  ./name', found {line[:80]!r}")
        path = tree_path(name[1:], where=where)
        files.append(File(f"{base}/{path}" if base else path, UNKNOWN, sha256.lower()))
    return files


def _list(lines: list[str], below: str, where: str) -> list[File]:
    """The files of a `hash size name` list."""
    files = []
    for line in lines:
        columns = line.split()
        if len(columns) != 3:
            raise MalformedFile(f"{where}: expected 'hash size name', found {line[:80]!r}")
        files.append(_file(columns[2], columns[1], columns[0], below, where))
    return files


# --- Stanzas ----------------------------------------------------------------------------------------------


def _stanzas(data: bytes, where: str, before: int) -> Iterator[tuple[_Stanza, str]]:
    """Each stanza, and a text that says which one it is.

    Lines of white space only are continuation lines, not ends: were they meant as ends, the two stanzas
    would have doubled fields and be refused, never be lost.
    """
    for text in data.decode("utf-8", "surrogateescape").split("\n\n"):
        if text.strip("\n"):
            before += 1
            stanza = _stanza(text.strip("\n"))
            package = stanza.get("package", [""])[0].strip(" \t")
            at = f"{where}: stanza {before}"
            yield stanza, f"{at} ({package[:80]!a})" if package else at


def _stanza(text: str) -> _Stanza:
    """The fields, their lines joined; what is no field is nobody's, as for the quick reader."""
    stanza: _Stanza = {}
    name = ""
    for line in text.split("\n"):
        if line[0] in " \t":
            if name:
                stanza[name][-1] += "\n" + line
            continue
        raw_name, colon, value = line.partition(":")
        name = raw_name.lower() if colon else ""
        if name:
            stanza.setdefault(name, []).append(value)
    return stanza


def _only(stanza: _Stanza, name: str, where: str) -> str:
    """The value of a field that must be there, once."""
    values = stanza.get(name.lower(), [])
    if len(values) != 1:
        raise MalformedFile(f"{where}: {f'the field {name} twice' if values else f'no field {name}'}")
    return values[0]


def _one(stanza: _Stanza, name: str, where: str) -> str:
    """The value of a field that must be there on one line."""
    value = _only(stanza, name, where)
    if "\n" in value:
        raise MalformedFile(f"{where}: expected {name} on one line, found it folded")
    return value.strip(" \t")


def _lines(stanza: _Stanza, name: str, where: str) -> list[str]:
    """The lines of a list field that must be there."""
    first, *lines = _only(stanza, name, where).split("\n")
    if first.strip(" \t"):
        raise MalformedFile(f"{where}: expected the {name} list on lines of its own")
    return lines


def _file(raw_path: str, raw_size: str, sha256: str, below: str, where: str) -> File:
    path = tree_path(raw_path, where=where)
    if not _SHA256.fullmatch(sha256):
        raise MalformedFile(f"{where}: expected a SHA256, found {sha256[:80]!r}")
    return File(f"{below}/{path}" if below else path, checked_size(raw_size, where=where), sha256.lower())
