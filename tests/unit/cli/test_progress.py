from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from pushmirror.cli.progress import TerminalProgress, waiting

FETCH = {"files": 742, "size": 200_300_000}


class Screen:
    """A run's line on a terminal of some width, at moments that the test chooses."""

    def __init__(self, width: int = 120) -> None:
        self.now = 0.0
        self.console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
        self.progress = TerminalProgress("debian", self.console, get_time=lambda: self.now)

    def after(self, seconds: float, **amounts: int) -> None:
        self.now += seconds
        self.progress.advance(**amounts)

    @property
    def line(self) -> str:
        self.console.file = io.StringIO()
        self.console.print(self.progress.line.get_renderable())
        return self.console.file.getvalue().removesuffix("\n")


def half_done(width: int) -> str:
    screen = Screen(width)
    screen.progress.step("fetching", **FETCH)
    for _ in range(9):
        screen.after(1.0, files=742 // 18, size=200_300_000 // 18)
    return screen.line


def test_a_wide_line_has_everything() -> None:
    line = half_done(120)
    for words in ("debian fetching", "369/742 files", "100.1/200.3 MB", "11.1 MB/s", "0:10 left"):
        assert words in line


@pytest.mark.parametrize(("width", "left_out"), [(90, "MB/s"), (70, "files")])
def test_in_a_narrow_terminal_the_rate_goes_and_then_the_files(width: int, left_out: str) -> None:
    line = half_done(width)
    assert left_out not in line and "100.1/200.3 MB" in line and "0:10 left" in line


@pytest.mark.parametrize("width", range(30, 130, 5))
def test_a_line_is_never_wider_than_the_terminal(width: int) -> None:
    line = half_done(width)
    assert len(line) <= width and "\n" not in line


def test_the_time_since_the_beginning_is_shown_while_the_time_left_is_unknown() -> None:
    screen = Screen(80)
    screen.progress.step("fetching", **FETCH)
    screen.after(1.0)
    assert screen.line.rstrip().endswith("1 s")
    screen.after(44.0)
    assert screen.line.rstrip().endswith("45 s")


def test_a_step_of_unknown_size_has_no_bar() -> None:
    screen = Screen(80)
    screen.progress.step("comparing")
    screen.after(9.0)
    assert screen.line.rstrip().endswith("debian comparing 0:00:09")


def test_the_recent_rate_predicts_the_time_left() -> None:
    screen = Screen()
    screen.progress.step("fetching", size=900_000)
    screen.after(100.0, size=100_000)
    for _ in range(40):
        screen.after(1.0, size=10_000)
    assert "0:40 left" in screen.line


def test_of_small_files_their_number_predicts_the_time_left() -> None:
    screen = Screen()
    screen.progress.step("fetching", files=100, size=1000)
    for _ in range(10):
        screen.after(1.0, files=1, size=90)
    assert "1:30 left" in screen.line


def test_of_large_files_the_bytes_predict_the_time_left() -> None:
    screen = Screen()
    screen.progress.step("fetching", files=9, size=10**9)
    for _ in range(10):
        screen.after(1.0, size=75_000_000)
    assert "0:04 left" in screen.line


def test_more_than_was_expected_is_done() -> None:
    screen = Screen()
    screen.progress.step("fetching", files=100, size=10**9)
    for _ in range(10):
        screen.after(1.0, files=20, size=2 * 10**8)
    assert "0:00 left" in screen.line


def test_a_wait_shows_its_words_literally() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(waiting(console, Text("sync of [site1]"), indent=4).get_renderable())
    assert "sync of [site1]" in console.file.getvalue()
