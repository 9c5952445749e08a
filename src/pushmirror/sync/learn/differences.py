"""Two accounts of a tree, theirs and ours, name by name, gathered into a survey. Pure but for its spool.

What `Comparison` does with a listing and the disk, this does with a manifest and the inventory: the rules
of what counts as changed are the same, so that every strategy ends in the same tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pushmirror.archive.entry import Entry, Kind
from pushmirror.archive.selection import Selection
from pushmirror.sync.parts import OURS, is_by_hash
from pushmirror.sync.survey import Survey


class Differences:
    """Fills in a survey."""

    def __init__(self, selection: Selection, below: Callable[[str], Iterable[Entry]]) -> None:
        """`selection` is what of theirs is mirrored; `below` tells what is below a directory of ours."""
        self.survey = Survey()
        self._selection = selection
        self._below = below
        self._cleared: set[str] = set()  # directories here whose name something else is going to have

    def take(self, path: str, theirs: Entry | None, ours: Entry | None) -> None:
        """One name, as it is there and here; None where it is not. A directory comes before what is in it."""
        if theirs is None or not self._selection.wants(path, is_dir=theirs.kind is Kind.DIRECTORY):
            self._only_here(path, ours)
        elif theirs.kind is Kind.DIRECTORY or path in OURS:
            if ours is None or ours.kind is not Kind.DIRECTORY:
                self.survey.directories.append(path)
        elif theirs.kind is Kind.LINK:
            self._link(path, theirs, ours)
        else:
            self._file(path, theirs, ours)

    def _only_here(self, path: str, ours: Entry | None) -> None:
        if ours is not None and path not in OURS and not self._leaves_with_its_directory(path):
            is_directory = ours.kind is Kind.DIRECTORY
            (self.survey.extra_directories if is_directory else self.survey.extras).append(path)

    def _link(self, path: str, theirs: Entry, ours: Entry | None) -> None:
        self.survey.upstream_links[path] = theirs.target
        if is_by_hash(path):
            self.survey.deviates = True  # here it is a file, made from what it is to have
            return
        if ours is None or ours.facts != theirs.facts:
            self.survey.links[path] = theirs
            self._clear_the_way(path, ours)

    def _file(self, path: str, theirs: Entry, ours: Entry | None) -> None:
        if ours is None:
            self.survey.add_missing(theirs)
        elif ours.facts != theirs.facts:
            self.survey.changed[path] = theirs
            self._clear_the_way(path, ours)

    def _clear_the_way(self, path: str, ours: Entry | None) -> None:
        """What is below a directory here leaves when they have something else under its name."""
        if ours is not None and ours.kind is Kind.DIRECTORY:
            self._cleared.add(path)
            self.survey.obstructing += [
                entry.path for entry in self._below(path) if entry.kind is not Kind.DIRECTORY
            ]

    def _leaves_with_its_directory(self, path: str) -> bool:
        return bool(self._cleared) and any(path.startswith(f"{directory}/") for directory in self._cleared)
