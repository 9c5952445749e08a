from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.archive.trace import (
    Trace,
    archive_serial,
    parse_trace,
    render_hierarchy,
    render_trace,
    render_traces,
)

FULL = Trace(
    finished=datetime(2026, 7, 1, 9, 5, 7, tzinfo=UTC),
    started=datetime(2026, 7, 1, 11, 0, 0, tzinfo=timezone(timedelta(hours=2))),
    version="pushmirror/0.1.0",
    creator="pushmirror 0.1.0",
    host="mirror.example.org",
    archive_serial="2026070102",
    maintainer="Admins <admins@example.org>",
    sponsor="Example <https://example.org>",
    country="DE",
    location="Example",
    throughput="10Gb",
    trigger="ssh",
    architectures=("source", "amd64", "all"),
    included=("source", "amd64", "amd64"),
    upstream="hub.example.org",
    transport="ssl",
    bytes_received=1000,
    stage1_s=7,
    stage2_s=3,
    generation="0a1b",
    strategy="manifest",
)

FULL_TEXT = """\
Wed Jul  1 09:05:07 UTC 2026
Date: Wed, 01 Jul 2026 09:05:07 +0000
Date-Started: Wed, 01 Jul 2026 09:00:00 +0000
Archive serial: 2026070102
Used ftpsync version: pushmirror/0.1.0
Creator: pushmirror 0.1.0
Running on host: mirror.example.org
Maintainer: Admins <admins@example.org>
Sponsor: Example <https://example.org>
Country: DE
Location: Example
Throughput: 10Gb
Trigger: ssh
Architectures: all amd64 source\N{SPACE}
Architectures-Configuration: INCLUDE amd64 source\N{SPACE}
Upstream-mirror: hub.example.org
Rsync-Transport: ssl
Total bytes received in rsync: 1000
Total time spent in stage1 rsync: 7
Total time spent in stage2 rsync: 3
Total time spent in rsync: 10
Average rate: 100 B/s
Generation: 0a1b
Strategy: manifest
"""

BARE = Trace(
    finished=datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC),
    started=datetime(2026, 12, 31, 23, 59, 58, tzinfo=UTC),
    version="20180513",
    host="m",
)

BARE_TEXT = """\
Thu Dec 31 23:59:59 UTC 2026
Date: Thu, 31 Dec 2026 23:59:59 +0000
Date-Started: Thu, 31 Dec 2026 23:59:58 +0000
Used ftpsync version: 20180513
Creator: ftpsync 20180513
Running on host: m
Architectures-Configuration: ALL
Upstream-mirror: unknown
Rsync-Transport: undefined
Total time spent in stage1 rsync: 0
Total time spent in stage2 rsync: 0
Total time spent in rsync: 0
"""


@pytest.mark.parametrize(("trace", "text"), [(FULL, FULL_TEXT), (BARE, BARE_TEXT)], ids=["full", "bare"])
def test_a_trace_is_written_as_ftpsync_does(trace: Trace, text: str) -> None:
    assert render_trace(trace) == text


def test_excluded_architectures_are_named() -> None:
    trace = Trace(BARE.finished, BARE.started, "1", "m", excluded=("s390x", "armel"))
    assert "\nArchitectures-Configuration: EXCLUDE armel s390x \n" in render_trace(trace)


def test_no_value_can_add_a_line() -> None:
    trace = Trace(BARE.finished, BARE.started, "1", "m\nCountry: X", sponsor="a\r\nTrigger: x")
    assert "\nRunning on host: m Country: X\nSponsor: a Trigger: x\n" in render_trace(trace)


def test_a_trace_can_be_read_again() -> None:
    facts = parse_trace(FULL_TEXT)
    assert facts.date == FULL.finished
    assert facts.fields["Upstream-mirror"] == "hub.example.org" and facts.fields["Generation"] == "0a1b"


@given(st.text(max_size=200))
def test_reading_a_foreign_trace_never_fails(text: str) -> None:
    parse_trace(text)
    archive_serial(text)


@pytest.mark.parametrize(
    "line", ["", "hello", "Wed Foo  1 09:05:07 UTC 2026", "Wed Jul 32 09:05:07 UTC 2026"]
)
def test_a_first_line_that_is_no_date_gives_none(line: str) -> None:
    assert parse_trace(line).date is None


@pytest.mark.parametrize(
    ("text", "serial"),
    [
        (FULL_TEXT, "2026070102"),
        (BARE_TEXT, None),
        ("x\nArchive serial: 1\nArchive serial: 2\n", "1"),
        ("archive serial: 1\n", None),
        ("Archive serial: \n", None),
    ],
)
def test_the_archive_serial_is_read_as_ftpsync_reads_it(text: str, serial: str | None) -> None:
    assert archive_serial(text) == serial


def hierarchy(upstream: str) -> str:
    return render_hierarchy(
        upstream, tracename="m.example.org", mirrorname="m", tracehost="h", rsynchost="hub.example.org"
    )


def test_the_hierarchy_is_upstreams_and_this_mirror() -> None:
    assert hierarchy("hub hub hub origin\n") == "hub hub hub origin\nm.example.org m h hub.example.org\n"
    assert hierarchy("") == "m.example.org m h hub.example.org\n"


def test_a_mirror_is_in_the_hierarchy_once() -> None:
    assert hierarchy(hierarchy("hub hub hub origin")) == hierarchy("hub hub hub origin\n")


def test_traces_are_listed_oldest_first() -> None:
    names = [("b", 2.0), ("a", 3.0), ("_traces", 1.0), ("c", 1.0), ("d", 1.0), (".x", 1.0)]
    assert render_traces(names) == "d\nc\nb\na\n"
