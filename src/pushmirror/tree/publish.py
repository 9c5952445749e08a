"""Publish staged files in the order that keeps the tree complete, and delete others.

Guaranteed: at every instant each name in the tree is an old or a new one, never half of it; the bytes are on
the disk before an index names them; nothing is changed through a link; the inventory is told which names may
change before they do, and when they have. Not the business of this module: whether the files are right
(`closures/file_checks.py`, `closures/indices.py`).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pushmirror.archive.layout import DIRECTORY_MODE, RELEASE_NAMES, joined
from pushmirror.archive.paths import Entry
from pushmirror.archive.publishing_order import (
    PublishStep,
    deleting_order,
    may_land,
    publish_step,
    publishing_order,
)
from pushmirror.system.files import mtime_of, sha256_of
from pushmirror.tree.published_state import PublishedState
from pushmirror.tree.work_area import WorkArea
from pushmirror.tree.writer import TreeWriter

_log = logging.getLogger(__name__)
_MOST_LINKS = 40  # on one way: as many as the kernel follows
NO_HASHES: Mapping[str, str] = MappingProxyType({})
_HASHES = {"MD5Sum": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """What is to be published."""

    files: Collection[str]  # tree paths of files that wait in the work area
    links: Mapping[str, Entry]
    directories: Collection[str]
    hashes: Mapping[str, str] = field(default_factory=dict)  # SHA256s that were checked, by path
    at_once: tuple[str, ...] = ()  # directories whose content has to change in one instant
    elsewhere: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict
    )  # of these: Release files in other ones
    suite_links: Collection[str] = ()  # links that lead to suites
    release_files: Collection[str] = ()  # Release files of suites, whatever they are called
    become_directories: Collection[str] = ()  # names that are something else here
    carried: Mapping[str, str] = field(
        default_factory=dict
    )  # new path -> path of a file here that stays needed
    dropped: Collection[str] = ()  # Release files that go; at once in what changes in one instant


#: Entered before names of the tree change, left when they have; takes the names, and SHA256s known of some.
Recording = Callable[[Collection[str], Mapping[str, str]], AbstractContextManager[None]]


class Publisher:
    """Publishes into one tree; its caller holds the tree's lock (`runner.Runner.tree_lock`)."""

    def __init__(self, tree: Path, area: WorkArea, recording: Recording | None = None) -> None:
        """`recording` keeps the inventory true: `sync.tracking.InventoryTracker.recording`."""
        self._tree = tree
        self._area = area
        self._recording = recording
        self._served = TreeWriter(area)
        self._beneath = area.beneath

    def land(self, came: Iterable[str], hashes: Mapping[str, str] = NO_HASHES) -> set[str]:
        """Move new files that nothing refers to yet into the tree; returns their paths.

        `hashes` are those that are known and were checked.
        Not those whose directory here is a link or a file: what is reached through it now is still served.
        """
        self._begin()
        candidates = [path for path in came if may_land(path)]
        directories = {path.rpartition("/")[0] for path in candidates}
        blocked = {directory for directory in directories if not self._served.has_room(directory)}
        ready = [path for path in candidates if path.rpartition("/")[0] not in blocked]
        self._area.note_landed(ready)
        with self._recorded(ready, hashes):
            for path in ready:
                self._served.put_file(self._area.name_of(path), path)
        return set(ready)

    def came(self, entries: Iterable[Entry]) -> set[str]:
        """Those of the files that were fetched whole: with upstream's size, by-hash ones with their hash."""
        return {entry.path for entry in entries if self._is_whole(entry.path, entry)}

    def publish(self, change: PublishPlan) -> int:
        """Publish a change; returns how many names changed."""
        self._begin()
        names = [*change.files, *change.links, *change.directories, *change.carried]
        names += change.dropped
        names += [f"{root}/{name}" for root, files in change.elsewhere.items() for name in files]
        with self._recorded(names, change.hashes):
            return self._publish(change)

    def _publish(self, change: PublishPlan) -> int:
        roots = [*change.become_directories, *self._swappable(change.at_once)]
        names = [(path, False) for path in change.files] + [(path, True) for path in change.links]
        targets = _targets_of_early(change.links)
        names.sort(key=lambda name: _order(name, roots, change, targets))
        for path, source in change.carried.items():
            if _root_of(path, roots) is None:
                self._carry(self._served, source, path)
        durable = False
        swapped: set[str] = set()
        for path, is_link in names:
            if not durable and publish_step(path, is_link=is_link) > PublishStep.EARLY:
                self._area.sync()
                durable = True
            root = _root_of(path, roots)
            if root is None:
                self._put(self._served, path, path, change.links[path].target if is_link else None)
            elif root not in swapped:
                self._swap(root, names, change)
                swapped.add(root)
        for root in set(change.become_directories) - swapped:
            if _root_of(root, swapped) is None:
                self._swap(root, names, change)  # an empty one
        for directory in change.directories:
            self._served.make_directory(directory)
        self._link_release_files(swapped, change)
        return len(names)

    def delete(self, paths: Iterable[str], directories: Iterable[str]) -> int:
        """Remove files and links, what refers before what it refers to, then directories that are empty."""
        self._begin()
        paths, directories = list(paths), list(directories)
        with self._recorded([*paths, *directories]):
            return self._delete(paths, directories)

    def _delete(self, paths: Iterable[str], directories: Iterable[str]) -> int:
        deleted = 0
        names = [(path, (self._tree / path).is_symlink()) for path in paths]
        for path, _ in sorted(names, key=lambda name: deleting_order(*name)):
            if not self._served.has_directory(path.rpartition("/")[0]):
                continue  # a link has taken the directory's place: the name now is another file's
            with suppress(FileNotFoundError, IsADirectoryError):
                self._beneath.unlink(path)
                deleted += 1
        for directory in sorted(directories, key=lambda path: -path.count("/")):
            if not self._served.has_directory(directory.rpartition("/")[0]):
                continue  # the same
            with suppress(OSError):  # something in it is kept for its grace period
                self._beneath.remove_directory(directory)
        self._served = TreeWriter(self._area)  # what it knew to be there may be gone
        return deleted

    def dropped_release_files(self, published: PublishedState) -> list[str]:
        """Forms of a suite's Release here that upstream no longer has; a directory is none."""
        suites = published.suites.values()
        forms = [
            joined(one.directory, name) for one in suites for name in RELEASE_NAMES if name not in one.texts
        ]
        places = ((path, self._tree / path) for path in forms)
        return [path for path, at in places if os.path.lexists(at) and (at.is_symlink() or not at.is_dir())]

    def drop_release_files(self, published: PublishedState) -> None:
        """Remove them where no swap has done so: clients prefer an InRelease."""
        gone = self.dropped_release_files(published)
        with self._recorded(gone):
            for path in gone:
                self._beneath.unlink(path)

    def correct_modes(self, modes: Iterable[tuple[str, int]]) -> None:
        """Make names readable to every client again."""
        for path, mode in modes:
            try:
                self._beneath.change_mode(path, mode)
            except OSError as exc:
                _log.warning("cannot set the mode of %s to %o: %s", path, mode, exc.strerror)

    def _begin(self) -> None:
        """Forget open directories: hooks and other programs may have moved some."""
        self._beneath.forget_all()
        self._served = TreeWriter(self._area)

    def _recorded(
        self, paths: Collection[str], hashes: Mapping[str, str] = NO_HASHES
    ) -> AbstractContextManager[None]:
        return self._recording(paths, hashes) if self._recording and paths else nullcontext()

    def _swappable(self, directories: Iterable[str]) -> list[str]:
        """Those that can be swapped; a new one need not be: its Release file comes last in it."""
        there = [directory for directory in directories if self._served.has_directory(directory)]
        able = [directory for directory in there if self._area.can_exchange(directory)]
        for directory in there:
            if directory not in able:
                _log.warning("updating %s file by file: its file system cannot swap directories", directory)
        return able

    def _swap(self, root: str, names: Iterable[tuple[str, bool]], change: PublishPlan) -> None:
        """Build a directory anew beside the tree, of hard links and what changes, and swap it in."""
        fresh = self._area.scratch(root)
        is_there = self._served.has_directory(root)
        if is_there:
            self._beneath.link_tree(root, fresh)
            self._beneath.change_mode(fresh, DIRECTORY_MODE)
        else:
            self._beneath.make_directory(fresh, DIRECTORY_MODE)
        for path in change.dropped:
            if path.startswith(f"{root}/"):
                self._beneath.unlink(f"{fresh}/{path.removeprefix(f'{root}/')}", missing_ok=True)
        beside = TreeWriter(self._area, fresh, root)
        for path, is_link in names:
            if path.startswith(f"{root}/"):
                below = path.removeprefix(f"{root}/")
                self._put(beside, path, below, change.links[path].target if is_link else None)
        for path, source in change.carried.items():
            if path.startswith(f"{root}/"):
                self._carry(beside, source, path.removeprefix(f"{root}/"))
        for directory in change.directories:
            if directory.startswith(f"{root}/"):
                beside.make_directory(directory.removeprefix(f"{root}/"))
        for name, path in change.elsewhere.get(root, {}).items():
            staged = self._area.at(path)
            self._link(staged if staged.exists() else self._tree / path, f"{fresh}/{name}")
        self._area.sync()
        self._served.make_directory(root.rpartition("/")[0])
        self._served.replace(fresh, root)
        self._served = TreeWriter(self._area)

    def _link_release_files(self, swapped: Iterable[str], change: PublishPlan) -> None:
        """Where a suite's Release files are links, they were files for as long as both places changed."""
        for root in swapped:
            for name, path in change.elsewhere.get(root, {}).items():
                if (self._tree / root / name).is_symlink():
                    continue
                here = os.path.relpath(path, root)
                self._served.put_link(
                    change.links[f"{root}/{name}"].target if f"{root}/{name}" in change.links else here,
                    f"{root}/{name}",
                )

    def _carry(self, destination: TreeWriter, source: str, path: str) -> None:
        """Let a file of the tree have another name, too; what is a link here is a file there."""
        beside = self._area.scratch(path)
        self._link((self._tree / source).resolve(), beside)
        destination.put_file(beside, path)

    def _put(self, destination: TreeWriter, path: str, name: str, target: str | None) -> None:
        if target is None:
            destination.put_file(self._area.name_of(path), name)
        else:
            destination.put_link(target, name)

    def _link(self, source: Path, target: str) -> None:
        self._beneath.link_or_copy(source, target, mtime=mtime_of(source.stat()))

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
        file = self._area.at(path)
        if parts[2] == "SHA256":
            return sha256_of(file) == parts[3]
        with file.open("rb") as content:
            return hashlib.file_digest(content, _HASHES[parts[2]]).hexdigest() == parts[3]


def _order(
    name: tuple[str, bool], roots: Iterable[str], change: PublishPlan, targets: Collection[str]
) -> tuple[int, int, str, int]:
    """Sort key of publishing; what is swapped in as a whole waits for all that comes early.

    What becomes a directory does so where a link of that name would turn, before those that lead to it. The
    `targets` of links among the packages come as early as these.
    """
    path, is_link = name
    root = _root_of(path, roots)
    if root is not None and root in change.become_directories:
        own = publish_step(root, is_link=True)
        return (PublishStep.SUITE_LINK if own is PublishStep.REST else own, -1, root, 0)
    step, kind, directory, rank = publishing_order(path, is_link)
    if is_link and path in change.suite_links:
        step = PublishStep.SUITE_LINK
    if path in change.release_files:
        step = PublishStep.RELEASE
    if step is PublishStep.REST and path in targets:
        step = PublishStep.EARLY
    if is_link:
        kind = 1 + sum(passed in change.links for passed in _way_of(path, change.links))
    if step < PublishStep.INDEX and root is not None:
        step = PublishStep.INDEX
    return (step, kind, directory, rank)


def _root_of(path: str, roots: Iterable[str]) -> str | None:
    """The topmost of the directories that a path is below of."""
    above = [root for root in roots if path.startswith(f"{root}/")]
    return min(above, key=len, default=None)


def _targets_of_early(links: Mapping[str, Entry]) -> set[str]:
    """The names that links among the packages lead over: by themselves they need not come early."""
    early = [path for path in links if publish_step(path, is_link=True) is PublishStep.EARLY]
    return {name for path in early for name in _way_of(path, links)}


def _way_of(path: str, links: Mapping[str, Entry]) -> Iterator[str]:
    """The names that a link leads over, also through other links that change."""
    rest = [*path.split("/")[:-1], *links[path].target.split("/")]
    above: list[str] = []
    passed = 0
    while rest:
        part = rest.pop(0)
        if part == "..":
            del above[-1:]  # at the top it stays there
        elif part not in {"", "."}:
            name = "/".join([*above, part])
            yield name
            if name in links and passed < _MOST_LINKS:
                passed += 1
                rest[:0] = links[name].target.split("/")
            else:
                above.append(part)
