"""Let staged files appear in the tree, in the order that keeps it whole, and take others away.

Guaranteed: at every instant each name in the tree is an old or a new one, never half of it; the bytes are
on the disk before an index names them; whoever keeps account of the tree is told which names may change
before they do, and when they have. Not the business of this module: whether the files are right
(`vouch.py`, `indices.py`).
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from pushmirror.archive.entry import Entry
from pushmirror.sync.destination import Destination
from pushmirror.sync.parts import RELEASE_NAMES, Part, deleting_order, may_land, part_of, publishing_order
from pushmirror.sync.published import Published
from pushmirror.sync.work import WorkArea
from pushmirror.system.files import exchange, link_tree, sha256_of, sync_file_system

_log = logging.getLogger(__name__)
NO_HASHES: Mapping[str, str] = MappingProxyType({})
_HASHES = {"MD5Sum": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be published."""

    files: Collection[str]  # tree paths of files that wait in the work area
    links: Mapping[str, Entry]
    directories: Collection[str]
    hashes: Mapping[str, str] = field(default_factory=dict)  # SHA256s that were checked, by path
    at_once: tuple[str, ...] = ()  # directories whose content has to change in one instant


class Account(Protocol):
    """Whoever keeps account of the tree; see `inventory.Inventory`."""

    def expect(self, paths: Iterable[str]) -> None:
        """These names may change from now on, also if we are killed."""

    def settle(self, tree: Path, hashes: Mapping[str, str]) -> None:
        """Those that were expected have changed; `hashes` are SHA256s that are known of some."""


class Publisher:
    """Publishes into one tree; its caller holds the tree's lock."""

    def __init__(self, tree: Path, area: WorkArea, account: Account | None = None) -> None:
        self._tree = tree
        self._area = area
        self._account = account
        self._served = Destination(tree, area)

    def land(self, came: Iterable[str], hashes: Mapping[str, str] = NO_HASHES) -> set[str]:
        """Move new files that nothing refers to yet into the tree; returns their paths.

        `hashes` are those that are known and were checked.
        Not those whose directory here is a link or a file: what is reached through it now is still served.
        """
        candidates = [path for path in came if may_land(path)]
        directories = {path.rpartition("/")[0] for path in candidates}
        blocked = {directory for directory in directories if not self._served.has_room(directory)}
        ready = [path for path in candidates if path.rpartition("/")[0] not in blocked]
        self._area.note_landed(ready)
        with self._accounted(ready, hashes):
            for path in ready:
                self._served.put_file(f"{self._area.new}/{path}", path)
        return set(ready)

    def came(self, entries: Iterable[Entry]) -> set[str]:
        """Those of the files that were fetched whole: with upstream's size, by-hash ones with their hash."""
        return {entry.path for entry in entries if self._is_whole(entry.path, entry)}

    def publish(self, change: Change) -> int:
        """Publish a change; returns how many names changed."""
        with self._accounted([*change.files, *change.links, *change.directories], change.hashes):
            return self._publish(change)

    def _publish(self, change: Change) -> int:
        names = [(path, False) for path in change.files] + [(path, True) for path in change.links]
        swappable = self._swappable(change.at_once)
        names.sort(key=lambda name: _order(name, swappable))
        durable = False
        swapped: set[str] = set()
        for path, is_link in names:
            if not durable and part_of(path, is_link=is_link) > Part.EARLY:
                sync_file_system(self._tree)
                durable = True
            together = _directory_of(path, swappable)
            if together is None:
                self._put(self._served, path, path, change.links[path].target if is_link else None)
            elif together not in swapped:
                self._swap(together, names, change.links)
                swapped.add(together)
        for directory in change.directories:
            self._served.make_directory(directory)
        return len(names)

    def delete(self, paths: Iterable[str], directories: Iterable[str]) -> int:
        """Remove files and links, what refers before what it refers to, then directories that are empty."""
        paths, directories = list(paths), list(directories)
        with self._accounted([*paths, *directories]):
            return self._delete(paths, directories)

    def _delete(self, paths: Iterable[str], directories: Iterable[str]) -> int:
        deleted = 0
        names = [(path, (self._tree / path).is_symlink()) for path in paths]
        for path, _ in sorted(names, key=lambda name: deleting_order(*name)):
            if not self._served.has_directory(path.rpartition("/")[0]):
                continue  # a link has taken the directory's place: the name now is another file's
            with suppress(FileNotFoundError, IsADirectoryError):
                (self._tree / path).unlink()
                deleted += 1
        for directory in sorted(directories, key=lambda path: -path.count("/")):
            if not self._served.has_directory(directory.rpartition("/")[0]):
                continue  # the same
            with suppress(OSError):  # something in it is kept for its grace period
                (self._tree / directory).rmdir()
        self._served = Destination(self._tree, self._area)  # what it knew to be there may be gone
        return deleted

    def drop_release_files(self, published: Published) -> None:
        """Take away forms of a suite's Release that upstream no longer has: clients prefer an InRelease."""
        suites = published.suites.values()
        forms = [
            f"{one.directory}/{name}" for one in suites for name in RELEASE_NAMES if name not in one.texts
        ]
        gone = [path for path in forms if os.path.lexists(self._tree / path)]
        with self._accounted(gone):
            for path in gone:
                (self._tree / path).unlink()

    def correct_modes(self, modes: Iterable[tuple[str, int]]) -> None:
        """Make names readable to every client again."""
        for path, mode in modes:
            try:
                (self._tree / path).chmod(mode)
            except OSError as exc:
                _log.warning("the mode of %s cannot be made %o: %s", path, mode, exc.strerror)

    @contextmanager
    def _accounted(self, paths: Collection[str], hashes: Mapping[str, str] = NO_HASHES) -> Iterator[None]:
        """These names change in the block, or may have when it ends in the middle."""
        if self._account is None or not paths:
            yield
            return
        self._account.expect(paths)
        yield
        self._account.settle(self._tree, hashes)

    def _swappable(self, directories: Iterable[str]) -> list[str]:
        """Those that can be swapped; a new one need not be: its Release file comes last in it."""
        there = [directory for directory in directories if self._served.has_directory(directory)]
        if there and not self._area.can_exchange():
            _log.warning("%s changes name by name: its file system cannot swap directories", there[0])
            return []
        return there

    def _swap(self, directory: str, names: Iterable[tuple[str, bool]], links: Mapping[str, Entry]) -> None:
        """Build a directory anew beside the tree, of hard links and what changes, and swap it in."""
        fresh = self._area.scratch()
        link_tree(self._tree / directory, fresh)
        beside = Destination(fresh, self._area)
        for path, is_link in names:
            if path.startswith(f"{directory}/"):
                below = path.removeprefix(f"{directory}/")
                self._put(beside, path, below, links[path].target if is_link else None)
        sync_file_system(self._tree)
        exchange(fresh, self._tree / directory)
        self._served = Destination(self._tree, self._area)
        shutil.rmtree(fresh)

    def _put(self, destination: Destination, path: str, name: str, target: str | None) -> None:
        if target is None:
            destination.put_file(f"{self._area.new}/{path}", name)
        else:
            destination.put_link(target, name)

    def _is_whole(self, path: str, entry: Entry) -> bool:
        found = self._area.fetched(path)
        return found is not None and found.st_size == entry.size and self._name_is_hash(path)

    def _name_is_hash(self, path: str) -> bool:
        """Whether a by-hash file is what its name says; so that it can be trusted by name ever after."""
        if "/by-hash/" not in path:
            return True
        parts = path.rsplit("/", 3)
        if len(parts) < 4 or parts[1] != "by-hash" or parts[2] not in _HASHES:
            return True
        file = self._area.new / path
        if parts[2] == "SHA256":
            return sha256_of(file) == parts[3]
        with file.open("rb") as content:
            return hashlib.file_digest(content, _HASHES[parts[2]]).hexdigest() == parts[3]


def _order(name: tuple[str, bool], swappable: Iterable[str]) -> tuple[int, int, str, int]:
    """Sort key of publishing; what is swapped in with its Release file waits for all that comes early."""
    part, kind, directory, rank = publishing_order(*name)
    if part < Part.INDEX and _directory_of(name[0], swappable) is not None:
        part = Part.INDEX
    return (part, kind, directory, rank)


def _directory_of(path: str, directories: Iterable[str]) -> str | None:
    return next((directory for directory in directories if path.startswith(f"{directory}/")), None)
