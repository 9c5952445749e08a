"""The readers of what an archive has: Release files, indices, lists, manifests, traces, containers, names."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256

from faults.readers.judged import Reader, require, require_inside, require_link_inside, text
from pushmirror.archive.checksum_lists import parse_extrafiles
from pushmirror.archive.compression import decompress
from pushmirror.archive.filters import (
    STAGE1_RULES,
    Selection,
    architecture_rules,
    exclude_rules,
    filter_rules,
)
from pushmirror.archive.index import (
    UNKNOWN,
    File,
    IndexKind,
    _careful_packages,
    read_index,
    readable,
    required,
)
from pushmirror.archive.index_blocks import blocks
from pushmirror.archive.manifest import chain, parse_head, render_head
from pushmirror.archive.manifest_parts import (
    Part,
    _careful,
    _Lines,
    pack_snapshot,
    read_change,
    read_snapshot,
    render_change,
)
from pushmirror.archive.paths import MAX_PATH, Entry, Kind, inside, link_stays_inside, resolve, tree_path
from pushmirror.archive.release import MAX_SIZE, Release, by_hash_paths, parse_release
from pushmirror.archive.signature import (
    binary_keyring,
    judge,
    open_clearsigned,
    split_clearsigned,
    suite_text_agrees,
)
from pushmirror.archive.trace import archive_serial, parse_trace, render_hierarchy
from pushmirror.errors import ArchiveError, BadPath, ConfigError
from pushmirror.inventory.tables import counts, counts_in

_WHERE = "what was read"
_BASE = "dists/sid/main"
_UNPACKED = 256 * 1024  # bytes that a container may unpack to


# --- Release files and indices ----------------------------------------------------------------------------


def _release(data: bytes) -> None:
    _judge_release(parse_release(data, where=_WHERE))


def _in_release(data: bytes) -> None:
    signed = open_clearsigned(data, where=_WHERE)
    require(not signed.signed.startswith(b"-----BEGIN PGP"), "armor in what was signed")
    require(signed.text == split_clearsigned(data, where=_WHERE), "two texts of one file")
    require(suite_text_agrees(data, signed.text), "a text that is not its own")
    _judge_release(parse_release(signed.text, where=_WHERE))


def _judge_release(release: Release) -> None:
    listed = required(release, release.files)
    require_inside(one.path for one in listed)
    require_inside(path for one in listed for _, path in by_hash_paths(one))
    require(all(0 <= one.size <= MAX_SIZE for one in listed), "a size out of bounds")
    families = readable(listed)
    require(len(families) <= len(listed), "more indices than files")


def _index(kind: IndexKind, base: str = "") -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        files, refused = _files(kind, data, base)
        require_inside(file.path for file in files)
        require(all(UNKNOWN <= file.size <= MAX_SIZE for file in files), "a size out of bounds")
        require(all(reason.startswith(_WHERE) for reason in refused), "a reason that names no place")
        if kind is IndexKind.PACKAGES:
            _require_same(files, _carefully(data, base), "the careful reader of Packages finds others")
        if kind in {IndexKind.PACKAGES, IndexKind.SOURCES}:
            size = 1 + len(data) // 5
            chunks = (data[at : at + size] for at in range(0, len(data), size))
            parts = [_files(kind, block, base)[0] for block in blocks(kind, chunks, where=_WHERE)]
            _require_same(files, [file for part in parts for file in part], "blocks have other files")

    return read


def _files(kind: IndexKind, data: bytes, base: str) -> tuple[list[File], list[str]]:
    refused: list[str] = []
    return read_index(kind, data, base=base, where=_WHERE, refused=refused.append), refused


def _carefully(data: bytes, base: str) -> list[File]:
    return _careful_packages(data.replace(b"\r\n", b"\n"), base, _WHERE, 0, lambda _: None)


def _require_same(some: list[File], others: list[File], what: str) -> None:
    require(some == others, f"{what}: {set(some) ^ set(others)}"[:500])


def _extrafiles(data: bytes) -> None:
    refused: list[str] = []
    require_inside(parse_extrafiles(data, where=_WHERE, refused=refused.append))


def _status(data: bytes) -> None:
    signature = judge(text(data), where=_WHERE)
    require(bool(signature.keys), "a good signature by nobody")
    require(b"GOODSIG" in data and b"VALIDSIG" in data, "a good signature that gpgv did not see")


def _keyring(data: bytes) -> None:
    require(bool(binary_keyring(data, where=_WHERE)), "a keyring of nothing")


# --- Traces and names -------------------------------------------------------------------------------------


def _trace(data: bytes) -> None:
    told = data.decode("utf-8", "replace")
    facts = parse_trace(told)
    require(not any("\n" in value for value in facts.fields.values()), "a value of two lines")
    require(archive_serial(told) != "", "an empty serial")
    names = {"tracename": "mirror.example.org", "mirrorname": "m", "tracehost": "h", "rsynchost": "up stream"}
    once = render_hierarchy(text(data), **names)
    require(once == render_hierarchy(once, **names), "a hierarchy that grows with each run")
    require(once.endswith("mirror.example.org m h up_stream\n"), "a hierarchy without us")


def _path(data: bytes) -> None:
    raw, _, target = text(data).partition("\n")
    for rule in (tree_path, inside):
        try:
            path = rule(raw, where=_WHERE)
        except BadPath:
            continue
        require_inside([path])
        require(rule(path, where=_WHERE) == path, "a name that changes when it is read again")
        if link_stays_inside(path, target):
            require_link_inside(path, target)


def _links(data: bytes) -> None:
    path, *lines = text(data).split("\n")
    links = dict(line.split(" -> ", 1) for line in lines if " -> " in line)
    for follow_last in (False, True):
        with suppress(BadPath):
            found = resolve(path, links, follow_last=follow_last)
            require(not found.startswith("/"), "a way out")
            require(".." not in found.split("/")[:-1], "a way up")


def _names(data: bytes) -> None:
    """The disk's own names: what is told at a glance is what the rules say."""
    directory, _, name = text(data.replace(b"\n", b"")).rpartition("/")
    is_name = name not in {"", ".", ".."} and "\0" not in name and len(os.fsencode(name)) < 256
    if not is_name or (directory and not counts(directory)):
        return
    path = f"{directory}/{name}" if directory else name
    require(counts_in(directory, name) == counts(path), "the glance and the rules differ")
    if counts(path):
        require_inside([path])


def _filter(data: bytes) -> None:
    """An upstream's names for usual rules, and an operator's rules for usual names."""
    lines = text(data).split("\n")
    for path in [line for line in lines[:50] if len(line) <= MAX_PATH]:
        for selection in _USUAL:
            if selection.wants(path) and (above := path.rpartition("/")[0]):
                require(selection.wants(above, is_dir=True), "a name below a directory that is left out")
    with suppress(ConfigError):
        rules = filter_rules(line for line in lines if line.startswith(("+ ", "- ")) and len(line) < 100)
        selection = Selection(tuple(rules))
        require(len(selection.rsync_args()) == len(rules), "rules that rsync is not told")
        for path in ("a", "pool/main/a/a_1_amd64.deb", "dists/sid/main/binary-amd64/Packages.xz"):
            selection.wants(path)


_USUAL = tuple(
    Selection(tuple(rules))
    for rules in (
        architecture_rules(["amd64", "source"], []),
        architecture_rules([], ["i386"]),
        [*STAGE1_RULES, *exclude_rules(["/private/***", "*~", "[.]*", "**/old/"])],
    )
)


# --- Containers -------------------------------------------------------------------------------------------


def _container(suffix: str) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        require(len(decompress(data, f"I{suffix}", size=_UNPACKED)) <= _UNPACKED, "more than was allowed")

    return read


# --- Manifests --------------------------------------------------------------------------------------------


def _head(data: bytes) -> None:
    head = parse_head(data, where=_WHERE)
    require(render_head(head) == data, "a head that is written otherwise than it was read")
    parts = [head.snapshot, *(step.part for step in head.steps)]
    require_inside(part.name for part in parts)
    require(all("/" not in part.name for part in parts), "a part in another directory")
    require(chain(head, head.snapshot_state) is not None, "a snapshot that leads nowhere")


def _snapshot(data: bytes) -> None:
    """The text of a snapshot, packed here, so that what changes in it is not only its hash."""
    packed, part = _packed(data)
    entries = list(read_snapshot(_chunks(packed), part, where=_WHERE))
    _judge_entries(entries)
    lines = _Lines(b"pushmirror-snapshot", part, _WHERE)
    require(list(_careful(data, lines)) == entries, "the careful reader of snapshots finds others")
    require(len({entry.path for entry in entries}) == len(entries), "a name twice")
    require(_unpacked(b"".join(pack_snapshot(entries))) == _without_empty(data), "another text when written")


def _change(data: bytes) -> None:
    packed, part = _packed(data)
    change = read_change(packed, part, where=_WHERE)
    _judge_entries([*change.removed, *change.added])
    again, part = _packed(_unpacked(render_change(change)))
    require(read_change(again, part, where=_WHERE) == change, "another change when written")


def _packed_part(read: Callable[[bytes, Part], object]) -> Callable[[bytes], None]:
    """Of the packed bytes, whatever they are: their size and hash are those that a head names."""

    def packed(data: bytes) -> None:
        try:
            entries = _entries(zlib.decompressobj(wbits=31).decompress(data, _UNPACKED))
        except zlib.error:
            entries = 1
        read(data, Part("part.gz", len(data), sha256(data).hexdigest(), entries))

    return packed


def _packed(data: bytes) -> tuple[bytes, Part]:
    packer = zlib.compressobj(1, wbits=31)
    packed = packer.compress(data) + packer.flush()
    return packed, Part("part.gz", len(packed), sha256(packed).hexdigest(), _entries(data))


def _entries(data: bytes) -> int:
    """How many entries a text says that it has."""
    ends = re.findall(rb"(?m)^end\t(\d{1,5})$", data)
    return int(ends[-1]) if ends else 100


def _unpacked(data: bytes) -> bytes:
    return zlib.decompress(data, wbits=31)


def _without_empty(data: bytes) -> bytes:
    """A snapshot without the directories of which nothing is listed; nobody writes such lines."""
    return re.sub(rb"(?m)^/\t[^\n]*\n(?=/\t|end\t)", b"", data)


def _chunks(data: bytes) -> Iterator[bytes]:
    size = 1 + len(data) // 3
    return (data[at : at + size] for at in range(0, len(data), size))


def _judge_entries(entries: list[Entry]) -> None:
    require_inside(entry.path for entry in entries)
    for entry in entries:
        if entry.kind is Kind.LINK:
            require_link_inside(entry.path, entry.target)
        require(0 <= entry.size <= MAX_SIZE, "a size out of bounds")


def _of_archive(read: Callable[[bytes], None]) -> Reader:
    return Reader(read, (ArchiveError,))


READERS: Mapping[str, Reader] = {
    "release": _of_archive(_release),
    "inrelease": _of_archive(_in_release),
    "packages": _of_archive(_index(IndexKind.PACKAGES)),
    "packages-below": _of_archive(_index(IndexKind.PACKAGES, _BASE)),
    "sources": _of_archive(_index(IndexKind.SOURCES)),
    "diff-index": _of_archive(_index(IndexKind.DIFF_INDEX, f"{_BASE}/Packages.diff")),
    "sums": _of_archive(_index(IndexKind.CHECKSUMS, f"{_BASE}/installer-amd64/current/images")),
    "extrafiles": _of_archive(_extrafiles),
    "gpgv": _of_archive(_status),
    "keyring": _of_archive(_keyring),
    "trace": Reader(_trace, ()),
    "path": Reader(_path, ()),
    "links": Reader(_links, ()),
    "names": Reader(_names, ()),
    "filter": Reader(_filter, ()),
    "head": _of_archive(_head),
    "snapshot": _of_archive(_snapshot),
    "change": _of_archive(_change),
    "packed-snapshot": _of_archive(
        _packed_part(lambda data, part: list(read_snapshot(_chunks(data), part, where=_WHERE)))
    ),
    "packed-change": _of_archive(_packed_part(lambda data, part: read_change(data, part, where=_WHERE))),
    **{
        f"container-{name}": _of_archive(_container(f".{name}"))
        for name in ("gz", "xz", "bz2", "zst", "lz4", "lzma")
    },
}
