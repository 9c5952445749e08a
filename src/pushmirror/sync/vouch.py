"""Nothing is published before its closure is on the disk, with the sizes and hashes that the indices name.

What is compared is the *change*: the files that the new indices name and the known ones did not. Files
that were in the tree before are taken at their size (`verify` reads everything); files that came from
upstream since the last publish are read and hashed, whoever fetched them. All of it goes through in batches:
a first sync adds every file there is, and no million of them is in memory at once.
"""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pushmirror.archive.blocks import blocks
from pushmirror.archive.closure import family, readable
from pushmirror.archive.contents import unpack
from pushmirror.archive.index import UNKNOWN, File, IndexKind, kind_of, read_index
from pushmirror.archive.pathset import PathSet, fingerprint
from pushmirror.errors import Mismatch
from pushmirror.sync.indices import Indices
from pushmirror.sync.ledger import Ledger
from pushmirror.sync.progress import Progress
from pushmirror.sync.published import Published, Suite
from pushmirror.sync.work import WorkArea
from pushmirror.system.files import has_digest

_CHUNK = 256 * 1024  # bytes of a packed index that are read at a time
_BATCH_FILES, _BATCH_BYTES = 500, 50_000_000  # of what one thread hashes before it reports


@dataclass(frozen=True, slots=True)
class Unread:
    """An index whose closure is not known yet."""

    kind: IndexKind
    path: str  # in the tree
    file: Path  # where its content is now
    size: int
    key: str  # of its closure in the ledger
    unpacked: int  # bytes, an upper bound


def read_closures(pinned: Published, indices: Indices, ledger: Ledger) -> dict[tuple[str, str], str]:
    """Make the ledger know every index of the pinned state.

    Returns the key of its closure in the ledger, by (suite directory, path in the suite).
    """
    known: dict[tuple[str, str], str] = {}
    unread: dict[str, Unread] = {}
    for suite in pinned.suites.values():
        for kind, listed in readable(indices.required(suite)):
            path = indices.resolved(suite.path_of(listed))
            key = known[suite.directory, listed.path] = closure_key(kind, path, listed.digest)
            if not ledger.knows_index(key):
                unpacked = _unpacked_size(suite, listed.path, listed.size)
                unread[key] = Unread(kind, path, indices.file_of(path), listed.size, key, unpacked)
    if unread:
        _read_all(list(unread.values()), ledger)
    return known


def closure_key(kind: IndexKind, path: str, digest: str) -> str:
    """An index's closure in the ledger: by its hash, and by its path if that is part of what it names."""
    if not kind.is_relative:
        return digest
    return hashlib.sha256(f"{path}\0{digest}".encode("utf-8", "surrogateescape")).hexdigest()


def readable_of(published: Published, ledger: Ledger) -> dict[tuple[str, str], str]:
    """The indices of an earlier state that the ledger knows, as `read_closures` returned them."""
    keys = {
        (suite.directory, path): closure_key(kind, suite.path_of(listed), listed.digest)
        for suite in published.suites.values()
        for path, listed in suite.release.files.items()
        if (kind := kind_of(path)) is not None
    }
    known = ledger.closures_of(published.generation)
    return {name: key for name, key in keys.items() if key in known}


class Came:
    """What came from upstream since the last publish, each to be looked at once."""

    def __init__(self, landed: PathSet, staged: Collection[str]) -> None:
        self._landed = array("Q", landed.fingerprints())
        self._seen = bytearray(len(self._landed))
        self._staged = set(staged)

    def __len__(self) -> int:
        return len(self._landed) + len(self._staged)

    def take(self, files: Iterable[File]) -> list[File]:
        """Those of the files that came, and were not taken before."""
        return [file for file in files if self._took(file.path)]

    def rest(self) -> set[int]:
        """The fingerprints of what was not taken."""
        landed = (number for number, seen in zip(self._landed, self._seen, strict=True) if not seen)
        return {*landed, *map(fingerprint, self._staged)}

    def _took(self, path: str) -> bool:
        if path in self._staged:
            self._staged.remove(path)
            return True
        if not self._landed:
            return False
        number = fingerprint(path)
        at = bisect_left(self._landed, number)
        if at == len(self._landed) or self._landed[at] != number or self._seen[at]:
            return False
        self._seen[at] = True
        return True


def lacking(files: Iterable[File], tree: Path, staged: Collection[str], area: WorkArea) -> list[File]:
    """Those of the files that are neither in the tree nor staged with the right size.

    A file of unknown size is not asked for: an installer's list may name images that are not mirrored.
    """
    return [
        file for file in files if file.size != UNKNOWN and _size(file.path, tree, staged, area) != file.size
    ]


def wrong(places: Sequence[tuple[File, Path]], progress: Progress) -> list[File]:
    """Those of the files whose content has another hash, or that are not there.

    Each comes with the directory that its path is relative to.
    """

    def check(batch: Sequence[tuple[File, Path]]) -> list[File]:
        bad = [file for file, directory in batch if not has_digest(f"{directory}/{file.path}", file.digest)]
        progress.advance(files=len(batch), size=sum(max(file.size, 0) for file, _ in batch))
        return bad

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets go of the interpreter's lock
        return [file for bad in pool.map(check, _batches(places)) for file in bad]


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
    try:
        here = os.lstat(f"{tree}/{path}")
    except OSError:
        return None
    return here.st_size if stat.S_ISREG(here.st_mode) else None


def _unpacked_size(suite: Suite, path: str, size: int) -> int:
    """How large an index may get when unpacked: what the Release says, or a bound for a bomb."""
    plain = suite.release.files.get(family(path))
    return plain.size if plain else max(size * 100, 1_000_000)


def _read_all(unread: list[Unread], ledger: Ledger) -> None:
    """Read indices into the ledger: all of them, or, if one cannot be read, none."""
    largest_first = sorted(unread, key=lambda index: -index.unpacked)
    with ledger.writing(), ThreadPoolExecutor(os.cpu_count()) as pool:  # most of it is unpacking and hashing
        reading = [pool.submit(_read, index, ledger) for index in largest_first]
        try:
            for one in reading:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _read(index: Unread, ledger: Ledger) -> None:
    base = index.path.rpartition("/")[0] if index.kind.is_relative else ""
    with index.file.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != index.size:
            raise Mismatch(f"{index.path} has {size} bytes; its Release says {index.size}")
        text = unpack(iter(partial(file.read, _CHUNK), b""), index.path, size=index.unpacked)
        ledger.remember_index(
            index.key,
            blocks(index.kind, text, where=index.path),
            partial(read_index, index.kind, base=base, where=index.path),
            salt=f"{index.kind.value} {base}",
        )
