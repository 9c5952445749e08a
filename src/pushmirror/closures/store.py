"""The closure store: which files the indices of recent generations refer to. Unchanged parts are not parsed
again.

An index is stored as the blocks that it consists of (archive/index_blocks.py), each by its hash, so that two
indices, or two states of an archive, differ only in the blocks that differ. The store answers "may this file
be deleted?" for the live generation and for those replaced within the grace period, by sets of fingerprints:
an error there means that a file is kept. Everything in it can be parsed again, and what it lacks counts as
unknown, never as empty.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, TypeVar

from pushmirror.archive.index import File
from pushmirror.archive.pathset import PathSet, fingerprint
from pushmirror.closures.db import Block, ClosureDb, Prints
from pushmirror.system.batched import batched
from pushmirror.system.sqlite import reads, reads_on

_T = TypeVar("_T")
_TOGETHER = 256  # blocks that are looked up at a time
_FRESH = 50_000  # files that are remembered at a time
_FEW_BLOCKS = 5000  # of which the lines may be held in memory
_SAMPLE = 100_000  # files that are counted one by one
_FORMER, _FORMER_KEYRINGS = ("indices", "generations"), "keyrings"  # beside it, of the versions before it
_HELD = "held"  # in the place of a digest: what is not served
_LOOK_UP = 40  # questions cost as much as walking over so many numbers
_JUMP_S = 7 * 24 * 3600.0  # between two runs; what is longer may be a clock that has jumped


class _Generation(NamedTuple):
    digest: str
    replaced: float  # seconds since the epoch; when it was recorded if it never was
    keys: frozenset[str]  # of its indices
    prints: PathSet  # of its own files


class ClosureStore:
    """The closure store of one archive."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._file = ClosureDb(directory / "ledger.sqlite")
        self._run_began: float | None = None  # on the clock, in seconds since the epoch
        self._steady = 0.0  # the same on the monotonic clock
        self._oldest: float | None = None  # as `unneeded` took it: `prune` must not forget more

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # -- indices ---------------------------------------------------------------------------------------

    def writing(self) -> AbstractContextManager[None]:
        """One transaction, for this thread and its helpers."""
        return self._file.writing()

    def knows_index(self, key: str) -> bool:
        """Whether the closure of this index is known."""
        return bool(self._file.ask("SELECT 1 FROM indices WHERE key = ?", (key,)))

    def remember_index(
        self, key: str, blocks: Iterable[bytes], read: Callable[[bytes], list[File]], *, salt: str = ""
    ) -> None:
        """Store the closure of an index; `read` is called for the blocks that are not known yet.

        Two indices with the same `salt` refer to the same files by the same block.
        """
        start = hashlib.sha256(f"{salt}\0".encode("utf-8", "surrogateescape"))
        numbers: dict[bytes, int] = {}
        order: list[bytes] = []
        fresh: dict[bytes, Block] = {}
        size = 0
        for some in batched(blocks, _TOGETHER):
            texts: dict[bytes, bytes] = {}
            for text in some:
                hashed = start.copy()
                hashed.update(text)
                order.append(hashed.digest())
                texts[order[-1]] = text
            asked = [digest for digest in texts if digest not in numbers and digest not in fresh]
            numbers |= self._file.numbers_of(asked)
            for digest in asked:
                if digest not in numbers:
                    fresh[digest] = block = _block(digest, read(texts[digest]))
                    size += len(block.prints)
            if size >= _FRESH:
                numbers |= self._add(fresh)
                fresh, size = {}, 0
        numbers |= self._add(fresh)
        made_of = array("I", map(numbers.__getitem__, order))
        self._file.do("INSERT OR REPLACE INTO indices VALUES (?, ?)", (key, made_of.tobytes()))

    def _add(self, fresh: Mapping[bytes, Block]) -> dict[bytes, int]:
        self._file.add_blocks(fresh.values())
        return self._file.numbers_of(list(fresh))

    @reads_on
    def texts(self, keys: Iterable[str]) -> Iterator[bytes]:
        """The closures of indices as texts of `PATH<TAB>SIZE<TAB>DIGEST` lines; shared blocks come once."""
        yield from self._file.lines_of(self._blocks(keys))

    @reads_on
    def additions(self, new: Iterable[str], old: Iterable[str]) -> Iterator[File]:
        """The files that indices refer to and other ones did not, as far as these are known.

        Files that another block named before may be among them, and one may come several times.
        """
        new_blocks, old_blocks = self._blocks(new), self._blocks(old)
        dropped = old_blocks - new_blocks
        known: set[bytes] = set()
        if len(dropped) <= _FEW_BLOCKS:
            known.update(line for text in self._file.lines_of(dropped) for line in text.split(b"\n"))
        for text in self._file.lines_of(new_blocks - old_blocks):
            for line in text.split(b"\n"):
                if line and line not in known:
                    yield _file_of(line.decode("utf-8", "surrogateescape"))

    @reads_on
    def named(self, prints: Collection[int], keys: Iterable[str]) -> Iterator[File]:
        """What the indices of these keys say of some paths, which are given by fingerprint."""
        within, wanted = self._blocks(keys), set(prints)
        hit = {block for part in self._file.all_prints() for _, block in _hits(wanted, part)} & within
        for text in self._file.lines_of(hit):
            files = map(_file_of, _decoded(text))
            yield from (file for file in files if fingerprint(file.path) in wanted)

    @reads
    def paths(self, keys: Iterable[str]) -> PathSet:
        """All paths that the indices of these keys name."""
        within, found = self._blocks(keys), array("Q")
        for prints, blocks in self._file.all_prints():
            found.extend(number for number, block in zip(prints, blocks, strict=True) if block in within)
        return PathSet(memoryview(array("Q", sorted(found))))

    @reads
    def count(self, keys: Iterable[str]) -> int:
        """About how many files the indices of these keys refer to."""
        within = self._blocks(keys)
        parts = list(self._file.all_prints())
        share = max(1, sum(len(part.prints) for part in parts) // _SAMPLE)
        seen: set[int] = set()
        for prints, blocks in parts:  # fingerprints are chance: a share of their range is one of the files
            end = bisect_left(prints, 2**64 // share) if share > 1 else len(prints)
            pairs = zip(prints[:end], blocks[:end], strict=True)
            seen.update(number for number, block in pairs if block in within)
        return len(seen) * share

    def _blocks(self, keys: Iterable[str]) -> set[int]:
        found: set[int] = set()
        for key in set(keys):
            for (numbers,) in self._file.ask("SELECT blocks FROM indices WHERE key = ?", (key,)):
                found.update(memoryview(numbers).cast("I"))
        return found

    # -- generations -----------------------------------------------------------------------------------

    @reads
    def knows_generation(self, digest: str) -> bool:
        """Whether a generation's indices, and all their closures, are known."""
        return bool(self._rows(digest)) and self._has_all(self.closures_of(digest))

    def remember_generation(self, digest: str, paths: Iterable[str], readable: Iterable[str]) -> None:
        """Store a generation: the tree paths of its own index files, and the keys of its readable indices."""
        names = sorted(set(paths))
        packed = zlib.compress("\n".join(names).encode("utf-8", "surrogateescape"), 1)
        values = (digest, self._now(), "\n".join(sorted(set(readable))), packed, PathSet.of(names).to_bytes())
        self._file.do("INSERT OR REPLACE INTO generations VALUES (?, ?, ?, ?, ?)", values)

    @reads
    def remember_held(self, keys: Collection[str]) -> None:
        """Keep the closures of indices of suites that are held back: each run needs them."""
        if keys and self.closures_of(_HELD) != set(keys):
            self.remember_generation(_HELD, (), keys)

    def forget_held(self) -> None:
        """No suite is held back."""
        if self._rows(_HELD):
            self._file.do("DELETE FROM generations WHERE digest = ?", (_HELD,))

    @reads
    def add_names(self, digest: str, paths: Collection[str]) -> None:
        """Add files to those that a generation refers to; nothing happens if it is not known."""
        before = self._names(digest)
        if not paths or not before:
            return
        names = sorted({*before, *paths})
        packed = zlib.compress("\n".join(names).encode("utf-8", "surrogateescape"), 1)
        values = (packed, PathSet.of(names).to_bytes(), digest)
        self._file.do("UPDATE generations SET names = ?, prints = ? WHERE digest = ?", values)

    @reads
    def closures_of(self, digest: str) -> set[str]:
        """The keys of the closures that a generation's record names; empty if there is no record."""
        return {key for (keys,) in self._rows(digest) for key in keys.split("\n") if key}

    @reads
    def names_of(self, digest: str) -> set[str]:
        """A generation's own index files, by tree path; empty if there is no record."""
        return set(self._names(digest))

    def replaced(self, digest: str) -> None:
        """Start the grace period of a generation."""
        self._file.do("UPDATE generations SET replaced = ? WHERE digest = ?", (self._now(), digest))

    @reads
    def keep_time(self, grace_s: float) -> None:
        """Correct the grace periods where the clock has jumped since the last run.

        If the clock went back, no time has passed. If it is more than a week (or the grace, if that is
        longer) ahead of the last run, it has jumped or there was no run: that counts as half a grace.
        Otherwise a clock that is a year ahead would end each grace at once, and keep for a year what is
        replaced under it. A run calls this as it begins and uses this time until its end, as the clock may be
        set meanwhile.
        """
        now, self._steady = time.time(), time.monotonic()
        self._run_began = now
        seen = max(
            (at for (at,) in self._file.ask("SELECT value FROM facts WHERE name = 'seen'")), default=now
        )
        passed = now - seen
        jump = passed
        if passed >= 0:
            jump = passed - grace_s / 2 if passed > max(_JUMP_S, grace_s) else 0
        with self.writing():
            self._file.do("UPDATE generations SET replaced = MIN(replaced + ?, ?)", (jump, now))
            self._file.do("UPDATE facts SET value = MIN(value + ?, ?) WHERE name = 'began'", (jump, now))
            self._file.do("INSERT OR REPLACE INTO facts VALUES ('seen', ?)", (now,))

    def _now(self) -> float:
        if self._run_began is None:
            return time.time()
        return self._run_began + time.monotonic() - self._steady

    def begin(self, *, beside_a_tree: bool) -> None:
        """Note when the store was created, if it is empty although a tree is served.

        What was replaced before, within the grace, is unknown: by another program, a former version, a lost
        file.
        """
        if beside_a_tree and not self._file.ask("SELECT 1 FROM generations LIMIT 1"):
            self._file.do("INSERT OR REPLACE INTO facts VALUES ('began', ?)", (self._now(),))
        for name in _FORMER:
            shutil.rmtree(self.directory / name, ignore_errors=True)
        (self.directory / _FORMER_KEYRINGS).unlink(missing_ok=True)

    @reads
    def _began(self) -> float:
        """When it did; long ago if it knows all there was."""
        return max(
            (at for (at,) in self._file.ask("SELECT value FROM facts WHERE name = 'began'")), default=0
        )

    @reads
    def known_of(self, paths: Collection[str]) -> set[str]:
        """Those of the paths that some generation refers to which is remembered, out of its grace or not."""
        generations = list(self._generations())
        keys = frozenset[str]().union(*(one.keys for one in generations))
        return self._named_by(paths, keys, [one.prints for one in generations])

    @reads
    def referred_to(self, paths: Collection[str], *, live: str, grace_s: float) -> set[str]:
        """Those of `paths` that the live generation, or one replaced within `grace_s` seconds, refers to.

        All of them where something is not known: in doubt nothing is deleted.
        """
        if live and not self.knows_generation(live):
            return set(paths)
        oldest = self._now() - grace_s
        recent = [one for one in self._generations() if one.digest in {live, _HELD} or one.replaced >= oldest]
        keys = frozenset[str]().union(*(one.keys for one in recent))
        if not self._has_all(keys):
            return set(paths)
        return self._named_by(paths, keys, [one.prints for one in recent])

    def still_needed(self, paths: Collection[str], *, live: str, grace_s: float) -> set[str]:
        """Those of `paths` that must stay: those of `referred_to`, or all of them.

        A store that was created beside a tree does not know for `grace_s` seconds what was replaced before.
        """
        if self._began() > self._now() - grace_s:
            return set(paths)
        return self.referred_to(paths, live=live, grace_s=grace_s)

    @reads
    def unneeded(
        self,
        live: str,
        *,
        names: Callable[[], Collection[str]],
        keys: Collection[str],
        replaced: str,
        grace_s: float,
    ) -> list[str]:
        """Candidates for deletion once `live` is served: what upstream still had or what was withheld, and
        what only generations out of their grace refer to.

        `live` need not be known yet: its indices have these `keys`, and `names` is called for its own files
        if needed. The grace of the replaced generation begins then. Uncertain names are left out.
        """
        self._oldest = oldest = self._now() - grace_s
        recent, over = list[_Generation](), list[_Generation]()
        for one in self._generations():
            if one.digest == live:
                continue
            is_recent = grace_s > 0 if one.digest == replaced else one.replaced >= oldest
            is_recent |= one.digest == _HELD
            (recent if is_recent else over).append(one)
        kept = frozenset(keys).union(*(one.keys for one in recent))
        candidates = {*self.left(), *self.withheld()}
        if not (over or candidates) or not self._has_all(kept):
            return []
        blocks = self._blocks(key for one in over for key in one.keys) - self._blocks(kept)
        candidates.update(name for one in over for name in self._names(one.digest))
        for text in self._file.lines_of(blocks):
            candidates.update(line.partition("\t")[0] for line in _decoded(text))
        candidates.difference_update(names())
        return sorted(candidates - self._named_by(candidates, kept, [one.prints for one in recent]))

    @reads
    def left(self) -> list[str]:
        """Files that nobody needs and that upstream still had when it was last asked."""
        return self._paths("left")

    def note_left(self, paths: Iterable[str]) -> None:
        """Store the files that upstream still has although nobody needs them."""
        self._note_paths("left", paths)

    @reads
    def withheld(self) -> list[str]:
        """What the mass-deletion guard withheld at the last run."""
        return self._paths("withheld")

    @reads
    def note_withheld(self, paths: Iterable[str]) -> None:
        """Store what the mass-deletion guard withheld, for a run that is allowed to delete it."""
        if (wanted := sorted(paths)) != self.withheld():
            self._note_paths("withheld", wanted)

    @reads
    def missing(self) -> dict[str, set[str]]:
        """What upstream lacked, or had with another content, when it was last asked; by suite."""
        found: dict[str, set[str]] = {}
        for line in self._paths("missing"):
            directory, _, path = line.partition("\t")
            found.setdefault(directory, set()).add(path)
        return found

    @reads
    def note_missing(self, missing: Mapping[str, Collection[str]]) -> None:
        """Store the files that the indices of these suites name and upstream lacks."""
        if {where: set(paths) for where, paths in missing.items() if paths} != self.missing():
            lines = [f"{directory}\t{path}" for directory, paths in missing.items() for path in paths]
            self._note_paths("missing", lines)

    def _paths(self, name: str) -> list[str]:
        rows = self._file.ask("SELECT value FROM facts WHERE name = ?", (name,))
        return [path for (packed,) in rows for path in _decoded(zlib.decompress(packed))]

    def _note_paths(self, name: str, paths: Iterable[str]) -> None:
        packed = zlib.compress("\n".join(sorted(paths)).encode("utf-8", "surrogateescape"), 1)
        self._file.do("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, packed))

    @reads
    def prune(self, *, live: str, grace_s: float) -> None:
        """Remove generations whose grace is over, and what no other generation has."""
        oldest = self._oldest if self._oldest is not None else self._now() - grace_s
        with self.writing():
            stays = "digest NOT IN (?, ?)"
            self._file.do(f"DELETE FROM generations WHERE {stays} AND replaced < ?", (live, _HELD, oldest))  # noqa: S608  two names
            wanted = frozenset[str]().union(*(one.keys for one in self._generations()))
            unwanted = [key for (key,) in self._file.ask("SELECT key FROM indices") if key not in wanted]
            for key in unwanted:
                self._file.do("DELETE FROM indices WHERE key = ?", (key,))
            if unwanted:
                self._file.forget_blocks_but(self._blocks(wanted))

    def _named_by(self, paths: Iterable[str], keys: Iterable[str], own: Iterable[PathSet]) -> set[str]:
        """Those of the paths that indices refer to, or that are in sets of paths."""
        by_path = {path: fingerprint(path) for path in paths}
        wanted = set(by_path.values())
        if not wanted:
            return set()
        within = self._blocks(keys)
        found: set[int] = set()
        for part in self._file.all_prints():
            found.update(number for number, block in _hits(wanted - found, part) if block in within)
        for names in own:
            found |= wanted.intersection(names.fingerprints())
        return {path for path, number in by_path.items() if number in found}

    def _generations(self) -> Iterator[_Generation]:
        for digest, replaced, keys, prints in self._file.ask(
            "SELECT digest, replaced, indices, prints FROM generations"
        ):
            named = frozenset(keys.split("\n")) - {""}
            yield _Generation(digest, replaced, named, PathSet.from_bytes(prints))

    def _names(self, digest: str) -> list[str]:
        rows = self._file.ask("SELECT names FROM generations WHERE digest = ?", (digest,))
        return [name for (packed,) in rows for name in _decoded(zlib.decompress(packed))]

    def _rows(self, digest: str) -> list[tuple[str]]:
        return self._file.ask("SELECT indices FROM generations WHERE digest = ?", (digest,))

    def _has_all(self, keys: Collection[str]) -> bool:
        known = {key for (key,) in self._file.ask("SELECT key FROM indices")}
        return known.issuperset(keys)


def _hits(wanted: set[int], part: Prints) -> Iterator[tuple[int, int]]:
    """Each of the numbers that a part has, with each block that it is in."""
    prints = part.prints
    present = wanted if len(wanted) * _LOOK_UP < len(prints) else wanted.intersection(prints)
    for number in present:
        at = bisect_left(prints, number)
        while at < len(prints) and prints[at] == number:
            yield number, part.blocks[at]
            at += 1


def _block(digest: bytes, files: list[File]) -> Block:
    text = "\n".join(f"{file.path}\t{file.size}\t{file.digest}" for file in files)
    prints = [fingerprint(file.path) for file in files]
    return Block(digest, text.encode("utf-8", "surrogateescape"), prints)


def _decoded(text: bytes) -> list[str]:
    return text.decode("utf-8", "surrogateescape").split("\n") if text else []


def _file_of(line: str) -> File:
    path, size, digest = line.split("\t")
    return File(path, int(size), digest)
