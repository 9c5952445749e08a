"""The publishing order: to which step a path belongs, told by its name.

What nothing live refers to may appear at any time before what refers to it; that is all an archive needs to
be complete at every instant. An archive may lie in a directory of the tree, be reached through links, or have
its Release files elsewhere, as Debian's has (zzz-dists). Pure; paths are relative to the tree.
"""

from __future__ import annotations

import re
from enum import IntEnum

from pushmirror.archive.filters import STAGE1_RULES, Selection

RELEASE_NAMES = ("Release", "Release.gpg", "InRelease")  # in the order in which they replace each other
UPDATING = "Archive-Update-in-Progress-"
REQUIRED = "Archive-Update-Required-"
TRACES = "project/trace"
OURS = (TRACES, TRACES.partition("/")[0])  # directories of every mirror, whatever they are at upstream
WORK = ".~tmp~"  # rsync's own name for --delay-updates: every mirror script already leaves it out
LOST = "lost+found"  # at the top of a file system, and its own: nobody but root reads it
DISTS = "dists"
POOL = "pool"
ZZZ_DISTS = "zzz-dists"  # where dak keeps Release files: the name makes rsync send them last
FILE_MODE, DIRECTORY_MODE = 0o644, 0o755  # as ftpsync's --chmod=D755,F644: readable by every client
#: Names of directories in which no suite is looked for, except directly in `dists`; as rsync's patterns, for
#: upstream is asked with the same ones.
NO_SUITES = (
    *("by-hash", "binary-*", "source", "*.diff", "i18n", "dep11", "cnf", "installer-*", "debian-installer"),
    *("pool*", WORK, LOST),
)
_NO_SUITES = re.compile(
    "|".join(re.escape(pattern).replace(r"\*", ".*") for pattern in (*NO_SUITES, ZZZ_DISTS))
)
NO_PACKAGES = {
    "doc",
    "indices",
    "project",
    "tools",
}  # packages are in pool, but also in pool-sparc64, packages …
_COMPONENT = re.compile(r"binary-.+|source")  # whose Release is one index among others
_INDEX = re.compile(r"(?:Packages|Sources|Contents-[^/]*)(?:\.[a-z0-9]+)?")  # of a flat repository
_SEARCHED = 3  # components of the path of a flat suite's Release file that is found without being named
_BY_HASH = re.compile(r"(?:^|/)by-hash/(?:MD5Sum|SHA1|SHA256|SHA512)/[0-9a-f]+$")
_PACKAGE = re.compile(r"[^/_.][^/_]*_[^/]*\.(?:[du]?deb|dsc|diff\.gz|tar\.[a-z0-9]+(?:\.asc)?)")
_early = Selection(STAGE1_RULES)


#: The names that are not part of an archive, as rsync patterns: each mirror has its own traces and flags, and
#: work areas and lost+found are a mirror's or a file system's. `is_local` is the same rule.
LOCAL_PATTERNS = (WORK, LOST, f"/{TRACES}/*", f"/{UPDATING}*", f"/{REQUIRED}*")


def is_local(path: str) -> bool:
    """Whether a path is not part of the archive: a trace, a flag, a work area, or lost+found."""
    return path.startswith((f"{TRACES}/", UPDATING, REQUIRED)) or not {WORK, LOST}.isdisjoint(path.split("/"))


def joined(directory: str, name: str) -> str:
    """A path in a directory of the tree; the top one is ""."""
    return f"{directory}/{name}" if directory else name


def may_have_suites(name: str) -> bool:
    """Whether a directory of this name is one in which suites are looked for, or repositories."""
    return _NO_SUITES.fullmatch(name) is None and not name.startswith(".")


class PublishStep(IntEnum):
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


def publish_step(path: str, *, is_link: bool = False) -> PublishStep:
    """The part a path belongs to."""
    if path.startswith(f"{TRACES}/"):
        return PublishStep.MASTER if path == f"{TRACES}/master" else PublishStep.TRACE
    if is_suite_file(path):
        return PublishStep.RELEASE
    below = _below_dists(path)
    if below is None:
        return _outside(path)
    if is_link:
        return PublishStep.INDEX_LINK if "/" in below else PublishStep.SUITE_LINK
    return PublishStep.EARLY if _early.wants(f"{DISTS}/{below}") else PublishStep.INDEX


def _below_dists(path: str) -> str | None:
    """What follows `dists` in a path, which may be that of a link named so itself; None if it is
    elsewhere."""
    parts = path.split("/")
    for at, part in enumerate(parts[:_SEARCHED]):
        if part in {DISTS, ZZZ_DISTS}:
            return "/".join(parts[at + 1 :])
    return None


def _outside(path: str) -> PublishStep:
    """Of a path that is not below `dists`."""
    first, slash, _ = path.partition("/")
    if _INDEX.fullmatch(path.rpartition("/")[2]) and not (slash and first in NO_PACKAGES):
        return PublishStep.INDEX
    return PublishStep.REST if not slash or first in NO_PACKAGES else PublishStep.EARLY


def is_by_hash(path: str) -> bool:
    """Whether a path is that of an index by its hash, which is a file here whatever it is at upstream."""
    return _BY_HASH.search(path) is not None


def is_package(path: str) -> bool:
    """Whether a path is that of a package or a part of a source package: `NAME_VERSION….SUFFIX`."""
    return publish_step(path) is PublishStep.EARLY and _PACKAGE.fullmatch(path.rpartition("/")[2]) is not None


def is_suite_file(path: str) -> bool:
    """Whether a path can be a Release file of a suite (and not that of one component and architecture)."""
    directory, _, name = path.rpartition("/")
    if name not in RELEASE_NAMES or directory.partition("/")[0] in NO_PACKAGES:
        return False
    return name != "Release" or not is_component(directory)


def is_component(directory: str) -> bool:
    """Whether a directory is that of one component and architecture; directly in `dists` it is a suite."""
    above, _, name = directory.rpartition("/")
    is_of_dists = above.rpartition("/")[2] in {DISTS, ZZZ_DISTS}
    return not is_of_dists and _COMPONENT.fullmatch(name) is not None


def is_searched(path: str) -> bool:
    """Whether a suite's Release file at this path is found without being named in the configuration."""
    *directories, _ = path.split("/")
    if any(part in {DISTS, ZZZ_DISTS} for part in directories[:_SEARCHED]):
        return True
    top = directories[:1]
    return (
        len(directories) < _SEARCHED and all(map(may_have_suites, directories)) and not NO_PACKAGES & {*top}
    )


def may_land(path: str) -> bool:
    """Whether a *new* path may appear in the tree as soon as it is here: nothing live refers to it yet."""
    return publish_step(path) in {PublishStep.EARLY, PublishStep.REST}


def publishing_order(path: str, is_link: bool = False) -> tuple[int, int, str, int]:
    """Sort key of publishing: by part; within one, links last and the Release files of a suite together.

    A Release file that is a link comes after the file that it may lead to.
    """
    part = publish_step(path, is_link=is_link)
    directory, _, name = path.rpartition("/")
    if part is PublishStep.RELEASE:
        return (part, int(is_link), directory, RELEASE_NAMES.index(name))
    return (part, int(is_link), path, 0)


def deleting_order(path: str, is_link: bool = False) -> tuple[int, int, str]:
    """Sort key of deleting: what refers goes before what it refers to, links first within a part."""
    return (-publish_step(path, is_link=is_link), int(not is_link), path)
