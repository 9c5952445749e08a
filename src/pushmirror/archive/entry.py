"""One name of a tree, as a listing or a manifest tells of it. A value; it knows no disk."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What a name in a tree is."""

    FILE = "file"
    LINK = "link"
    DIRECTORY = "directory"


class Entry(NamedTuple):
    """One name of a tree. Times of links and directories are not kept, here or in any mirror of ours."""

    path: str  # relative to the tree
    kind: Kind
    size: int = 0  # bytes; 0 unless it is a file
    mtime: int = 0  # seconds since the epoch
    target: str = ""  # of a link
    sha256: str = ""  # of a file, 64 hexadecimal digits; empty where nobody knows it

    @property
    def facts(self) -> tuple[Kind, int, int, str]:
        """What two trees that are the same agree in: not the hash, which one of them may not know."""
        if self.kind is Kind.FILE:
            return (self.kind, self.size, self.mtime, "")
        return (self.kind, 0, 0, self.target)
