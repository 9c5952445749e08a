"""An upstream's tree that changes in any way a test likes, and what each name in it is.

Guaranteed: two files that differ do so in size or time, as rsync can see; links lead to something; names of
the archive proper change with its generations only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path, PurePosixPath

_OLDEST = 1_700_000_000  # seconds; each file that is made has a later one


@dataclass(frozen=True)
class Thing:
    """What a tree has under a name."""

    content: bytes | None = None  # of a file
    mtime: int = 0
    target: str | None = None  # of a link; neither: a directory

    @classmethod
    def file(cls, number: int) -> Thing:
        return cls(sha256(b"%d" % number).digest() * (number % 3), _OLDEST + number)

    @classmethod
    def at(cls, path: Path) -> Thing | None:
        """What is there on the disk."""
        if path.is_symlink():
            return cls(target=str(path.readlink()))
        if path.is_file():
            return cls(path.read_bytes(), int(path.stat().st_mtime))
        return cls() if path.is_dir() else None


DIRECTORY = Thing()
Things = dict[str, Thing]  # by path


def things_in(tree: Path) -> Things:
    """All that a tree holds."""
    found = {str(path.relative_to(tree)): Thing.at(path) for path in tree.rglob("*")}
    return {path: thing for path, thing in found.items() if thing}


@dataclass
class ChangingTree:
    """A tree, and what is to be in it at the next `write`."""

    tree: Path
    generations: list[Things]  # of the archive proper
    things: Things = field(default_factory=dict)
    official: frozenset[str] = frozenset()  # names of the archive proper
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def publish(self, number: int) -> None:
        """The archive proper changes to another of its generations."""
        new = self.generations[number]
        for path in self.official - new.keys():
            del self.things[path]
        self.official = frozenset(new)
        for path in new:
            self._make_way(path)
        self.things |= new

    def put(self, path: str) -> None:
        """A new file, in the place of whatever is there."""
        self._set(path, Thing.file(next(self._numbers)))

    def make_directory(self, path: str) -> None:
        """An empty directory, in the place of whatever is there."""
        self._set(path, DIRECTORY)

    def link(self, path: str, other: str) -> None:
        """A link to another name; there will be none if that is not there."""
        self._set(path, Thing(target=os.path.relpath(other, PurePosixPath(path).parent)))

    def remove(self, path: str) -> None:
        """A name goes, with all below it."""
        if self._is_free(path):
            self._take_away(path)

    def rename(self, path: str, other: str) -> None:
        """A file keeps what it holds, and its time, under another name."""
        thing = self.things.get(path)
        if thing and thing.content is not None and path not in self.official and self._is_free(other):
            del self.things[path]
            self._set(other, thing)

    def write(self) -> None:
        """Make the tree so."""
        self._drop_dangling()
        for path, thing in sorted(things_in(self.tree).items(), reverse=True):
            if thing != self.things.get(path) and Thing.at(self.tree / path):
                _remove(self.tree / path)
        for path, thing in sorted(self.things.items()):
            if Thing.at(self.tree / path) != thing:
                _make(self.tree / path, thing)

    def _set(self, path: str, thing: Thing) -> None:
        if self._is_free(path):
            self._make_way(path)
            self.things[path] = thing

    def _is_free(self, path: str) -> bool:
        """Whether a name may change without the archive proper being touched."""
        if any(one == path or one.startswith(f"{path}/") for one in self.official):
            return False
        return all(self.things[one] == DIRECTORY for one in _above(path) if one in self.official)

    def _make_way(self, path: str) -> None:
        """Take a name away, and have directories above it."""
        self._take_away(path)
        self.things |= dict.fromkeys(_above(path), DIRECTORY)

    def _take_away(self, path: str) -> None:
        for one in [one for one in self.things if one == path or one.startswith(f"{path}/")]:
            del self.things[one]

    def _drop_dangling(self) -> None:
        """The judge would take a link that leads nowhere for a fault of the mirror."""
        while lost := [path for path, thing in self.things.items() if thing.target and not self._leads(path)]:
            for path in lost:
                del self.things[path]

    def _leads(self, path: str) -> bool:
        for _ in range(len(self.things)):
            thing = self.things.get(path)
            if thing is None or thing.target is None:
                return thing is not None
            path = os.path.normpath(PurePosixPath(path).parent / thing.target)
        return False


def _above(path: str) -> list[str]:
    return [str(one) for one in PurePosixPath(path).parents][:-1]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _make(path: Path, thing: Thing) -> None:
    if thing.target is not None:
        path.symlink_to(thing.target)
    elif thing.content is not None:
        path.write_bytes(thing.content)
        os.utime(path, (thing.mtime, thing.mtime))
    else:
        path.mkdir(parents=True)
