from __future__ import annotations

import io

import pytest
from rich.console import Console, Group

from pushmirror.cli import progress
from pushmirror.cli.progress import Following


@pytest.fixture
def line(monkeypatch):
    """The line of a fetch that is half done after nine seconds, on a terminal of some width."""

    def line(width, step="fetching", seconds=9.0, **amounts):
        now = [0.0]
        monkeypatch.setattr(progress, "monotonic", lambda: now[0])
        screen = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
        following = Following(screen, "debian")
        following.step(step, **amounts)
        following.advance(**{what: amount // 2 for what, amount in amounts.items()})
        now[0] += seconds
        screen.print(Group(following))  # as a whole, as Live does
        return screen.file.getvalue().removesuffix("\n")

    return line


FETCH = {"files": 742, "size": 20_300_000}


def test_a_wide_line_has_everything(line):
    assert "  371/742 files  10.2/20.3 MB  1.1 MB/s  0:09 left" in line(120, **FETCH)


def test_where_it_is_narrow_the_rate_goes_and_then_the_files(line):
    assert "371/742 files  10.2/20.3 MB  0:09 left" in line(80, **FETCH)
    assert "files" not in line(65, **FETCH) and "10.2/20.3 MB  0:09 left" in line(65, **FETCH)


@pytest.mark.parametrize("width", range(20, 130, 5))
def test_a_line_is_never_wider_than_the_terminal(line, width):
    words = line(width, **FETCH)
    assert len(words) <= width - len("^C") and "\n" not in words
    if width >= 55:
        assert words.endswith("0:09 left")


def test_the_time_gone_by_is_told_as_long_as_nobody_knows_what_is_left(line):
    assert line(80, seconds=1.0, **FETCH).endswith("  1.0 s")
    assert line(80, "comparing").rstrip().endswith("comparing        9.0 s")


@pytest.fixture
def left(monkeypatch):
    """The time that is left of a step, after some amounts were done at some moments."""

    def left(done, now_s, **amounts):
        now = [0.0]
        monkeypatch.setattr(progress, "monotonic", lambda: now[0])
        following = Following(Console(file=io.StringIO()))
        following.step("fetching", **amounts)
        for now[0], amount in done:
            following.advance(**amount)
        now[0] = now_s
        return following._figures()[-1]

    return left


def test_the_rate_of_the_last_while_tells_what_is_left(left):
    slow_then_fast = [(100.0, {"size": 100}), (140.0, {"size": 400})]
    assert left(slow_then_fast, 140.0, size=900) == "0:40 left"


def test_files_or_bytes_tell_what_is_left_whatever_takes_longer(left):
    assert left([(10.0, {"files": 10, "size": 900})], 10.0, files=100, size=1000) == "1:30 left"
    assert left([(10.0, {"files": 90, "size": 100})], 10.0, files=100, size=1000) == "1:30 left"


def test_of_large_files_only_the_bytes_tell_what_is_left(left):
    assert left([(10.0, {"files": 1, "size": 750_000_000})], 10.0, files=9, size=10**9) == "0:03 left"


@pytest.mark.parametrize(("done", "told"), [([], "45.0 s"), ([(2.0, {"size": 500})], "45.0 s")])
def test_nothing_is_said_to_be_left_when_nothing_moves(left, done, told):
    assert left(done, 45.0, size=1000) == told


def test_more_than_was_expected_is_no_time_that_is_left(left):
    assert left([(10.0, {"files": 200, "size": 900})], 10.0, files=100, size=800) == "0:00 left"
