"""Taking stock of a tree without upstream: its owner changed it, and we learn what it serves now.

Guaranteed: nothing in the tree is touched. An archive in the middle of its update is not taken for a state
of it: its flag, or Release files of two states, say so, and the caller tries again later. Hooks run as in a
run that fetches, but for after_stage1: there is nothing to fetch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from pushmirror.archive.entry import Entry, Kind
from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.paths import link_stays_inside
from pushmirror.config.model import Archive, Mirror
from pushmirror.errors import Behind, Exit, Mismatch
from pushmirror.hooks import run_hook
from pushmirror.sync.job import Job, Served, errors_by_stage
from pushmirror.sync.progress import Progress
from pushmirror.sync.published import read_published
from pushmirror.sync.report import Report, architectures_of
from pushmirror.sync.survey import Scan, scanner
from pushmirror.sync.traces import Traces, upstream_flags
from pushmirror.system import clock


class Stock:
    """Takes stock of one archive."""

    def __init__(self, archive: Archive, mirror: Mirror, *, progress: Progress) -> None:
        self._archive = archive
        self._mirror = mirror
        self._progress = progress
        self._phase = Exit.STAGE1
        self.report = Report(started=clock.now(), strategy="stock", rounds=1)

    def run(self, job: Job, on_served: Served) -> Report:
        """Learn the generation that the tree serves now, as a run that published it.

        Raises Behind while the archive is being updated, and PushmirrorErrors as `Engine.run` does.
        """
        with errors_by_stage(self._archive.path, lambda: self._phase):
            run_hook(self._archive, "before_sync", {"stage": job.stage.value, "trigger": job.trigger})
            self._look()
            self._phase = Exit.STAGE2
            on_served(self.report.generation)
            run_hook(self._archive, "after_publish", self.report.facts())
        return self.report

    def _look(self) -> None:
        tree = self._archive.path
        _require_no_update_under_way(self._archive, self._mirror)
        self._progress.step("taking stock")
        try:
            published = read_published(tree)
        except Mismatch as exc:
            raise Behind(f"{exc}: the archive is being updated", hint="sync again when it is done") from exc
        if published.suites:
            self.report.architectures = architectures_of(published, tree)
        self.report.generation = published.generation or digest_of(tree, self._mirror)


def digest_of(tree: Path, mirror: Mirror) -> str:
    """The generation of a plain tree, as whoever mirrors it computes it from its listing."""
    digest = TreeDigest()
    for path, found in _entries(scanner(tree, leave_out=Traces(tree, mirror.name).is_left_out)):
        if S_ISREG(found.st_mode):
            digest.add(Entry(path, Kind.FILE, found.st_size, int(found.st_mtime)))
        elif S_ISLNK(found.st_mode):
            target = os.readlink(tree / path)  # noqa: PTH115  text, as it is
            if link_stays_inside(path, target):
                digest.add(Entry(path, Kind.LINK, target=target))
        elif S_ISDIR(found.st_mode):
            digest.add(Entry(path, Kind.DIRECTORY))
    return digest.hexdigest()


def _entries(scan: Scan) -> Iterator[tuple[str, os.stat_result]]:
    """Every name of a tree, in no particular order."""
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        for name, found in scan(directory).items():
            path = f"{directory}/{name}" if directory else name
            yield path, found
            if S_ISDIR(found.st_mode):
                waiting.append(path)


def _require_no_update_under_way(archive: Archive, mirror: Mirror) -> None:
    oldest = clock.now() - archive.update_in_progress.stale_after
    flags, _ = upstream_flags(archive.path, own=mirror.name, stale_before=oldest)
    if flags:
        raise Behind(
            f"the archive {archive.name} is being updated ({', '.join(sorted(flags))})",
            hint="sync again when it is done; a flag older than stale_after is taken for left behind",
        )
