"""The difference between our tree and upstream's, name by name.

A `Diff` is what every strategy returns and all that the engine needs to fetch, verify, publish and delete. It
is made in one pass, from upstream's listing and the disk (`full`) or from two sorted listings, upstream's
manifest and the inventory (`manifest`); both have the same rules of what counts as changed. The comparison
with the disk holds one directory per level at a time, so its memory grows with the change and not with the
tree; new files that may be fetched ahead, and a first sync has nothing else, are kept in a spool.

Not the business of this module: where the listing comes from, and which name may be published when.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.archive.filters import Selection
from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.layout import DIRECTORY_MODE, FILE_MODE, OURS, is_by_hash
from pushmirror.archive.paths import Entry, Kind, link_stays_inside, tree_path
from pushmirror.archive.publishing_order import may_land, publishing_order
from pushmirror.errors import UpstreamError
from pushmirror.inventory.spool import EntrySpool
from pushmirror.system.files import mtime_of


@dataclass(slots=True)
class Diff:
    """What a strategy found out: everything the engine needs to know of the change."""

    early: EntrySpool = field(
        default_factory=EntrySpool
    )  # files that the tree lacks and that may be fetched ahead
    missing: dict[str, Entry] = field(default_factory=dict)  # other files that it lacks; see add_missing
    changed: dict[str, Entry] = field(default_factory=dict)  # files it has with another size or time
    links: dict[str, Entry] = field(default_factory=dict)  # links it lacks or has with another target
    directories: list[str] = field(default_factory=list)  # that it lacks
    extras: list[str] = field(default_factory=list)  # files and links it has and upstream has not
    extra_directories: list[str] = field(default_factory=list)
    held: dict[str, Entry] = field(default_factory=dict)  # what stays as it is here: its suite is held back
    in_the_way: list[str] = field(
        default_factory=list
    )  # files in directories where upstream has a file or link
    modes: list[tuple[str, int]] = field(
        default_factory=list
    )  # names whose mode here is wrong, with the right one
    upstream_links: dict[str, str] = field(default_factory=dict)  # every link of upstream and its target
    no_links: set[str] = field(default_factory=set)  # links here that are files at upstream; see covers_all
    refused: set[str] = field(default_factory=set)  # files that upstream has with another content than listed
    asked_twice: set[str] = field(default_factory=set)  # of these: with a pause, so that it stays so
    files_here: int = 0
    files_upstream: int = 0
    digest: str = ""  # the state of upstream's whole tree, if it is known
    generation: str = ""  # of a plain tree; others have theirs from their Release files
    how: str = ""  # it was learnt, in words
    covers_all: bool = True  # every name of upstream's tree; else only what its Release files and lists name
    keeps_unsigned: bool = False  # what no signed index ever named stays, for not all of upstream is signed
    deviates: bool = False  # what it leads to is not quite upstream's tree, and is not meant to be
    compared_disk: bool = False  # every name here was looked at on the disk
    _extras: set[str] | None = None

    def add_missing(self, entry: Entry) -> None:
        """A file that the tree lacks.

        `early` is walked once, by `sync/prefetch.py`; what it could not land is in `missing` from then on,
        and only from then on do `wanted` and `upstream_has` know of all there is.
        """
        if may_land(entry.path):
            self.early.append(entry)
        else:
            self.missing[entry.path] = entry

    @property
    def has_target_digest(self) -> bool:
        """Whether it leads to a state of upstream's that has a digest in its manifest."""
        return bool(self.digest) and not self.compared_disk

    @property
    def changes_anything(self) -> bool:
        """Whether any name of our tree is going to change."""
        others = (self.links, self.directories, self.in_the_way, self.extras, self.extra_directories)
        return bool(self.to_fetch) or any(others)

    @property
    def to_fetch(self) -> int:
        """The number of files that the tree lacks or that differ."""
        return len(self.early) + len(self.missing) + len(self.changed)

    def names_in_publishing_order(self) -> list[str]:
        """Every name that would change."""
        early = [entry.path for entry in self.early]
        names = [(path, False) for path in (*early, *self.missing, *self.changed)]
        names += [(path, True) for path in self.links]
        return [path for path, is_link in sorted(names, key=lambda name: publishing_order(*name))]

    def wanted(self, path: str) -> Entry | None:
        """The file to fetch under this name, if there is one (see add_missing)."""
        return self.missing.get(path) or self.changed.get(path)

    def upstream_has(self, path: str, tree: Path) -> bool:
        """Whether upstream has this file: we lack it, have it otherwise, or have it and it is no extra."""
        if path in self.refused or path in self.upstream_links or self.wanted(path):
            return True
        if self._extras is None:
            self._extras = set(self.extras)
        return path not in self._extras and os.path.lexists(f"{tree}/{path}")


#: The names in one directory of the tree (relative path) and what the file system says of each.
Scan = Callable[[str], dict[str, os.stat_result]]


def scanner(tree: Path, *, leave_out: Callable[[str], bool]) -> Scan:
    """Reads directories of a tree, without following links; `leave_out` names paths that are ours alone."""
    root = os.fspath(tree)

    def scan(directory: str) -> dict[str, os.stat_result]:
        prefix = f"{directory}/" if directory else ""
        with os.scandir(f"{root}/{directory}") as entries:
            return {
                entry.name: entry.stat(follow_symlinks=False)
                for entry in entries
                if not leave_out(prefix + entry.name)
            }

    return scan


@dataclass(slots=True)
class _Open:
    """A directory of the listing that more names may come for."""

    path: str
    here: dict[str, os.stat_result]  # what is in it here; names leave when upstream has them too


class DiskDiff:
    """Takes upstream's entries in rsync's order (depth first) and makes a Diff.

    `digest` is fed with every entry, for a plain tree: its generation is that of the whole listing.
    """

    def __init__(self, tree: Path, scan: Scan, *, digest: TreeDigest | None = None) -> None:
        self.diff = Diff()
        self._tree = os.fspath(tree)
        self._scan = scan
        self._digest = digest
        self._stack = [_Open("", scan(""))]

    def take(self, entry: Entry) -> None:
        """The next entry of the listing. UpstreamError if it does not belong where it comes."""
        path = entry.path
        parent, _, name = path.rpartition("/")
        while self._stack[-1].path != parent:
            self._close(self._stack.pop())
            if not self._stack:
                raise UpstreamError(f"upstream's listing names {path} outside of its directory")
        here = self._stack[-1].here.pop(name, None)
        if here is None:  # a name that is on the disk is a good one
            tree_path(path, where="upstream's listing")
        if entry.kind is Kind.LINK and path in OURS:
            entry = Entry(path, Kind.DIRECTORY)
        if entry.kind is Kind.LINK and is_by_hash(path):
            self.diff.upstream_links[path] = entry.target  # here it is a file, made from what it is to have
            self.diff.deviates = True
            return
        if entry.kind is Kind.LINK and not link_stays_inside(path, entry.target):
            return  # as rsync's --safe-links, in case the one that lists is an old one
        if self._digest is not None:
            self._digest.add(entry)
        if entry.kind is Kind.FILE:
            self._file(path, entry, here)
        elif entry.kind is Kind.LINK:
            self._link(path, entry, here)
        else:
            self._directory(path, here)

    def finish(self) -> Diff:
        """The diff, after the end of the listing."""
        while self._stack:
            self._close(self._stack.pop())
        if self._digest is not None:
            self.diff.digest = self._digest.hexdigest()
        return self.diff

    def _file(self, path: str, entry: Entry, here: os.stat_result | None) -> None:
        diff = self.diff
        diff.files_upstream += 1
        if here is None:
            diff.add_missing(entry)
            return
        diff.files_here += 1
        if not stat.S_ISREG(here.st_mode):
            diff.changed[path] = entry
            self._obstacle(path, here)
        elif here.st_size != entry.size or mtime_of(here) != entry.mtime:
            diff.changed[path] = entry
        elif stat.S_IMODE(here.st_mode) != FILE_MODE:
            diff.modes.append((path, FILE_MODE))

    def _link(self, path: str, entry: Entry, here: os.stat_result | None) -> None:
        self.diff.upstream_links[path] = entry.target
        if here is None or not stat.S_ISLNK(here.st_mode):
            self.diff.links[path] = entry
            if here is not None:
                self._obstacle(path, here)
        elif os.readlink(f"{self._tree}/{path}") != entry.target:  # noqa: PTH115  see scanner
            self.diff.links[path] = entry

    def _directory(self, path: str, here: os.stat_result | None) -> None:
        if here is not None and stat.S_ISDIR(here.st_mode):
            if stat.S_IMODE(here.st_mode) & 0o777 != DIRECTORY_MODE:
                self.diff.modes.append((path, DIRECTORY_MODE))
            self._stack.append(_Open(path, self._scan(path)))
            return
        self.diff.directories.append(path)
        self._stack.append(_Open(path, {}))

    def _obstacle(self, path: str, here: os.stat_result) -> None:
        """A directory where upstream has something else: what is in it leaves when that is published."""
        if stat.S_ISDIR(here.st_mode):
            self._gather(path, here, self.diff.in_the_way, [])

    def _close(self, directory: _Open) -> None:
        prefix = f"{directory.path}/" if directory.path else ""
        for name, here in directory.here.items():
            self._gather(prefix + name, here, self.diff.extras, self.diff.extra_directories)

    def _gather(self, path: str, here: os.stat_result, files: list[str], directories: list[str]) -> None:
        """Add a name, and all below it, to what is only here."""
        left = [(path, here)]  # not by recursion: Python ends that where a path is deep
        while left:
            path, here = left.pop()
            if not stat.S_ISDIR(here.st_mode):
                self.diff.files_here += 1
                files.append(path)
                continue
            if path not in OURS:
                directories.append(path)
            below = [(f"{path}/{name}", found) for name, found in self._scan(path).items()]
            left += reversed(below)


def bytes_of(entries: Mapping[str, Entry]) -> int:
    """How many bytes these files have together."""
    return sum(entry.size for entry in entries.values())


class InventoryDiff:
    """Makes a Diff of two sorted listings."""

    def __init__(self, selection: Selection, below: Callable[[str], Iterable[Entry]]) -> None:
        """`selection` is what of theirs is mirrored; `below` tells what is below a directory of ours."""
        self.diff = Diff()
        self._selection = selection
        self._below = below
        self._cleared: set[str] = set()  # directories here whose name something else is going to have

    def take(self, path: str, theirs: Entry | None, ours: Entry | None) -> None:
        """One name, as it is there and here; None where it is not. A directory comes before what is in it."""
        if theirs is None or not self._selection.wants(path, is_dir=theirs.kind is Kind.DIRECTORY):
            self._only_here(path, ours)
        elif theirs.kind is Kind.DIRECTORY or path in OURS:
            if ours is None or ours.kind is not Kind.DIRECTORY:
                self.diff.directories.append(path)
        elif theirs.kind is Kind.LINK:
            self._link(path, theirs, ours)
        else:
            self._file(path, theirs, ours)

    def _only_here(self, path: str, ours: Entry | None) -> None:
        if ours is not None and path not in OURS and not self._leaves_with_its_directory(path):
            is_directory = ours.kind is Kind.DIRECTORY
            (self.diff.extra_directories if is_directory else self.diff.extras).append(path)

    def _link(self, path: str, theirs: Entry, ours: Entry | None) -> None:
        self.diff.upstream_links[path] = theirs.target
        if is_by_hash(path):
            self.diff.deviates = True  # here it is a file, made from what it is to have
            return
        if ours is None or ours.facts != theirs.facts:
            self.diff.links[path] = theirs
            self._clear_the_way(path, ours)

    def _file(self, path: str, theirs: Entry, ours: Entry | None) -> None:
        if ours is None:
            self.diff.add_missing(theirs)
        elif ours.facts != theirs.facts:
            self.diff.changed[path] = theirs
            self._clear_the_way(path, ours)

    def _clear_the_way(self, path: str, ours: Entry | None) -> None:
        """What is below a directory here leaves when they have something else under its name."""
        if ours is not None and ours.kind is Kind.DIRECTORY:
            self._cleared.add(path)
            self.diff.in_the_way += [
                entry.path for entry in self._below(path) if entry.kind is not Kind.DIRECTORY
            ]

    def _leaves_with_its_directory(self, path: str) -> bool:
        return bool(self._cleared) and any(path.startswith(f"{directory}/") for directory in self._cleared)
