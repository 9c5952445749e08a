"""A directory in which files and links appear under their tree paths, each by one rename.

Guaranteed: a name never holds half a file and never dangles; what is in the way leaves in one rename too.
Not the business of this module: which name comes when.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pushmirror.sync.work import WorkArea
from pushmirror.system.files import exchange


class Destination:
    """The served tree, or a part of it that is being built beside it."""

    def __init__(self, root: Path, area: WorkArea, above: str = "") -> None:
        """`above` is the tree path of what `root` is or is going to be; empty for the tree itself."""
        self.root = root
        self._area = area
        self._above = above
        self._real: set[str] = set()  # directories that are known to be there, and to be no links

    def put_file(self, source: str, path: str) -> None:
        """Move a file of the work area to a path."""
        self.make_directory(path.rpartition("/")[0])
        try:
            os.replace(source, f"{self.root}/{path}")  # noqa: PTH105  once a file; Path is ten times slower
        except IsADirectoryError:
            self.replace(Path(source), path)

    def put_link(self, target: str, path: str) -> None:
        """Make a link by renaming a new one over the old, so that the name never dangles in between."""
        self.make_directory(path.rpartition("/")[0])
        beside = self._scratch(path)
        beside.symlink_to(target)
        try:
            beside.replace(self.root / path)
        except IsADirectoryError:
            self.replace(beside, path)

    def replace(self, source: Path, path: str) -> None:
        """Put something of the work area in the place of whatever has this name, in one instant.

        Where the file system cannot swap two names, in two: in between there is nothing.
        """
        beside = self._scratch(path)
        source.rename(beside)
        place = self.root / path
        if _lstat(place) is None:
            beside.rename(place)
        elif not exchange(beside, place):
            place.rename(self._scratch(path))
            beside.rename(place)
        self._forget(path)

    def make_directory(self, path: str) -> None:
        """Make a directory and those above it; a file or link in the way is cleared."""
        if path in self._real or not path:
            return
        self.make_directory(path.rpartition("/")[0])
        directory = self.root / path
        found = _lstat(directory)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            self._clear_the_way(path)
            found = None
        if found is None:
            directory.mkdir()
            directory.chmod(0o755)
        self._real.add(path)

    def has_room(self, directory: str) -> bool:
        """Whether a directory is there or can be made without clearing anything out of its way."""
        path = ""
        for name in directory.split("/") if directory else ():
            path = f"{path}/{name}" if path else name
            if path in self._real:
                continue
            found = _lstat(self.root / path)
            if found is None:
                return True  # and nothing is below it, either
            if not stat.S_ISDIR(found.st_mode):
                return False
            self._real.add(path)
        return True

    def has_directory(self, path: str) -> bool:
        """Whether a path is really a directory below the root, with no link on the way to it."""
        if path in self._real or not path:
            return True
        found = _lstat(self.root / path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return False
        if not self.has_directory(path.rpartition("/")[0]):
            return False
        self._real.add(path)
        return True

    def _scratch(self, path: str) -> Path:
        return self._area.scratch(f"{self._above}/{path}" if self._above else path)

    def _clear_the_way(self, path: str) -> None:
        """Something of another kind has this name; it leaves in one rename."""
        (self.root / path).rename(self._scratch(path))
        self._forget(path)

    def _forget(self, path: str) -> None:
        self._real = {real for real in self._real if real != path and not real.startswith(f"{path}/")}


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None
