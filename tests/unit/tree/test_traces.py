"""What is written of a run into the tree, and what of upstream's own never is."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pushmirror.archive.filters import Selection
from pushmirror.archive.trace import parse_trace
from pushmirror.config.model import Archive, Mirror
from pushmirror.errors import UpstreamMoved
from pushmirror.fetch.selection import selection_rules
from pushmirror.fetch.upstream import Upstream
from pushmirror.progress import Silent
from pushmirror.state.records import Stage
from pushmirror.sync.report import Report, trace_of
from pushmirror.tree.traces import Traces, upstream_flags

NAME, NOW = "site.example.org", datetime(2026, 11, 23, tzinfo=UTC)
FLAG = "Archive-Update-in-Progress-hub.example.org"


@pytest.fixture
def traces(tmp_path: Path) -> Traces:
    found = Traces(tmp_path / "tree", NAME)
    found.directory.mkdir(parents=True)
    return found


def write(traces: Traces, stage: Stage, stage1_s: float, stage2_s: float, **keys: object) -> None:
    values = {"name": "debian", "path": "/srv", "upstream": "rsync://192.0.2.7/debian", **keys}
    report = Report(started=NOW, seconds_stage1=stage1_s, seconds_stage2=stage2_s)
    mirror = Mirror(name=NAME, running_on="box.example.org")
    archive = Archive.model_validate(values)
    pinned = traces.directory.parents[2] / "pinned"
    trace = trace_of(report, archive, mirror, stage=stage, trigger="ssh", traces=traces, pinned=pinned)
    traces.write(trace, stage=stage, upstream_host=trace.upstream, upstream_hierarchy="above a b c\n")


def seconds(trace: Path) -> list[str]:
    fields = parse_trace(trace.read_text()).fields
    return [fields[f"Total time spent in {what}rsync"] for what in ("stage1 ", "stage2 ", "")]


def test_a_stage_2_tells_the_time_of_the_stage_1_before_it_and_leaves_its_trace(traces):
    write(traces, Stage.STAGE1, 40.0, 0.0)
    write(traces, Stage.STAGE2, 2.0, 5.0)
    assert seconds(traces.own) == ["40", "7", "47"]
    assert seconds(traces.own_stage1) == ["40", "0", "40"]


def test_the_trace_of_a_stage_1_has_the_serial_of_upstreams_state(traces):
    for tree, serial in ((traces.directory.parents[1], 1), (traces.directory.parents[2] / "pinned", 2)):
        (tree / "project" / "trace").mkdir(parents=True, exist_ok=True)
        (tree / "project" / "trace" / "master").write_text(f"now\nArchive serial: {serial}\n")
    write(traces, Stage.STAGE1, 40.0, 0.0)
    write(traces, Stage.STAGE2, 2.0, 5.0)
    files = (traces.own_stage1, traces.own)
    assert [parse_trace(file.read_text()).fields["Archive serial"] for file in files] == ["2", "1"]


def test_a_stage_2_without_a_stage_1_before_it_tells_its_own_times(traces):
    write(traces, Stage.STAGE2, 2.0, 5.0)
    assert seconds(traces.own) == ["2", "5", "7"]


@pytest.mark.parametrize("text", ["", "Total time spent in stage1 rsync: many\n", "\xff"])
def test_a_trace_of_a_stage_1_that_cannot_be_read_is_none(traces, text):
    traces.own_stage1.write_text(text)
    assert traces.stage1_seconds() is None


def test_a_run_of_all_tells_its_own_times_and_removes_the_trace_of_a_stage_1(traces):
    write(traces, Stage.STAGE1, 40.0, 0.0)
    write(traces, Stage.ALL, 2.0, 5.0)
    assert seconds(traces.own) == ["2", "5", "7"] and not traces.own_stage1.exists()


@pytest.mark.parametrize(
    ("keys", "upstream"), [({"upstream_name": "hub.example.org"}, "hub.example.org"), ({}, "192.0.2.7")]
)
def test_the_names_that_the_operator_gave_are_in_trace_and_hierarchy(traces, keys, upstream):
    write(traces, Stage.ALL, 1.0, 1.0, **keys)
    fields = parse_trace(traces.own.read_text()).fields
    assert (fields["Running on host"], fields["Upstream-mirror"]) == ("box.example.org", upstream)
    ours = (traces.directory / "_hierarchy").read_text().splitlines()[-1]
    assert ours.split() == [NAME, NAME, "box.example.org", upstream]


# archvsync's bugs


@pytest.mark.parametrize("filters", [[], ["+ *"], ["+ /Archive-Update-*"]])
def test_bug_20_a_flag_of_upstream_is_never_mirrored(filters):
    archive = Archive(name="debian", path=Path("/srv"), filter=filters)
    selection = Selection(tuple(selection_rules(archive)))
    assert not selection.wants(FLAG) and not selection.wants("Archive-Update-Required-hub.example.org")


def test_bug_20_a_flag_of_upstream_does_not_come_with_its_traces(traces, tmp_path):
    pinned = tmp_path / "pin"
    (pinned / "project/trace").mkdir(parents=True)
    (pinned / "project/trace/master").touch()
    (pinned / FLAG).touch()
    assert traces.copy_foreign(pinned)
    assert [path.name for path in (tmp_path / "tree").rglob("*") if path.is_file()] == ["master"]


_FLAG_AGES = [
    (timedelta(hours=1), True),
    (timedelta(hours=3), False),
    (timedelta(hours=-1), True),
    (timedelta(days=-365), False),
]


@pytest.mark.parametrize(("age", "counts"), _FLAG_AGES)
def test_bug_21_a_flag_that_upstream_left_behind_is_not_waited_for(tmp_path, age, counts):
    (tmp_path / FLAG).touch()
    os.utime(tmp_path / FLAG, times=((NOW - age).timestamp(),) * 2)
    flags, stale = upstream_flags(tmp_path, own=NAME, now=NOW, stale_after=timedelta(hours=2))
    assert (flags, stale) == (([FLAG], []) if counts else ([], [FLAG]))


def test_bug_22_files_that_vanished_while_they_were_looked_at_are_no_success(tmp_path):
    rsync = tmp_path / "rsync"
    statistics = "Number of files: 1\\nTotal bytes sent: 1\\nTotal bytes received: 1\\n"
    rsync.write_text(f"#!/bin/sh\nprintf '{statistics}'\nexit 24\n")
    rsync.chmod(0o755)
    keys = {"name": "debian", "path": "/srv", "upstream": "rsync://hub/debian", "rsync": str(rsync)}
    with pytest.raises(UpstreamMoved, match="disappeared"):
        Upstream(Archive.model_validate(keys), Silent()).pin(tmp_path / "pin")
