"""Trace files: a mirror's public record of its last run, in the format that ftpsync writes and readers parse.

Guaranteed: what is rendered is byte for byte what ftpsync would write for the same facts, and no value can
add a line of its own. Reading is lenient: a foreign trace is a hint, never a reason to fail. Not the
business of this module: when a trace is written, and where.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FIRST_LINE = re.compile(
    r"(?:[A-Z][a-z]{2}) ([A-Z][a-z]{2}) +(\d{1,2}) (\d{2}):(\d{2}):(\d{2}) UTC (\d{4})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Trace:
    """A run, as its trace tells it; an empty text or tuple leaves its line out."""

    finished: datetime
    started: datetime
    version: str  # "Used ftpsync version", e.g. pushmirror/0.1.0
    host: str  # "Running on host"
    creator: str = ""  # "ftpsync VERSION" when empty
    archive_serial: str | None = None  # from `master`: "unknown" if it has none, None if there is no `master`
    maintainer: str = ""
    sponsor: str = ""
    country: str = ""
    location: str = ""
    throughput: str = ""
    trigger: str = ""
    architectures: tuple[str, ...] = ()  # those in the tree
    included: tuple[str, ...] = ()  # the configuration: INCLUDE these,
    excluded: tuple[str, ...] = ()  # or EXCLUDE these, or neither: ALL
    upstream: str = "unknown"  # host name
    transport: str = "undefined"  # undefined | ssh | ssl
    bytes_received: int = 0
    stage1_s: int = 0  # whole seconds of rsync
    stage2_s: int = 0
    generation: str = ""  # a line of pushmirror's own, at the end
    strategy: str = ""  # another one: how it learnt what had changed


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """What could be read of a trace file."""

    date: datetime | None  # of the first line
    fields: Mapping[str, str]  # by name as written; the first of a kind counts, as for ftpsync


def render_trace(trace: Trace) -> str:
    """The text of a trace file, field for field in ftpsync's order."""
    creator = trace.creator or f"ftpsync {trace.version}"
    lines = [
        _posix_date(trace.finished),
        f"Date: {_mail_date(trace.finished)}",
        f"Date-Started: {_mail_date(trace.started)}",
        *_optional("Archive serial", trace.archive_serial or ""),
        f"Used ftpsync version: {_one_line(trace.version)}",
        f"Creator: {_one_line(creator)}",
        f"Running on host: {_one_line(trace.host)}",
        *_optional("Maintainer", trace.maintainer),
        *_optional("Sponsor", trace.sponsor),
        *_optional("Country", trace.country),
        *_optional("Location", trace.location),
        *_optional("Throughput", trace.throughput),
        *_optional("Trigger", trace.trigger),
        *([f"Architectures: {_words(trace.architectures)}"] if trace.architectures else []),
        f"Architectures-Configuration: {_configuration(trace)}",
        f"Upstream-mirror: {_one_line(trace.upstream)}",
        f"Rsync-Transport: {_one_line(trace.transport)}",
        *_statistics(trace),
        *_optional("Generation", trace.generation),
        *_optional("Strategy", trace.strategy),
    ]
    return "".join(f"{line}\n" for line in lines)


def _optional(name: str, value: str) -> list[str]:
    return [f"{name}: {_one_line(value)}"] if value else []


def _one_line(value: str) -> str:
    return " ".join(value.splitlines())


def _words(words: Iterable[str]) -> str:
    """Sorted, once each, a blank after every one: ftpsync's `sort -u | tr '\\n' ' '`."""
    return "".join(f"{_one_line(word)} " for word in sorted(set(words)))


def _configuration(trace: Trace) -> str:
    if trace.included:
        return f"INCLUDE {_words(trace.included)}"
    return f"EXCLUDE {_words(trace.excluded)}" if trace.excluded else "ALL"


def _statistics(trace: Trace) -> list[str]:
    total_s = trace.stage1_s + trace.stage2_s
    return [
        *([f"Total bytes received in rsync: {trace.bytes_received}"] if trace.bytes_received > 0 else []),
        f"Total time spent in stage1 rsync: {trace.stage1_s}",
        f"Total time spent in stage2 rsync: {trace.stage2_s}",
        f"Total time spent in rsync: {total_s}",
        *([f"Average rate: {trace.bytes_received // total_s} B/s"] if total_s else []),
    ]


def _posix_date(when: datetime) -> str:
    """As `LC_ALL=POSIX date -u`, the day padded with a blank; strftime would follow the locale."""
    when = when.astimezone(UTC)
    day, month = _DAYS[when.weekday()], _MONTHS[when.month - 1]
    return f"{day} {month} {when.day:2} {when:%H:%M:%S} UTC {when.year:04}"


def _mail_date(when: datetime) -> str:
    """As `date -u -R`, the day padded with a zero."""
    when = when.astimezone(UTC)
    day, month = _DAYS[when.weekday()], _MONTHS[when.month - 1]
    return f"{day}, {when.day:02} {month} {when.year:04} {when:%H:%M:%S} +0000"


def parse_trace(text: str) -> TraceFacts:
    """Whatever can be read of a trace; never raises."""
    first, *lines = text.split("\n")
    fields: dict[str, str] = {}
    for line in lines:
        name, separator, value = line.partition(": ")
        if separator:
            fields.setdefault(name, value.strip())
    return TraceFacts(_first_line_date(first), MappingProxyType(fields))


def _first_line_date(line: str) -> datetime | None:
    match = _FIRST_LINE.fullmatch(line.strip())
    if match is None or match[1] not in _MONTHS:
        return None
    month = _MONTHS.index(match[1]) + 1
    day, hour, minute, second, year = (int(match[group]) for group in range(2, 7))
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def archive_serial(text: str) -> str | None:
    """The archive serial that a trace names, as ftpsync reads it; None if there is none."""
    for line in text.split("\n"):
        name, _, rest = line.partition(": ")
        if name == "Archive serial":
            return rest.partition(": ")[0].strip() or None
    return None


def render_hierarchy(
    upstream_mirror_text: str, *, tracename: str, mirrorname: str, tracehost: str, rsynchost: str
) -> str:
    """The text of `_hierarchy` and `_hierarchy.mirror`: upstream's `_hierarchy.mirror`, then this mirror.

    A line about this mirror in upstream's text is left out: it is ours of the last run, not fetched anew.
    """
    names = ["_".join(name.split()) for name in (tracename, mirrorname, tracehost, rsynchost)]
    lines = [line for line in upstream_mirror_text.split("\n") if line.strip()]
    others = [line for line in lines if line.split()[0] != names[0]]
    return "".join(f"{line}\n" for line in (*others, " ".join(names)))


def render_traces(names_with_mtime: Iterable[tuple[str, float]]) -> str:
    """The text of `_traces`: names, oldest first (equal times: backwards by name, as `ls -rt`)."""
    shown = [
        (name, mtime)
        for name, mtime in names_with_mtime
        if not name.startswith(".") and not name.rpartition("/")[2].startswith("_") and "\n" not in name
    ]
    shown.sort(key=lambda entry: entry[0], reverse=True)
    shown.sort(key=lambda entry: entry[1])
    return "".join(f"{name}\n" for name, _ in shown)
