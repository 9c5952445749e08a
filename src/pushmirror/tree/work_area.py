"""The work area: where files wait, on the tree's own file system, until they are published.

    TREE/.~tmp~/pushmirror/        (and new and scratch in TREE/POOL/.~tmp~/pushmirror/ where POOL is mounted)
        pin/      upstream's Release files, traces and flags, as this run is pinned to them
        new/      fetched files under their tree paths; an interrupted run leaves them for the next
        scratch/  what is being made, and what was in the way, until it is removed
        empty/    what a listing compares with
        landed    of new files that were moved into the tree before an index had vouched for them

Every mirror script leaves `.~tmp~` out already, and a web server cannot read it (mode 0700). It is removed
when nothing waits in it. Nothing is taken out of `new` but a regular file that was requested by name, in a
real directory: a hostile upstream can fill the area, not lead out of it. Nor can a user of this machine: we
work by directory handles (`beneath`), and rsync, which needs a path, only gets one that leads to the area
which we have opened.
"""

from __future__ import annotations

import os
import stat
import time
from array import array
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from pushmirror.archive.layout import WORK, is_by_hash
from pushmirror.archive.pathset import PathSet, fingerprint
from pushmirror.errors import StateError
from pushmirror.system.beneath import Beneath
from pushmirror.system.files import digest_of, mounts_below, sync_file_system

_A_SHA256 = "0" * 64
_OURS = 0o700


class WorkArea:
    """The work area of one tree; its caller holds the tree's lock (`runner.Runner.tree_lock`).

    A mount point in the tree has an area of its own, made when it is first needed.
    """

    def __init__(self, tree: Path) -> None:
        self._tree = tree.resolve()
        self.beneath = Beneath(self._tree)
        self.root = self._tree / self._root_on("")
        self.pin = self.root / "pin"
        self.new = self.root / "new"
        self._scratches = 0
        self.empty = self.root / "empty"
        self._landed = f"{self._root_on('')}/landed"
        self._real: set[str] = set()  # directories below `new` that were seen to be real ones
        self._hashed: dict[tuple[int, int, int, int, int], str] = {}  # by device, inode, size, ctime, digits
        self._volumes = sorted(mounts_below(tree), key=len, reverse=True)
        self._opened: dict[str, tuple[int, int]] = {}  # volumes, and which directory is their `new`

    def _root_on(self, volume: str) -> str:
        """The path of an area in the tree."""
        return f"{volume}/{WORK}/pushmirror" if volume else f"{WORK}/pushmirror"

    def _volume_of(self, path: str) -> str:
        """The innermost mount point that a path of the tree is below."""
        return next((volume for volume in self._volumes if path.startswith(f"{volume}/")), "")

    def open(self) -> None:
        """Make the area; what an interrupted run fetched stays, the rest of it goes."""
        self._open("")
        for name in ("pin", "empty"):
            self.beneath.remove_tree(f"{self._root_on('')}/{name}")
        for volume in self._volumes:
            if self.beneath.lstat(self._root_on(volume)) is not None:
                self._open(volume)

    def _open(self, volume: str) -> None:
        root, beneath = self._root_on(volume), self.beneath
        for directory in (root.rpartition("/")[0], root):
            beneath.forget(directory)
            if not beneath.is_directory(directory):
                beneath.unlink(directory, missing_ok=True)  # only a real directory may be written into
                beneath.make_directory(directory, _OURS)
            self._require_ours(directory)
        beneath.change_mode(root, _OURS)
        beneath.remove_tree(f"{root}/scratch")
        beneath.make_directory(f"{root}/scratch", _OURS)
        landed = beneath.lstat(f"{root}/landed")
        if landed is not None and not stat.S_ISREG(landed.st_mode):
            beneath.remove_tree(f"{root}/landed")
        self._opened[volume] = 0, 0  # not yet known
        self._take_over(f"{root}/new", self._scratch_on(volume))
        self._opened[volume] = beneath.identity(f"{root}/new")

    def _require_ours(self, directory: str) -> None:
        """StateError if another user owns it: he could put a link to anywhere where rsync writes."""
        found = self.beneath.lstat(directory)
        if found is not None and found.st_uid != os.geteuid():
            raise StateError(
                f"{self._tree / directory} belongs to user {found.st_uid}, expected user {os.geteuid()}",
                hint=f"find out who created it, then remove it: rm -r {self._tree / directory}",
            )

    def _take_over(self, new: str, old: str) -> None:
        """Move fetched files into a directory that nobody else knows.

        An rsync that outlived a killed run goes on in the directory it was started in, and renames what it
        has into place. It must not do so after the next run has checked the directory.
        """
        beneath = self.beneath
        try:
            beneath.move(new, old)
            beneath.link_tree(old, new)
        except FileNotFoundError:
            pass
        except OSError:  # somebody is at work in it this very moment: better to fetch it again
            beneath.remove_tree(new)
        if not beneath.is_directory(new):
            beneath.make_directory(new)
        beneath.remove_tree(old)

    def close(self, *, keep_new: bool) -> None:
        """Remove everything, except fetched files if they are still wanted."""
        for name in ("pin", "empty"):
            self.beneath.remove_tree(f"{self._root_on('')}/{name}")
        for volume in self._opened:
            root = self._root_on(volume)
            self.beneath.remove_tree(f"{root}/scratch")
            waits = self.beneath.lstat(f"{root}/landed") is not None or self._waits_in(f"{root}/new")
            if not keep_new or not waits:
                self.beneath.remove_tree(root)
                with suppress(OSError):  # rsync's own leftovers from another time may still be in it
                    self.beneath.remove_directory(root.rpartition("/")[0])

    def _waits_in(self, new: str) -> bool:
        return self.beneath.is_directory(new) and any(files for _, _, files in os.walk(self._tree / new))

    def drop_by_hash(self, keep: Collection[str]) -> None:
        """Drop fetched by-hash files other than these: each state of a suite that is held back brings new
        ones."""
        for volume in self._opened:
            root = f"{self._root_on(volume)}/new"
            new = self._tree / root
            for directory, _, files in os.walk(new):
                for name in files:
                    path = os.path.relpath(f"{directory}/{name}", new)
                    if is_by_hash(path) and path not in keep:
                        self.beneath.unlink(f"{root}/{path}", missing_ok=True)

    def _on(self, volume: str) -> str:
        """The area on a volume, made if need be."""
        if volume and volume not in self._opened:
            self._open(volume)
        return self._root_on(volume)

    def at(self, path: str) -> Path:
        """Where a file waits that belongs to a tree path: on the file system that it is going to be on."""
        volume = self._volume_of(path) if self._volumes else ""
        return (self._tree / self._on(volume) / "new" if volume else self.new) / path

    def name_of(self, path: str) -> str:
        """The same, as a path of the tree."""
        return f"{self._on(self._volume_of(path) if self._volumes else '')}/new/{path}"

    def place(self, name: str) -> Path:
        """Where a path of the tree is, such as a scratch."""
        return self._tree / name

    def take(self, source: Path, path: str, *, mtime: int) -> None:
        """Have the content of a file wait under a tree path, too, with this time."""
        self.beneath.link_or_copy(source, self.name_of(path), mtime=mtime)

    def drop(self, path: str) -> None:
        """Remove what was fetched under a tree path, if anything was."""
        self.beneath.unlink(self.name_of(path), missing_ok=True)

    def by_volume(self, names: Iterable[str]) -> dict[Path, list[str]]:
        """Names of files to fetch, by the directory that they are fetched into."""
        if not self._volumes:
            self.require_in_place()
            return {self.new: list(names)}
        found: dict[Path, list[str]] = {}
        for name in names:
            found.setdefault(self._tree / self._on(self._volume_of(name)) / "new", []).append(name)
        self.require_in_place()
        return found

    def require_in_place(self) -> None:
        """StateError if the path of an area leads to another directory, which rsync would write to."""
        for volume, identity in self._opened.items():
            place = self._tree / self._root_on(volume) / "new"
            with suppress(OSError):
                found = place.stat()
                if (found.st_dev, found.st_ino) == identity:
                    continue
            raise StateError(
                f"{place} was replaced by another directory during the run",
                hint=f"check who can write to {self._tree / volume} and below",
            )

    def scratch(self, path: str = "") -> str:
        """A tree path that nothing has yet, beside another one; whatever it becomes is removed at the end."""
        return self._scratch_on(self._volume_of(path) if self._volumes else "")

    def _scratch_on(self, volume: str) -> str:
        self._scratches += 1
        return f"{self._on(volume)}/scratch/{time.time_ns()}-{self._scratches}"

    def can_exchange(self, path: str = "") -> bool:
        """Whether a directory of the tree, with all that is below it, can be swapped in one instant."""
        if any(f"{volume}/".startswith(f"{path}/") for volume in self._volumes):
            return False  # a mount point is in it
        one, other = self.scratch(path), self.scratch(path)
        self.beneath.make_directory(one)
        self.beneath.make_directory(other)
        return self.beneath.exchange(one, other)

    def sync(self) -> None:
        """Have everything that was written be on the disk."""
        for volume in {"", *self._opened}:
            sync_file_system(self._tree / volume)

    def look_again(self) -> None:
        """Forget checked directories: something was fetched, and a directory may be a link now."""
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
        """Record, before they move, files that enter the tree without an index that vouches for them."""
        prints = array("Q", map(fingerprint, paths))
        with os.fdopen(self.beneath.open(self._landed, os.O_RDWR | os.O_APPEND | os.O_CREAT), "ab") as file:
            file.truncate(file.tell() // prints.itemsize * prints.itemsize)
            file.write(prints.tobytes())
            file.flush()
            os.fsync(file.fileno())

    def landed(self) -> PathSet:
        """Files that entered the tree early since the last publication, also in interrupted runs."""
        prints = array("Q")
        with (
            suppress(FileNotFoundError),
            os.fdopen(self.beneath.open(self._landed, os.O_RDONLY), "rb") as file,
        ):
            whole = os.fstat(file.fileno()).st_size // prints.itemsize  # of one cut off the move never began
            prints.fromfile(file, whole)
        prints = array("Q", sorted(prints))
        return PathSet(memoryview(prints))

    def forget_landed(self) -> None:
        """Clear that list: an index vouches for all of them, or nothing refers to them."""
        self.beneath.unlink(self._landed, missing_ok=True)


def way_out(tree: Path, path: str) -> Path | None:
    """Where a link at a tree path leads, if that is a directory outside of the tree: the operator made it."""
    place = tree / path
    if not place.is_symlink() or not place.is_dir():
        return None
    target = place.resolve()
    return None if target.is_relative_to(tree.resolve()) else target
