"""The mirror's public record: its trace, `_hierarchy`, `_traces`, and the two flags of a run.

Format and rules are those of ftpsync (archvsync.md, 6 to 8 and 13): mirror checkers read them over HTTP.
Upstream's `_hierarchy` and `_traces` and everybody's flags are never copied. Files are written and removed by
directory handles: no link is followed.
"""

from __future__ import annotations

import filecmp
import logging
import os
import stat
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from pushmirror.archive.layout import LOST, REQUIRED, TRACES, UPDATING, WORK
from pushmirror.archive.paths import link_stays_inside, prefixes
from pushmirror.archive.trace import (
    Trace,
    archive_serial,
    parse_trace,
    render_hierarchy,
    render_trace,
    render_traces,
)
from pushmirror.errors import MalformedFile
from pushmirror.state.records import Stage
from pushmirror.system.beneath import Beneath
from pushmirror.system.files import mtime_of, read_at_most
from pushmirror.tree.writer import TreeWriter

_log = logging.getLogger(__name__)
_HIERARCHY, _HIERARCHY_MIRROR, _LIST, _MASTER = "_hierarchy", "_hierarchy.mirror", "_traces", "master"
_MAX_TRACE = 2**20  # bytes


class Traces:
    """The trace directory and flags of one tree."""

    def __init__(self, tree: Path, mirror: str, beneath: Beneath | None = None) -> None:
        """`beneath` is the tree, where somebody else changes it, too."""
        self._beneath = beneath or Beneath(tree)
        self._mirror = mirror
        self.directory = tree / TRACES
        self.own = self.directory / mirror
        self.own_stage1 = self.directory / f"{mirror}-stage1"
        self._updating = f"{UPDATING}{mirror}"
        self._required = f"{REQUIRED}{mirror}"

    def is_left_out(self, path: str) -> bool:
        """Whether a tree path is not compared with upstream's listing: traces, our flags, the work area …"""
        if "/" not in path:
            return path in {WORK, LOST, self._updating, self._required}
        return path.startswith(f"{TRACES}/") or path.endswith((f"/{WORK}", f"/{LOST}"))

    def serial_differs(self, pinned: Path) -> bool:
        """Whether upstream's `master`, the trace of the archive's origin, is another one than ours."""
        return _content(pinned / TRACES / _MASTER) != _content(self.directory / _MASTER)

    def serial(self, pinned: Path | None = None) -> str | None:
        """What `master` here, or in a copy of upstream's state, has as serial: "unknown" if it has none.

        None if there is no `master`.
        """
        master = _content((pinned / TRACES if pinned else self.directory) / _MASTER)
        return None if master is None else archive_serial(master.decode("utf-8", "replace")) or "unknown"

    def generation(self) -> str:
        """The generation that our own trace names; empty if there is none."""
        with suppress(OSError):
            text = self.own.read_text(encoding="utf-8", errors="replace")
            return parse_trace(text).fields.get("Generation", "")
        return ""

    def make_room(self, destination: TreeWriter) -> None:
        """Make the trace directory a real one: a link in its place would lead our traces elsewhere."""
        for name in prefixes(TRACES):
            if (self.directory.parents[1] / name).is_symlink():
                _log.warning("replacing the link %s with a directory", name)
        destination.make_directory(TRACES)

    def raise_flag(self) -> None:
        """Set the update-in-progress flag, for sites and mirror checkers."""
        self._beneath.mark(self._updating, f"{os.getpid()}\n".encode())

    def lower_flag(self) -> None:
        """Remove the update-in-progress flag, however the update ended."""
        self._beneath.unlink(self._updating, missing_ok=True)

    def set_required(self, *, is_required: bool) -> None:
        """Set or remove the update-required flag; OSError if that fails."""
        if is_required:
            self._beneath.mark(self._required)
        else:
            self._beneath.unlink(self._required, missing_ok=True)

    def copy_foreign(self, pinned: Path) -> bool:
        """Copy upstream's traces, `master` first, and remove others; returns whether anything changed.

        `pinned` is the copy of upstream's state. Called before the Release files are published: `master` must
        be visible no later than what it announces.
        """
        upstream = _names(pinned / TRACES)
        ours = {self.own.name, self.own_stage1.name, _HIERARCHY, _HIERARCHY_MIRROR, _LIST}
        names = sorted(upstream - ours)
        names.sort(key=lambda name: ((pinned / TRACES / name).is_symlink(), name != _MASTER))
        changed = [self._copy(pinned / TRACES / name, f"{TRACES}/{name}") for name in names]
        gone = self._names() - upstream - ours
        for name in gone:
            self._beneath.unlink(f"{TRACES}/{name}")
        return any(changed) or bool(gone)

    def stage1_seconds(self) -> int | None:
        """How long the stage 1 took that the trace of one tells of; none if there is no such trace."""
        with suppress(OSError, ValueError):
            text = self.own_stage1.read_text(encoding="utf-8", errors="replace")
            return int(parse_trace(text).fields.get("Total time spent in stage1 rsync", ""))
        return None

    def write(self, trace: Trace, *, stage: Stage, upstream_host: str, upstream_hierarchy: str) -> None:
        """Write our own trace, and the lists of who is above us and who left a trace.

        That of a stage 1 goes when a run of all is written, as with ftpsync.
        """
        file = self.own_stage1 if stage is Stage.STAGE1 else self.own
        self._write(file.name, render_trace(trace).encode())
        hierarchy = render_hierarchy(
            upstream_hierarchy,
            tracename=file.name,
            mirrorname=self._mirror,
            tracehost=trace.host,
            rsynchost=upstream_host,
        )
        for name in (_HIERARCHY, _HIERARCHY_MIRROR):
            self._write(name, hierarchy.encode("utf-8", "surrogateescape"))
        if stage is Stage.ALL:
            self._beneath.unlink(f"{TRACES}/{self.own_stage1.name}", missing_ok=True)
        times = [(name, found.st_mtime) for name, found in self._found() if stat.S_ISREG(found.st_mode)]
        self._write(_LIST, render_traces(times).encode("utf-8", "surrogateescape"))

    def _write(self, name: str, data: bytes) -> None:
        self._beneath.write(f"{TRACES}/{name}", data)

    def _copy(self, source: Path, target: str) -> bool:
        """Make one trace what it is at upstream; returns whether it was something else."""
        if source.is_symlink():
            return self._copy_link(source, target)
        found = source.stat()
        if self._is_same(source, target):
            return False
        beside = _beside(target)
        self._beneath.link_or_copy(source, beside, mtime=mtime_of(found))
        self._beneath.rename(beside, target)
        return True

    def _copy_link(self, source: Path, target: str) -> bool:
        wanted = str(source.readlink())
        if not link_stays_inside(target, wanted):
            return False
        if self._beneath.target_of(target) == wanted:
            return False
        beside = _beside(target)
        self._beneath.unlink(beside, missing_ok=True)
        self._beneath.symlink(wanted, beside)
        self._beneath.rename(beside, target)
        return True

    def _is_same(self, source: Path, target: str) -> bool:
        found = self._beneath.lstat(target)
        if found is None or not stat.S_ISREG(found.st_mode) or mtime_of(source.stat()) != mtime_of(found):
            return False
        return filecmp.cmp(source, self._beneath.root / target, shallow=False)

    def _names(self) -> set[str]:
        return {name for name, _ in self._found()}

    def _found(self) -> list[tuple[str, os.stat_result]]:
        """What is in our directory, but for directories."""
        if not self._beneath.is_directory(TRACES):
            return []
        found = [(name, self._beneath.lstat(f"{TRACES}/{name}")) for name in self._beneath.names(TRACES)]
        return [(name, one) for name, one in found if one is not None and not stat.S_ISDIR(one.st_mode)]


def _beside(path: str) -> str:
    above, _, name = path.rpartition("/")
    return f"{above}/.{name}.new"


def upstream_flags(
    pinned: Path, *, own: str, now: datetime, stale_after: timedelta
) -> tuple[list[str], list[str]]:
    """The names of upstream's update-in-progress flags: (those that count, those left behind by a crash).

    `own` is our mirror's name: a flag of ours that came back through upstream says nothing of upstream. One
    that is farther in the future than `stale_after` is left behind, too: by a machine whose clock was ahead.
    """
    flags = [path for path in pinned.glob(f"{UPDATING}*") if path.name != f"{UPDATING}{own}"]
    stale = [
        flag for flag in flags if abs(flag.lstat().st_mtime - now.timestamp()) > stale_after.total_seconds()
    ]
    return [flag.name for flag in flags if flag not in stale], [flag.name for flag in stale]


def has_traces(pinned: Path) -> bool:
    """Whether upstream has any trace: then it is a mirror, and not a disk that is not mounted."""
    return bool(_names(pinned / TRACES))


def upstream_hierarchy(pinned: Path) -> str:
    """The list of the mirrors between the origin and upstream."""
    file = pinned / TRACES / _HIERARCHY_MIRROR
    if not file.is_file() or file.is_symlink():
        return ""
    return read_at_most(file, _MAX_TRACE).decode("utf-8", "surrogateescape")


def _content(trace: Path) -> bytes | None:
    """What a trace says; none if there is none, or it leads out of its directory."""
    if trace.is_symlink() and not link_stays_inside(f"{TRACES}/{trace.name}", str(trace.readlink())):
        return None
    try:
        return read_at_most(trace, _MAX_TRACE)
    except (OSError, MalformedFile):
        return None


def _names(directory: Path) -> set[str]:
    if not directory.is_dir():
        return set()
    return {path.name for path in directory.iterdir() if not stat.S_ISDIR(path.lstat().st_mode)}
