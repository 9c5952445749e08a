"""The other end: its published state, its listing and its files, through rsync.

Guaranteed: what comes from upstream stays in the work area; a transfer that did not happen is an error
even when rsync's exit code is 0. Not the business of this module: whether what came is right.

What rsync did is logged under names of its own, at level DEBUG, so that a handler can tell it apart:
`pushmirror.rsync` has a line with its argv before each transfer and one with what it moved after it, in
rsync's own form ("sent N bytes  received N bytes  N.NN bytes/sec"); `pushmirror.rsync.errors` has each line
of its standard error (of a transfer that the run can do without, `pushmirror.rsync` has them). No password is
in either: neither argv nor rsync's errors ever have one.
"""

from __future__ import annotations

import logging
import re
import shlex
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import TypeVar
from zlib import crc32

from pushmirror.archive.entry import Entry, Kind
from pushmirror.archive.selection import Rule, Selection, architecture_rules, exclude_rules, filter_rules
from pushmirror.config.model import Archive
from pushmirror.errors import UpstreamError, UpstreamMoved
from pushmirror.sync import rsync
from pushmirror.sync.parts import (
    DISTS,
    LOST,
    NO_PACKAGES,
    NO_SUITES,
    RELEASE_NAMES,
    TRACES,
    UPDATING,
    WORK,
    ZZZ_DISTS,
)
from pushmirror.sync.progress import Progress
from pushmirror.sync.rsync import Stats, StatsReader, Version
from pushmirror.sync.streams import in_batches, in_streams, streams_for
from pushmirror.sync.work import WorkArea
from pushmirror.system import process
from pushmirror.system.process import Stop

Got = TypeVar("Got")

_log = logging.getLogger(__name__)
_rsync_log = logging.getLogger("pushmirror.rsync")
_rsync_errors = logging.getLogger("pushmirror.rsync.errors")
_BATCH = 20_000  # names in one --files-from; the work per name grows with their number
_BATCH_CHECKED = 2_000  # the same for an rsync without --trust-sender
_SPECIAL, _ESCAPED = re.compile(r"[*?[\\]"), r"\\\g<0>"
_FAR_S = 0.3  # to pin takes so long where a round trip takes 30 ms or more; a listing there is another one

_TRACE_RULES = ["/project/", f"/{TRACES}/", f"/{TRACES}/*"]
_NOT_LOOKED_INTO = [*(f"{name}/" for name in (*NO_SUITES, ".*")), *(f"/{name}/" for name in NO_PACKAGES)]
_LOOKED_INTO = [  # as `published.read_published` does; what is beside suites may be a link to one
    *(f"/{above}{DISTS}{below}" for above in ("", "*/", "*/*/") for below in ("", "/*", "/**/")),
    *(f"/{ZZZ_DISTS}/", f"/{ZZZ_DISTS}/**/", "/*/", "/*/*/"),
]
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
class Fetched:
    """What one transfer brought: not what was here from an interrupted run."""

    files: int = 0
    size: int = 0  # bytes of these files


@dataclass(slots=True)
class Upstream:
    """Upstream of one archive."""

    archive: Archive
    progress: Progress
    traffic: Traffic = field(default_factory=Traffic)
    _version: Version | None = None
    _pinned_in_s: float = 0.0
    _counting: threading.Lock = field(default_factory=threading.Lock)  # for several streams at once

    def pin(self, into: Path, *, also: Mapping[str, bool] = MappingProxyType({})) -> None:
        """Copy upstream's Release files, traces and flags into a directory, which then mirrors them.

        `also` are further paths to look at, directories or files; True: a directory like `dists`.
        """
        own = [*filter_rules(self.archive.filter), *exclude_rules(self.archive.exclude)]
        # An include of the operator's means "mirror it", not "pin it": rsync cannot say both at once.
        by_us = any(rule.include for rule in own)
        rules = (
            *_includes(*_TRACE_RULES, _FLAGS),
            *([] if by_us else own),
            *_includes(*_ways_to(also)),
            *exclude_rules(_NOT_LOOKED_INTO),
            *_includes(*_below(also), *_LOOKED_INTO, *RELEASE_NAMES),
            *exclude_rules(["*"]),
        )
        into.mkdir(parents=True, exist_ok=True)
        started = monotonic()
        self._run(rsync.pin_argv(self.archive, Selection(rules).rsync_args(), into))
        self._pinned_in_s = monotonic() - started
        if by_us:
            _drop_unwanted(into, Selection(tuple(own)))

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
        is_far = self._pinned_in_s > _FAR_S
        self._run(rsync.listing_argv(self.archive, selection.rsync_args(), empty, is_far=is_far), on_line)

    def present(self, names: Collection[str], *, empty: Path) -> set[str]:
        """Those of the names that upstream has as a file or link; `empty` is an empty directory."""
        found: set[str] = set()

        def on_line(line: bytes) -> None:
            entry = rsync.parse_listing_line(line)
            if entry is not None and entry.kind is not Kind.DIRECTORY:
                found.add(entry.path)

        empty.mkdir(parents=True, exist_ok=True)
        ordered = sorted(set(names))
        for start in range(0, len(ordered), _BATCH_CHECKED):
            listed = (
                name.encode("utf-8", "surrogateescape") + b"\0"
                for name in ordered[start : start + _BATCH_CHECKED]
            )
            self._run(rsync.present_argv(self.archive, empty), on_line, stdin=b"".join(listed))
        return found.intersection(ordered)

    def fetch(
        self,
        names: Iterable[str],
        area: WorkArea,
        *,
        basis: Path | None = None,
        size: int = 0,
        links: bool = False,
    ) -> None:
        """Fetch these files into a work area, under their own paths; what upstream lost just does not come.

        What is there from an interrupted run is used. `basis` is a tree whose older versions of the files
        may save traffic; never give it for a file whose content here is known to be wrong. `size` is what
        they have together in bytes, where that is known. With `links`, those come as what they are.
        """
        ordered = sorted(set(names))
        mean = size // max(len(ordered), 1)
        entries = [Entry(name, Kind.FILE, mean) for name in ordered]

        def work(batch: Sequence[Entry], stop: Stop | None) -> None:
            names = [entry.path for entry in batch]
            self.fetch_batch(names, area, basis=basis, stop=stop, links=links)

        self.in_streams(entries, work, lambda _: None, files=len(ordered), size=size)

    def in_streams(
        self,
        entries: Iterable[Entry],
        work: Callable[[Sequence[Entry], Stop | None], Got],
        take: Callable[[Got], None],
        *,
        files: int,
        size: int,
    ) -> None:
        """Let `work` fetch these files in batches, several at a time if they are many (see streams.py).

        Where the line has a limit, one at a time: rsync keeps to it for each transfer alone.
        """
        most = 1 if self.archive.bandwidth_limit else self.archive.streams
        streams = streams_for(files, size, most=most)
        longest = (
            _BATCH if self.version.trusts_sender else _BATCH_CHECKED
        )  # asks for it before any thread does
        batches = in_batches(entries, files=files, size=size, streams=streams, longest=longest)
        in_streams(batches, work, take, streams=streams)

    def fetch_batch(
        self,
        names: Sequence[str],
        area: WorkArea,
        *,
        basis: Path | None = None,
        stop: Stop | None = None,
        links: bool = False,
    ) -> Fetched:
        """Fetch these files in one transfer, as `fetch` does; several threads may, for other names each."""
        area.new.mkdir(parents=True, exist_ok=True)
        argv = rsync.fetch_argv(self.archive, area.new, version=self.version, basis=basis, links=links)
        listed = b"".join(sorted(name.encode("utf-8", "surrogateescape") + b"\0" for name in names))
        fetched = Fetched()

        def on_line(line: bytes) -> None:
            if parsed := rsync.parse_fetch_line(line):
                fetched.files += 1
                fetched.size += parsed[1]
                self.advance(files=1, size=parsed[1])

        self._run(argv, on_line, stdin=listed, partial_is_fine=True, stop=stop)
        with self._counting:
            self.traffic.files_fetched += fetched.files
            self.traffic.bytes_fetched += fetched.size
        area.look_again()
        return fetched

    def advance(self, *, files: int, size: int) -> None:
        """So much more has come."""
        with self._counting:
            self.progress.advance(files=files, size=size)

    def copy(self, argv: Sequence[str], *, stdin: bytes = b"", stop: Stop | None = None) -> None:
        """Run an rsync from upstream that its caller has put together; its traffic counts, too.

        The run can do without what it brings: a complaint is a line about a transfer, and no error to tell.
        """
        self._run(argv, stdin=stdin, stop=stop, complaints=_rsync_log)

    @property
    def version(self) -> Version:
        """The version of the rsync here."""
        if self._version is None:
            told = process.run([self.archive.rsync, "--version"], timeout_s=30).check()
            self._version = rsync.parse_version(told.output[:200].decode("utf-8", "replace"))
        return self._version

    def _run(
        self,
        argv: Sequence[str],
        on_line: Callable[[bytes], None] | None = None,
        *,
        stdin: bytes = b"",
        partial_is_fine: bool = False,
        stop: Stop | None = None,
        complaints: logging.Logger = _rsync_errors,
    ) -> None:
        """Run one rsync; raise what its failure means."""
        reader = StatsReader()

        def line_taken(line: bytes) -> None:
            if on_line:
                on_line(line)
            if line[:1] != rsync.ENTRY:
                reader.take(line)

        _rsync_log.debug("running %s", shlex.join(argv))
        environment = rsync.environment(self.archive)
        result = process.run(argv, on_line=line_taken, stdin=stdin, env=environment, stop=stop)
        if stop and rsync.is_full(result.errors):
            complaints = _rsync_log  # another stream goes on, or this is what the run fails with
        for line in result.errors.splitlines():
            if rsync.FAREWELL not in line:
                complaints.debug("%s", line)
        _log_end(result, reader)
        vanished = rsync.is_vanished(result.exit_code, result.errors)
        if vanished and not partial_is_fine:
            raise UpstreamMoved("files went away at upstream while it was being listed")
        if result.exit_code != 0 and not vanished:
            raise rsync.failure(result.exit_code, result.errors, archive=self.archive)
        try:
            stats = reader.stats()
        except UpstreamError:
            _ = self.version  # if it is no rsync that we ran, that is the better thing to say
            raise
        with self._counting:
            self.traffic.add(stats)


def _includes(*patterns: str) -> list[Rule]:
    return [Rule(include=True, pattern=pattern) for pattern in patterns]


def _drop_unwanted(root: Path, selection: Selection) -> None:
    """Remove the Release files below a directory that are not selected, and links."""
    for file in root.rglob("*"):
        path = str(file.relative_to(root))
        is_ours = path.startswith((f"{TRACES}/", UPDATING))
        is_directory = file.is_dir() and not file.is_symlink()
        if not is_ours and not is_directory and not selection.wants(path):
            file.unlink()


def _ways_to(paths: Iterable[str]) -> Iterator[str]:
    """Patterns of these paths, and of the directories on the way to them."""
    for path in paths:
        parts = path.split("/")
        yield from (_pattern("/".join(parts[:depth]), "/") for depth in range(1, len(parts)))
        yield _pattern(path)


def _below(paths: Mapping[str, bool]) -> Iterator[str]:
    """Patterns of what is looked at below these directories."""
    for path, is_like_dists in paths.items():
        yield _pattern(path, "/**/")
        if is_like_dists:
            yield _pattern(path, "/*")


def _pattern(path: str, tail: str = "") -> str:
    """A pattern that matches just this path; where there are no wildcards, rsync knows no escapes either."""
    has_wildcards = any(wild in path + tail for wild in "*?[")
    return f"/{_SPECIAL.sub(_ESCAPED, path) if has_wildcards else path}{tail}"


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


def is_partial(archive: Archive) -> bool:
    """Whether a part of upstream's tree is left out, so that ours never has the digest of its states."""
    return any((archive.filter, archive.exclude, archive.architectures, archive.exclude_architectures))


def selection_rules(archive: Archive) -> list[Rule]:
    """What of upstream's tree is mirrored, as rsync's filter rules; traces and flags go their own way.

    What they leave out of any tree is what never counts in an inventory (see names.py).
    """
    architectures = architecture_rules(archive.architectures, archive.exclude_architectures)
    return [*closure_rules(archive), *architectures]


def closure_rules(archive: Archive) -> list[Rule]:
    """The same of what mirrored indices name: an architecture's packages may be called anything."""
    ours = [WORK, f"/{LOST}", f"/{TRACES}/*", f"/{UPDATING}*", "/Archive-Update-Required-*"]
    return [*exclude_rules(ours), *filter_rules(archive.filter), *exclude_rules(archive.exclude)]
