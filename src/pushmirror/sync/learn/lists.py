"""The files that Release files list, between two states: which have changed, and fetch those.

Guaranteed: nothing large is fetched again under another name; what came lies in the work area, and whoever
takes it from there checks it. Not the business of this module: what is in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pushmirror.archive.paths import resolve
from pushmirror.archive.release import Listed
from pushmirror.errors import Unusable
from pushmirror.sync.learn.question import Question
from pushmirror.sync.published import Suite
from pushmirror.sync.work import WorkArea
from pushmirror.system.files import mtime_of

_WORTH_TWO_FETCHES = 4_000_000  # bytes that would come under several names


@dataclass(frozen=True, slots=True)
class Changed:
    """A listed file that is not here with the content that the pinned state lists."""

    path: str  # in the tree, links resolved
    size: int  # bytes
    digest: str
    copies: tuple[str, ...]  # by-hash names that upstream may have
    was_carried: bool  # the tree has the name, with an older content, or should have

    @property
    def names(self) -> tuple[str, ...]:
        """Under which it may come; the one that is the best to ask for first."""
        by_digest = [copy for copy in self.copies if copy.endswith(self.digest)]
        others = [copy for copy in self.copies if copy not in by_digest]
        return (*by_digest, self.path, *others)


def changed_lists(question: Question, links: Mapping[str, str]) -> list[Changed]:
    """What the pinned Release files list anew or with another hash, and what the tree has lost.

    Upstream may carry it or not: of a name that has not changed, that is as it was. Raises Unusable where a
    name leads through a link, which may have turned at upstream: nothing that is listed tells.
    """
    found: list[Changed] = []
    carried = question.ledger.names_of(question.base.generation)
    for suite in question.pinned.suites.values():
        base = question.base.suites.get(suite.directory)
        before = base.release.files if base else {}
        for path, listed in suite.release.files.items():
            old = before.get(path)
            is_same = old is not None and old.digest == listed.digest
            place = resolve(suite.path_of(listed), links)
            if (is_same and place not in carried) or not question.selection.wants(place):
                continue
            is_here = os.path.lexists(question.tree / place)
            if is_same and is_here:
                continue
            if place != suite.path_of(listed):
                raise Unusable(f"{suite.path_of(listed)} changed, and there is a link on the way to it")
            copies = tuple(_copies(question, suite, listed))
            was_carried = is_here or place in carried
            found.append(Changed(place, listed.size, listed.digest, copies, was_carried))
    return found


def fetch_lists(question: Question, changed: Sequence[Changed], *, also: Sequence[str] = ()) -> None:
    """Fetch them into the work area, under each of the names that upstream has; links as what they are.

    `also` names files that are fetched along with them, unless the tree has them as upstream does.
    """
    area, upstream = question.area, question.upstream
    basis = area.scratch()  # what rsync finds in it, it does not fetch again
    for name in also:
        _put(area, basis, name, question.tree / name)
    names = [name for one in changed for name in one.names]
    upstream.progress.step("indices", files=len(names))
    if sum(one.size * (len(one.names) - 1) for one in changed) > _WORTH_TWO_FETCHES:
        contents = [one.names[0] for one in changed]
        upstream.fetch(contents, area, links=True)
        _hash_all(area, contents)
        for one in changed:
            if area.digest_of(one.names[0], like=one.digest) == one.digest:
                for name in one.names[1:]:
                    _put(area, basis, name, area.at(one.names[0]))
        names = [name for one in changed for name in one.names[1:]]
    if names or also:
        place = area.place(basis)
        upstream.fetch([*names, *also], area, basis=place if place.exists() else None, links=True)
        _hash_all(area, [*names, *also])


def _copies(question: Question, suite: Suite, listed: Listed) -> Iterator[str]:
    """The by-hash names that upstream may have: all, or those of the kinds that it had before."""
    for path in suite.copies_of(listed):
        kind = path.rpartition("/")[0]
        is_known = os.path.isdir(question.tree / kind)  # noqa: PTH112  once a name; Path is ten times slower
        is_new = not os.path.isdir(question.tree / kind.rpartition("/")[0])  # noqa: PTH112
        if (is_known or is_new) and question.selection.wants(path):
            yield path


def _put(area: WorkArea, basis: str, name: str, source: Path) -> None:
    with suppress(OSError):
        area.beneath.link_or_copy(source, f"{basis}/{name}", mtime=mtime_of(source.lstat()))


def _hash_all(area: WorkArea, names: list[str]) -> None:
    """Let the area know the hashes: hashing lets go of the interpreter's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(area.sha256_of, names))
