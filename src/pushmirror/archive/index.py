"""What the indices refer to: Packages, Sources, the Index of pdiffs, SHA256SUMS, as lists of files.

Guaranteed: each stanza of which apt could fetch a file gives that file. A wrong stanza is skipped alone and
reported to the caller, because a pool file that is not seen here is a file that may be deleted. Stanzas are
read as apt 2.6 reads them (tried): of a field that is there twice the last counts; lines of white space only
are continuation lines. Packages is the hot path (millions of stanzas), so there are two readers of it:
`_quick_packages` takes blocks in which all is ordinary and gives up on any doubt, `_careful_packages` is the
rule itself.

A Release lists every compressed variant of an index; a mirror carries only some. `required` are those that
must be in the tree, `readable` is one of each index that we can read, so that all it refers to is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from pushmirror.archive.checksum_lists import read_sums
from pushmirror.archive.compression import READABLE_SUFFIXES, compression, family
from pushmirror.archive.paths import HASHES, MAX_COMPONENT, inside, tree_path
from pushmirror.archive.pathset import fingerprint
from pushmirror.archive.release import MAX_SIZE, Listed, Release
from pushmirror.errors import BadPath

UNKNOWN = -1
Stanza = Mapping[str, str]  # by lower-case field name: its text, lines joined, without the blanks around it

_HEX = re.compile(r"[0-9A-Fa-f]+")
_NUMBER = re.compile(r"[0-9]{1,20}")


def stanzas(data: bytes, where: str, before: int) -> Iterator[tuple[Stanza, str]]:
    """Each stanza, and a text that says which one it is; `before` is the number of those before these."""
    for text in data.decode("utf-8", "surrogateescape").split("\n\n"):
        if text.strip("\n"):
            before += 1
            stanza = _stanza(text.strip("\n"))
            package = stanza.get("package", "")
            at = f"{where}: stanza {before}"
            yield stanza, f"{at} ({package[:80]!a})" if package else at


def _stanza(text: str) -> Stanza:
    """The fields; what is no field is nobody's, as for the quick reader."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.split("\n"):
        if line[0] in " \t":
            if name:
                fields[name] += "\n" + line
            continue
        raw_name, colon, value = line.partition(":")
        name = raw_name.rstrip(" \t").lower() if colon else ""
        if name:
            fields[name] = value
    return {name: value.strip(" \t\n") for name, value in fields.items()}


def lines_of(stanza: Stanza, *names: str) -> list[str]:
    """The lines of the first of these list fields that is there and has any."""
    for name in names:
        if lines := [line for line in stanza.get(name, "").split("\n") if line.strip(" \t")]:
            return lines
    return []


def digest_in(text: str) -> str:
    """A hash in lower case; "" for what is none."""
    return text.lower() if len(text) in HASHES.values() and _HEX.fullmatch(text) else ""


def size_in(text: str) -> int:
    """The number that a size begins with, as strtoull(3) reads it for apt; UNKNOWN where there is none."""
    match = _NUMBER.match(text)
    size = int(match[0]) if match else UNKNOWN
    return size if size <= MAX_SIZE else UNKNOWN


_BLOCK = 1024 * 1024  # bytes; larger blocks leave the processor's cache
Refused = Callable[[str], None]  # gets the reason for a stanza or line that is not given, naming it


class File(NamedTuple):
    """A file that an index refers to."""

    path: str  # relative to the tree root
    size: int  # bytes; UNKNOWN where the index does not say
    digest: str  # the strongest hash that is listed, in hexadecimal digits (see archive/paths.py); or ""


def record_fingerprint(file: File) -> int:
    """The fingerprint of all that an index says of a file: two that disagree about it have two."""
    return fingerprint("\t".join((file.path, str(file.size), file.digest)))


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


def read_index(
    kind: IndexKind, data: bytes, *, base: str, where: str, refused: Refused = lambda _: None
) -> list[File]:
    """The files that an index refers to; several of one path where it says so.

    `data` is uncompressed; `base` is the directory that its names are relative to: "" for names from the tree
    root, the index's own directory for a relative one. `refused` is told of each stanza or line that names a
    path outside, or no file at all where there should be one; the reason names `where` it is. A stanza
    without a file says nothing of one, and is passed over.
    """
    if b"\r" in data and b"\r\n" in data:  # the first is looked for eight times as fast
        data = data.replace(b"\r\n", b"\n")
    if kind is IndexKind.PACKAGES:
        return _packages(data, base, where, refused)
    if kind is IndexKind.SOURCES:
        return _sources(data, base, where, refused)
    if kind is IndexKind.CHECKSUMS:
        return _checksums(data, base, where, refused)
    return _diff_index(data, base, where, refused)


# --- Packages ---------------------------------------------------------------------------------------------

# One match per interesting line, and one per blank line: stanza after stanza the same four, or doubt. A
# folded value is taken with the start of its next line, which makes it one that is not plain.
_INTERESTING = re.compile(
    rb"^(?:(Filename|Size|SHA256)[ \t]*:[ \t]*([^\n]*(?:\n[ \t])?)|\n)", re.MULTILINE | re.IGNORECASE
)
_NOT_PLAIN = re.compile(rb"[^!-~\n]")  # all but printable ASCII, the blank among the rest
_NOT_HEX = re.compile(rb"[^0-9a-f]")


def _packages(data: bytes, base: str, where: str, refused: Refused) -> list[File]:
    files: list[File] = []
    at, counted, before = 0, 0, 0  # bytes, and stanzas: these are only counted where one may be named
    for block in _blocks(data):
        found = _quick_packages(block, base)
        if found is None:
            before, counted = before + data.count(b"\n\n", counted, at), at
            found = _careful_packages(block, base, where, before, refused)
        files += found
        at += len(block)
    return files


def _blocks(data: bytes) -> Iterator[bytes]:
    """The data cut after blank lines; each block ends in one."""
    start = 0
    while start < len(data):
        cut = data.find(b"\n\n", start + _BLOCK)
        end = len(data) if cut < 0 else cut + 2
        block = data[start:end]
        yield block if block.endswith(b"\n\n") else block.rstrip(b"\n") + b"\n\n"
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


def _careful_packages(data: bytes, base: str, where: str, before: int, refused: Refused) -> list[File]:
    files: list[File] = []
    for stanza, at in stanzas(data, where, before):
        if name := stanza.get("filename"):
            digests = (digest_in(stanza.get(field, "")) for field in ("sha256", "sha512", "sha1", "md5sum"))
            digest = next(filter(None, digests), "")
            files += _placed(File(name, size_in(stanza.get("size", "")), digest), base, at, refused)
    return files


# --- Sources and pdiffs -----------------------------------------------------------------------------------


def _sources(data: bytes, base: str, where: str, refused: Refused) -> list[File]:
    files: list[File] = []
    count = 0
    for block in _blocks(data):
        for stanza, at in stanzas(block, where, count):
            count += 1
            lines = lines_of(stanza, "checksums-sha256", "checksums-sha512", "checksums-sha1", "files")
            if lines:
                files += _below(stanza.get("directory", ""), lines, base, at, refused)
    return files


def _below(directory: str, lines: list[str], base: str, where: str, refused: Refused) -> list[File]:
    """The files of a source package; flat repositories have "." for a Directory, or none."""
    parts = [base]
    try:
        if directory.rstrip("/") not in {"", "."}:
            parts.append(inside(directory.rstrip("/"), where=where))
    except BadPath as exc:
        refused(str(exc))
        return []
    return _list(lines, "/".join(filter(None, parts)), where, refused)


def _diff_index(data: bytes, base: str, where: str, refused: Refused) -> list[File]:
    """The patches as they are on disk: SHA256-Download, whose names end in .gz.

    SHA256-Patches names the same patches unpacked. Where an older tool wrote only those, nothing is known by
    which a patch file could be checked; apt takes the whole index when a patch cannot be had, so such an
    Index refers to nothing here.
    """
    files: list[File] = []
    for stanza, at in stanzas(data, where, 0):
        lines = lines_of(stanza, "sha256-download", "sha512-download", "sha1-download")
        files += _list(lines, base, at, refused)
    return files


def _checksums(data: bytes, base: str, where: str, refused: Refused) -> list[File]:
    """The images of an installer, as sha256sum writes them."""
    text = data.decode("utf-8", "surrogateescape")
    files: list[File] = []
    for path, digest in read_sums(text, where=where, itself=IndexKind.CHECKSUMS.value, refused=refused):
        files += _placed(File(path, UNKNOWN, digest), base, where, refused)
    return files


def _list(lines: list[str], below: str, where: str, refused: Refused) -> list[File]:
    """The files of a `hash size name` list."""
    files: list[File] = []
    for line in lines:
        columns = line.split(maxsplit=2)
        digest = digest_in(columns[0]) if len(columns) == 3 else ""  # a form feed alone is a line of none
        if not digest:
            refused(f"{where}: expected 'hash size name', found {line[:140]!a}")
        else:
            files += _placed(File(columns[2], size_in(columns[1]), digest), below, where, refused)
    return files


def _placed(file: File, below: str, where: str, refused: Refused) -> tuple[File, ...]:
    """The file under its place in the tree, unless its name is none inside."""
    try:
        path = inside(file.path, where=where)
        if below:
            path = tree_path(f"{below}/{path}", where=where)  # which may be longer than a path can be
    except BadPath as exc:
        refused(str(exc))
        return ()
    return (file._replace(path=path),)


def required(release: Release, present: Collection[str]) -> list[Listed]:
    """The entries that must be in the tree: those whose path (in the suite) upstream really has.

    `present` is best a set or a mapping: it is asked once for each entry.
    """
    return [listed for path, listed in release.files.items() if path in present]


def readable(entries: Iterable[Listed]) -> list[tuple[IndexKind, Listed]]:
    """For each family of indices among the entries the variant that is the cheapest to read."""
    families: dict[str, tuple[IndexKind, list[Listed]]] = {}
    for listed in entries:
        kind = kind_of(listed.path)
        if kind is not None:
            families.setdefault(family(listed.path), (kind, []))[1].append(listed)
    return [(kind, _cheapest(variants)) for kind, variants in families.values()]


def _cheapest(variants: list[Listed]) -> Listed:
    return min(variants, key=lambda listed: READABLE_SUFFIXES.index(compression(listed.path)))
