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
