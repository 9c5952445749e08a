"""Prefetch: fetch what the stage-1 filter lets through, before any index that names it.

    new files of the diff ─▶ batches ─▶ fetch, check (a thread each) ─▶ move into the tree (one after another)

Guaranteed: a new name enters the tree at once only if nothing live refers to it yet and, with a keyring, if
a signed file names it; the work area lists it until its hash is checked against an index; a file whose hash
is known is checked at once. No more than a batch for each stream is in memory. Not the business of this
module: whether other contents are right (`staging.py`, `closures/file_checks.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from pushmirror.archive.index import File
from pushmirror.archive.paths import Entry, name_of
from pushmirror.archive.publishing_order import is_package, may_land
from pushmirror.fetch.upstream import Fetched, Upstream
from pushmirror.inventory.diff import bytes_of
from pushmirror.inventory.spool import EntrySpool
from pushmirror.sync.attempt import Attempt
from pushmirror.sync.signed import LookUp, Signed, leave_unsigned
from pushmirror.system.files import has_digest, sha256_of
from pushmirror.system.process import CancelToken
from pushmirror.tree.publish import Publisher
from pushmirror.tree.work_area import WorkArea
from pushmirror.workspace import Workspace

_log = logging.getLogger(__name__)
_LITTLE = 1_000_000  # bytes, of changed files of which parts would come by way of their older versions
_FEW = 20_000  # new files of which all that the indices say is held in memory


def prefetch(
    attempt: Attempt,
    workspace: Workspace,
    publisher: Publisher,
    *,
    indexed: Callable[[Attempt], LookUp],
) -> None:
    """Fetch what the stage-1 filter lets through; new names enter the tree at once.

    With a keyring only files that a signed file names enter the tree, with the content that it names; others
    wait in the work area for the indices. Exception: packages, if upstream's Release files are the verified
    ones that are served here. An mhop hub in its own stage 1 has the packages of a state whose indices it
    does not know yet, and passes them on. `indexed` fetches and reads the indices of the state.
    """
    upstream = workspace.upstream
    diff = attempt.diff
    early, diff.early = diff.early, EntrySpool()
    signed, is_ahead = None, False
    if workspace.archive.keyring and (early or attempt.suites.faults):
        signed = Signed(attempt.pinned, diff.upstream_links)
        is_ahead = not attempt.suites.faults and attempt.pinned.generation == attempt.live.generation
    fetching = _Fetching(upstream, workspace.area, publisher, signed, is_ahead)
    if not attempt.suites.faults:  # else it is not known yet which files are wanted
        fetching.together(early, _early(diff.changed))
    if signed:
        early = _fetch_signed(attempt, early, fetching, signed, indexed)
    changed = {path: one for path, one in _early(diff.changed).items() if path not in fetching.fetched}
    if changed:
        upstream.progress.step("fetching", files=len(changed), size=bytes_of(changed))
        upstream.fetch(changed, workspace.area, basis=workspace.tree, size=bytes_of(changed))
    fetching.all_of(early, attempt)


def _fetch_signed(
    attempt: Attempt,
    early: EntrySpool,
    fetching: _Fetching,
    signed: Signed,
    indexed: Callable[[Attempt], LookUp],
) -> EntrySpool:
    """Fetch the indices and what is beside them; returns the other files that may be fetched now."""
    diff = attempt.diff
    is_doubtful = bool(attempt.suites.faults)  # of the Release files: nothing else was looked at
    lists, others = EntrySpool(), EntrySpool()
    for entry in early:
        (lists if signed.is_beside_indices(entry.path) else others).append(entry)
    fetching.all_of(lists, attempt)
    attempt.suites.restrict(diff)
    look_up = indexed(attempt)
    paths = {entry.path for entry in islice(others, _FEW)}
    if len(others) > _FEW:  # upstream lists what it likes: only what something signed names counts
        signed.indexed = look_up(None)
        paths = set(islice((entry.path for entry in others if signed.covers(entry.path)), _FEW + 1))
    if len(paths) <= _FEW:
        paths |= {*diff.missing, *diff.changed} if is_doubtful else set()
        signed.indexed = look_up({name for path in paths for name in signed.names_of(path)})
    if not is_doubtful:
        return others
    return leave_unsigned(diff, others, attempt.suites, signed)


def _early(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Those that the stage-1 filter lets through."""
    return {path: entry for path, entry in entries.items() if may_land(path)}


@dataclass(frozen=True, slots=True)
class _Batch:
    """Files that were fetched in one transfer."""

    entries: Sequence[Entry]  # that were asked for
    came: set[str]  # those of them that are whole
    hashes: Mapping[str, str]  # of those of which it is known, and was checked


@dataclass(frozen=True, slots=True)
class _Fetching:
    """Fetches and checks batches, in several threads."""

    upstream: Upstream
    area: WorkArea
    publisher: Publisher
    signed: Signed | None  # None: there is no keyring, and every file may enter the tree
    is_ahead: bool  # upstream has no Release files that are not served here
    fetched: set[str] = field(default_factory=set)  # files that have come already, together with others

    def together(self, new: EntrySpool, changed: Mapping[str, Entry]) -> None:
        """Fetch all of these in one transfer if they are few: no kind of file has a login of its own then.

        New ones stay in the work area until `all_of` checks them. Changed ones that are large are left for a
        transfer with the tree as basis. New ones never have it: a name may lead to a file here by a link.
        """
        changed = changed if bytes_of(changed) <= _LITTLE else {}
        files, size = len(new) + len(changed), new.size + bytes_of(changed)
        if not new or not self.upstream.fits_one_transfer(files=files, size=size):
            return
        self.upstream.progress.step("fetching", files=files, size=size)
        names = [*(entry.path for entry in new), *changed]
        self.upstream.fetch_batch(names, self.area)
        self.fetched.update(name for name in names if self.area.fetched(name))

    def all_of(self, entries: EntrySpool, attempt: Attempt) -> None:
        """Fetch these files; those that may not enter the tree yet are added to the diff's `missing`."""
        if entries:
            self.upstream.progress.step("fetching", files=len(entries), size=entries.size)
        missing = attempt.diff.missing

        def land(batch: _Batch) -> None:
            landed = self.publisher.land(filter(self._may_land, batch.came), batch.hashes)
            attempt.landed += len(landed)
            attempt.lost |= {entry.path for entry in batch.entries if entry.path not in batch.came}
            missing.update((entry.path, entry) for entry in batch.entries if entry.path not in landed)

        self.upstream.in_streams(entries, self.fetch, land, files=len(entries), size=entries.size)

    def _may_land(self, path: str) -> bool:
        return self.signed is None or self.signed.covers(path) or (self.is_ahead and is_package(path))

    def fetch(self, entries: Sequence[Entry], stop: CancelToken | None) -> _Batch:
        """Fetch these files. One whose hash is wrong twice counts as not arrived."""
        names = [entry.path for entry in entries if entry.path not in self.fetched]
        fetched = self.upstream.fetch_batch(names, self.area, stop=stop) if names else Fetched()
        came = self.publisher.came(entries)
        if wrong := self._mismatching(entries, came):
            self._fetch_again(wrong, stop)
            came = self.publisher.came(entries)
            if wrong := self._mismatching(wrong, came):
                paths = {entry.path for entry in wrong}
                _log.warning(
                    "%d files from upstream do not match upstream's own listing, such as %s (expected %s)",
                    *(len(wrong), wrong[0].path, self._expected(wrong[0])),
                )
                came -= paths
                for path in paths:
                    self.area.drop(path)
        hashes = {entry.path: entry.sha256 for entry in entries if entry.sha256 and entry.path in came}
        whole = sum(entry.size for entry in entries if entry.path in came)
        # An interrupted run had fetched the others: they are done, too.
        self.upstream.advance(files=max(len(came) - fetched.files, 0), size=max(whole - fetched.size, 0))
        return _Batch(entries, came, hashes)

    def _fetch_again(self, entries: Sequence[Entry], stop: CancelToken | None) -> None:
        for entry in entries:
            self.area.drop(entry.path)  # rsync would take it for right
        self.upstream.fetch_batch([entry.path for entry in entries], self.area, stop=stop)

    def _mismatching(self, entries: Sequence[Entry], came: set[str]) -> list[Entry]:
        return [entry for entry in entries if entry.path in came and not self._is_as_announced(entry)]

    def _is_as_announced(self, entry: Entry) -> bool:
        """Whether a file has the hash of upstream's listing, and of one of the signed indices."""
        place, known = self.area.at(entry.path), entry.sha256
        if known and sha256_of(place) != known:
            return False
        digests = {file.digest for file in self._indexed_as(entry)}
        return not digests or known in digests or any(has_digest(place, one) for one in digests - {known})

    def _indexed_as(self, entry: Entry) -> Collection[File]:
        return self.signed.indexed_as(entry.path) if self.signed else ()

    def _expected(self, entry: Entry) -> str:
        digests = {entry.sha256, *(file.digest for file in self._indexed_as(entry))} - {""}
        return " or ".join(f"{name_of(digest)} {digest}" for digest in sorted(digests))
