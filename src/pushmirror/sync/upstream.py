"""The other end: its published state, its listing and its files, through rsync.

Guaranteed: what comes from upstream stays in the work area; a transfer that did not happen is an error
even when rsync's exit code is 0. Not the business of this module: whether what came is right.

What rsync did is logged under names of its own, at level DEBUG, so that a handler can tell it apart:
`pushmirror.rsync` has a line with its argv before each transfer and one with what it moved after it, in
rsync's own form ("sent N bytes  received N bytes  N.NN bytes/sec"); `pushmirror.rsync.errors` has each line
of its standard error. No password is in either: neither argv nor rsync's errors ever have one.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from pushmirror.archive.entry import Entry
from pushmirror.archive.selection import Rule, Selection, architecture_rules, exclude_rules, filter_rules
from pushmirror.config.model import Archive
from pushmirror.errors import UpstreamError, UpstreamMoved
from pushmirror.sync import rsync
from pushmirror.sync.parts import RELEASE_NAMES, TRACES, UPDATING, WORK
from pushmirror.sync.progress import Progress
from pushmirror.sync.rsync import Stats, StatsReader, Version
from pushmirror.sync.work import WorkArea
from pushmirror.system import process

_log = logging.getLogger(__name__)
_rsync_log = logging.getLogger("pushmirror.rsync")
_rsync_errors = logging.getLogger("pushmirror.rsync.errors")
_BATCH = 20_000  # names in one --files-from; the work per name grows with their number
_BATCH_CHECKED = 2_000  # the same for an rsync without --trust-sender

_TRACE_RULES = ["/project/", f"/{TRACES}/", f"/{TRACES}/*"]
_SUITE_DIRECTORIES = ["/dists/", "/dists/*/", "/dists/*/*/"]
_SUITE_FILES = [f"/dists/{below}{name}" for below in ("*/", "*/*/") for name in RELEASE_NAMES]
_FLAGS = f"/{UPDATING}*"


@dataclass(slots=True)
class Traffic:
    """What has gone through the line so far."""

    bytes_received: int = 0
    bytes_sent: int = 0
    files_fetched: int = 0
    bytes_fetched: int = 0  # of those files; what came through the line may be less

    def add(self, stats: Stats) -> None:
        """Count one transfer."""
        self.bytes_received += stats.bytes_received
        self.bytes_sent += stats.bytes_sent


@dataclass(slots=True)
class Upstream:
    """Upstream of one archive."""

    archive: Archive
    progress: Progress
    traffic: Traffic = field(default_factory=Traffic)
    _version: Version | None = None

    def pin(self, into: Path) -> None:
        """Copy upstream's Release files, traces and flags into a directory, which then mirrors them."""
        own = [*filter_rules(self.archive.filter), *exclude_rules(self.archive.exclude)]
        # An include of the operator's means "mirror it", not "pin it": rsync cannot say both at once.
        by_us = any(rule.include for rule in own)
        rules = (
            *_includes(*_TRACE_RULES, _FLAGS),
            *([] if by_us else own),
            *_includes(*_SUITE_DIRECTORIES, *_SUITE_FILES),
            *exclude_rules(["*"]),
        )
        into.mkdir(parents=True, exist_ok=True)
        self._run(rsync.pin_argv(self.archive, Selection(rules).rsync_args(), into))
        if by_us:
            _drop_unwanted(into / "dists", Selection(tuple(own)), into)

    def listing(self, take: Callable[[Entry], None], *, empty: Path, rules: Sequence[Rule] = ()) -> None:
        """Hand every name of upstream's tree to `take`, depth first; not traces, flags and excluded ones.

        `rules` come after the archive's own, as ftpsync's stage options do.
        """
        empty.mkdir(parents=True, exist_ok=True)

        def on_line(line: bytes) -> None:
            if entry := rsync.parse_listing_line(line):
                take(entry)
            elif line.startswith(b"skipping non-regular file"):
                _log.warning("%s", line.decode("utf-8", "replace"))

        selection = Selection((*selection_rules(self.archive), *rules))
        self._run(rsync.listing_argv(self.archive, selection.rsync_args(), empty), on_line)

    def fetch(self, names: Iterable[str], area: WorkArea, *, basis: Path | None = None) -> None:
        """Fetch these files into a work area, under their own paths; what upstream lost just does not come.

        What is there from an interrupted run is used. `basis` is a tree whose older versions of the files
        may save traffic; never give it for a file whose content here is known to be wrong.
        """
        ordered = sorted(set(names))
        batch = _BATCH if self.version.trusts_sender else _BATCH_CHECKED
        for start in range(0, len(ordered), batch):
            self._fetch_batch(ordered[start : start + batch], area.new, basis)
        area.look_again()

    def fetch_all(self, area: WorkArea, *, rules: Sequence[Rule], here: Path) -> None:
        """Fetch everything that the archive's rules and then these let through, but what the tree `here` has.

        For a tree that lacks most of it: rsync walks twice as fast as it looks up names that it is given.
        """
        selection = Selection((*selection_rules(self.archive), *rules))
        argv = rsync.fetch_all_argv(self.archive, selection.rsync_args(), area.new, here=here)
        self._run(argv, self._count_fetched, partial_is_fine=True)
        area.look_again()

    def copy(self, argv: Sequence[str], *, stdin: bytes = b"") -> None:
        """Run an rsync from upstream that its caller has put together; its traffic counts, too."""
        self._run(argv, stdin=stdin)

    @property
    def version(self) -> Version:
        """The version of the rsync here."""
        if self._version is None:
            told = process.run([self.archive.rsync, "--version"], timeout_s=30).check()
            self._version = rsync.parse_version(told.output[:200].decode("utf-8", "replace"))
        return self._version

    def _fetch_batch(self, names: Sequence[str], into: Path, basis: Path | None) -> None:
        into.mkdir(parents=True, exist_ok=True)
        argv = rsync.fetch_argv(self.archive, into, version=self.version, basis=basis)
        listed = b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in names)
        self._run(argv, self._count_fetched, stdin=listed, partial_is_fine=True)

    def _count_fetched(self, line: bytes) -> None:
        if fetched := rsync.parse_fetch_line(line):
            _, size, _ = fetched
            self.traffic.files_fetched += 1
            self.traffic.bytes_fetched += size
            self.progress.advance(files=1, size=size)

    def _run(
        self,
        argv: Sequence[str],
        on_line: Callable[[bytes], None] | None = None,
        *,
        stdin: bytes = b"",
        partial_is_fine: bool = False,
    ) -> None:
        """Run one rsync; raise what its failure means."""
        reader = StatsReader()

        def line_taken(line: bytes) -> None:
            if on_line:
                on_line(line)
            if line[:1] != rsync.ENTRY:
                reader.take(line)

        _rsync_log.debug("running %s", shlex.join(argv))
        result = process.run(argv, on_line=line_taken, stdin=stdin, env=rsync.environment(self.archive))
        for line in result.errors.splitlines():
            if rsync.FAREWELL not in line:
                _rsync_errors.debug("%s", line)
        _log_end(result, reader)
        vanished = rsync.is_vanished(result.exit_code, result.errors)
        if vanished and not partial_is_fine:
            raise UpstreamMoved("files went away at upstream while it was being listed")
        if result.exit_code != 0 and not vanished:
            raise rsync.failure(result.exit_code, result.errors, archive=self.archive)
        try:
            self.traffic.add(reader.stats())
        except UpstreamError:
            _ = self.version  # if it is no rsync that we ran, that is the better thing to say
            raise


def _includes(*patterns: str) -> list[Rule]:
    return [Rule(include=True, pattern=pattern) for pattern in patterns]


def _drop_unwanted(directory: Path, selection: Selection, root: Path) -> None:
    """Remove the files below a directory that are not selected."""
    for file in directory.rglob("*"):
        if not file.is_dir() and not selection.wants(str(file.relative_to(root))):
            file.unlink()


def _log_end(result: process.Result, reader: StatsReader) -> None:
    moved = reader.moved()
    rate = (moved.bytes_sent + moved.bytes_received) / max(result.seconds, 0.001)
    _rsync_log.debug(
        "ended with exit code %d: sent %d bytes  received %d bytes  %.2f bytes/sec",
        *(result.exit_code, moved.bytes_sent, moved.bytes_received, rate),
    )


def selection_mark(archive: Archive) -> int:
    """A number that changes with the part of upstream's tree that is mirrored."""
    return crc32("\n".join(rule.argument() for rule in selection_rules(archive)).encode())


def selection_rules(archive: Archive) -> list[Rule]:
    """What of upstream's tree is mirrored, as rsync's filter rules; traces and flags go their own way."""
    ours = [f"/{WORK}", f"{WORK}/", f"/{TRACES}/*", f"/{UPDATING}*", "/Archive-Update-Required-*"]
    return [
        *exclude_rules(ours),
        *filter_rules(archive.filter),
        *exclude_rules(archive.exclude),
        *architecture_rules(archive.architectures, archive.exclude_architectures),
    ]
