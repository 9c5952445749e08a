"""The work area: where files wait, on the tree's own file system, until they may be seen.

    TREE/.~tmp~/pushmirror/        (and new and scratch in TREE/POOL/.~tmp~/pushmirror/ where POOL is mounted)
        pin/      upstream's Release files, traces and flags, as this run is pinned to them
        new/      fetched files under their tree paths; an interrupted run leaves them for the next
        scratch/  what is being made, and what was in the way, until it is removed
        empty/    what a listing compares with
        landed    of new files that were moved into the tree before an index had vouched for them

Every mirror script leaves `.~tmp~` out already, and a web server cannot read it (mode 0700). It is gone
when nothing waits in it. Nothing is taken out of `new` but a regular file that was asked for by name, in
a directory that is really there: a hostile upstream can fill the area, not lead out of it.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from array import array
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from pushmirror.archive.pathset import PathSet, fingerprint
from pushmirror.sync.parts import WORK, is_by_hash
from pushmirror.system.files import digest_of, exchange, link_tree, sync_file_system
from pushmirror.system.mounts import mounts_below

_A_SHA256 = "0" * 64


class WorkArea:
    """The work area of one tree; its caller holds the tree's lock.

    A mount point in the tree has an area of its own, made when it is first needed.
    """

    def __init__(self, tree: Path) -> None:
        self._tree = tree.resolve()
        self.root = self._root_on("")
        self.pin = self.root / "pin"
        self.new = self.root / "new"
        self._scratches = 0
        self.empty = self.root / "empty"
        self._landed = self.root / "landed"
        self._real: set[str] = set()  # directories below `new` that were seen to be real ones
        self._hashed: dict[tuple[int, int, int, int, int], str] = {}  # by device, inode, size, ctime, digits
        self._volumes = sorted(mounts_below(tree), key=len, reverse=True)
        self._opened: set[str] = set()  # volumes

    def _root_on(self, volume: str) -> Path:
        return self._tree / volume / WORK / "pushmirror"

    def _volume_of(self, path: str) -> str:
        """The innermost mount point that a path of the tree is below."""
        return next((volume for volume in self._volumes if path.startswith(f"{volume}/")), "")

    def open(self) -> None:
        """Make the area; what an interrupted run fetched stays, the rest of it goes."""
        self._open("")
        for directory in (self.pin, self.empty):
            shutil.rmtree(directory, ignore_errors=True)
        for volume in self._volumes:
            if os.path.lexists(self._root_on(volume)):
                self._open(volume)

    def _open(self, volume: str) -> None:
        root = self._root_on(volume)
        for directory in (root.parent, root):
            if directory.is_symlink() or not directory.is_dir():
                directory.unlink(missing_ok=True)  # only a real directory of ours may be written into
            directory.mkdir(mode=0o700, exist_ok=True)
        root.chmod(0o700)
        shutil.rmtree(root / "scratch", ignore_errors=True)
        (root / "scratch").mkdir(exist_ok=True)
        self._opened.add(volume)
        self._take_over(root / "new", self._scratch_on(volume))

    def _take_over(self, new: Path, old: Path) -> None:
        """Give what was fetched a directory that nobody else knows.

        An rsync that outlived a killed run goes on in the directory it was started in, and renames what it
        has into place. It must not do so behind the back of the run that has already looked.
        """
        try:
            new.rename(old)
            link_tree(old, new)
        except FileNotFoundError:
            pass
        except OSError:  # somebody is at work in it this very moment: better to fetch it again
            shutil.rmtree(new, ignore_errors=True)
        new.mkdir(exist_ok=True)
        shutil.rmtree(old, ignore_errors=True)

    def close(self, *, keep_new: bool) -> None:
        """Leave nothing behind, except fetched files when they are still wanted."""
        for directory in (self.pin, self.empty):
            shutil.rmtree(directory, ignore_errors=True)
        for volume in self._opened:
            root = self._root_on(volume)
            shutil.rmtree(root / "scratch", ignore_errors=True)
            waits = (root / "landed").exists() or any(files for _, _, files in os.walk(root / "new"))
            if not keep_new or not waits:
                shutil.rmtree(root, ignore_errors=True)
                with suppress(OSError):  # rsync's own leftovers from another time may still be in it
                    root.parent.rmdir()

    def drop_by_hash(self, keep: Collection[str]) -> None:
        """Drop fetched by-hash files other than these: each state of a suite that is held back brings new
        ones."""
        for volume in self._opened:
            new = self._root_on(volume) / "new"
            for directory, _, files in os.walk(new):
                for name in files:
                    path = os.path.relpath(f"{directory}/{name}", new)
                    if is_by_hash(path) and path not in keep:
                        Path(directory, name).unlink()

    def _on(self, volume: str) -> Path:
        """The area on a volume, made if need be."""
        if volume and volume not in self._opened:
            self._open(volume)
        return self._root_on(volume)

    def at(self, path: str) -> Path:
        """Where a file waits that belongs to a tree path: on the file system that it is going to be on."""
        volume = self._volume_of(path) if self._volumes else ""
        return (self._on(volume) / "new" if volume else self.new) / path

    def by_volume(self, names: Iterable[str]) -> dict[Path, list[str]]:
        """Names of files to fetch, by the directory that they are fetched into."""
        if not self._volumes:
            return {self.new: list(names)}
        found: dict[Path, list[str]] = {}
        for name in names:
            found.setdefault(self._on(self._volume_of(name)) / "new", []).append(name)
        return found

    def scratch(self, path: str = "") -> Path:
        """A name that nothing has yet, beside a tree path; whatever it becomes is removed at the end."""
        return self._scratch_on(self._volume_of(path) if self._volumes else "")

    def _scratch_on(self, volume: str) -> Path:
        self._scratches += 1
        return self._on(volume) / "scratch" / f"{time.time_ns()}-{self._scratches}"

    def can_exchange(self, path: str = "") -> bool:
        """Whether a directory of the tree, with all that is below it, can be swapped in one instant."""
        if any(f"{volume}/".startswith(f"{path}/") for volume in self._volumes):
            return False  # a mount point is in it
        one, other = self.scratch(path), self.scratch(path)
        one.mkdir()
        other.mkdir()
        return exchange(one, other)

    def sync(self) -> None:
        """Have everything that was written be on the disk."""
        for volume in {"", *self._opened}:
            sync_file_system(self._tree / volume)

    def look_again(self) -> None:
        """Something was fetched: what was a directory may be a link now."""
        self._real.clear()

    def fetched(self, path: str) -> os.stat_result | None:
        """What was fetched under a tree path, if it is a regular file that is really below `new`."""
        found = self._found(path)
        return found if found and stat.S_ISREG(found.st_mode) else None

    def link_at(self, path: str) -> str | None:
        """Where a link leads that was fetched under a tree path; None if none was."""
        found = self._found(path)
        if found is None or not stat.S_ISLNK(found.st_mode):
            return None
        return os.readlink(self.at(path))  # noqa: PTH115  text, as it is

    def _found(self, path: str) -> os.stat_result | None:
        try:
            found = os.lstat(self.at(path))
        except OSError:
            return None
        parent = path.rpartition("/")[0]
        if parent not in self._real:
            directory = os.fspath(self.at(path).parent)
            if os.path.realpath(directory) != os.path.normpath(directory):
                return None
            self._real.add(parent)
        return found

    def sha256_of(self, path: str) -> str | None:
        """The SHA256 of what was fetched under a tree path; None if nothing was."""
        return self.digest_of(path, like=_A_SHA256)

    def digest_of(self, path: str, *, like: str) -> str | None:
        """The hash of what was fetched under a tree path, of the kind that `like` is; None if nothing was.

        Nobody can change a file without its ctime: what was read once is not read again.
        """
        found = self.fetched(path)
        if found is None:
            return None
        key = (found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns, len(like))
        if key not in self._hashed:
            self._hashed[key] = digest_of(self.at(path), like=like)
        return self._hashed[key]

    def note_landed(self, paths: Iterable[str]) -> None:
        """Remember, before they move, files that enter the tree without an index that vouches for them."""
        prints = array("Q", map(fingerprint, paths))
        with self._landed.open("ab") as file:
            file.truncate(file.tell() // prints.itemsize * prints.itemsize)
            file.write(prints.tobytes())
            file.flush()
            os.fsync(file.fileno())

    def landed(self) -> PathSet:
        """Files that entered the tree since the last publish, also those of interrupted runs."""
        prints = array("Q")
        with suppress(FileNotFoundError), self._landed.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size // prints.itemsize  # of one cut off the move never began
            prints.fromfile(file, whole)
        prints = array("Q", sorted(prints))
        return PathSet(memoryview(prints))

    def forget_landed(self) -> None:
        """All of them are vouched for, or nothing refers to them."""
        self._landed.unlink(missing_ok=True)


def way_out(tree: Path, path: str) -> Path | None:
    """Where a link at a tree path leads to, if that is a directory out of the tree: the operator made it."""
    place = tree / path
    if not place.is_symlink() or not place.is_dir():
        return None
    target = place.resolve()
    return None if target.is_relative_to(tree.resolve()) else target
