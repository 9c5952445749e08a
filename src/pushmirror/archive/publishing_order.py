"""The publishing order: to which step a path belongs, by its name.

What nothing live refers to may appear at any time before what refers to it; that is all an archive needs to
be complete at every instant. Pure; paths are relative to the tree.
"""

from __future__ import annotations

import re
from enum import IntEnum

from pushmirror.archive.filters import STAGE1_RULES, Selection
from pushmirror.archive.layout import (
    DISTS,
    NO_PACKAGES,
    RELEASE_NAMES,
    SEARCHED,
    TRACES,
    ZZZ_DISTS,
    is_suite_file,
)

_INDEX = re.compile(r"(?:Packages|Sources|Contents-[^/]*)(?:\.[a-z0-9]+)?")  # of a flat repository
_PACKAGE = re.compile(r"[^/_.][^/_]*_[^/]*\.(?:[du]?deb|dsc|diff\.gz|tar\.[a-z0-9]+(?:\.asc)?)")
_early = Selection(STAGE1_RULES)


class PublishStep(IntEnum):
    """When a path is published; a later step refers to earlier ones."""

    EARLY = 1  # packages, by-hash, pdiff patches, installer versions: found only through what comes later
    INDEX = 2  # Packages, Sources, Contents … under their plain names
    INDEX_LINK = 3  # symbolic links among them (installer-amd64/current)
    MASTER = 4  # project/trace/master: visible no later than the Release files it announces
    RELEASE = 5
    SUITE_LINK = 6  # dists/stable -> trixie
    REST = 7  # doc, tools, ls-lR.gz: nothing refers to them
    TRACE = 8


def publish_step(path: str, *, is_link: bool = False) -> PublishStep:
    """The step that a path belongs to."""
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
    for at, name in enumerate(parts[:SEARCHED]):
        if name in {DISTS, ZZZ_DISTS}:
            return "/".join(parts[at + 1 :])
    return None


def _outside(path: str) -> PublishStep:
    """Of a path that is not below `dists`."""
    first, slash, _ = path.partition("/")
    if _INDEX.fullmatch(path.rpartition("/")[2]) and not (slash and first in NO_PACKAGES):
        return PublishStep.INDEX
    return PublishStep.REST if not slash or first in NO_PACKAGES else PublishStep.EARLY


def is_package(path: str) -> bool:
    """Whether a path is that of a package or a part of a source package: `NAME_VERSION….SUFFIX`."""
    return publish_step(path) is PublishStep.EARLY and _PACKAGE.fullmatch(path.rpartition("/")[2]) is not None


def may_land(path: str) -> bool:
    """Whether a *new* path may appear in the tree as soon as it is here: nothing live refers to it yet."""
    return publish_step(path) in {PublishStep.EARLY, PublishStep.REST}


def publishing_order(path: str, is_link: bool = False) -> tuple[int, int, str, int]:
    """Sort key of publishing: by step; within one, links last and the Release files of a suite together.

    A Release file that is a link comes after the file that it may lead to.
    """
    step = publish_step(path, is_link=is_link)
    directory, _, name = path.rpartition("/")
    if step is PublishStep.RELEASE:
        return (step, int(is_link), directory, RELEASE_NAMES.index(name))
    return (step, int(is_link), path, 0)


def deleting_order(path: str, is_link: bool = False) -> tuple[int, int, str]:
    """Sort key of deleting: what refers goes before what it refers to, links first within a step."""
    return (-publish_step(path, is_link=is_link), int(not is_link), path)
