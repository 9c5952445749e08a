"""Fetch ahead: what the stage-1 filter lets through, before any index that names it.

    survey.early ─▶ batches ─▶ fetch, check (a thread each) ─▶ land (one after another)

Guaranteed: a new name enters the tree at once only where nothing live refers to it yet, and it is noted in
the work area until an index vouches for it; what has a known hash has it. Of the new files no more is in
memory than a batch for each stream, however many there are. Not the business of this module: whether other
contents are right (`staging.py`, `vouch.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pushmirror.archive.entry import Entry
from pushmirror.sync.parts import may_land
from pushmirror.sync.publish import Publisher
from pushmirror.sync.round import Round
from pushmirror.sync.spool import Spool
from pushmirror.sync.survey import bytes_of
from pushmirror.sync.upstream import Upstream
from pushmirror.sync.work import WorkArea
from pushmirror.system.files import sha256_of
from pushmirror.system.process import Stop

_log = logging.getLogger(__name__)


def fetch_early(
    round_: Round, *, tree: Path, upstream: Upstream, area: WorkArea, publisher: Publisher
) -> None:
    """Fetch what the stage-1 filter lets through; new names enter the tree at once."""
    survey = round_.survey
    early, survey.early = survey.early, Spool()
    changed = _early(survey.changed)
    if early or changed:
        files, size = len(early) + len(changed), early.size + bytes_of(changed)
        upstream.progress.step("fetching", files=files, size=size)
    if changed:
        upstream.fetch(changed, area, basis=tree, size=bytes_of(changed))
    fetching = _Fetching(upstream, area, publisher)

    def land(batch: _Batch) -> None:
        landed = publisher.land(batch.came, batch.hashes)
        round_.landed += len(landed)
        round_.lost |= {entry.path for entry in batch.entries if entry.path not in batch.came}
        for entry in batch.entries:
            if entry.path not in landed:
                survey.missing[entry.path] = entry

    upstream.in_streams(early, fetching.fetch, land, files=len(early), size=early.size)


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
    """Fetches and checks one batch; several threads may, each another one."""

    upstream: Upstream
    area: WorkArea
    publisher: Publisher

    def fetch(self, entries: Sequence[Entry], stop: Stop | None) -> _Batch:
        """Fetch these files. What upstream has with another hash, twice, did not come."""
        names = [entry.path for entry in entries]
        fetched = self.upstream.fetch_batch(names, self.area, stop=stop)
        came = self.publisher.came(entries)
        if wrong := self._wrong(entries, came):
            self._fetch_again(wrong, stop)
            came = self.publisher.came(entries)
            if wrong := self._wrong(wrong, came):
                paths = {entry.path for entry in wrong}
                _log.warning(
                    "upstream has %d files that are not what was announced of them, such as %s (expected"
                    " SHA256 %s)",
                    *(len(wrong), wrong[0].path, wrong[0].sha256),
                )
                came -= paths
                for path in paths:
                    self.area.at(path).unlink()
        hashes = {entry.path: entry.sha256 for entry in entries if entry.sha256 and entry.path in came}
        whole = sum(entry.size for entry in entries if entry.path in came)
        # An interrupted run had fetched the others: they are done, too.
        self.upstream.advance(files=max(len(came) - fetched.files, 0), size=max(whole - fetched.size, 0))
        return _Batch(entries, came, hashes)

    def _fetch_again(self, entries: Sequence[Entry], stop: Stop | None) -> None:
        for entry in entries:
            self.area.at(entry.path).unlink()  # rsync would take it for right
        self.upstream.fetch_batch([entry.path for entry in entries], self.area, stop=stop)

    def _wrong(self, entries: Sequence[Entry], came: set[str]) -> list[Entry]:
        return [
            entry
            for entry in entries
            if entry.sha256 and entry.path in came and sha256_of(self.area.at(entry.path)) != entry.sha256
        ]
