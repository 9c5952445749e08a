"""Stage every index that the pinned Release files name, with the right content.

Guaranteed on return of `get`, but for the suites with a fault: for each file that a suite lists and upstream
has, the content with the listed hash is in the tree or staged, under those of its names that upstream has
(the plain one, or where a link of that name leads, and by-hash ones, which may be all there are). By-hash
copies that are here already are used before anything is fetched. A variant that upstream has with another
content is refused; it is a fault only where clients need it, no other variant is right, and upstream was
asked twice.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pushmirror.archive.compression import family
from pushmirror.archive.index import IndexKind, kind_of, required
from pushmirror.archive.layout import is_by_hash, joined
from pushmirror.archive.paths import prefixes, resolve
from pushmirror.archive.release import Listed
from pushmirror.errors import BadPath
from pushmirror.fetch.upstream import Upstream
from pushmirror.inventory.diff import Diff
from pushmirror.system import clock
from pushmirror.system.files import has_digest, lstat_or_none, mtime_of
from pushmirror.tree.published_state import Fault, PublishedState, Suite, TreeLinks
from pushmirror.tree.suites import SECOND_LOOK, Suites
from pushmirror.tree.work_area import WorkArea

#: Without these no client can use a suite; what else is listed (Contents, Translation, dep11 …) it can miss.
_NEEDED = {IndexKind.PACKAGES, IndexKind.SOURCES}


@dataclass(frozen=True, slots=True)
class WantedFile:
    """One listed file of a suite, and where it has to be."""

    suite: Suite
    listed: Listed
    path: str  # under its plain name, links resolved
    copies: tuple[str, ...]  # its by-hash names at upstream


class Indices:
    """The pinned indices of one attempt."""

    def __init__(
        self,
        *,
        tree: Path,
        area: WorkArea,
        diff: Diff,
        suites: Suites,
        base: PublishedState,
        wants: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`base` is the published state whose indices are known to be right in the tree.

        `wants` tells whether a path is mirrored at all.
        """
        self._tree = tree
        self._area = area
        self._diff = diff
        self._pinned = suites.target
        self._base = base
        # Held back, or kept because the only way to it is through a link that is: nothing of it is fetched.
        self._held = suites.faults.keys() | (self._pinned.suites.keys() - suites.upstream.suites.keys())
        self._held_before = suites.held_before
        self._wants = wants
        links = diff.upstream_links
        known = {**dict.fromkeys(diff.no_links), **links}
        self._links: Mapping[str, str] = links if diff.covers_all else TreeLinks(tree, known)
        self._required: dict[str, list[Listed]] = {}  # by suite; asking the disk once is enough
        self.staged: set[str] = set()  # tree paths that wait in the work area
        self.uncovered: set[str] = set()  # suites of which an index without a by-hash copy is staged
        self.dropped: dict[str, str] = {}  # suites that lose an index which clients can miss, and which one

    def holding(self, suites: Suites, faults: Mapping[str, Fault]) -> Indices:
        """The same without suites that have a fault, which are held back."""
        if not faults:
            return self
        for directory, fault in faults.items():
            suites.hold(directory, fault)
        fewer = Indices(
            tree=self._tree,
            area=self._area,
            diff=self._diff,
            suites=suites,
            base=self._base,
            wants=self._wants,
        )
        fewer.staged = {path for path in self.staged if not suites.leaves(path)}
        fewer._required = {where: one for where, one in self._required.items() if where not in suites.faults}
        return fewer

    def get(self, upstream: Upstream, live: PublishedState) -> dict[str, Fault]:
        """Stage everything that the tree does not have yet; returns the faults of suites, by directory.

        `live` is what is served here: what it has of a suite, the next state is expected to have, too.
        """
        changed = [suite for suite in self._pinned.suites.values() if self._may_lack(suite)]
        lacking = [wanted for wanted in self.wanted(changed) if not self._is_here(wanted)]
        asked = self._diff.refused  # a moment ago, by the strategy
        if unasked := [wanted for wanted in lacking if wanted.path not in asked]:
            names = [name for wanted in unasked for name in self._to_fetch(wanted)]
            upstream.progress.step("indices", files=len(names))
            upstream.fetch(names, self._area)
        wrong = [wanted for wanted in lacking if not self._stage_from_fetched(wanted)]
        if doubtful := self._doubtful(wrong):
            self._ask_again(upstream, doubtful)
            wrong = [wanted for wanted in wrong if not self._stage_from_fetched(wanted)]
        by_suite: dict[str, list[WantedFile]] = {suite.directory: [] for suite in changed}
        for wanted in wrong:
            by_suite[wanted.suite.directory].append(wanted)
        found = {suite.directory: self._fault_of(suite, by_suite[suite.directory], live) for suite in changed}
        return {directory: fault for directory, fault in found.items() if fault}

    def _fault_of(self, suite: Suite, wrong: Sequence[WantedFile], live: PublishedState) -> Fault | None:
        """Leave out what upstream has not, or not right; the fault that this is, if so."""
        served = self._served(suite, live)
        lost = self._lost(suite, {family(path) for path in served})
        needed = [path for path in lost if kind_of(path) in _NEEDED]
        dropped = [suite.path_of(one.listed) for one in wrong if one.listed.path in served]
        before = live.suites[suite.directory].release.files if served else {}
        changed = [path for path in lost if path not in before or before[path] != suite.release.files[path]]
        dropped += [joined(suite.directory, path) for path in changed]  # the others are gone for good
        if dropped:
            self.dropped[suite.directory] = dropped[0]
        faults = [fault for wanted in wrong if (fault := self._refuse(wanted))]
        if needed:
            return Fault(
                f"upstream has lost {joined(suite.directory, family(needed[0]))}, which its Release file"
                " lists, in whatever compression",
                "tell upstream's operator",
            )
        return faults[0] if faults else None

    def _doubtful(self, wrong: Iterable[WantedFile]) -> list[WantedFile]:
        """Of these the variants of what clients need and upstream has in no form; not what was so before."""
        families: dict[tuple[str, str], list[WantedFile]] = {}
        for wanted in wrong:
            suite, path = wanted.suite, wanted.listed.path
            if kind_of(path) in _NEEDED and suite.directory not in self._held_before:
                families.setdefault((suite.directory, family(path)), []).append(wanted)
        present: Counter[tuple[str, str]] = Counter()
        for suite in {one[0].suite.directory: one[0].suite for one in families.values()}.values():
            present.update((suite.directory, family(one.path)) for one in self.required(suite))
        return [
            wanted
            for name, variants in families.items()
            if len(variants) == present[name]
            for wanted in variants
            if wanted.path not in self._diff.asked_twice
        ]

    def _ask_again(self, upstream: Upstream, doubtful: Iterable[WantedFile]) -> None:
        """Fetch once more what upstream had otherwise a moment ago: it may be publishing."""
        names = [name for wanted in doubtful for name in self._to_fetch(wanted)]
        for name in names:
            self._area.drop(name)  # rsync would take it for right
        clock.sleep(SECOND_LOOK)
        upstream.fetch(names, self._area)
        self._diff.asked_twice.update(wanted.path for wanted in doubtful)

    def wanted(self, suites: Iterable[Suite]) -> Iterator[WantedFile]:
        """Every file that these suites list and upstream has."""
        for suite in suites:
            for listed in self.required(suite):
                path = self.content_path(suite, listed)
                place = self.placed(suite.path_of(listed))
                if path != self.resolved(place) and place in self._diff.links:
                    self._diff.held[place] = self._diff.links.pop(place)
                # By the real directory: nothing that is made may have to take the place of a link.
                copies = {
                    self.placed(copy): copy for copy in suite.copies_of(listed) if self._upstream_has(copy)
                }
                copies.pop(path, None)
                yield WantedFile(suite, listed, path, tuple(copies))

    def required(self, suite: Suite) -> list[Listed]:
        """What of a suite's list has to be in the tree: Release files also list what no mirror carries."""
        if suite.directory not in self._required:
            listed = suite.release.files.values()
            has = self._has_held if suite.directory in self._held else self._carries
            present = {entry.path for entry in listed if has(suite, entry)}
            self._required[suite.directory] = required(suite.release, present)
        return self._required[suite.directory]

    def paths(self) -> set[str]:
        """Every tree path that a client may ask for: of these files, and of the Release files themselves."""
        paths = {*self._pinned.release_files, *self._pinned.release_names}
        for suite in self._pinned.suites.values():
            for listed in self.required(suite):
                plain = suite.path_of(listed)
                paths.update((self.placed(plain), self.resolved(plain)))
                paths.update(suite.copies_of(listed))
        return paths

    def content_of(self, suite: Suite, listed: Listed) -> Path:
        """Where the content of a listed file is now: under its plain name, or by its hash."""
        if suite.directory not in self._held:
            return self.file_of(self.content_path(suite, listed))
        path = self.resolved(suite.path_of(listed))
        if _is_of_another(path, listed, suite) or not self._is_anywhere(path):
            path = next(filter(self._is_anywhere, suite.copies_of(listed)), path)
        return self.file_of(path)

    def file_of(self, path: str) -> Path:
        """Where the content of an index is now: staged, or in the tree. `path` is a resolved one."""
        return self._area.at(path) if path in self.staged else self._tree / path

    def resolved(self, path: str) -> str:
        """A path without the links in it, as upstream has them; itself where they lead nowhere."""
        try:
            return resolve(path, self._links, follow_last=True)
        except BadPath:
            return path

    def content_path(self, suite: Suite, listed: Listed) -> str:
        """The path without links where the content of a listed file is to be.

        A link that leads to the content of another state, or index, is not taken: upstream may be turning it.
        Some archives have an index under its by-hash names alone.
        """
        place = self.placed(suite.path_of(listed))
        path = self.resolved(place)
        if path == place:
            if self._upstream_has(place):
                return path
        elif not _is_of_another(path, listed, suite):
            return path
        return next(filter(self._upstream_has, suite.copies_of(listed)), place)

    def placed(self, path: str) -> str:
        """A path without the links among its directories."""
        try:
            return resolve(path, self._links)
        except BadPath:
            return path

    def _may_lack(self, suite: Suite) -> bool:
        """Whether a suite is not the one whose indices are known to be right, or differs from upstream's."""
        if suite.directory in self._held:
            return False
        base = self._base.suites.get(suite.directory)
        touched = (*self._diff.missing, *self._diff.changed, *self._diff.links)
        return base is None or base.texts != suite.texts or any(map(suite.has, touched))

    def _upstream_has(self, path: str) -> bool:
        """Whether upstream has a path, or what a link of that name leads to."""
        place = self.placed(path)
        if not self._diff.upstream_has(place, self._tree):
            return False
        real = self.resolved(place)
        return real == place or self._diff.upstream_has(real, self._tree)

    def _carries(self, suite: Suite, listed: Listed) -> bool:
        """Whether upstream has a listed file under whichever of its names."""
        return any(map(self._upstream_has, (suite.path_of(listed), *suite.copies_of(listed))))

    def _has_held(self, suite: Suite, listed: Listed) -> bool:
        """Whether a listed file of a suite that stays as it is here is here, under whichever of its names."""
        return any(map(self._is_in_tree, (suite.path_of(listed), *suite.copies_of(listed))))

    def _is_anywhere(self, path: str) -> bool:
        return path in self.staged or self._is_in_tree(path)

    def _is_in_tree(self, path: str) -> bool:
        return os.path.exists(f"{self._tree}/{path}")  # noqa: PTH110  links are followed, as clients do

    def _served(self, suite: Suite, live: PublishedState) -> set[str]:
        """What of a suite's list is served, as named in the list of its state here."""
        before = live.suites.get(suite.directory)
        if before is None:
            return set()
        listed = before.release.files.values()
        return {one.path for one in listed if self._is_served(before, one)}

    def _is_served(self, before: Suite, listed: Listed) -> bool:
        """Whether a file is here as it is listed: one of an older state may have its name for a grace."""
        if any(map(self._is_in_tree, before.copies_of(listed))):
            return True
        try:
            return os.stat(f"{self._tree}/{before.path_of(listed)}").st_size == listed.size  # noqa: PTH116
        except OSError:
            return False

    def _lost(self, suite: Suite, served: Collection[str]) -> list[str]:
        """Of the families that are served those that are listed in the next state, but carried in no form.

        Each by the name that it is listed by.
        """
        has = {family(one.path) for one in suite.release.files.values() if self._carries(suite, one)}
        listed = {family(path): path for path in suite.release.files}
        lost = [listed[name] for name in sorted((listed.keys() & served) - has)]
        return [path for path in lost if self._wants(joined(suite.directory, path))]

    def _refuse(self, wanted: WantedFile) -> Fault | None:
        """Leave out a file that upstream has with another content; the fault that this is, if so."""
        suite, listed = wanted.suite, wanted.listed
        for path in self._places(wanted):
            if "/by-hash/" in path:
                continue  # its name says what it is
            diff = self._diff
            diff.refused.add(path)
            if (there := diff.wanted(path)) is not None:
                diff.held[path] = there
            diff.missing.pop(path, None)
            if diff.changed.pop(path, None) or self._is_in_tree(path):
                diff.extras.append(path)  # with its former content it is nobody's
        self._required[suite.directory] = [one for one in self.required(suite) if one != listed]
        turning = next(filter(self._diff.links.__contains__, prefixes(suite.path_of(listed))), None)
        if turning is not None:
            return Fault(
                f"upstream's link {turning} points to content that does not match the Release file",
                "upstream may be publishing; if this continues, tell its operator",
            )
        if kind_of(listed.path) not in _NEEDED:
            return None
        others = {one.path for one in self.required(suite) if family(one.path) == family(listed.path)}
        if others:
            return None
        return Fault(
            f"upstream's {suite.path_of(listed)} does not match its Release file"
            f" (expected {listed.size} bytes with the hash {listed.digest})",
            "upstream may be publishing; if this continues, tell its operator",
            asked_twice=wanted.path in self._diff.asked_twice,
        )

    def _stage_from_copies(self, wanted: WantedFile) -> bool:
        """Whether a file is in place or could be staged from content that is already here."""
        lacking = [path for path in self._places(wanted) if not self._in_tree(wanted, path)]
        if not lacking:
            return True
        for copy in (*wanted.copies, wanted.path):
            if self._is_copy(wanted, copy) and has_digest(self._tree / copy, wanted.listed.digest):
                self._stage(lacking, self._tree / copy)
                return True
        return False

    def _is_here(self, wanted: WantedFile) -> bool:
        """Whether a file is in place, or could be staged from the tree or what was fetched before."""
        return self._stage_from_copies(wanted) or self._stage_from_fetched(wanted)

    def _stage_from_fetched(self, wanted: WantedFile) -> bool:
        """Whether a file could be staged from what was fetched, under whichever of its names."""
        right = [path for path in self._places(wanted) if self._is_right(path, wanted.listed)]
        if not right:
            return False
        self.staged.update(right)
        lacking = [path for path in self._places(wanted) if path not in right]
        self._stage([path for path in lacking if not self._in_tree(wanted, path)], self._area.at(right[0]))
        if not wanted.copies and "/by-hash/" not in wanted.path:
            self.uncovered.add(wanted.suite.directory)
        return True

    def _places(self, wanted: WantedFile) -> tuple[str, ...]:
        return (wanted.path, *wanted.copies)

    def _to_fetch(self, wanted: WantedFile) -> list[str]:
        """The names under which it is a file at upstream."""
        return [path for path in self._places(wanted) if path not in self._diff.upstream_links]

    def _in_tree(self, wanted: WantedFile, path: str) -> bool:
        """Whether the tree has the content under this name already, with upstream's time."""
        if path != wanted.path:
            return self._is_copy(wanted, path)
        if self._diff.wanted(path):
            return False
        base = self._base.suites.get(wanted.suite.directory)
        known = base.release.files.get(wanted.listed.path) if base else None
        through_link = path != wanted.suite.path_of(wanted.listed)  # which may have turned since
        if known is not None and known.digest == wanted.listed.digest and not through_link:
            return True
        file = self._tree / path
        return _size(file) == wanted.listed.size and has_digest(file, wanted.listed.digest)

    def _is_copy(self, wanted: WantedFile, path: str) -> bool:
        """Whether a by-hash name is in the tree with its content.

        What we fetched was checked against its name when it came; another program's is read.
        """
        file, listed = self._tree / path, wanted.listed
        if _size(file) != listed.size:
            return False
        return wanted.suite.directory in self._base.suites or has_digest(file, listed.digest)

    def _is_right(self, path: str, listed: Listed) -> bool:
        found = self._area.fetched(path)
        return (
            found is not None
            and found.st_size == listed.size
            and self._area.digest_of(path, like=listed.digest) == listed.digest
        )

    def _stage(self, paths: Iterable[str], source: Path) -> None:
        for path in paths:
            entry = self._diff.wanted(path)
            mtime = entry.mtime if entry else mtime_of(source.lstat())
            self._area.take(source, path, mtime=mtime)
            self.staged.add(path)


def _is_of_another(path: str, listed: Listed, suite: Suite) -> bool:
    """Whether the place that the link of a listed file leads to is one for other content."""
    if is_by_hash(path):
        return not _is_hash_of(path, listed)
    other = suite.release.files.get(path.removeprefix(f"{suite.directory}/"))
    return other is not None and other.digest != listed.digest


def _is_hash_of(path: str, listed: Listed) -> bool:
    """Whether the name of a by-hash file is one of the hashes of a listed file."""
    name = path.rpartition("/")[2]
    return name == listed.digest or any(name == digest for _, digest in listed.others)


def _size(file: Path) -> int | None:
    found = lstat_or_none(file)
    return found.st_size if found else None
