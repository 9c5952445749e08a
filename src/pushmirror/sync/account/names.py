"""Names of a tree as an inventory keeps them: which of them count, and what the disk says of one.

A name counts if every mirror has it alike: not the traces, nor the flags of a run, nor what is in work
areas, nor a file system's own lost+found, nor what no list of ours would take (control characters, links
that lead out of the tree, devices).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from stat import S_ISDIR, S_ISLNK, S_ISREG

from pushmirror.archive.entry import Entry, Kind
from pushmirror.archive.paths import MAX_PATH, link_stays_inside, tree_path
from pushmirror.errors import BadPath
from pushmirror.sync.parts import LOST, REQUIRED, TRACES, UPDATING, WORK
from pushmirror.system.files import mtime_of

_FLAGS = (UPDATING, REQUIRED)
_SURELY_SHORT = MAX_PATH // 8  # characters, of four bytes at most: there is room for a name
_NO_GLANCE = {"", TRACES}  # directories that hold names of a run
_ALWAYS_DIRECTORIES = {TRACES, TRACES.partition("/")[0]}  # here, whatever they are at upstream


def path_of(directory: bytes, name: bytes) -> str:
    """The path of a name in a directory, both as they are on the disk; see `listing.order_of`."""
    joined = directory + b"/" + name if directory else name
    return joined.decode("utf-8", "surrogateescape")


def counts(path: str) -> bool:
    """Whether a name counts, as far as the path tells."""
    if path.startswith((f"{TRACES}/", *_FLAGS)) or not {WORK, LOST}.isdisjoint(path.split("/")):
        return False
    try:
        return tree_path(path, where="") == path
    except BadPath:
        return False


def counts_in(directory: str, name: str) -> bool:
    """The same of what is on the disk in a directory that counts: nearly always told at a glance."""
    if directory not in _NO_GLANCE and name.isascii() and name.isprintable() and name not in {WORK, LOST}:
        return len(directory) < _SURELY_SHORT or counts(f"{directory}/{name}")
    return counts(f"{directory}/{name}" if directory else name)


def entry_of(path: str, found: os.stat_result, target: Callable[[], bytes]) -> Entry | None:
    """What the disk says of a name whose path counts; None if it is something that does not.

    `target` reads where it leads, if it is a link.
    """
    if S_ISREG(found.st_mode):
        return Entry(path, Kind.FILE, found.st_size, mtime_of(found))
    if S_ISDIR(found.st_mode) or (S_ISLNK(found.st_mode) and path in _ALWAYS_DIRECTORIES):
        return Entry(path, Kind.DIRECTORY)
    if S_ISLNK(found.st_mode):
        leads_to = target().decode("utf-8", "surrogateescape")
        if link_stays_inside(path, leads_to):
            return Entry(path, Kind.LINK, target=leads_to)
    return None
