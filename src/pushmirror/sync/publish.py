"""Move files from the work area into the tree, each by one rename, in the order that keeps it whole.

Guaranteed: a name in the tree never holds half a file, links appear after what they point to, and the
bytes are on the disk before a Release file names them. Not the business of this module: whether they are
right (`vouch.py`, `indices.py`).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from pushmirror.sync.parts import Part, deleting_order, may_land, part_of, publishing_order
from pushmirror.sync.rsync import Entry
from pushmirror.sync.work import WorkArea
from pushmirror.system.files import sha256_of, sync_file_system

_BY_HASH_LENGTHS = {"MD5Sum": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}


class Publisher:
    """Publishes into one tree; its caller holds the tree's lock."""

    def __init__(self, tree: Path, area: WorkArea) -> None:
        self._tree = tree
        self._area = area
        self._made: set[str] = set()  # directories that are known to be there

    def land(self, missing: Mapping[str, Entry]) -> set[str]:
        """Move new files that nothing refers to yet into the tree; returns their paths.

        A file that did not come, has another size than upstream said, or a by-hash name that is not its
        hash, stays where it is.
        """
        ready = [path for path, entry in missing.items() if may_land(path) and self._is_whole(path, entry)]
        self._area.note_landed(ready)
        for path in ready:
            self._move(path)
        return set(ready)

    def came(self, entries: Iterable[Entry]) -> set[str]:
        """Those of the files that were fetched whole, with the size that upstream said."""
        return {entry.path for entry in entries if self._is_whole(entry.path, entry)}

    def publish(self, staged: Collection[str], links: Mapping[str, Entry], directories: Iterable[str]) -> int:
        """Publish staged files and links; returns how many names changed."""
        names = [(path, False) for path in staged] + [(path, True) for path in links]
        names.sort(key=lambda name: publishing_order(name[0], is_link=name[1]))
        durable = False
        for path, is_link in names:
            if not durable and part_of(path, is_link=is_link) >= Part.MASTER:
                sync_file_system(self._tree)
                durable = True
            if is_link:
                self._link(path, links[path].target)
            else:
                self._move(path)
        for directory in directories:
            self._make_directory(directory)
        return len(names)

    def delete(self, paths: Iterable[str], directories: Iterable[str]) -> int:
        """Remove files and links, what refers before what it refers to, then directories that are empty."""
        deleted = 0
        for path in sorted(paths, key=deleting_order):
            if not self._is_really_there(os.path.dirname(path)):  # noqa: PTH120
                continue  # a link has taken the directory's place: the name now is another file's
            with suppress(FileNotFoundError, IsADirectoryError):
                (self._tree / path).unlink()
                deleted += 1
        for directory in sorted(directories, key=lambda path: -path.count("/")):
            with suppress(OSError):  # something in it is kept for its grace period
                (self._tree / directory).rmdir()
        return deleted

    def correct_modes(self, modes: Iterable[tuple[str, int]]) -> None:
        """Make names readable to every client again."""
        for path, mode in modes:
            with suppress(FileNotFoundError):
                (self._tree / path).chmod(mode)

    def _is_really_there(self, directory: str) -> bool:
        if directory not in self._made:
            place = f"{self._tree}/{directory}" if directory else str(self._tree)
            if os.path.realpath(place) != os.path.normpath(place):
                return False
            self._made.add(directory)
        return True

    def _is_whole(self, path: str, entry: Entry) -> bool:
        found = self._area.fetched(path)
        return found is not None and found.st_size == entry.size and self._name_is_hash(path)

    def _name_is_hash(self, path: str) -> bool:
        """Whether a by-hash file is what its name says; so that it can be trusted by name ever after."""
        parts = path.rsplit("/", 3)
        if len(parts) < 4 or parts[1] != "by-hash" or parts[2] not in _BY_HASH_LENGTHS:
            return True
        file = self._area.new / path
        if parts[2] == "SHA256":
            return sha256_of(file) == parts[3]
        with file.open("rb") as content:
            return hashlib.file_digest(content, _BY_HASH_LENGTHS[parts[2]]).hexdigest() == parts[3]

    def _move(self, path: str) -> None:
        self._make_directory(os.path.dirname(path))  # noqa: PTH120  once a file; Path is ten times slower
        target = f"{self._tree}/{path}"
        try:
            os.replace(f"{self._area.new}/{path}", target)  # noqa: PTH105
        except IsADirectoryError:
            self._clear_the_way(path)
            os.replace(f"{self._area.new}/{path}", target)  # noqa: PTH105

    def _link(self, path: str, target: str) -> None:
        """Make a link by renaming a new one over the old, so that the name never dangles in between."""
        self._make_directory(os.path.dirname(path))  # noqa: PTH120
        beside = self._area.new / f"{path}.link"
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        try:
            beside.replace(self._tree / path)
        except IsADirectoryError:
            self._clear_the_way(path)
            beside.replace(self._tree / path)

    def _make_directory(self, path: str) -> None:
        """Make a directory and those above it; a file or link in the way is cleared."""
        if path in self._made or not path:
            return
        self._make_directory(os.path.dirname(path))  # noqa: PTH120
        directory = self._tree / path
        found = _lstat(directory)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            self._clear_the_way(path)
            found = None
        if found is None:
            directory.mkdir()
            directory.chmod(0o755)
        self._made.add(path)

    def _clear_the_way(self, path: str) -> None:
        """Upstream has something of another kind under this name; what is here leaves in one rename."""
        self._area.trash.mkdir(exist_ok=True)
        (self._tree / path).rename(self._area.trash / str(len(list(self._area.trash.iterdir()))))
        self._made = {made for made in self._made if made != path and not made.startswith(f"{path}/")}


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None
