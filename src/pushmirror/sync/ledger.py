"""Which files the indices refer to, remembered: an index is parsed once, its closure kept by its hash.

    DIRECTORY/indices/SHA256        the files one index refers to
    DIRECTORY/generations/DIGEST    the indices of one published generation; its mtime is when it was replaced

The ledger answers "may this file be deleted?" for the live generation and for those replaced within the
grace period. It holds nothing that could not be parsed again, and a damaged record counts as none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pushmirror.archive.index import File
from pushmirror.system.files import write_atomically


class Ledger:
    """The ledger of one archive."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._indices = directory / "indices"
        self._generations = directory / "generations"
        self._keyrings = directory / "keyrings"
        for place in (self._indices, self._generations):
            place.mkdir(parents=True, exist_ok=True)

    def index_record(self, sha256: str) -> Path:
        """Where the closure of one index is kept."""
        return self._indices / sha256

    def knows_index(self, sha256: str) -> bool:
        """Whether the closure of this index is known."""
        try:
            data = self.index_record(sha256).read_bytes()
        except FileNotFoundError:
            return False
        number = data.partition(b"\n")[0]
        return number.isdigit() and data.endswith(b"\n") and int(number) == data.count(b"\n") - 1

    def lines(self, sha256: str) -> list[str] | None:
        """The closure of an index as `PATH<TAB>SIZE<TAB>SHA256` lines, or None if it is not known."""
        return _read(self.index_record(sha256))

    def knows_generation(self, digest: str) -> bool:
        """Whether a generation's indices, and all their closures, are known."""
        roots = _read(self._generations / digest)
        return roots is not None and all(self.index_record(sha).exists() for sha in _readable(roots))

    def remember_generation(self, digest: str, paths: Iterable[str], readable: Iterable[str]) -> None:
        """Record a generation: the tree paths of its own index files, and the hashes of the readable ones."""
        lines = [f"{path}\t" for path in paths] + [f"\t{sha256}" for sha256 in sorted(set(readable))]
        write_record(self._generations / digest, lines)

    def keyrings(self) -> str:
        """Which keyrings the live state was checked with; empty if with none."""
        with suppress(FileNotFoundError):
            return self._keyrings.read_text()
        return ""

    def note_keyrings(self, fingerprint: str) -> None:
        """The live state is signed by these keyrings."""
        if self.keyrings() != fingerprint:
            write_atomically(self._keyrings, fingerprint.encode())

    def closures_of(self, digest: str) -> set[str]:
        """The keys of the closures that a generation's record names; empty if there is no record."""
        return set(_readable(_read(self._generations / digest) or []))

    def replaced(self, digest: str) -> None:
        """The grace period of a generation begins now."""
        with suppress(FileNotFoundError):
            os.utime(self._generations / digest)

    def referred_to(self, paths: Collection[str], *, live: str, grace_s: float) -> set[str]:
        """Those of `paths` that the live generation, or one replaced within `grace_s` seconds, refers to.

        All of them where a record is missing: what cannot be answered must not be deleted.
        """
        paths = set(paths)
        if live and not self.knows_generation(live):
            return paths
        found: set[str] = set()
        indices: set[str] = set()
        for digest in self._recent(live=live, grace_s=grace_s):
            roots = _read(self._generations / digest)
            if roots is None:
                return paths
            found.update(paths.intersection(line[:-1] for line in roots if line.endswith("\t")))
            indices.update(_readable(roots))
        for sha256 in indices:
            lines = self.lines(sha256)
            if lines is None:
                return paths
            found.update(paths.intersection(line.partition("\t")[0] for line in lines))
        return found

    def prune(self, *, live: str, grace_s: float) -> None:
        """Forget generations whose grace is over, and indices that no other generation has."""
        keep = set(self._recent(live=live, grace_s=grace_s))
        wanted: set[str] = set()
        for record in list(self._generations.iterdir()):
            if record.name in keep:
                wanted.update(_readable(_read(record) or []))
            else:
                record.unlink()
        for record in list(self._indices.iterdir()):
            if record.name not in wanted:
                record.unlink()

    def _recent(self, *, live: str, grace_s: float) -> Iterator[str]:
        oldest = time.time() - grace_s
        for record in self._generations.iterdir():
            if record.name == live or record.stat().st_mtime >= oldest:
                yield record.name


def write_closure(record: Path, files: Iterable[File]) -> None:
    """Record the closure of one index."""
    write_record(record, [f"{file.path}\t{file.size}\t{file.sha256}" for file in files])


def write_record(record: Path, lines: list[str]) -> None:
    """Write lines, their number first: a record cut short by a crash must not look like a shorter one."""
    text = "\n".join([str(len(lines)), *lines, ""])
    write_atomically(record, text.encode("utf-8", "surrogateescape"), durable=False)


def _read(record: Path) -> list[str] | None:
    try:
        lines = record.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except (FileNotFoundError, IsADirectoryError):  # a directory: the record of "", no generation
        return None
    if lines[-1] or not lines[0].isdigit() or int(lines[0]) != len(lines) - 2:
        return None
    return lines[1:-1]


def _readable(roots: Iterable[str]) -> Iterator[str]:
    return (line[1:] for line in roots if line.startswith("\t"))
