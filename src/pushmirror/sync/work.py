"""The work area: where files wait, on the tree's own file system, until they may be seen.

    TREE/.~tmp~/pushmirror/
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
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pushmirror.archive.pathset import PathSet, fingerprint
from pushmirror.sync.parts import WORK
from pushmirror.system.files import digest_of, exchange, link_tree

_A_SHA256 = "0" * 64


class WorkArea:
    """The work area of one tree; its caller holds the tree's lock."""

    def __init__(self, tree: Path) -> None:
        self._top = tree.resolve() / WORK
        self.root = self._top / "pushmirror"
        self.pin = self.root / "pin"
        self.new = self.root / "new"
        self._scratch = self.root / "scratch"
        self._scratches = 0
        self.empty = self.root / "empty"
        self._landed = self.root / "landed"
        self._real: set[str] = set()  # directories below `new` that were seen to be real ones
        self._hashed: dict[tuple[int, int, int, int], str] = {}  # by inode, size, time of its change, digits

    def open(self) -> None:
        """Make the area; what an interrupted run fetched stays, the rest of it goes."""
        for directory in (self._top, self.root):
            if directory.is_symlink() or not directory.is_dir():
                directory.unlink(missing_ok=True)  # only a real directory of ours may be written into
            directory.mkdir(mode=0o700, exist_ok=True)
        self.root.chmod(0o700)
        for directory in (self.pin, self._scratch, self.empty):
            shutil.rmtree(directory, ignore_errors=True)
        self._scratch.mkdir(exist_ok=True)
        self._take_over()

    def _take_over(self) -> None:
        """Give what was fetched a directory that nobody else knows.

        An rsync that outlived a killed run goes on in the directory it was started in, and renames what it
        has into place. It must not do so behind the back of the run that has already looked.
        """
        old = self.scratch()
        try:
            self.new.rename(old)
            link_tree(old, self.new)
        except FileNotFoundError:
            pass
        except OSError:  # somebody is at work in it this very moment: better to fetch it again
            shutil.rmtree(self.new, ignore_errors=True)
        self.new.mkdir(exist_ok=True)
        shutil.rmtree(old, ignore_errors=True)

    def close(self, *, keep_new: bool) -> None:
        """Leave nothing behind, except fetched files when they are still wanted."""
        for directory in (self.pin, self._scratch, self.empty):
            shutil.rmtree(directory, ignore_errors=True)
        waits = self._landed.exists() or any(files for _, _, files in os.walk(self.new))
        if not keep_new or not waits:
            shutil.rmtree(self.root, ignore_errors=True)
            with suppress(OSError):  # rsync's own leftovers from another time may still be in it
                self._top.rmdir()

    def scratch(self) -> Path:
        """A name that nothing has yet; whatever it becomes is removed at the end."""
        self._scratches += 1
        return self._scratch / f"{time.time_ns()}-{self._scratches}"

    def can_exchange(self) -> bool:
        """Whether the file system can swap two names in one instant."""
        one, other = self.scratch(), self.scratch()
        one.mkdir()
        other.mkdir()
        return exchange(one, other)

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
        return os.readlink(f"{self.new}/{path}")  # noqa: PTH115  text, as it is

    def _found(self, path: str) -> os.stat_result | None:
        try:
            found = os.lstat(f"{self.new}/{path}")
        except OSError:
            return None
        parent = path.rpartition("/")[0]
        if parent not in self._real:
            directory = f"{self.new}/{parent}" if parent else str(self.new)
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
        key = (found.st_ino, found.st_size, found.st_ctime_ns, len(like))
        if key not in self._hashed:
            self._hashed[key] = digest_of(f"{self.new}/{path}", like=like)
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
