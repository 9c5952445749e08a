"""Put files and links under their tree paths, each by one rename.

Guaranteed: a name never holds half a file and never dangles; what is in the way is removed in one rename too.
All is done by directory handles: no link is followed, even if it appears meanwhile. The order of names is up
to the caller.
"""

from __future__ import annotations

import stat

from pushmirror.tree.work_area import WorkArea


class TreeWriter:
    """The served tree, or a part of it that is being built beside it."""

    def __init__(self, area: WorkArea, root: str = "", above: str = "") -> None:
        """`root` is a directory, by its path in the area's tree; empty for the tree itself.

        `above` is the tree path of what it is going to be, where it is not there yet.
        """
        self._area = area
        self._beneath = area.beneath
        self._root = f"{root}/" if root else ""
        self._above = f"{above}/" if above else ""
        self._real: set[str] = set()  # directories that are known to be there, and to be no links

    def put_file(self, source: str, path: str) -> None:
        """Move a file of the work area, by its path in the tree, to a path."""
        self.make_directory(path.rpartition("/")[0])
        try:
            self._beneath.rename(source, f"{self._root}{path}")
        except IsADirectoryError:
            self.replace(source, path)

    def put_link(self, target: str, path: str) -> None:
        """Make a link by renaming a new one over the old, so that the name never dangles in between."""
        self.make_directory(path.rpartition("/")[0])
        beside = self._scratch(path)
        self._beneath.symlink(target, beside)
        try:
            self._beneath.rename(beside, f"{self._root}{path}")
        except IsADirectoryError:
            self.replace(beside, path)

    def replace(self, source: str, path: str) -> None:
        """Put something of the work area in the place of whatever has this name, in one instant.

        Where the file system cannot swap two names, in two: in between there is nothing.
        """
        beside, place = self._scratch(path), f"{self._root}{path}"
        self._beneath.move(source, beside)
        if self._beneath.lstat(place) is None:
            self._beneath.move(beside, place)
        elif not self._beneath.exchange(beside, place):
            self._beneath.move(place, self._scratch(path))
            self._beneath.move(beside, place)
        self._forget(path)

    def make_directory(self, path: str) -> None:
        """Make a directory and those above it; a file or link in the way is cleared."""
        if path in self._real or not path:
            return
        self.make_directory(path.rpartition("/")[0])
        directory = f"{self._root}{path}"
        found = self._beneath.lstat(directory)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            self._clear_the_way(path)
            found = None
        if found is None:
            self._beneath.make_directory(directory)
        self._real.add(path)

    def has_room(self, directory: str) -> bool:
        """Whether a directory is there or can be made without clearing anything out of its way."""
        path = ""
        for name in directory.split("/") if directory else ():
            path = f"{path}/{name}" if path else name
            if path in self._real:
                continue
            found = self._beneath.lstat(f"{self._root}{path}")
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
        if not self._beneath.is_directory(f"{self._root}{path}"):
            return False
        self._real.add(path)
        return True

    def _scratch(self, path: str) -> str:
        return self._area.scratch(f"{self._above}{path}")

    def _clear_the_way(self, path: str) -> None:
        """Something of another kind has this name; it leaves in one rename."""
        self._beneath.move(f"{self._root}{path}", self._scratch(path))
        self._forget(path)

    def _forget(self, path: str) -> None:
        self._real = {real for real in self._real if real != path and not real.startswith(f"{path}/")}
