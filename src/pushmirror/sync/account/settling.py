"""Looking at names on the disk, one by one, and keeping what is there."""

from __future__ import annotations

import os
from pathlib import Path

from pushmirror.archive.entry import Entry, Kind
from pushmirror.sync.account.change import Changing
from pushmirror.sync.account.names import counts, entry_of


class Disk:
    """A tree on the disk, while nothing of it changes: a directory is looked at once."""

    def __init__(self, tree: Path) -> None:
        self._root = os.fsencode(tree) + b"/"
        self._seen: dict[str, Entry | None] = {"": Entry("", Kind.DIRECTORY)}  # directories, or what is there

    def settle(self, path: str, change: Changing, *, sha256: str) -> None:
        """Keep what is there under a name.

        The directories above it are kept, too. Where one is not there, or is something else now, that is
        what is kept: no link is followed.
        """
        if not counts(path):
            return
        parent = path.rpartition("/")[0]
        if not self._has_directory(parent, change):
            return  # it left with the first of them that is not there
        found = self._look(path)
        if found is None:
            change.remove(path)
        elif found.kind is Kind.FILE:
            change.put(found._replace(sha256=sha256))
        else:
            change.put(found)

    def _has_directory(self, path: str, change: Changing) -> bool:
        if path not in self._seen:
            above = path.rpartition("/")[0]
            self._seen[path] = self._directory(path, change) if self._has_directory(above, change) else None
        found = self._seen[path]
        return found is not None and found.kind is Kind.DIRECTORY

    def _directory(self, path: str, change: Changing) -> Entry | None:
        """What is there in place of a directory, after keeping it."""
        found, before = self._look(path), change.get(path)
        if found is None:
            change.remove(path)
        elif before is None or before.facts != found.facts:
            change.put(found)
        return found

    def _look(self, path: str) -> Entry | None:
        place = self._root + path.encode("utf-8", "surrogateescape")
        try:
            return entry_of(path, os.lstat(place), lambda: os.readlink(place))  # noqa: PTH115  bytes, as they are
        except (FileNotFoundError, NotADirectoryError):
            return None
