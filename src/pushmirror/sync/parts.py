"""Which part of an archive a path belongs to, and so when it may appear.

The order of `Part` is the order of publishing (design: Publish). A path that nothing live refers to
may appear at any time before what refers to it; that is all an archive needs to be whole at every instant.
Pure; paths are relative to the tree.
"""

from __future__ import annotations

from enum import IntEnum

from pushmirror.archive.selection import STAGE1_RULES, Selection

RELEASE_NAMES = ("Release", "Release.gpg", "InRelease")  # in the order in which they replace each other
UPDATING = "Archive-Update-in-Progress-"
REQUIRED = "Archive-Update-Required-"
TRACES = "project/trace"
OURS = (TRACES, TRACES.partition("/")[0])  # directories of every mirror, whatever they are at upstream
WORK = ".~tmp~"  # rsync's own name for --delay-updates: every mirror script already leaves it out
LOST = "lost+found"  # at the top of a file system, and its own: nobody but root reads it
FILE_MODE, DIRECTORY_MODE = 0o644, 0o755  # as ftpsync's --chmod=D755,F644: readable by every client
_SUITE_DEPTH = (2, 3)  # dists/trixie and, as in old security archives, dists/stretch/updates
_NO_PACKAGES = {
    "doc",
    "indices",
    "project",
    "tools",
}  # packages are in pool, but also in pool-sparc64, packages …
_early = Selection(STAGE1_RULES)


class Part(IntEnum):
    """When a path is published; a later part refers to earlier ones."""

    EARLY = 1  # packages, by-hash, pdiff patches, installer versions: found only through what comes later
    INDEX = 2  # Packages, Sources, Contents … under their plain names
    INDEX_LINK = 3  # symbolic links among them (installer-amd64/current)
    MASTER = 4  # project/trace/master: visible no later than the Release files it announces
    RELEASE = 5
    SUITE_LINK = 6  # dists/stable -> trixie
    REST = 7  # doc, tools, ls-lR.gz: nothing refers to them
    TRACE = 8


def is_content(name: str) -> bool:
    """Whether a name at the top of a tree tells that its disk is there: no flag of ours, nor a disk's own."""
    return name != LOST and not name.startswith((REQUIRED, "."))


def part_of(path: str, *, is_link: bool = False) -> Part:
    """The part a path belongs to."""
    if path.startswith(f"{TRACES}/"):
        return Part.MASTER if path == f"{TRACES}/master" else Part.TRACE
    if not path.startswith("dists/"):
        first, slash, _ = path.partition("/")
        return Part.REST if not slash or first in _NO_PACKAGES else Part.EARLY
    if is_suite_file(path):
        return Part.RELEASE
    if is_link:
        return Part.SUITE_LINK if path.count("/") == 1 else Part.INDEX_LINK
    return Part.EARLY if _early.wants(path) else Part.INDEX


def is_suite_file(path: str) -> bool:
    """Whether a path can be a Release file of a suite (and not that of one component and architecture)."""
    directory, _, name = path.rpartition("/")
    return name in RELEASE_NAMES and path.startswith("dists/") and directory.count("/") + 1 in _SUITE_DEPTH


def may_land(path: str) -> bool:
    """Whether a *new* path may appear in the tree as soon as it is here: nothing live refers to it yet."""
    return part_of(path) in {Part.EARLY, Part.REST}


def publishing_order(path: str, is_link: bool = False) -> tuple[int, int, str, int]:
    """Sort key of publishing: by part; within one, links last and the Release files of a suite together."""
    part = part_of(path, is_link=is_link)
    directory, _, name = path.rpartition("/")
    if part is Part.RELEASE:
        return (part, 0, directory, RELEASE_NAMES.index(name))
    return (part, int(is_link), path, 0)


def deleting_order(path: str, is_link: bool = False) -> tuple[int, int, str]:
    """Sort key of deleting: what refers goes before what it refers to, links first within a part."""
    return (-part_of(path, is_link=is_link), int(not is_link), path)
