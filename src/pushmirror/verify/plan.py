"""What a tree should contain: the closure of the live Release files and the inventory, as one sorted file.

    closure store (or the indices themselves) ──▶ sorted runs ─┐
    inventory, sorted already ─────────────────────────────────┴─▶ merged: one line a name ──▶ pieces to read

Guaranteed: memory does not grow with the tree (but for its directories' names), and each name has one line
however many indices name it. Not the business of this module: what is on the disk, but for the links on the
way to what indices name.
"""

from __future__ import annotations

import heapq
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from pushmirror.archive.compression import family
from pushmirror.archive.generation import short
from pushmirror.archive.index import UNKNOWN, kind_of
from pushmirror.archive.layout import RELEASE_NAMES, is_local, joined
from pushmirror.archive.paths import decoded, encoded, link_stays_inside
from pushmirror.archive.release import Listed
from pushmirror.closures.file_checks import read_closures
from pushmirror.closures.indices import Indices
from pushmirror.closures.store import ClosureStore
from pushmirror.inventory.diff import Diff
from pushmirror.inventory.inventory import Inventory
from pushmirror.system.files import has_digest
from pushmirror.tree.published_state import NOTHING, PublishedState, Suite, read_published
from pushmirror.tree.suites import Suites
from pushmirror.tree.work_area import WorkArea
from pushmirror.verify.inventory_lines import line_of_entry, with_inventory
from pushmirror.verify.plan_lines import (
    NUL,
    Expected,
    LineKind,
    expectations,
    key_in,
    key_of,
    line_of_file,
    lines_of_directory,
    merged,
    own_line,
)
from pushmirror.verify.reader import Piece

_log = logging.getLogger(__name__)
_UNKNOWN = str(UNKNOWN).encode()
PLAN = "plan"
_RUN = 300_000  # lines that are sorted at once: 80 MB
_ONCE = 50_000  # lines of indices of which equal ones are left out at once
_PIECE_FILES, _PIECE_BYTES = 1_000, 32_000_000  # of what one process reads before it reports


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to verify, in the order of the tree."""

    file: Path
    pieces: tuple[Piece, ...]
    generation: str  # that the closure is of; empty: a plain tree

    def after(self, position: bytes) -> list[Piece]:
        """The pieces that are left when everything before a key is done."""
        left = [piece for piece in self.pieces if not piece.until or piece.until > position]
        if left and left[0].first < position:
            first = left[0]
            left[0] = Piece(first.offset, first.length, first.files, first.size, position, first.until)
        return left


#: What indices say of a file, or one of themselves: path, size (digits, or empty), hash (or empty), What.
Named = tuple[str, str, str, str]


@dataclass(slots=True)
class Expectations:
    """The sources of what a tree should contain, at one moment."""

    tree: Path
    generation: str  # whose closure it is; empty: a plain tree
    closures: ClosureStore
    index_keys: frozenset[str]  # of the closures that count, in the store
    own: tuple[Named, ...]
    inventory: Inventory | None
    notes: tuple[str, ...] = ()  # what could not be learnt
    weak: tuple[str, ...] = ()  # suites whose Release files have no hash stronger than MD5Sum or SHA1
    _real: dict[str, str] = field(default_factory=dict)

    def expected(self, paths: Collection[str]) -> dict[str, Expected]:
        """What these names should be; costs a pass over the closure."""
        wanted = {key_of(path) for path in paths}
        lines = [line for line in self._lines_of_indices() if key_in(line) in wanted]
        if self.inventory:
            for path in paths:
                entry = self.inventory.get(path)
                if entry and not is_local(path):
                    lines.append(line_of_entry(entry))
        return expectations(lines)

    def real(self, path: str) -> str:
        """A path without links on the way to it, as in findings."""
        directory, _, name = path.rpartition("/")
        return joined(self._resolved(directory), name)

    def plan(self, directory: Path) -> Plan:
        """Write everything in order into a file PLAN of a directory."""
        with ExitStack() as opened:
            runs = list(self._sorted_runs(directory, opened))
            lines = heapq.merge(*runs) if len(runs) > 1 else iter(runs[0])
            if self.inventory:
                lines = with_inventory(lines, self.inventory.rows())
            pieces = _write(directory / PLAN, lines)
        return Plan(directory / PLAN, tuple(pieces), self.generation)

    def _sorted_runs(self, directory: Path, opened: ExitStack) -> Iterator[Iterable[bytes]]:
        """What indices name, in parts that are sorted; all but the last are in files, which need no room.

        Each directory's own line, also of those that only the inventory knows, is among them.
        """
        lines: dict[bytes, None] = {}
        for line in chain(self._lines_of_indices(), self._own_lines()):
            lines[line] = None
            if len(lines) == _RUN:
                file = opened.enter_context(tempfile.TemporaryFile(dir=directory))  # noqa: SIM115  it is one
                file.writelines(line + b"\n" for line in sorted(lines))
                file.seek(0)
                yield (line[:-1] for line in file)
                lines.clear()
        yield sorted(lines)

    def _own_lines(self) -> Iterator[bytes]:
        """Each directory's own line, of those in the inventory."""
        for path in self.inventory.directories() if self.inventory else ():
            yield own_line(path)

    def _lines_of_indices(self) -> Iterator[bytes]:
        """What the closure and the index files are, and the directories on the way there."""
        seen: set[str] = set()
        yield from self._directories("", seen)
        for path, length, known, what in self.own:
            directory, _, name = path.rpartition("/")
            real = self._resolved(directory)
            yield from self._directories(real, seen)
            yield line_of_file(real, name, length, known, what)
        real_of: dict[bytes, bytes] = {}  # directories
        for line in self._closure():
            place, size, digest = line.split(b"\t")
            above, _, base = place.rpartition(b"/")
            at = real_of.get(above)
            if at is None:
                real = self._resolved(decoded(above))
                at = real_of[above] = encoded(real)
                yield from self._directories(real, seen)
            if size == _UNKNOWN:  # an installer's list may name what is not mirrored
                yield b"%b\0%b\0o\0\0%b\0\0" % (at, base, digest)
            else:
                yield b"%b\0%b\0f\0%b\0%b\0\0" % (at, base, size, digest)

    def _closure(self) -> Iterator[bytes]:
        """What the indices name, most names once: packages for all architectures are in every index."""
        lines: dict[bytes, None] = {}  # in their order: a set's costs the sorting as much again
        for text in self.closures.texts(self.index_keys):
            lines.update(dict.fromkeys(text.split(b"\n")))
            if len(lines) >= _ONCE:
                lines.pop(b"", None)
                yield from lines
                lines.clear()
        lines.pop(b"", None)
        yield from lines

    def _directories(self, directory: str, seen: set[str]) -> Iterator[bytes]:
        while directory not in seen:
            seen.add(directory)
            yield from lines_of_directory(directory)
            directory = directory.rpartition("/")[0]

    def _resolved(self, directory: str) -> str:
        """A directory as it is without links on the way to it, as far as these stay inside the tree."""
        if not directory:
            return ""
        known = self._real.get(directory)
        if known is None:
            parent, _, name = directory.rpartition("/")
            above = self._resolved(parent)
            known = self._real[directory] = self._step(f"{above}/{name}" if above else name)
        return known

    def _step(self, path: str) -> str:
        full = f"{self.tree}/{path}"
        try:
            if not stat.S_ISLNK(os.lstat(full).st_mode):
                return path
            if not link_stays_inside(path, os.readlink(full)):  # noqa: PTH115
                return path
        except OSError:
            return path
        inside = os.path.relpath(os.path.realpath(full), os.path.realpath(self.tree))
        return path if inside.startswith("..") else inside


def look(
    tree: Path,
    *,
    closures: ClosureStore,
    inventory: Inventory | None,
    scratch: Path,
    served: str,
    further: Iterable[str] = (),
) -> Expectations:
    """Find out what is known of a tree now.

    `scratch` is for closures that the closure store lacks; `served` is the generation that we published;
    `further` are directories where Release files are looked for, too.
    """
    live = read_published(tree, further)
    known = inventory if inventory and inventory.complete else None
    notes: list[str] = []
    if not live.suites and not known:
        notes.append("no Release file and no inventory: the expected files are unknown")
    weak = tuple(directory or "." for directory, suite in live.suites.items() if suite.release.weak)
    generation = live.generation
    if served and generation != served and _knows(closures, served) and not _knows(closures, generation):
        notes.append(f"the Release files differ from those of generation {short(served)}, published here")
        generation = served
    if _knows(closures, generation):
        own = tuple(_own(live, tree, lambda paths: closures.referred_to(paths, live=generation, grace_s=0)))
        keys = frozenset(closures.closures_of(generation))
        return Expectations(tree, generation, closures, keys, own, known, tuple(notes), weak)
    indices = _SoundIndices(tree, live)
    fresh = ClosureStore(scratch)
    readable, faults = read_closures(live, indices, fresh)
    read = set(readable.values())
    notes += [f"the files of {where} are unknown: {fault.reason}" for where, fault in faults.items()]
    own = tuple(_own(live, tree, lambda paths: {path for path in paths if os.path.lexists(tree / path)}))
    return Expectations(
        tree, generation, fresh, frozenset(read), own, known, (*notes, *indices.unsound), weak
    )


def _knows(closures: ClosureStore, generation: str) -> bool:
    """Whether the closure store has all that a generation refers to."""
    keys = closures.closures_of(generation)
    return bool(keys) and closures.knows_generation(generation) and all(map(closures.knows_index, keys))


def _own(live: PublishedState, tree: Path, there: Callable[[set[str]], Collection[str]]) -> Iterator[Named]:
    """Index files and Release files; of those that a suite may have, the ones that `there` are to be."""
    named: dict[str, Named] = {}
    for suite in live.suites.values():
        for name in RELEASE_NAMES:
            path = suite.files.get(name, joined(suite.directory, name))
            named[path] = (path, "", "", LineKind.FILE.value)
        for listed in suite.release.files.values():
            for place in (suite.path_of(listed), *suite.copies_of(listed)):
                path = _really(tree, place, follow_last="/by-hash/" not in place)
                named[path] = (path, str(listed.size), listed.digest, _need_of(tree / path).value)
    is_there = there(set(named))
    return (own for path, own in sorted(named.items()) if path in is_there)


def _need_of(file: Path) -> LineKind:
    """A by-hash copy is needed where there are others of its kind: not each upstream has all kinds."""
    if file.parent.parent.name != "by-hash" or file.parent.is_dir():
        return LineKind.FILE
    return LineKind.OPTIONAL


def _really(tree: Path, path: str, *, follow_last: bool = False) -> str:
    """A path as the closure store has it, the links among its directories followed."""
    directory, _, name = path.rpartition("/")
    if follow_last and (tree / path).is_symlink():
        directory, _, name = str((tree / path).parent / os.readlink(tree / path)).rpartition("/")  # noqa: PTH115
        directory = os.path.relpath(directory, tree)
    inside = os.path.relpath(os.path.realpath(tree / directory), os.path.realpath(tree))
    return path if inside.startswith("..") else f"{inside}/{name}"


class _SoundIndices(Indices):
    """The indices in a tree that can be read: those of which one variant has the hash that it should."""

    def __init__(self, tree: Path, live: PublishedState) -> None:
        super().__init__(tree=tree, area=WorkArea(tree), diff=Diff(), suites=Suites(live, live), base=NOTHING)
        self._tree = tree
        self.unsound: list[str] = []

    def required(self, suite: Suite) -> list[Listed]:
        """What is there, without indices that are damaged."""
        there = super().required(suite)
        sound = {listed.path for listed in there if kind_of(listed.path) and self._is_sound(suite, listed)}
        families = {family(path) for path in sound}
        damaged = {listed.path for listed in there if kind_of(listed.path)} - sound
        self.unsound += [
            f"the files of {suite.directory}/{path} are unknown: it is damaged"
            for path in sorted(damaged)
            if family(path) not in families
        ]
        return [listed for listed in there if not kind_of(listed.path) or listed.path in sound]

    def resolved(self, path: str) -> str:
        return _really(self._tree, path, follow_last=True)

    def placed(self, path: str) -> str:
        return _really(self._tree, path)

    def content_path(self, suite: Suite, listed: Listed) -> str:
        return self.resolved(suite.path_of(listed))

    def _is_sound(self, suite: Suite, listed: Listed) -> bool:
        return has_digest(self._tree / self.resolved(suite.path_of(listed)), listed.digest)


def _write(file: Path, lines: Iterable[bytes]) -> list[Piece]:
    """Write the plan, one line a name, cut into pieces."""
    pieces: list[Piece] = []
    first, offset, length, files, size, count = b"", 0, 0, 0, 0, 0
    with file.open("wb", buffering=1024 * 1024) as plan:
        for line, (directory, name, what, expected, digest, _) in merged(lines):
            if count >= _PIECE_FILES or size >= _PIECE_BYTES:
                key = directory + NUL + name
                pieces.append(Piece(offset, length, files, size, first, key))
                first, offset, length, files, size, count = key, offset + length, 0, 0, 0, 0
            if what == b"f":
                files += 1
                if digest and expected:
                    size += int(expected)
            count += 1
            length += len(line) + 1
            plan.write(line + b"\n")
        pieces.append(Piece(offset, length, files, size, first))
    return pieces
