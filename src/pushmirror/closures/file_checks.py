"""The closure check: nothing is published before its closure is on the disk with the listed sizes and hashes.

Only the *change* is checked: the files that the new indices name and the known ones did not. Files that were
in the tree before are checked by size (`verify` reads everything); files that came from upstream since the
last publication are read and hashed, whoever fetched them. All of it goes through in batches, as a first sync
adds every file there is.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from heapq import merge
from itertools import chain, groupby
from pathlib import Path

from pushmirror.archive.compression import family, unpack
from pushmirror.archive.index import (
    UNKNOWN,
    File,
    IndexKind,
    kind_of,
    read_index,
    readable,
    record_fingerprint,
)
from pushmirror.archive.index_blocks import blocks
from pushmirror.archive.pathset import PathSet, fingerprint
from pushmirror.closures.indices import Indices
from pushmirror.closures.store import ClosureStore
from pushmirror.errors import ArchiveError, MalformedFile, Mismatch
from pushmirror.progress import Progress
from pushmirror.system.files import has_digest
from pushmirror.tree.published_state import Fault, PublishedState, Suite
from pushmirror.tree.work_area import WorkArea

_log = logging.getLogger(__name__)
_CHUNK = 256 * 1024  # bytes of a packed index that are read at a time
_NAMES = re.compile(rb"^(?:Filename|Directory):[ \t]*([^\n]*)", re.MULTILINE | re.IGNORECASE)
_PACKAGE = re.compile(rb"^Package:", re.MULTILINE | re.IGNORECASE)
_BATCH_FILES, _BATCH_BYTES = 500, 50_000_000  # of what one thread hashes before it reports


@dataclass(frozen=True, slots=True)
class Unread:
    """An index whose closure is not known yet."""

    kind: IndexKind
    path: str  # in the tree, where a link may be
    file: Path  # where its content is now
    size: int
    key: str  # in the closure store
    unpacked: int  # bytes, an upper bound
    base: str  # directory that its names are relative to
    is_flat: bool  # or to one above it, as they themselves tell


Readable = dict[tuple[str, str], str]  # (suite directory, path in the suite) -> key in the closure store


def read_closures(
    pinned: PublishedState, indices: Indices, closures: ClosureStore
) -> tuple[Readable, dict[str, Fault]]:
    """Read every index of the pinned state into the closure store.

    Returns the keys of the indices, and the faults of the suites of which one cannot be read.
    """
    known: Readable = {}
    unread: dict[str, Unread] = {}
    faults: dict[str, Fault] = {}
    for suite in pinned.suites.values():
        try:
            variants = readable(indices.required(suite))
        except MalformedFile as exc:
            faults[suite.directory] = Fault(str(exc), "tell upstream's operator")
            continue
        for kind, listed in variants:
            place = indices.placed(suite.path_of(listed))
            key = known[suite.directory, listed.path] = closure_key(kind, suite, place, listed.digest)
            if not closures.knows_index(key):
                unpacked = _unpacked_size(suite, listed.path, listed.size)
                base, file = _base_of(kind, suite, place), indices.content_of(suite, listed)
                unread[key] = Unread(kind, place, file, listed.size, key, unpacked, base, suite.is_flat)
    broken = _read_all(list(unread.values()), closures) if unread else {}
    for (directory, _), key in known.items():
        if key in broken:
            faults.setdefault(directory, Fault(broken[key], "tell upstream's operator"))
    return {name: key for name, key in known.items() if name[0] not in faults}, faults


def closure_key(kind: IndexKind, suite: Suite, place: str, digest: str) -> str:
    """The key of an index in the closure store: its hash, and the directory of its names if that is not the
    top.

    `place` is its tree path, without links among the directories.
    """
    base = _base_of(kind, suite, place)
    if not base and not suite.is_flat:
        return digest
    return hashlib.sha256(f"{base}\0{digest}".encode("utf-8", "surrogateescape")).hexdigest()


def _base_of(kind: IndexKind, suite: Suite, place: str) -> str:
    """The directory that the names in an index are relative to."""
    return place.rpartition("/")[0] if kind.is_relative else suite.base


def readable_of(published: PublishedState, closures: ClosureStore) -> Readable:
    """The indices of an earlier state that the closure store has, as `read_closures` returned them."""
    keys = {
        (suite.directory, path): closure_key(kind, suite, suite.path_of(listed), listed.digest)
        for suite in published.suites.values()
        for path, listed in suite.release.files.items()
        if (kind := kind_of(path)) is not None
    }
    known = closures.closures_of(published.generation)
    return {name: key for name, key in keys.items() if key in known}


class NewFiles:
    """What came from upstream since the last publish, to be looked at once for each record of it.

    Indices that disagree about a file are rare: one record of each is held in an array, the others in a set.
    """

    def __init__(self, landed: PathSet, staged: Collection[str]) -> None:
        both = merge(landed.fingerprints(), sorted(map(fingerprint, staged)))
        self._came = array("Q", (number for number, _ in groupby(both)))
        self._record = array("Q", bytes(8 * len(self._came)))  # the first of each; 0 where none was taken
        self._others: set[int] = set()

    def __len__(self) -> int:
        return len(self._came)

    def take(self, files: Iterable[File]) -> list[File]:
        """Those of the files that came, and were not taken before with the same size and hash."""
        return [file for file in files if self._took(file)] if self._came else []

    def rest(self) -> set[int]:
        """The fingerprints of what was not taken."""
        return {number for number, record in zip(self._came, self._record, strict=True) if not record}

    def _took(self, file: File) -> bool:
        number = fingerprint(file.path)
        at = bisect_left(self._came, number)
        if at == len(self._came) or self._came[at] != number:
            return False
        record = record_fingerprint(file) or 1
        first = self._record[at]
        if first == record or record in self._others:
            return False
        if first:
            self._others.add(record)
        else:
            self._record[at] = record
        return True


def lacking(files: Iterable[File], tree: Path, staged: Collection[str], area: WorkArea) -> list[File]:
    """Those of the files that are neither in the tree nor staged with the right size.

    A file of unknown size is not asked for: an installer's list may name images that are not mirrored.
    """
    return [
        file for file in files if file.size != UNKNOWN and _size(file.path, tree, staged, area) != file.size
    ]


def of_no_size(files: Iterable[File], tree: Path, staged: Collection[str]) -> list[File]:
    """Those whose size no index tells and that the tree has, where an older image may have the name."""
    return [
        file
        for file in files
        if file.size == UNKNOWN and file.path not in staged and _size_here(file.path, tree) is not None
    ]


def mismatching(places: Sequence[tuple[File, Path]], progress: Progress) -> list[File]:
    """Those of the files whose content has another size or hash, or that are not there.

    Each comes with the place where its content is.
    """

    def check(batch: Sequence[tuple[File, Path]]) -> list[File]:
        bad = [
            file
            for file, place in batch
            if not (_has_size(place, file.size) and has_digest(place, file.digest))
        ]
        progress.advance(files=len(batch), size=sum(max(file.size, 0) for file, _ in batch))
        return bad

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets go of the interpreter's lock
        return [file for bad in pool.map(check, _batches(places)) for file in bad]


def _has_size(place: Path, size: int) -> bool:
    if size == UNKNOWN:
        return True
    try:
        return os.lstat(place).st_size == size
    except OSError:
        return False


def _batches(places: Sequence[tuple[File, Path]]) -> Iterator[Sequence[tuple[File, Path]]]:
    """Parts that are worth a thread's while: many small files, or a few large ones."""
    start, size = 0, 0
    for end, (file, _) in enumerate(places, start=1):
        size += max(file.size, 0)
        if end - start == _BATCH_FILES or size >= _BATCH_BYTES:
            yield places[start:end]
            start, size = end, 0
    yield places[start:]


def _size(path: str, tree: Path, staged: Collection[str], area: WorkArea) -> int | None:
    if path in staged:
        found = area.fetched(path)
        return found.st_size if found else None
    return _size_here(path, tree)


def _size_here(path: str, tree: Path) -> int | None:
    try:
        here = os.lstat(f"{tree}/{path}")
    except OSError:
        return None
    return here.st_size if stat.S_ISREG(here.st_mode) else None


def _unpacked_size(suite: Suite, path: str, size: int) -> int:
    """How large an index may get when unpacked: what the Release says, or a bound for a bomb."""
    plain = suite.release.files.get(family(path))
    if plain:
        return plain.size
    return max(size * 100, 1_000_000) if size else 0


def _read_all(unread: list[Unread], closures: ClosureStore) -> dict[str, str]:
    """Read indices into the closure store; returns why some cannot be read, by their keys."""
    largest_first = sorted(unread, key=lambda index: -index.unpacked)
    broken: dict[str, str] = {}
    with (
        closures.writing(),
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):  # most of it is unpacking and hashing
        reading = {index.key: pool.submit(_read, index, closures) for index in largest_first}
        try:
            for key, one in reading.items():
                try:
                    one.result()
                except (ArchiveError, OSError) as exc:
                    broken[key] = str(exc)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return broken


def _read(index: Unread, closures: ClosureStore) -> None:
    with index.file.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != index.size:
            raise Mismatch(f"{index.path} has {size} bytes; its Release says {index.size}")
        text = unpack(iter(partial(file.read, _CHUNK), b""), index.path, size=index.unpacked)
        base = index.base
        if index.is_flat and not index.kind.is_relative:
            text, base = _peeked(text, base)
        refused: list[str] = []
        closures.remember_index(
            index.key,
            _stanzas_required(blocks(index.kind, text, where=index.path), index),
            partial(read_index, index.kind, base=base, where=index.path, refused=refused.append),
            salt=f"{index.kind.value} {base}",
        )
    if refused:
        _log.warning("%d stanzas or lines of %s left out, such as %s", len(refused), index.path, refused[0])


def _stanzas_required(parts: Iterable[bytes], index: Unread) -> Iterator[bytes]:
    """The parts of an index as they come; MalformedFile if all of them together have no package.

    A web page in the place of Packages has the right hash, and apt wants none of it.
    """
    has_any, is_empty = index.kind.is_relative, True
    for part in parts:
        is_empty = is_empty and not part.strip()
        has_any = has_any or _PACKAGE.search(part) is not None
        yield part
    if not (has_any or is_empty):
        raise MalformedFile(f"{index.path}: expected stanzas of packages, found none")


def _peeked(text: Iterator[bytes], directory: str) -> tuple[Iterator[bytes], str]:
    """The text of a flat repository's index, and the directory that its names are relative to.

    apt takes them for relative to the address in its sources.list, which nobody here knows: names that begin
    with the repository's own directory, or the end of its path, are relative to the one above that.
    """
    begin = next(text, b"")
    names = [name.decode("utf-8", "surrogateescape").removeprefix("./") for name in _NAMES.findall(begin)]
    parts = directory.split("/")
    base = directory
    for depth in range(len(parts)):
        below = "/".join(parts[depth:])
        if directory and names and all(name.startswith(f"{below}/") for name in names):
            base = "/".join(parts[:depth])
            break
    return chain([begin], text), base
