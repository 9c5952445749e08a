from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from pushmirror.errors import ConnectionFailed, UpstreamError
from pushmirror.fetch.stall import Stillness, stalled_file, stalled_since
from pushmirror.system import clock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return stalled_file(tmp_path, "debian")


def still(file: Path, timeout: timedelta = timedelta()) -> Stillness:
    return Stillness(timeout, file)


def fail(run: Stillness, error: UpstreamError) -> None:
    """Receive nothing, and end with this error."""
    with suppress(UpstreamError), run.connection():
        run.looked(has_moved=False)
        raise error


def test_a_run_that_receives_nothing_tells_since_when_and_no_longer_than_that(file: Path) -> None:
    began, run = clock.now(), still(file)
    with run.connection():
        assert stalled_since(file) is None
        run.looked(has_moved=False)
        first = stalled_since(file)
        assert first and began - timedelta(seconds=1) <= first <= clock.now()
        run.looked(has_moved=False)
        assert stalled_since(file) == first
        run.looked(has_moved=True)
        assert not file.exists()


def test_a_short_pause_is_not_told(file: Path) -> None:
    run = still(file, timedelta(hours=1))
    with run.connection():
        run.looked(has_moved=False)
    assert not file.exists()


def test_the_time_goes_on_from_a_failed_connection_to_the_next(file: Path) -> None:
    run = still(file)
    fail(run, ConnectionFailed())
    first = stalled_since(file)
    with run.connection():
        run.looked(has_moved=False)
        assert first and stalled_since(file) == first
    assert not file.exists()


def test_another_failure_is_no_stall(file: Path) -> None:
    run = still(file)
    fail(run, UpstreamError())
    assert not file.exists()


def test_a_file_that_cannot_be_written_or_read_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "stalled").write_text("no directory")
    run = still(stalled_file(tmp_path, "debian"))
    with run.connection():
        run.looked(has_moved=False)
    assert stalled_since(stalled_file(tmp_path, "debian")) is None
    assert stalled_since(tmp_path / "stalled") is None
