"""The files that Release files list, and those of the signed list `extrafiles`: which changed, and fetch
them.

Guaranteed: nothing large is fetched again under another name; what arrived waits in the work area, to be
checked by whoever takes it from there. What `extrafiles` changes in the tree has the listed hash, and where
the archive has a keyring, the list is signed. Errors in that list are only logged: it is not needed for a
complete archive, and `full` corrects the files. Files that it no longer names stay until then, as links may
point to them and the list has no links.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pushmirror.archive.checksum_lists import parse_extrafiles
from pushmirror.archive.layout import TRACES
from pushmirror.archive.paths import Entry, Kind, resolve
from pushmirror.archive.publishing_order import PublishStep, publish_step
from pushmirror.archive.release import Listed
from pushmirror.changes.context import DetectionContext
from pushmirror.errors import ArchiveError, Unusable
from pushmirror.inventory.diff import Diff
from pushmirror.system.files import lstat_or_none, mtime_of, read_at_most, sha256_of
from pushmirror.tree.published_state import Suite
from pushmirror.tree.release_signatures import check_clearsigned
from pushmirror.tree.work_area import WorkArea

_WORTH_TWO_FETCHES = 4_000_000  # bytes that would come under several names


@dataclass(frozen=True, slots=True)
class Changed:
    """A file that the pinned state lists and that is not here with this content."""

    path: str  # in the tree, links resolved
    size: int  # bytes
    digest: str
    copies: tuple[str, ...]  # by-hash names that upstream may have
    was_carried: bool  # the tree has the name, with an older content, or should have

    @property
    def names(self) -> tuple[str, ...]:
        """The names that upstream may have it under, the likeliest first."""
        by_digest = [copy for copy in self.copies if copy.endswith(self.digest)]
        others = [copy for copy in self.copies if copy not in by_digest]
        return (*by_digest, self.path, *others)


def changed_lists(context: DetectionContext, links: Mapping[str, str]) -> list[Changed]:
    """The files that the pinned Release files list anew or with another hash, or that the tree has lost.

    Upstream may carry such a file or not; of an unchanged name it is assumed that this has not changed.
    Raises Unusable if a name leads through a link: no list shows whether upstream has changed its target.
    """
    found: list[Changed] = []
    carried = context.workspace.closures.names_of(context.base.generation)
    for suite in context.pinned.suites.values():
        base = context.base.suites.get(suite.directory)
        before = base.release.files if base else {}
        for path, listed in suite.release.files.items():
            old = before.get(path)
            is_same = old is not None and old.digest == listed.digest
            place = resolve(suite.path_of(listed), links)
            if (is_same and place not in carried) or not context.workspace.selection.wants(place):
                continue
            is_here = os.path.lexists(context.workspace.tree / place)
            if is_same and is_here:
                continue
            if place != suite.path_of(listed):
                raise Unusable(f"{suite.path_of(listed)} changed, and its path contains a link")
            copies = tuple(_copies(context, suite, listed))
            was_carried = is_here or place in carried
            found.append(Changed(place, listed.size, listed.digest, copies, was_carried))
    return found


def fetch_lists(context: DetectionContext, changed: Sequence[Changed], *, also: Sequence[str] = ()) -> None:
    """Fetch them into the work area under each name that upstream has; links stay links.

    `also` are further files to fetch, unless the tree has them as upstream does.
    """
    area, upstream = context.workspace.area, context.workspace.upstream
    basis = area.scratch()  # what rsync finds in it, it does not fetch again
    for name in also:
        _put(area, basis, name, context.workspace.tree / name)
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


def _copies(context: DetectionContext, suite: Suite, listed: Listed) -> Iterator[str]:
    """The by-hash names that upstream may have: of all hashes, or of those that it used before."""
    for path in suite.copies_of(listed):
        kind = path.rpartition("/")[0]
        is_known = os.path.isdir(context.workspace.tree / kind)  # noqa: PTH112  once a name; Path is ten times slower
        is_new = not os.path.isdir(context.workspace.tree / kind.rpartition("/")[0])  # noqa: PTH112
        if (is_known or is_new) and context.workspace.selection.wants(path):
            yield path


def _put(area: WorkArea, basis: str, name: str, source: Path) -> None:
    with suppress(OSError):
        area.beneath.link_or_copy(source, f"{basis}/{name}", mtime=mtime_of(source.lstat()))


def _hash_all(area: WorkArea, names: list[str]) -> None:
    """Hash the fetched files in threads, so that the work area knows their hashes."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(area.sha256_of, names))


_log = logging.getLogger(__name__)
LIST = "extrafiles"
_MAX_LIST = 2**26  # bytes; Debian's has 1 MiB


def lists_to_ask_for(context: DetectionContext) -> list[str]:
    """The name of the list `extrafiles`, if upstream may have it and it is mirrored."""
    is_carried = _is_file(context.workspace.tree / LIST) or not context.base.suites
    return [LIST] if is_carried and context.workspace.selection.wants(LIST) else []


def take_extrafiles(context: DetectionContext, diff: Diff) -> None:
    """Fetch the files that changed in the fetched list `extrafiles`, and note those with the right hash."""
    came, here = context.workspace.area.sha256_of(LIST), context.workspace.tree / LIST
    if came is None or _is_right(here, came):
        return
    try:
        if context.workspace.archive.keyring:
            check_clearsigned(context.workspace.area.at(LIST), context.workspace.archive.keyring, where=LIST)
        new = _read(context.workspace.area.at(LIST))
        old = _read(here) if _is_file(here) else {}
    except ArchiveError as exc:
        _log.warning("ignoring this list: %s", exc)
        return
    changed = {path: sha256 for path, sha256 in new.items() if old.get(path) != sha256}
    if _take(context, diff, {path: changed[path] for path in changed if is_followed(context, path)}):
        _note(context, diff, LIST)


def _take(context: DetectionContext, diff: Diff, changed: dict[str, str]) -> bool:
    """Fetch the changed files; returns whether all of them match the list."""
    lacking = [
        path for path, sha256 in changed.items() if not _is_right(context.workspace.tree / path, sha256)
    ]
    if not lacking:
        return True
    context.workspace.upstream.fetch(lacking, context.workspace.area, basis=context.workspace.tree)
    right = [path for path in lacking if context.workspace.area.sha256_of(path) == changed[path]]
    for path in right:
        _note(context, diff, path)
    if len(right) < len(lacking):
        wrong = next(path for path in lacking if path not in set(right))
        _log.info("%d files differ from %s, such as %s", len(lacking) - len(right), LIST, wrong)
    return len(right) == len(lacking)


def is_followed(context: DetectionContext, path: str) -> bool:
    """Whether the list decides about a path: it is mirrored, and no Release file covers what is there."""
    in_suite = path.count("/") > 1 if path.startswith("dists/") else publish_step(path) is PublishStep.EARLY
    ours = path.startswith(f"{TRACES}/") or context.workspace.traces.is_left_out(path) or path == LIST
    return not in_suite and not ours and context.workspace.selection.wants(path)


def _note(context: DetectionContext, diff: Diff, path: str) -> None:
    found = context.workspace.area.fetched(path)
    assert found is not None
    sha256 = context.workspace.area.sha256_of(path) or ""
    entry = Entry(path, Kind.FILE, found.st_size, mtime_of(found), sha256=sha256)
    (diff.changed if os.path.lexists(context.workspace.tree / path) else diff.missing)[path] = entry


def _read(file: Path) -> dict[str, str]:
    refused = partial(_log.info, "ignoring %s")
    return parse_extrafiles(read_at_most(file, _MAX_LIST, where=LIST), where=LIST, refused=refused)


def _is_file(path: Path) -> bool:
    here = lstat_or_none(path)
    return here is not None and stat.S_ISREG(here.st_mode)


def _is_right(file: Path, sha256: str) -> bool:
    return _is_file(file) and sha256_of(file) == sha256
