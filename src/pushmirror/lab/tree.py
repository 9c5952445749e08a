"""How dak writes into its tree: every file complete beside the tree first, then renamed into place."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path


class Tree:
    """A directory that is served while it is written.

    New files carry the time of the generation that brought them, not of the moment: two generations within
    one second would otherwise leave files of equal size and time, which rsync takes for equal files.
    """

    def __init__(self, path: Path, incoming: Path) -> None:
        self.path = path
        self._incoming = incoming  # on the same file system, so that a rename is one step
        self._numbers = count()
        path.mkdir(parents=True)
        incoming.mkdir(parents=True)

    def put(self, name: str, data: bytes, when: datetime, *, links: tuple[str, ...] = ()) -> None:
        """Make the file `name`, first under the further names `links` that do not exist yet."""
        beside = self._incoming / str(next(self._numbers))
        beside.write_bytes(data)
        beside.chmod(0o644)
        os.utime(beside, (when.timestamp(), when.timestamp()))
        for link in links:
            with suppress(FileExistsError):
                os.link(beside, self._ready(link))
        beside.replace(self._ready(name))

    def symlink(self, name: str, target: str) -> None:
        """Make or turn the symbolic link `name`."""
        path = self._ready(name)
        if path.is_symlink() and str(path.readlink()) == target:
            return
        beside = self._incoming / str(next(self._numbers))
        beside.symlink_to(target)
        beside.replace(path)

    def resolve(self, name: str) -> str:
        """The name of the file that a name leads to."""
        return str((self.path / name).resolve().relative_to(self.path.resolve()))

    def remove(self, name: str) -> None:
        """Delete a file, and the directories that it leaves empty."""
        path = self.path / name
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == self.path:
                return
            try:
                parent.rmdir()
            except FileNotFoundError:
                continue
            except OSError:  # there is something in it
                return

    def _ready(self, name: str) -> Path:
        path = self.path / name
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        return path
