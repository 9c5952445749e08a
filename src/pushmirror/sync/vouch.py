"""Nothing is published before its closure is on the disk, with the sizes and hashes that the indices name.

What is compared is the *change*: the files that the new indices name and the known ones did not. Files
that were in the tree before are taken at their size (`verify` reads everything); files that came from
upstream since the last publish are read and hashed, whoever fetched them.
"""

from __future__ import annotations

import gc
import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from pushmirror.archive.closure import family, readable
from pushmirror.archive.index import UNKNOWN, File, IndexKind, decompress, kind_of, read_index
from pushmirror.errors import Mismatch
from pushmirror.sync.indices import Indices
from pushmirror.sync.ledger import Ledger, write_closure
from pushmirror.sync.progress import Progress
from pushmirror.sync.published import Published, Suite
from pushmirror.sync.work import WorkArea
from pushmirror.system.files import sha256_of
from pushmirror.system.process import die_with_parent

_WORTH_PROCESSES = 20_000_000  # bytes of unpacked indices from which a second process pays for its start
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
            key = known[suite.directory, listed.path] = closure_key(kind, path, listed.sha256)
            if not ledger.knows_index(key):
                unpacked = _unpacked_size(suite, listed.path, listed.size)
                unread[key] = Unread(kind, path, indices.file_of(path), listed.size, key, unpacked)
    _read_all(list(unread.values()), ledger)
    return known


def closure_key(kind: IndexKind, path: str, sha256: str) -> str:
    """An index's closure in the ledger: by its SHA256, and by its path if that is part of what it names."""
    if not kind.is_relative:
        return sha256
    return hashlib.sha256(f"{path}\0{sha256}".encode("utf-8", "surrogateescape")).hexdigest()


def additions(
    new: Mapping[tuple[str, str], str], old: Mapping[tuple[str, str], str], ledger: Ledger
) -> dict[str, File]:
    """The files that the new indices refer to and the old ones, as far as the ledger knows them, did not."""
    found: dict[str, File] = {}
    for name, sha256 in new.items():
        before = old.get(name)
        if before == sha256:
            continue
        lines = set(ledger.lines(sha256) or [])
        if before is not None:
            lines.difference_update(ledger.lines(before) or [])
        for line in lines:
            path, size, digest = line.split("\t")
            found[path] = File(path, int(size), digest)
    return found


def readable_of(published: Published, ledger: Ledger) -> dict[tuple[str, str], str]:
    """The indices of an earlier state that the ledger knows, as `read_closures` returned them."""
    keys = {
        (suite.directory, path): closure_key(kind, suite.path_of(listed), listed.sha256)
        for suite in published.suites.values()
        for path, listed in suite.release.files.items()
        if (kind := kind_of(path)) is not None
    }
    known = ledger.closures_of(published.generation)
    return {name: key for name, key in keys.items() if key in known}


def named(paths: Collection[str], indices: Iterable[str], ledger: Ledger) -> dict[str, File]:
    """What the indices of these SHA256s say of some paths."""
    found: dict[str, File] = {}
    for sha256 in set(indices):
        for line in ledger.lines(sha256) or []:
            path, _, rest = line.partition("\t")
            if path in paths:
                size, _, digest = rest.partition("\t")
                found[path] = File(path, int(size), digest)
    return found


def lacking(files: Iterable[File], tree: Path, staged: Collection[str], area: WorkArea) -> list[File]:
    """Those of the files that are neither in the tree nor staged with the right size.

    A file of unknown size is not asked for: an installer's list may name images that are not mirrored.
    """
    return [
        file for file in files if file.size != UNKNOWN and _size(file.path, tree, staged, area) != file.size
    ]


def wrong(places: Sequence[tuple[File, Path]], progress: Progress) -> list[File]:
    """Those of the files whose content has another SHA256, or that are not there.

    Each comes with the directory that its path is relative to.
    """

    def check(batch: Sequence[tuple[File, Path]]) -> list[File]:
        bad = [file for file, directory in batch if _is_wrong(file, f"{directory}/{file.path}")]
        progress.advance(files=len(batch), size=sum(max(file.size, 0) for file, _ in batch))
        return bad

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets go of the interpreter's lock
        return [file for bad in pool.map(check, _batches(places)) for file in bad]


def _is_wrong(file: File, path: str) -> bool:
    try:
        return sha256_of(path) != file.sha256
    except OSError:
        return True


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
    if sum(index.unpacked for index in unread) < _WORTH_PROCESSES or os.cpu_count() == 1:
        for index in unread:
            _read(index, ledger.index_record(index.key))
        return
    largest_first = sorted(unread, key=lambda index: -index.unpacked)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), initializer=_begin_reading) as pool:
        records = [ledger.index_record(index.key) for index in largest_first]
        for _ in pool.map(_read, largest_first, records):
            pass


def _begin_reading() -> None:
    die_with_parent()  # a pool does not notice that its owner was killed
    gc.disable()  # an index becomes a million values that all live until it is written down


def _read(index: Unread, record: Path) -> None:
    packed = index.file.read_bytes()
    if len(packed) != index.size:
        raise Mismatch(f"{index.path} has {len(packed)} bytes; its Release says {index.size}")
    data = decompress(packed, index.path, size=index.unpacked)
    base = index.path.rpartition("/")[0] if index.kind.is_relative else ""
    write_closure(record, read_index(index.kind, data, base=base, where=index.path))
