"""Upstream, by rsync: its published state, its listing and its files.

Guaranteed: what comes from upstream stays in the work area; a transfer that did not happen is an error even
when rsync's exit code is 0. Options that upstream refuses are left out (fetch/refusals.py). A name that
upstream cannot read, that disappears or that cannot be in a list is skipped alone: it is counted, logged and
handed to the caller (fetch/unreadable.py). Not the business of this module: whether the content is right.

What rsync did is logged under names of its own, at level DEBUG, so that a handler can tell it apart:
`pushmirror.rsync` has a line with its argv before each transfer and one with what it moved after it, in
rsync's own form ("sent N bytes  received N bytes  N.NN bytes/sec"); `pushmirror.rsync.errors` has each line
of its standard error (of a transfer that the run can do without, `pushmirror.rsync` has them). No password is
in either: neither argv nor rsync's errors ever have one.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import TypeVar

from pushmirror.archive.filters import Rule, Selection, exclude_rules, filter_rules
from pushmirror.archive.layout import (
    DISTS,
    LOST,
    NO_PACKAGES,
    NO_SUITES,
    RELEASE_NAMES,
    TRACES,
    UPDATING,
    ZZZ_DISTS,
)
from pushmirror.archive.paths import Entry, Kind, link_stays_inside
from pushmirror.config.model import Archive
from pushmirror.errors import ConnectionFailed, Stalled, TookTooLong, UpstreamError, UpstreamMoved, key_name
from pushmirror.fetch import rsync_command
from pushmirror.fetch.probing import refusals_of
from pushmirror.fetch.refusals import Refusals
from pushmirror.fetch.rsync_command import Stats, StatsReader, Version
from pushmirror.fetch.selection import selection_rules
from pushmirror.fetch.stall import Stillness
from pushmirror.fetch.streams import in_batches, in_streams, streams_for
from pushmirror.fetch.unreadable import Complaints, Unseen, shown
from pushmirror.progress import Progress
from pushmirror.system import process
from pushmirror.system.process import CancelToken
from pushmirror.system.rsync_version import rsync_version
from pushmirror.tree.work_area import WorkArea

Got = TypeVar("Got")

_log = logging.getLogger(__name__)
_rsync_log = logging.getLogger("pushmirror.rsync")
_rsync_errors = logging.getLogger("pushmirror.rsync.errors")
_BATCH = 20_000  # names in one --files-from; the work per name grows with their number
_BATCH_CHECKED = 2_000  # the same for an rsync without --trust-sender
_BATCH_RULES = 1_000  # the same as include rules: upstream compares each name on the way with each of them
_FAR_S = 0.3  # to pin takes so long where a round trip takes 30 ms or more; a listing there is another one

_TRACE_RULES = ["/project/", f"/{TRACES}/", f"/{TRACES}/*"]
_NOT_LOOKED_INTO = [*(f"{name}/" for name in NO_SUITES), *(f"/{name}/" for name in NO_PACKAGES)]
_ABOVE_DISTS = ("", "*/", "*/*/")
_SUITES = [*(f"/{above}{DISTS}/*/" for above in _ABOVE_DISTS), f"/{ZZZ_DISTS}/*/"]  # whatever their names
_LOOKED_INTO = [  # as `tree.published_state.read_published` does; what is beside suites may be a link to one
    *(f"/{above}{DISTS}{below}" for above in _ABOVE_DISTS for below in ("", "/*", "/**/")),
    *(f"/{ZZZ_DISTS}", f"/{ZZZ_DISTS}/*", f"/{ZZZ_DISTS}/**/", "/*/", "/*/*/"),
]
_FLAGS = f"/{UPDATING}*"


@dataclass(slots=True)
class Traffic:
    """What was transferred so far."""

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
    """What one transfer brought, without what was here from an interrupted run."""

    files: int = 0
    size: int = 0  # bytes of these files


@dataclass(slots=True)
class Upstream:
    """Upstream of one archive."""

    archive: Archive
    progress: Progress
    traffic: Traffic = field(default_factory=Traffic)
    remembered: Path | None = None  # where what it refuses is kept for the next runs
    unreadable: set[str] = field(default_factory=set)  # files that were asked for and that it could not read
    refusals: Refusals = field(init=False)
    stillness: Stillness = field(init=False)
    _version: Version | None = None
    _pinned_in_s: float = 0.0
    _counting: threading.Lock = field(default_factory=threading.Lock)  # for several streams at once

    def __post_init__(self) -> None:
        self.refusals = refusals_of(self.archive, self.remembered)
        self.stillness = Stillness(self.archive.timeout)

    def pin(self, into: Path, *, also: Mapping[str, bool] = MappingProxyType({})) -> Unseen:
        """Copy upstream's Release files, traces and flags into a directory, which then mirrors them.

        `also` are further paths to look at, directories or files; True: a directory like `dists`. Returns
        what of them upstream could not read.
        """
        own = [*filter_rules(self.archive.filter), *exclude_rules(self.archive.exclude)]
        # An include of the operator's means "mirror it", not "pin it": rsync cannot say both at once.
        by_us = any(rule.include for rule in own)
        rules = (
            *_includes(*_TRACE_RULES, _FLAGS),
            *([] if by_us else own),
            *_includes(*_ways_to(also)),
            *exclude_rules([".*/", f"{LOST}/"]),
            *_includes(*_SUITES),
            *exclude_rules(_NOT_LOOKED_INTO),
            *_includes(*_below(also), *_LOOKED_INTO, *RELEASE_NAMES),
            *exclude_rules(["*"]),
        )
        started = monotonic()
        unseen = self._copy_exactly(Selection(rules).rsync_args(), into)
        self._pinned_in_s = monotonic() - started
        if by_us:
            _drop_unwanted(into, Selection(tuple(own)))
        return unseen

    def _copy_exactly(self, filters: Sequence[str], into: Path) -> Unseen:
        """Have in a directory what the filters let through, and nothing else."""

        def attempt(refused: frozenset[str]) -> Unseen:
            if "ignore-times" in refused:
                shutil.rmtree(into, ignore_errors=True)
            into.mkdir(parents=True, exist_ok=True)
            argv = rsync_command.pin_argv(self.archive, filters, into, refused=refused)
            was_empty = not any(into.iterdir())
            complaints = self._run(argv)
            if complaints.unseen and not was_empty:  # rsync deletes nothing then, and leaves what is gone
                shutil.rmtree(into)
                into.mkdir()
                complaints = self._run(argv)
            if "safe-links" in refused:
                _unmunge(into)
            return complaints.unseen

        unseen = self.refusals.ask(attempt)
        _warn_of_unreadable(unseen.files | unseen.directories)
        return unseen

    def listing(self, take: Callable[[Entry], None], *, empty: Path, rules: Sequence[Rule] = ()) -> Unseen:
        """Hand every name of upstream's tree to `take`, depth first; not traces, flags and excluded ones.

        `rules` come after the archive's own, as ftpsync's stage options do. Returns the names that are not
        among those although upstream may have them.
        """
        empty.mkdir(parents=True, exist_ok=True)
        selection = Selection((*selection_rules(self.archive), *rules))
        is_far = self._pinned_in_s > _FAR_S

        def attempt(refused: frozenset[str]) -> Unseen:
            entries: list[Entry] = []
            hand_on = entries.append if rsync_command.lists_by_bytes(refused) else take
            lines = _Listing(hand_on, rsync_command.line_parser(refused))
            argv = rsync_command.listing_argv(
                self.archive, selection.rsync_args(), empty, is_far=is_far, refused=refused
            )
            complaints = self._run(argv, lines.take, vanishing_is_fine=True)
            for entry in sorted(entries, key=lambda entry: entry.path.split("/")):
                take(entry)
            lines.warn()
            _warn_of_unreadable(complaints.unreadable | complaints.unreadable_directories)
            if gone := complaints.vanished | complaints.vanished_directories:
                _log.info("%d names disappeared at upstream during listing: %s", len(gone), shown(gone))
            return complaints.unseen | lines.unseen

        return self.refusals.ask(attempt)

    def present(self, names: Collection[str], *, empty: Path) -> set[str]:
        """Those of the names that upstream has or may have as a file or link; `empty` is a directory."""
        empty.mkdir(parents=True, exist_ok=True)
        ordered = sorted(set(names))

        def attempt(refused: frozenset[str]) -> set[str]:
            found: set[str] = set()
            parse = rsync_command.line_parser(refused)

            def on_line(line: bytes) -> None:
                try:
                    entry = parse(line)
                except rsync_command.Unreadable:
                    return
                if entry is not None and entry.kind is not Kind.DIRECTORY:
                    found.add(entry.path)

            longest = self._longest_batch(refused, is_listing=True)
            for start in range(0, len(ordered), min(longest, _BATCH_CHECKED)):
                part = ordered[start : start + min(longest, _BATCH_CHECKED)]
                asked = rsync_command.names_asked(part, refused, is_listing=True)
                argv = rsync_command.present_argv(self.archive, empty, refused=refused)
                complaints = self._run(argv, on_line, stdin=asked, vanishing_is_fine=True)
                unreadable = Unseen(
                    frozenset(complaints.unreadable), frozenset(complaints.unreadable_directories)
                )
                found.update(filter(unreadable.covers, part))
            return found.intersection(ordered)

        return self.refusals.ask(attempt)

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

        def work(batch: Sequence[Entry], stop: CancelToken | None) -> None:
            names = [entry.path for entry in batch]
            self.fetch_batch(names, area, basis=basis, stop=stop, links=links)

        self.in_streams(entries, work, lambda _: None, files=len(ordered), size=size)

    def in_streams(
        self,
        entries: Iterable[Entry],
        work: Callable[[Sequence[Entry], CancelToken | None], Got],
        take: Callable[[Got], None],
        *,
        files: int,
        size: int,
    ) -> None:
        """Let `work` fetch these files in batches, several at a time if they are many (see fetch/streams.py).

        Where the line has a limit, one at a time: rsync keeps to it for each transfer alone.
        """
        most = 1 if self.archive.bandwidth_limit else self.archive.streams
        streams = streams_for(files, size, most=most)
        longest = self._longest_batch(self.refusals.names)  # asks for the version before any thread does
        batches = in_batches(entries, files=files, size=size, streams=streams, longest=longest)
        in_streams(batches, work, take, streams=streams)

    def fits_one_transfer(self, *, files: int, size: int) -> bool:
        """Whether so many files of so many bytes come best in one transfer."""
        is_small = streams_for(files, size, most=2) == 1
        return is_small and files <= self._longest_batch(self.refusals.names)

    def _longest_batch(self, refused: frozenset[str], *, is_listing: bool = False) -> int:
        """How many names one transfer may ask for."""
        if rsync_command.asks_by_rules(refused) or (is_listing and rsync_command.lists_by_itself(refused)):
            return _BATCH_RULES
        return _BATCH if self.version.trusts_sender else _BATCH_CHECKED

    def fetch_batch(
        self,
        names: Sequence[str],
        area: WorkArea,
        *,
        basis: Path | None = None,
        stop: CancelToken | None = None,
        links: bool = False,
    ) -> Fetched:
        """Fetch these files in one transfer, as `fetch` does; several threads may, for other names each.

        What upstream has and cannot read does not come, either; see `unreadable`.
        """
        fetched = Fetched()

        def on_line(line: bytes) -> None:
            if parsed := rsync_command.parse_fetch_line(line):
                fetched.files += 1
                fetched.size += parsed[1]
                self.advance(files=1, size=parsed[1])

        def attempt(refused: frozenset[str]) -> None:
            for into, some in area.by_volume(names).items():
                into.mkdir(parents=True, exist_ok=True)
                argv = rsync_command.fetch_argv(
                    self.archive, into, version=self.version, basis=basis, links=links, refused=refused
                )
                # A batch may have been made before a refusal was known.
                longest = _BATCH_RULES if rsync_command.asks_by_rules(refused) else max(len(some), 1)
                for start in range(0, len(some), longest):
                    asked = rsync_command.names_asked(some[start : start + longest], refused)
                    complaints = self._run(argv, on_line, stdin=asked, vanishing_is_fine=True, stop=stop)
                    self._note_unreadable(complaints, some)

        self.refusals.ask(attempt)
        with self._counting:
            self.traffic.files_fetched += fetched.files
            self.traffic.bytes_fetched += fetched.size
        area.look_again()
        return fetched

    def _note_unreadable(self, complaints: Complaints, names: Sequence[str]) -> None:
        """Log names that upstream could not read, each once in a run."""
        unreadable = Unseen(frozenset(complaints.unreadable), frozenset(complaints.unreadable_directories))
        if not unreadable:
            return
        found = set(filter(unreadable.covers, names))
        with self._counting:
            found -= self.unreadable
            self.unreadable |= found
        _warn_of_unreadable(found)

    def advance(self, *, files: int, size: int) -> None:
        """Report progress of files and bytes."""
        with self._counting:
            self.progress.advance(files=files, size=size)

    def copy_from(
        self,
        source: Archive,
        patterns: Sequence[str],
        into: Path,
        *,
        largest: int,
        stop: CancelToken | None = None,
    ) -> None:
        """Copy files of at most `largest` bytes each from the top of `source`, a tree beside upstream's.

        The run can do without what it brings: a complaint is a line about a transfer, and no error to tell. A
        file that is not there just does not come; where upstream refuses to list a directory, only the first.
        """

        def attempt(refused: frozenset[str]) -> None:
            argv = rsync_command.files_argv(source, patterns, into, largest=largest, refused=refused)
            self._run(argv, vanishing_is_fine=True, stop=stop, complaints_log=_rsync_log, of=source)

        self.refusals.ask(attempt)

    @property
    def version(self) -> Version:
        """The version of the local rsync."""
        if self._version is None:
            self._version = Version(rsync_version(self.archive.rsync))
        return self._version

    def _run(
        self,
        argv: Sequence[str],
        on_line: Callable[[bytes], None] | None = None,
        *,
        stdin: bytes = b"",
        vanishing_is_fine: bool = False,
        stop: CancelToken | None = None,
        complaints_log: logging.Logger = _rsync_errors,
        of: Archive | None = None,
    ) -> Complaints:
        """Run one rsync; raise what its failure means, and return the names that it could not do.

        `of` is what is asked, if not this upstream's archive itself.
        """
        reader = StatsReader()
        complaints = Complaints.of(of or self.archive)

        def line_taken(line: bytes) -> None:
            if on_line:
                on_line(line)
            if not line.startswith(rsync_command.ENTRY):
                reader.take(line)

        _rsync_log.debug("running %s", shlex.join(argv))
        with self.stillness.connection():
            with _given_up(self.archive):
                result = process.run(
                    argv,
                    on_line=line_taken,
                    on_error=complaints.take,
                    stdin=stdin,
                    env=rsync_command.environment(self.archive),
                    timeout_s=self.archive.time_limit.total_seconds(),
                    idle_s=self.archive.timeout.total_seconds(),
                    least_rate=self.archive.min_rate * 1024 or process.LEAST_RATE,
                    on_look=self.stillness.looked,
                    stop=stop,
                )
            if stop and rsync_command.is_full(result.errors):
                complaints_log = _rsync_log  # another stream goes on, or this is what the run fails with
            for line in result.errors.splitlines():
                if rsync_command.FAREWELL not in line:
                    complaints_log.debug("%s", line)
            _log_end(result, reader)
            if result.exit_code != 0:
                self._require_only_names(result, complaints, vanishing_is_fine=vanishing_is_fine)
            try:
                stats = reader.stats()
            except UpstreamError:
                _ = self.version  # if it is no rsync that we ran, that is the better thing to say
                raise
            with self._counting:
                self.traffic.add(stats)
            return complaints

    def _require_only_names(
        self, result: process.Result, complaints: Complaints, *, vanishing_is_fine: bool
    ) -> None:
        """Raise what an exit code means, unless it is only of names that upstream could not read, or lost."""
        if not rsync_command.is_partial(result.exit_code) or complaints.others:
            is_silent = not result.has_output
            raise rsync_command.failure(
                result.exit_code, result.errors, archive=self.archive, is_silent=is_silent
            )
        has_vanished = bool(complaints.vanished or complaints.vanished_directories)
        if not complaints.unseen or (has_vanished and not vanishing_is_fine):
            if has_vanished or result.exit_code == rsync_command.CODE_VANISHED:
                raise UpstreamMoved("files disappeared at upstream during listing")
            raise rsync_command.failure(result.exit_code, result.errors, archive=self.archive)


@contextmanager
def _given_up(archive: Archive) -> Iterator[None]:
    """Translate the errors for an rsync that was ended here."""
    try:
        yield
    except Stalled as exc:
        found, what = "has stalled", f"raise {key_name('timeout')}"
        if archive.min_rate and exc.rate >= process.LEAST_RATE:
            found, what = "is too slow", f"lower {key_name('min_rate')}"
        raise ConnectionFailed(f"upstream {found}: {exc}", hint=f"check the network, or {what}") from exc
    except TookTooLong as exc:
        raise ConnectionFailed(
            f"time limit reached: {exc}", hint=f"check the network, or raise {key_name('time_limit')}"
        ) from exc


@dataclass(slots=True)
class _Listing:
    """Takes the lines of a listing; passes on what can be mirrored."""

    hand_on: Callable[[Entry], None]
    parse: rsync_command.ParseLine
    skipped: set[str] = field(default_factory=set)  # names that no list of ours can have
    special: list[str] = field(default_factory=list)  # pipes, sockets, devices
    directories: set[str] = field(default_factory=set)  # of those in `skipped`

    def take(self, line: bytes) -> None:
        try:
            entry = self.parse(line)
        except rsync_command.Unreadable as exc:
            if not self._is_below_skipped(exc.name):
                self.skipped.add(exc.name)
                if exc.is_directory:
                    self.directories.add(exc.name)
            return
        if entry is not None:
            self.hand_on(entry)
        elif line.startswith(_SPECIAL):
            self.special.append(line.removeprefix(_SPECIAL).decode("utf-8", "replace").strip(' "'))

    def _is_below_skipped(self, path: str) -> bool:
        return bool(self.directories) and self.unseen.covers(path)

    @property
    def unseen(self) -> Unseen:
        return Unseen(frozenset(self.skipped), frozenset(self.directories))

    def warn(self) -> None:
        """Log what was skipped."""
        if self.skipped:
            text = "skipping %d names at upstream that cannot be mirrored: %s"
            _log.warning(text, len(self.skipped), shown(self.skipped))
        if self.special:
            text = "skipping %d names at upstream that are not files, links or directories: %s"
            _log.warning(text, len(self.special), shown(self.special))


_SPECIAL = b"skipping non-regular file "


def _warn_of_unreadable(names: Collection[str]) -> None:
    if names:
        _log.warning("upstream cannot read %d of its own files or directories: %s", len(names), shown(names))


def _unmunge(directory: Path) -> None:
    """Give links that were fetched with --munge-links their targets, and remove those that lead out."""
    for above, directories, files in os.walk(directory):
        for name in (*directories, *files):
            link = Path(above, name)
            if link.is_symlink():
                target = rsync_command.unmunged(os.readlink(link))  # noqa: PTH115  text, as it is
                link.unlink()
                if link_stays_inside(str(link.relative_to(directory)), target):
                    link.symlink_to(target)


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
        yield from (rsync_command.pattern_of("/".join(parts[:depth]), "/") for depth in range(1, len(parts)))
        yield rsync_command.pattern_of(path)


def _below(paths: Mapping[str, bool]) -> Iterator[str]:
    """Patterns of what is looked at below these directories."""
    for path, is_like_dists in paths.items():
        yield rsync_command.pattern_of(path, "/**/")
        if is_like_dists:
            yield rsync_command.pattern_of(path, "/*")


def _log_end(result: process.Result, reader: StatsReader) -> None:
    moved = reader.moved()
    rate = (moved.bytes_sent + moved.bytes_received) / max(result.seconds, 0.001)
    _rsync_log.debug(
        "ended with exit code %d: sent %d bytes  received %d bytes  %.2f bytes/sec",
        *(result.exit_code, moved.bytes_sent, moved.bytes_received, rate),
    )
