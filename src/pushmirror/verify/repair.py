"""Repair: fetch just what a verify found missing, wrong or unreadable, check it and publish it.

Guaranteed: nothing that upstream sends is published unless it has the size and SHA256 that are expected here;
each name changes by one rename; unexpected files are not touched, also not those in a directory that has
taken the place of a file. What cannot be repaired stays as it is, and is returned with the reason. The caller
holds the tree's lock.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from pushmirror.archive.layout import TRACES, is_suite_file
from pushmirror.archive.paths import Entry, Kind, as_sha256, name_of
from pushmirror.config.model import Archive
from pushmirror.errors import ConfigError, Exit
from pushmirror.fetch.upstream import Traffic
from pushmirror.sync.request import errors_by_stage
from pushmirror.sync.tracking import InventoryTracker
from pushmirror.system.files import digest_of, lstat_or_none, mtime_of
from pushmirror.tree.publish import Publisher, PublishPlan
from pushmirror.verify.plan_lines import Expected, LineKind
from pushmirror.verify.reader import Finding
from pushmirror.workspace import Workspace

_log = logging.getLogger(__name__)
_BATCH = 10_000  # names that are fetched and published together

Wrong = tuple[Finding, Expected | None]


@dataclass(slots=True)
class Repaired:
    """The result of a repair."""

    repaired: int = 0
    remaining: list[Finding] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)

    def summary(self) -> str:
        """The result in one line."""
        files = self.traffic.files_fetched
        fetched = (
            f"fetched {files} file{'' if files == 1 else 's'} ({self.traffic.bytes_fetched / 1e6:.1f} MB)"
        )
        left = f"; {len(self.remaining)} remain, such as {self.remaining[0].path}" if self.remaining else ""
        return f"repaired {self.repaired} of {self.repaired + len(self.remaining)}, {fetched}{left}"

    def numbers(self) -> dict[str, int | float]:
        """The figures for the store."""
        return {
            "files_fetched": self.traffic.files_fetched,
            "bytes_fetched": self.traffic.bytes_fetched,
            "bytes_received": self.traffic.bytes_received,
            "bytes_sent": self.traffic.bytes_sent,
            "published": self.repaired,
            "remaining": len(self.remaining),
        }


class Repair:
    """Repairs one archive."""

    def __init__(self, workspace: Workspace) -> None:
        self._archive = workspace.archive
        self._tree = workspace.tree
        self._progress = workspace.progress
        self._upstream = workspace.upstream
        self._upstream.stillness.file = workspace.paths.stalled
        self._area = workspace.area
        self._tracker = InventoryTracker(workspace.archive, workspace.paths, workspace.progress)
        self._publisher = Publisher(self._tree, self._area, self._tracker.recording)
        self.done = Repaired(traffic=self._upstream.traffic)

    def run(self, wrong: Iterable[Wrong], generation: str) -> Repaired:
        """Repair what can be repaired; `generation` is the one that the tree serves.

        Raises a PushmirrorError when upstream cannot be reached or the tree cannot be written.
        """
        with errors_by_stage(self._tree, lambda: Exit.FAILED), self._tracker.open():
            self._area.open()
            try:
                rest = iter(wrong)
                while batch := list(islice(rest, _BATCH)):
                    self._batch(batch)
                if self.done.repaired:
                    self._tracker.publish_manifest(generation)
            finally:
                self._upstream.stillness.over()
                self._area.close(
                    keep_new=True
                )  # what waits is of a stage 1, or of a run that was interrupted
        return self.done

    def _batch(self, batch: list[Wrong]) -> None:
        able = dict(self._able(batch))
        files = {path: one for path, one in able.items() if one.what is LineKind.FILE}
        self._fetch(files)
        right: dict[str, str] = {}
        for path, one in files.items():
            if why := self._why_not(path, one):
                self._leave(next(finding for finding, _ in batch if finding.path == path), why)
                self._area.drop(path)
            else:
                right[path] = one.digest
        links = {
            path: Entry(path, Kind.LINK, target=one.target)
            for path, one in able.items()
            if one.what is LineKind.LINK
        }
        directories = [path for path, one in able.items() if one.what is LineKind.DIRECTORY]
        hashes = {path: sha256 for path, digest in right.items() if (sha256 := as_sha256(digest))}
        self._publisher.publish(PublishPlan(right.keys(), links, directories, hashes))
        self.done.repaired += len(right) + len(links) + len(directories)
        for path in (*right, *links, *directories):
            _log.info("repaired %s", path)

    def _able(self, batch: list[Wrong]) -> Iterator[tuple[str, Expected]]:
        """What can be fetched at all."""
        for finding, expected in batch:
            if expected is None or expected.what not in {LineKind.FILE, LineKind.LINK, LineKind.DIRECTORY}:
                self._leave(finding, "its expected content is unknown")
            elif expected.disputed:
                self._leave(finding, "upstream's own indices disagree about it")
            elif is_suite_file(finding.path) or finding.path == TRACES:
                self._leave(
                    finding,
                    f"run pushmirror sync {self._archive.name} to fetch it with all that it refers to",
                )
            elif why := self._in_the_way(finding.path, expected):
                self._leave(finding, why)
            else:
                yield finding.path, expected

    def _in_the_way(self, path: str, expected: Expected) -> str:
        """Why a path cannot be written without removing something unexpected; empty if it can."""
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            found = lstat_or_none(self._tree / above)
            if found is None:
                return ""
            if not stat.S_ISDIR(found.st_mode):
                return f"{above} is not a directory: move it away"
        found = lstat_or_none(self._tree / path)
        if found is None or not stat.S_ISDIR(found.st_mode) or expected.what is LineKind.DIRECTORY:
            return ""
        if any(files for _, _, files in os.walk(self._tree / path)):
            return "a directory with files is in its place: move it away"
        return ""

    def _fetch(self, files: dict[str, Expected]) -> None:
        if not files:
            return
        size = sum(one.size or 0 for one in files.values())
        self._progress.step("fetching", files=len(files), size=size)
        for path in files:
            self._area.drop(path)  # rsync might take it for right
        self._upstream.fetch(files, self._area)

    def _why_not(self, path: str, one: Expected) -> str:
        """What is wrong with what was fetched; empty if nothing."""
        found = self._area.fetched(path)
        if found is None:
            return "upstream does not have it"
        if one.size is not None and found.st_size != one.size:
            return f"upstream's copy has {found.st_size} bytes, expected {one.size}"
        if (digest := digest_of(self._area.at(path), like=one.digest)) != one.digest:
            return f"upstream's copy has {name_of(digest)} {digest}, expected {one.digest}"
        if not one.digest and one.mtime is not None and mtime_of(found) != one.mtime:
            return "upstream has another version"
        return ""

    def _leave(self, finding: Finding, why: str) -> None:
        text = f"{finding.why}; not repaired: {why}" if finding.why else f"not repaired: {why}"
        _log.warning("%s is %s: %s", finding.path, finding.problem.value, text)
        self.done.remaining.append(replace(finding, why=text))


def require_upstream(archive: Archive) -> None:
    """Raise ConfigError for an archive that nothing can be fetched for."""
    if archive.upstream is None:
        raise ConfigError(
            f"{archive.name} has no upstream to fetch files from",
            hint="restore the files with the archive's own tools, from a backup or from another mirror;"
            f" `pushmirror verify {archive.name} --list` names them",
        )
