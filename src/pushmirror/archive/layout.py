"""The layout of an archive: names of directories and files, and what a path is, by its name.

An archive may lie in a directory of the tree, be reached through links, or have its Release files elsewhere,
as Debian's has (zzz-dists). Pure; paths are relative to the tree. Which path is published when:
publishing_order.py.
"""

from __future__ import annotations

import re

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
SEARCHED = 3  # components of the path of a flat suite's Release file that is found without being named
_BY_HASH = re.compile(r"(?:^|/)by-hash/(?:MD5Sum|SHA1|SHA256|SHA512)/[0-9a-f]+$")


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


def is_content(name: str) -> bool:
    """Whether a name at the top of a tree tells that its disk is there: no flag of ours, nor a disk's own."""
    return name != LOST and not name.startswith((REQUIRED, "."))


def is_by_hash(path: str) -> bool:
    """Whether a path is that of an index by its hash, which is a file here whatever it is at upstream."""
    return _BY_HASH.search(path) is not None


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
    if any(part in {DISTS, ZZZ_DISTS} for part in directories[:SEARCHED]):
        return True
    top = directories[:1]
    return len(directories) < SEARCHED and all(map(may_have_suites, directories)) and not NO_PACKAGES & {*top}
