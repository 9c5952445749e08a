"""Names that change their kind: a directory becomes a link, a link a directory, a file either.

Suites are renamed on a release day (`stable -> trixie` was a directory), and pools are moved. What clients
may still ask for through such a name, packages and indices by hash, has to be there afterwards too: under the
place that the name then leads to. Guaranteed of the names that `plan_kind_changes` leaves in a diff: what the
target or a state within its grace refers to is, after the change, what it was; what is lost by the change is
counted as deleted. A name that cannot change without loss stays what it is, and is reported.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pushmirror.archive.layout import is_by_hash
from pushmirror.archive.paths import prefixes, resolve
from pushmirror.archive.publishing_order import PublishStep, publish_step
from pushmirror.errors import BadPath
from pushmirror.inventory.diff import Diff
from pushmirror.sync.deletion import Deletion, number_of
from pushmirror.system.files import lstat_or_none, mtime_of, sha256_of
from pushmirror.tree.published_state import TreeLinks
from pushmirror.tree.work_area import WorkArea

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class KindChanges:
    """The changes of kind that a publication makes."""

    become_directories: list[str] = field(default_factory=list)  # links or files here
    carried: dict[str, str] = field(default_factory=dict)  # new path -> where the file is here now
    gone: list[str] = field(default_factory=list)  # files that are nowhere afterwards
    staying: set[str] = field(default_factory=set)  # names that do not change, nor what is below them
    withheld: Deletion = field(default_factory=Deletion)  # what some of these would lose, for it is too much
    stuck: list[str] = field(default_factory=list)  # of these: names that the target's indices may need

    def leave(self, path: str) -> bool:
        """Whether a name does not change because it, or a directory above it, keeps its kind."""
        return path in self.staying or _is_below_any(path, self.staying)


def plan_kind_changes(
    diff: Diff,
    staged: Collection[str],
    tree: Path,
    area: WorkArea,
    *,
    needed: Callable[[Collection[str]], set[str]],
    decide: Callable[[Collection[str]], Deletion],
) -> KindChanges:
    """Plan the changes of kind, and remove from the diff those that would delete what is needed.

    `needed` returns those of some paths that the target or a state within its grace refers to; `decide`
    decides about the deletion of some paths.
    """
    changes = KindChanges()
    links = {**diff.upstream_links, **{path: entry.target for path, entry in diff.links.items()}}
    diff.directories += sorted(_obstacles_above({*staged, *diff.links}, tree).difference(diff.directories))
    plan = _Plan(diff, tree, area, needed, decide, links, changes)
    plan.keep_files()
    plan.directories_leave([path for path in (*diff.links, *diff.changed) if _is_directory(tree, path)])
    for path in diff.links:
        plan.link_turns(path)
    top: list[str] = []
    for path in sorted(diff.directories):
        if _is_below_any(path, top) or not _is_obstacle(tree, path):
            continue
        top.append(path)
        plan.directory_comes(path)
    return changes


class _Loss(NamedTuple):
    carried: dict[str, str]  # as in KindChanges
    gone: list[str]


@dataclass(frozen=True, slots=True)
class _Plan:
    diff: Diff
    tree: Path
    area: WorkArea
    needed: Callable[[Collection[str]], set[str]]
    decide: Callable[[Collection[str]], Deletion]
    links: dict[str, str]  # as they are at upstream
    changes: KindChanges

    def keep_files(self) -> None:
        """Keep needed files where upstream has a directory, or a link to other content."""
        diff = self.diff
        links = [path for path in diff.links if _is_file(self.tree, path) and _is_asked_for(path)]
        directories = [path for path in diff.directories if _is_file(self.tree, path)]
        kept = {path for path in self.needed([*links, *directories]) if not self._leads_to_same(path)}
        if not kept:
            return
        _log.warning(
            "keeping %d files that are still needed, although upstream has something else there, such as %s",
            *(len(kept), min(kept)),
        )
        diff.digest = ""  # the next run compares everything again
        self.changes.staying |= kept
        for path in kept:
            diff.links.pop(path, None)
        for some in (diff.missing, diff.changed, diff.links):
            for path in [path for path in some if _is_below_any(path, kept)]:
                del some[path]
        diff.directories = [
            path for path in diff.directories if path not in kept and not _is_below_any(path, kept)
        ]

    def directories_leave(self, paths: Iterable[str]) -> None:
        """Replace directories by links or files, the smallest loss first, as far as the guard allows."""
        leaving = {path: loss for path in paths if (loss := self._directory_leaves(path))}
        decide, changes = self.decide, self.changes
        withheld: list[str] = []
        for path in sorted(leaving, key=lambda path: number_of(leaving[path].gone)):
            loss = leaving[path]
            if reason := decide([*changes.gone, *loss.gone]).reason:
                self._stays(path, reason)
                withheld += loss.gone
                if self._is_asked_for_below(path):
                    changes.stuck.append(path)
            else:
                changes.carried |= loss.carried
                changes.gone += loss.gone
        if withheld:
            reason = decide([*changes.gone, *withheld]).reason
            changes.withheld = Deletion(
                withheld=number_of(withheld), withheld_paths=tuple(withheld), reason=reason
            )

    def _directory_leaves(self, path: str) -> _Loss | None:
        """What happens to the files below; None if the directory has to stay."""
        below = [name for name in self.diff.in_the_way if name.startswith(f"{path}/")]
        carried: dict[str, str] = {}
        gone = list[str]()
        kept = self.needed([name for name in below if _is_asked_for(name)])
        for name in below:
            place = self._place_of(name)
            if place is not None and self._will_be(place):
                if name in kept and not is_by_hash(name) and not self._is_same(name, place):
                    self._stays(path, f"{place} is another file than {name}, which is still referred to")
                    return None
            elif name in kept and place is not None and path in self.diff.links:
                carried[place] = name
            elif name in kept:
                self._stays(path, f"{name} is still referred to")
                return None
            else:
                gone.append(name)
        return _Loss(carried, gone)

    def _is_asked_for_below(self, path: str) -> bool:
        """Whether clients of the target need files below the path that the staying directory would hide."""
        below = [name for name in self.diff.in_the_way if name.startswith(f"{path}/")]
        if any(
            is_by_hash(name) or publish_step(name) not in {PublishStep.EARLY, PublishStep.REST}
            for name in below
        ):
            return True  # it is a suite's
        place = self._place_of(path)
        if place is None:
            return False
        coming = [name for some in (self.diff.missing, self.diff.changed) for name in some]
        there = {name.removeprefix(f"{place}/") for name in coming if name.startswith(f"{place}/")}
        there.update(_files_below(self.tree / place))
        names = {f"{path}/{rest}" for rest in there}.difference(below)
        return not names.isdisjoint(self.needed(names))

    def directory_comes(self, path: str) -> None:
        """A link or a file here becomes a directory."""
        self.changes.become_directories.append(path)
        before = _real(self.tree, path)
        if before is None or not _is_directory(self.tree, before):
            return
        names = {f"{path}/{rest}": f"{before}/{rest}" for rest in _files_below(self.tree / before)}
        names = {name: real for name, real in names.items() if _is_asked_for(name) and self._is_there(real)}
        kept = self.needed([*names, *names.values()])
        for name, real in names.items():
            if (name in kept or real in kept) and not self.diff.wanted(name):
                self.changes.carried[name] = real

    def link_turns(self, path: str) -> None:
        """A link gets a new target, and upstream no longer has the directory that it led to."""
        before = _real(self.tree, path)
        if before in {None, path} or before not in self.diff.extra_directories:
            return
        after = self._place_of(path)
        names = [name for name in _files_below(self.tree / before) if is_by_hash(name)] if after else []
        names = [name for name in names if self._is_there(f"{before}/{name}")]
        kept = self.needed([f"{before}/{name}" for name in names])
        for name in names:
            place = f"{after}/{name}"
            if f"{before}/{name}" in kept and not self.diff.wanted(place):
                self.changes.carried[place] = f"{before}/{name}"

    def _place_of(self, name: str) -> str | None:
        """The path that a name leads to after the change."""
        try:
            place = resolve(name, self.links, follow_last=True)
        except BadPath:
            return None
        return None if place == name else place

    def _will_be(self, place: str) -> bool:
        """Whether a file is there after the change."""
        if self.diff.wanted(place):
            return True
        return self.diff.upstream_has(place, self.tree) and (self.tree / place).is_file()

    def _is_there(self, name: str) -> bool:
        """Whether a name leads to a file; below a wrong link of upstream it may not."""
        return (self.tree / name).is_file()

    def _leads_to_same(self, path: str) -> bool:
        """Whether a link that takes a file's place leads to the same content."""
        place = self._place_of(path) if path in self.diff.links else None
        return place is not None and self._will_be(place) and self._is_same(path, place)

    def _is_same(self, name: str, place: str) -> bool:
        new = self.area.at(place) if self.area.fetched(place) else self.tree / place
        try:
            old, found = (self.tree / name).stat(), new.stat()
            if (old.st_size, mtime_of(old)) == (found.st_size, mtime_of(found)):
                return True
            return old.st_size == found.st_size and sha256_of(self.tree / name) == sha256_of(new)
        except OSError:
            return False

    def _stays(self, path: str, why: str) -> None:
        _log.warning("keeping directory %s, although upstream has a file or link there: %s", path, why)
        self.changes.staying.add(path)
        self.diff.links.pop(path, None)
        self.diff.changed.pop(path, None)
        self.diff.digest = ""  # the next run compares everything again


def _obstacles_above(paths: Iterable[str], tree: Path) -> set[str]:
    """The topmost links and files here that are in the place of a directory of these paths."""
    directories = {path.rpartition("/")[0] for path in paths} - {""}
    above = {one for directory in directories for one in prefixes(directory)}
    obstacles = {path for path in above if _is_obstacle(tree, path)}
    return {path for path in obstacles if not _is_below_any(path, obstacles)}


def _is_asked_for(path: str) -> bool:
    """Whether clients of an older state may ask for a path: for packages and by-hash files."""
    return is_by_hash(path) or publish_step(path) is PublishStep.EARLY


def _is_below_any(path: str, names: Iterable[str]) -> bool:
    return any(path.startswith(f"{name}/") for name in names)


def _real(tree: Path, path: str) -> str | None:
    try:
        return resolve(path, TreeLinks(tree), follow_last=True)
    except BadPath:
        return None


def _mode(tree: Path, path: str) -> int:
    found = lstat_or_none(f"{tree}/{path}")
    return found.st_mode if found else 0


def _is_file(tree: Path, path: str) -> bool:
    return stat.S_ISREG(_mode(tree, path))


def _is_directory(tree: Path, path: str) -> bool:
    return stat.S_ISDIR(_mode(tree, path))


def _is_obstacle(tree: Path, path: str) -> bool:
    mode = _mode(tree, path)
    return bool(mode) and not stat.S_ISDIR(mode)


def _files_below(directory: Path) -> Iterator[str]:
    for where, _, names in os.walk(directory):
        for name in names:
            yield os.path.relpath(os.path.join(where, name), directory)  # noqa: PTH118  names
