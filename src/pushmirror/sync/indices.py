"""Get every index that the pinned Release files name, with the right content, ready to be published.

Guaranteed on return: for each file that a suite lists and upstream has, the content with the listed hash
is in the tree or staged, under its plain name and under those by-hash names that upstream has. Content is
taken from by-hash copies that are here already, before anything is fetched. Raises UpstreamMoved when
upstream no longer has the content that it was pinned to.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pushmirror.archive.closure import required
from pushmirror.archive.digests import name_of
from pushmirror.archive.paths import resolve
from pushmirror.archive.release import Listed
from pushmirror.errors import UpstreamMoved
from pushmirror.sync.published import Published, Suite
from pushmirror.sync.survey import Survey
from pushmirror.sync.upstream import Upstream
from pushmirror.sync.work import WorkArea
from pushmirror.system.files import digest_of, link_or_copy


@dataclass(frozen=True, slots=True)
class Wanted:
    """One listed file of a suite, and where it has to be."""

    suite: Suite
    listed: Listed
    path: str  # under its plain name, links resolved
    copies: tuple[str, ...]  # its by-hash names at upstream


class Indices:
    """The pinned indices of one round."""

    def __init__(
        self, *, tree: Path, area: WorkArea, survey: Survey, pinned: Published, base: Published
    ) -> None:
        """`base` is the published state whose indices are known to be right in the tree."""
        self._tree = tree
        self._area = area
        self._survey = survey
        self._pinned = pinned
        self._base = base
        self._required: dict[str, list[Listed]] = {}  # by suite; asking the disk once is enough
        self.staged: set[str] = set()  # tree paths that wait in the work area
        self.uncovered: set[str] = set()  # suites of which an index without a by-hash copy is staged

    def get(self, upstream: Upstream) -> None:
        """Stage everything that the tree does not have yet."""
        changed = [suite for suite in self._pinned.suites.values() if self._may_lack(suite)]
        lacking = [wanted for wanted in self.wanted(changed) if not self._is_here(wanted)]
        if not lacking:
            return
        names = [name for wanted in lacking for name in (wanted.path, *wanted.copies)]
        upstream.progress.step("indices", files=len(names))
        upstream.fetch(names, self._area)
        for wanted in lacking:
            if not self._stage_from_fetched(wanted):
                raise UpstreamMoved(
                    f"upstream no longer has {wanted.path} with the {name_of(wanted.listed.digest)}"
                    f" that {wanted.suite.directory}/Release names ({wanted.listed.digest})"
                )

    def wanted(self, suites: Iterable[Suite]) -> Iterator[Wanted]:
        """Every file that these suites list and upstream has."""
        for suite in suites:
            for listed in self.required(suite):
                copies = [path for path in suite.copies_of(listed) if self._upstream_has(path)]
                yield Wanted(suite, listed, self.resolved(suite.path_of(listed)), tuple(copies))

    def required(self, suite: Suite) -> list[Listed]:
        """What of a suite's list has to be in the tree: Release files also list what no mirror carries."""
        if suite.directory not in self._required:
            listed = suite.release.files.values()
            places = {entry.path: self.resolved(suite.path_of(entry)) for entry in listed}
            present = {path for path, place in places.items() if self._upstream_has(place)}
            self._required[suite.directory] = required(suite.release, present)
        return self._required[suite.directory]

    def paths(self) -> set[str]:
        """Every tree path that a client may ask for: of these files, and of the Release files themselves."""
        paths = set(self._pinned.release_files)
        for suite in self._pinned.suites.values():
            for listed in self.required(suite):
                paths.add(self.resolved(suite.path_of(listed)))
                paths.update(suite.copies_of(listed))
        return paths

    def file_of(self, path: str) -> Path:
        """Where the content of an index is now: staged, or in the tree. `path` is a resolved one."""
        return (self._area.new if path in self.staged else self._tree) / path

    def _may_lack(self, suite: Suite) -> bool:
        """Whether a suite is not the one whose indices are known to be right, or differs from upstream's."""
        base = self._base.suites.get(suite.directory)
        below = f"{suite.directory}/"
        touched = (*self._survey.missing, *self._survey.changed, *self._survey.links)
        return base is None or base.texts != suite.texts or any(path.startswith(below) for path in touched)

    def resolved(self, path: str) -> str:
        """A path without the links among its directories, as upstream has them."""
        return resolve(path, self._survey.upstream_links)

    def _upstream_has(self, path: str) -> bool:
        return self._survey.upstream_has(path, self._tree)

    def _stage_from_copies(self, wanted: Wanted) -> bool:
        """Whether a file is in place or could be staged from content that is already here."""
        lacking = [path for path in self._places(wanted) if not self._in_tree(wanted, path)]
        if not lacking:
            return True
        source = next((self._tree / copy for copy in wanted.copies if self._is_copy(wanted, copy)), None)
        if source is None or not _has_digest(source, wanted.listed):
            return False
        self._stage(lacking, source)
        return True

    def _is_here(self, wanted: Wanted) -> bool:
        """Whether a file is in place, or could be staged from the tree or what was fetched before."""
        return self._stage_from_copies(wanted) or self._stage_from_fetched(wanted)

    def _stage_from_fetched(self, wanted: Wanted) -> bool:
        """Whether a file could be staged from what was fetched, under whichever of its names."""
        right = [path for path in self._places(wanted) if self._is_right(path, wanted.listed)]
        if not right:
            return False
        self.staged.update(right)
        lacking = [path for path in self._places(wanted) if path not in right]
        self._stage([path for path in lacking if not self._in_tree(wanted, path)], self._area.new / right[0])
        if not wanted.copies:
            self.uncovered.add(wanted.suite.directory)
        return True

    def _places(self, wanted: Wanted) -> tuple[str, ...]:
        return (wanted.path, *wanted.copies)

    def _in_tree(self, wanted: Wanted, path: str) -> bool:
        """Whether the tree has the content under this name already, with upstream's time."""
        if path != wanted.path:
            return self._is_copy(wanted, path)
        if self._survey.wanted(path):
            return False
        base = self._base.suites.get(wanted.suite.directory)
        known = base.release.files.get(wanted.listed.path) if base else None
        through_link = path != wanted.suite.path_of(wanted.listed)  # which may have turned since
        if known is not None and known.digest == wanted.listed.digest and not through_link:
            return True
        file = self._tree / path
        return _size(file) == wanted.listed.size and _has_digest(file, wanted.listed)

    def _is_copy(self, wanted: Wanted, path: str) -> bool:
        """Whether a by-hash name is in the tree with its content.

        What we fetched was checked against its name when it came; another program's is read.
        """
        file, listed = self._tree / path, wanted.listed
        if _size(file) != listed.size:
            return False
        return wanted.suite.directory in self._base.suites or _has_digest(file, listed)

    def _is_right(self, path: str, listed: Listed) -> bool:
        found = self._area.fetched(path)
        return (
            found is not None
            and found.st_size == listed.size
            and self._area.digest_of(path, like=listed.digest) == listed.digest
        )

    def _stage(self, paths: Iterable[str], source: Path) -> None:
        for path in paths:
            entry = self._survey.wanted(path)
            mtime = entry.mtime if entry else int(source.lstat().st_mtime)
            link_or_copy(source, self._area.new / path, mtime=mtime)
            self.staged.add(path)


def _has_digest(file: Path, listed: Listed) -> bool:
    return digest_of(file, like=listed.digest) == listed.digest


def _size(file: Path) -> int | None:
    try:
        return os.lstat(file).st_size
    except OSError:
        return None
