"""Check upstream's login, listing, strategies and clock, with the rsync that a sync runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pushmirror.archive.paths import Entry
from pushmirror.checks.finding import Finding, error, ok, warning
from pushmirror.config.model import Archive, Strategy
from pushmirror.errors import ProgramMissing, PushmirrorError, UnknownModule
from pushmirror.fetch import rsync_command
from pushmirror.fetch.probing import refusals_of
from pushmirror.fetch.refusals import Refusals, in_words
from pushmirror.fetch.unreadable import Complaints
from pushmirror.fetch.upstream import Upstream
from pushmirror.progress import Silent
from pushmirror.status.words import Level
from pushmirror.system import process

_SLACK = timedelta(minutes=5)  # between two clocks
#: The names at the root, and the Release files of the suites; nothing below.
_FILTERS = ("/dists/", "/dists/*/", "/dists/*/Release", "/dists/*/InRelease")
_LISTED = (*(f"--include={name}" for name in _FILTERS), "--exclude=/*/*", "--exclude=/*/*/*")
_HEAD = ("--include=/head", "--exclude=*")  # of a manifest


def of_archive(archive: Archive, now: datetime) -> Iterator[Finding]:
    """The findings about one archive's upstream; none without an upstream."""
    if archive.upstream is None:
        return
    subject = f"upstream of {archive.name}"
    refusals = refusals_of(archive)
    try:
        entries = list_root(archive, refusals)
    except ProgramMissing:
        return  # reported once, by the check of programs
    except PushmirrorError as exc:
        yield error(subject, str(exc), exc.hint or "check whether it can be reached from here")
        return
    yield judge_listing(subject, archive, entries)
    for finding in judge_refusals(subject, archive, refusals):
        yield finding
        if finding.level is Level.ERROR:
            return  # all further requests would fail, too
    if entries and archive.strategy is not Strategy.FULL:
        yield judge_strategy(subject, archive, entries)
    yield from judge_clock(subject, entries, now)


def list_root(archive: Archive, refusals: Refusals | None = None) -> list[Entry]:
    """List the names at upstream's root, and its Release files; raises UpstreamError.

    Options that upstream refuses are added to `refusals`.
    """
    return _list(archive, _LISTED, refusals)


def _list(archive: Archive, filters: Sequence[str], refusals: Refusals | None = None) -> list[Entry]:
    def attempt(refused: frozenset[str]) -> list[Entry]:
        with tempfile.TemporaryDirectory(prefix="pushmirror-check-") as empty:
            argv = rsync_command.listing_argv(archive, filters, Path(empty), refused=refused)
            return _entries(archive, argv, rsync_command.line_parser(refused))

    return (refusals or refusals_of(archive)).ask(attempt)


def _entries(
    archive: Archive, argv: Sequence[str], parse: rsync_command.ParseLine, stdin: bytes = b""
) -> list[Entry]:
    entries: list[Entry] = []
    statistics = rsync_command.StatsReader()
    complaints = Complaints.of(archive)

    def on_line(line: bytes) -> None:
        statistics.take(line)
        with suppress(rsync_command.Unreadable):
            if entry := parse(line):
                entries.append(entry)

    result = process.run(
        argv,
        on_line=on_line,
        on_error=complaints.take,
        stdin=stdin,
        env=rsync_command.environment(archive),
        timeout_s=(archive.connect_timeout + archive.timeout).total_seconds() + 30,
        idle_s=archive.timeout.total_seconds(),
    )
    is_about_names = (
        rsync_command.is_partial(result.exit_code) and complaints.unseen and not complaints.others
    )
    if result.exit_code and not is_about_names:
        is_silent = not result.has_output
        raise rsync_command.failure(result.exit_code, result.errors, archive=archive, is_silent=is_silent)
    statistics.stats()  # None: the connection ended before the listing, with exit code 0
    return entries


def judge_refusals(subject: str, archive: Archive, refusals: Refusals) -> Iterator[Finding]:
    """The finding about rsync options that upstream refuses, of those that runs use."""
    version = Upstream(archive, Silent()).version

    def attempt(refused: frozenset[str]) -> None:
        with tempfile.TemporaryDirectory(prefix="pushmirror-check-") as into:
            argv = rsync_command.probe_argv(archive, Path(into), version=version, refused=refused)
            _entries(archive, argv, lambda _: None)

    try:
        refusals.ask(attempt)
    except PushmirrorError as exc:
        yield error(subject, str(exc), exc.hint or "ask its operator")
        return
    for option in sorted(refusals.names):
        yield ok(subject, in_words(option))


def judge_listing(subject: str, archive: Archive, entries: list[Entry]) -> Finding:
    """The finding about the listing: whether it can be an archive."""
    root = sorted(entry.path for entry in entries if "/" not in entry.path)
    if not root:
        return error(
            subject, f"{archive.upstream} is empty", "ask its operator; a sync would delete the whole tree"
        )
    if "dists" not in root:
        return warning(
            subject, f"{archive.upstream} has no dists/", "fine for a plain tree; else check the path"
        )
    return ok(subject, f"{archive.upstream}: {', '.join(root[:6])}{' …' if len(root) > 6 else ''}")


def judge_strategy(subject: str, archive: Archive, entries: list[Entry]) -> Finding:
    """The finding about the strategies that upstream permits, and the configured one."""
    lacks_manifest = "" if archive.strategy is Strategy.INDEX else _why_no_manifest(archive)
    has_suites = any(entry.path == "dists" for entry in entries)
    offered = [Strategy.FULL]
    if has_suites:
        offered.insert(0, Strategy.INDEX)
    if not lacks_manifest and archive.strategy is not Strategy.INDEX:
        offered.insert(0, Strategy.MANIFEST)
    found = f"possible strategies: {', '.join(offered)}"
    if lacks_manifest:
        found += f"; not manifest: {lacks_manifest}"
    if archive.strategy in {Strategy.AUTO, *offered}:
        return ok(subject, found)
    todo = 'strategy = "auto" takes the best one; hubs with pushmirror offer a manifest'
    return warning(subject, f'strategy = "{archive.strategy}", but {found}', todo)


def _why_no_manifest(archive: Archive) -> str:
    """Why a run could not read upstream's manifest now; empty if it could."""
    upstream = archive.upstream
    assert upstream is not None
    if not upstream.module:
        return "upstream is not an rsync daemon"
    if upstream.path != upstream.module:
        return "only a part of the module is mirrored"
    try:
        entries = _list(archive.model_copy(update={"upstream": upstream.manifest}), _HEAD)
    except UnknownModule:
        return "upstream offers none"
    except PushmirrorError as exc:
        return str(exc)
    return "" if any(entry.path == "head" for entry in entries) else "upstream has not written it yet"


def judge_clock(subject: str, entries: list[Entry], now: datetime) -> Iterator[Finding]:
    """The finding about a Release file from the future: one of the two clocks is wrong."""
    stamps = [entry.mtime for entry in entries if entry.path.endswith("Release")]
    if not stamps:
        return
    newest = datetime.fromtimestamp(max(stamps), UTC)
    if newest > now + _SLACK:
        found = f"its newest Release is from {newest:%Y-%m-%d %H:%M} UTC, now it is {now:%Y-%m-%d %H:%M} UTC"
        yield error(subject, found, "set the clock here, or ask upstream's operator to set theirs")
