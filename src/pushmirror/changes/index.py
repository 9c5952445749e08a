"""The strategy `index`: compare the signed Release files and indices, and nothing else of upstream's tree.

    Release files ──▶ changed indices, into the work area ──▶ files that these add and the tree lacks
    installers' SHA256SUMS, extrafiles ──▶ files outside the indices whose hash has changed

Costs what changed, and works with any upstream that has Release files. Guaranteed: every index that the
pinned Release files name is here with the content that they name, or upstream does not carry it, or its suite
is held back. Links other than in an index's place, and files that no list names, are left for `full`.
Deletion candidates come from the closure store: what only generations out of their grace referred to.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from pushmirror.archive.index import UNKNOWN, File, record_fingerprint
from pushmirror.archive.layout import is_by_hash
from pushmirror.archive.paths import Entry, Kind, as_sha256, link_stays_inside, resolve
from pushmirror.archive.pathset import GrowingPathSet, fingerprint
from pushmirror.changes.context import DetectionContext
from pushmirror.changes.index_files import (
    Changed,
    changed_lists,
    fetch_lists,
    lists_to_ask_for,
    take_extrafiles,
)
from pushmirror.closures import file_checks
from pushmirror.closures.indices import Indices
from pushmirror.errors import BadPath, Unusable
from pushmirror.inventory.diff import Diff
from pushmirror.state.records import Stage
from pushmirror.system.files import has_digest, lstat_or_none, mtime_of
from pushmirror.tree.published_state import Suite, TreeLinks


def replaced(context: DetectionContext, files: Sequence[File], known: Collection[str]) -> list[File]:
    """Those of the files, present here with the right size, that have the wrong hash.

    Upstream has replaced them by files of the same name and size; no archive should. A file is not read if
    one of the indices with the keys `known` has the same hash for it, or if it arrived since the last
    publication: closures/file_checks.py reads it later.
    """
    landed = context.workspace.area.landed()
    doubtful = [file for file in files if file.path not in landed and not _is_known(context, file)]
    if not doubtful:
        return []
    vouched = set(context.workspace.closures.named({fingerprint(file.path) for file in doubtful}, known))
    unread = [(file, context.workspace.tree / file.path) for file in doubtful if file not in vouched]
    progress = context.workspace.progress
    progress.step("comparing", files=len(unread), size=sum(file.size for file, _ in unread))
    return file_checks.mismatching(unread, progress)


def _is_known(context: DetectionContext, file: File) -> bool:
    """Whether the file had this hash when it was published, and has not changed since."""
    entry = context.inventory.get(file.path)
    if entry is None or entry.sha256 != file.digest:
        return False
    here = lstat_or_none(context.workspace.tree / file.path)
    return (
        here is not None
        and stat.S_ISREG(here.st_mode)
        and (here.st_size, mtime_of(here)) == (entry.size, entry.mtime)
    )


_log = logging.getLogger(__name__)

_KINDS_OF_HASH = ("SHA256", "MD5Sum", "SHA1", "SHA512")


def detect(context: DetectionContext) -> Diff:
    """What differs between our tree and the pinned state, as far as signed lists show it.

    Raises Unusable if they do not show enough. A suite whose indices cannot be fetched is held back.
    """
    require_usable(context)
    diff = Diff(covers_all=False)
    is_new = context.pinned.generation != context.live.generation
    keys = context.workspace.closures.closures_of(context.pinned.generation)
    if is_new:
        _require_ways_to_by_hash(context)
        _fetch_changed_lists(context, diff, changed_lists(context, TreeLinks(context.workspace.tree)))
        keys = _read_closures(context, diff)
    elif context.stage is Stage.STAGE1:
        # A hub in its own stage 1 has new packages already, and still shows the Release files of before.
        raise Unusable("upstream's Release files have not changed yet")
    if context.stage is not Stage.STAGE1:
        if is_new:
            take_extrafiles(context, diff)
        _note_expired(context, diff, _indices(context, diff), keys)
    diff.files_upstream = context.workspace.closures.count(keys) + sum(
        len(suite.release.files) for suite in context.pinned.suites.values()
    )
    diff.files_here = context.inventory.files or diff.files_upstream
    return diff


def _read_closures(context: DetectionContext, diff: Diff) -> set[str]:
    """Note what the indices of suites without a fault add; returns the keys of all closures."""
    indices = _indices(context, diff)
    indices = indices.holding(context.suites, indices.get(context.workspace.upstream, context.live))
    known = file_checks.readable_of(context.base, context.workspace.closures)
    readable, faults = file_checks.read_closures(context.pinned, indices, context.workspace.closures)
    if faults:
        indices = indices.holding(context.suites, faults)
        readable, _ = file_checks.read_closures(context.pinned, indices, context.workspace.closures)
    _note_files(context, diff, readable.values(), known.values())
    return set(readable.values())


def _indices(context: DetectionContext, diff: Diff) -> Indices:
    return Indices(
        tree=context.workspace.tree,
        area=context.workspace.area,
        diff=diff,
        suites=context.suites,
        base=context.base,
        wants=context.workspace.selection.wants,
    )


def require_usable(context: DetectionContext) -> None:
    """Raise Unusable where the signed lists do not show everything that matters."""
    base, pinned = context.base.suites, context.pinned.suites
    if not pinned:
        raise Unusable("upstream has no Release files")
    if context.is_dry:
        raise Unusable("a dry run fetches no indices (a real run may use it and compare less)")
    if not base:
        raise Unusable("the indices of the published state are unknown")
    if context.inventory.selection != context.selection_hash:
        raise Unusable("filters or architectures changed")
    if context.inventory.target:
        raise Unusable("an earlier run did not finish and may have left unsigned files")
    if base.keys() != pinned.keys():
        changed = min(base.keys() ^ pinned.keys())
        raise Unusable(f"suite {changed} {'added' if changed in pinned else 'removed'}, links may lead to it")
    for directory, suite in pinned.items():
        if _names_of(suite) != _names_of(base[directory]):
            raise Unusable(f"suite or codename of {directory} changed, and links may have new targets")
    for path, target in context.suites.upstream.links.items():
        if path not in context.suites.held_links and _target_of(context.workspace.tree / path) != target:
            raise Unusable(f"the link {path} has a new target")


def _require_ways_to_by_hash(context: DetectionContext) -> None:
    """Raise Unusable if a link is in the place of a by-hash directory, and leads to none.

    Upstream was wrong when it was mirrored; its lists do not show whether it still is.
    """
    suites = [suite for suite in context.base.suites.values() if suite.release.acquire_by_hash]
    directories = {
        suite.path_of(listed).rpartition("/")[0]
        for suite in suites
        for listed in suite.release.files.values()
    }
    for directory in directories:
        place = context.workspace.tree / directory / "by-hash"
        if place.is_symlink() and not any((place / kind).is_dir() for kind in _KINDS_OF_HASH):
            raise Unusable(f"{directory}/by-hash is a link here without by-hash files behind it")


def _names_of(suite: Suite) -> tuple[str, str]:
    return suite.release.suite, suite.release.codename


def _fetch_changed_lists(context: DetectionContext, diff: Diff, changed: list[Changed]) -> None:
    """Fetch the indices that are new in the Release files; note those that arrived or were removed."""
    is_last = context.stage is not Stage.STAGE1
    fetch_lists(context, changed, also=lists_to_ask_for(context) if is_last else ())
    area = context.workspace.area
    for one in changed:
        links = [path for path in one.names if _note_link(context, diff, path)]
        came = [path for path in one.names if area.fetched(path)]
        right = [path for path in came if area.digest_of(path, like=one.digest) == one.digest]
        diff.no_links.update(came)
        for path in came if right else ():
            _note_fetched(context, diff, path, one.size, like=path if path in right else right[0])
        if came and not right:
            diff.refused.add(one.path)  # until it is asked for once more
        elif (
            not came and not links and one.was_carried and _is_file_or_link(context.workspace.tree / one.path)
        ):
            diff.extras.append(one.path)  # upstream carries it no more
    _drop_dangling(context, diff)


def _drop_dangling(context: DetectionContext, diff: Diff) -> None:
    """Remove links to files that did not arrive: they are of a later state of upstream, or wrong."""
    tree, area = context.workspace.tree, context.workspace.area
    links = TreeLinks(tree, diff.upstream_links)
    for path in list(diff.links):
        try:
            place = resolve(path, links, follow_last=True)
        except BadPath:
            place = path
        if area.fetched(place) is None and not os.path.exists(tree / place):  # noqa: PTH110
            del diff.links[path], diff.upstream_links[path]
            diff.refused.add(path)  # until it is asked for by its hash, too


def _note_link(context: DetectionContext, diff: Diff, path: str) -> bool:
    """Note a link in the place of an index; in Debian's archive it leads to the by-hash copy."""
    target = context.workspace.area.link_at(path)
    if target is None or not (is_by_hash(path) or link_stays_inside(path, target)):
        return False
    diff.upstream_links[path] = target
    if not is_by_hash(path) and _target_of(context.workspace.tree / path) != target:
        diff.links[path] = Entry(path, Kind.LINK, target=target)
    return True


def _note_files(context: DetectionContext, diff: Diff, keys: Iterable[str], known: Collection[str]) -> None:
    """Note the files that the indices add and the tree lacks, or has with another size or hash.

    A file that is here is compared with each size and hash that indices give it, for one of them may be
    wrong. A file that is not here is fetched once.
    """
    seen = GrowingPathSet()
    tree = os.fspath(context.workspace.tree)
    unsized: list[File] = []
    of_that_size: list[File] = []
    for file in context.workspace.closures.additions(keys, known):
        if not context.workspace.named.wants(file.path):
            continue
        here = lstat_or_none(f"{tree}/{file.path}")
        if not (seen.add(file.path) if here is None else seen.add_number(record_fingerprint(file))):
            continue
        if file.size == UNKNOWN:
            unsized.append(file)
            continue
        entry = Entry(file.path, Kind.FILE, file.size, 0, sha256=as_sha256(file.digest))
        if here is None:
            diff.add_missing(entry)
        elif not stat.S_ISREG(here.st_mode) or here.st_size != file.size:
            diff.changed.setdefault(file.path, entry)
        else:
            of_that_size.append(file)
    for file in replaced(context, of_that_size, known):
        sha256 = as_sha256(file.digest)
        entry = Entry(file.path, Kind.FILE, file.size, 0, sha256=sha256)
        diff.changed.setdefault(file.path, entry)
    _fetch_unsized(context, diff, unsized)


def _fetch_unsized(context: DetectionContext, diff: Diff, files: list[File]) -> None:
    """Fetch images that an installer's list names without their sizes; some of them no mirror carries.

    An image with the wrong content is noted, too: staging finds the fault.
    """
    lacking = [file for file in files if not has_digest(context.workspace.tree / file.path, file.digest)]
    if not lacking:
        return
    context.workspace.upstream.fetch((file.path for file in lacking), context.workspace.area)
    for file in lacking:
        if found := context.workspace.area.fetched(file.path):
            _note_fetched(context, diff, file.path, found.st_size, like=file.path)


def _note_expired(context: DetectionContext, diff: Diff, indices: Indices, keys: set[str]) -> None:
    """Note files that only expired generations referred to, unless upstream still has them.

    Those that upstream still has are checked again at each new generation; empty directories are removed.
    """
    pinned, live, workspace = context.pinned.generation, context.live.generation, context.workspace
    closures = workspace.closures
    found = closures.unneeded(
        pinned,
        names=indices.paths,
        keys=keys,
        replaced=live if live != pinned else "",
        grace_s=workspace.archive.grace.total_seconds(),
    )
    left = set(closures.left())
    if pinned == live and left.issuperset(found):
        return
    doubtful = [
        path
        for path in found
        if workspace.named.wants(path) and _is_file_or_link(workspace.tree / path) and not diff.wanted(path)
    ]
    still = workspace.upstream.present(doubtful, empty=workspace.area.empty) if doubtful else set()
    if still != left:
        closures.note_left(still)
    diff.extras += sorted(path for path in doubtful if path not in still)
    if diff.extras:
        emptied = {above for path in diff.extras for above in _directories_of(path)}
        diff.extra_directories = sorted(emptied.union(context.inventory.extra_directories()))


def _directories_of(path: str) -> Iterator[str]:
    """The directories above a path, without the two top levels such as dists/SUITE and pool/main."""
    parts = path.split("/")
    return ("/".join(parts[:depth]) for depth in range(3, len(parts)))


def _is_file_or_link(path: Path) -> bool:
    """Whether there is a file or link."""
    here = lstat_or_none(path)
    return here is not None and not stat.S_ISDIR(here.st_mode)


def _note_fetched(context: DetectionContext, diff: Diff, path: str, size: int, *, like: str) -> None:
    """Note that a path is to be published; `like` is the fetched file with its content."""
    found = context.workspace.area.fetched(like)
    assert found is not None
    entry = Entry(path, Kind.FILE, size, mtime_of(found), sha256=context.workspace.area.sha256_of(like) or "")
    kind = diff.missing if lstat_or_none(context.workspace.tree / path) is None else diff.changed
    kind[path] = entry


def _target_of(path: Path) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115  text, as it is
    except OSError:
        return None
