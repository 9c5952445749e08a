from datetime import UTC, datetime
from pathlib import Path

import pytest

from pushmirror.state.suites import SuiteRecord, read_suites, suites_path, write_suites

SUITE = SuiteRecord(
    "dists/trixie",
    names=("dists/stable",),
    date=datetime(2026, 11, 30, 10, tzinfo=UTC),
    held_since=datetime(2026, 11, 30, 12, 0, 1, tzinfo=UTC),
    reason="dists/trixie/InRelease is not signed",
    missing=2,
    missing_paths=("pool/a", "pool/b\udcff"),
)


def test_suites_come_back_as_they_were_written(tmp_path: Path) -> None:
    file = suites_path(tmp_path, "debian")
    write_suites(file, [SUITE, SuiteRecord("dists/sid")])
    assert read_suites(file) == [SuiteRecord("dists/sid"), SUITE]


@pytest.mark.parametrize(
    "text", ["", "{", '{"suites": [{}]}', "[]", '{"suites": [{"directory": 1, "date": 3}]}']
)
def test_a_damaged_file_counts_as_empty(tmp_path: Path, text: str) -> None:
    file = tmp_path / "debian.json"
    file.write_text(text)
    assert read_suites(file) == []
