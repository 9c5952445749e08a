"""Progress on a terminal: one line in place, cut to the width, removed at the end."""

from __future__ import annotations

from collections import deque
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

_FRAMES_PER_S = 10.0
_BAR = range(8, 30)  # columns
_GAP = "  "
_SPARE = 4  # columns after a line: a terminal writes ^C there, and a line that it folds cannot be erased
_SURE_AFTER_S = 2.0  # an estimate made earlier jumps about
_RECENT_S = 30.0  # a rate is that of the last half minute: small files go slower than large ones
_LARGE = 64 * 1024  # bytes a file: from there on they are what takes the time
_MARK_S = 0.5  # between two moments that are kept of it


def drawn(console: Console, line: Waiting | Following) -> Live:
    """Draws a line until the end of a `with` block."""
    return Live(line, console=console, transient=True, refresh_per_second=_FRAMES_PER_S)


class Waiting:
    """A line with a spinner before and the time after it."""

    def __init__(self, line: Text, *, indent: int = 0) -> None:
        self._line = line
        self._spinner = _Spinning(indent)

    def __rich__(self) -> Text:
        return self._spinner.before(self._line, Text(f"  {self._spinner.seconds():.1f} s", style="dim"))


class Following:
    """A run's steps: the step, a bar, files, bytes, rate and the time that is left (or went by).

    Where it is narrow the bar gets shorter; then the rate goes, then the files, in the end the bar.
    """

    def __init__(self, console: Console, title: str = "", *, indent: int = 0) -> None:
        self._console = console
        self._title = Text(f"{title} ", style="bold") if title else Text("")
        self._spinner = _Spinning(indent)
        self._full, self._empty = ("━", "─") if console.encoding.startswith("utf") else ("#", "-")
        self.step("starting")

    def step(self, name: str, *, files: int | None = None, size: int | None = None) -> None:
        """A new step begins."""
        self._name, self._files, self._size = name, files, size
        self._files_done, self._size_done = 0, 0
        self._since = monotonic()
        self._pace = _Pace(self._since)

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """So much of the step is done."""
        self._files_done += files
        self._size_done += size
        self._pace.note(monotonic(), self._files_done, self._size_done)

    def __rich__(self) -> Text:
        name = Text(f"{self._name:<16} ")
        width = self._console.width - _SPARE
        taken = self._spinner.width + self._title.cell_len + name.cell_len
        line = self._spinner.before(self._title, name, *self._fitting(width - taken))
        line.truncate(width, overflow="ellipsis")
        return line

    def _fitting(self, width: int) -> list[Text]:
        """The bar and as many figures as there is room for."""
        done, total = self._share()
        files, size, rate, time = self._figures()
        for figures in ([files, size, rate, time], [files, size, time], [size, time]):
            words = _GAP.join(figure for figure in figures if figure)
            room = width - len(words) - len(_GAP)
            if total and room >= _BAR.start:
                return [self._bar(min(room, _BAR.stop), done, total), Text(_GAP + words)]
            if not total and room >= 0:
                break
        return [Text(words)]

    def _figures(self) -> tuple[str, str, str, str]:
        """Files, bytes, rate, and the time left or, as long as that is not known, gone by; some are empty."""
        now = monotonic()
        files_per_s, bytes_per_s = self._pace.rates(now, self._files_done, self._size_done)
        files, size, rate = "", "", ""
        if self._files:
            files = f"{self._files_done:>{len(str(self._files))}}/{self._files} files"
        if self._size:
            size = f"{self._size_done / 1e6:.1f}/{self._size / 1e6:.1f} MB"
            rate = f"{bytes_per_s / 1e6:.1f} MB/s"
        left_s = [_seconds_left(self._size, self._size_done, bytes_per_s)]
        if (self._size or 0) < _LARGE * (self._files or 0):
            left_s.append(_seconds_left(self._files, self._files_done, files_per_s))
        known = [seconds for seconds in left_s if seconds is not None]
        if known and now - self._since > _SURE_AFTER_S:
            return files, size, rate, f"{_clock(max(known))} left"  # files or bytes, what takes longer
        return files, size, rate, f"{self._spinner.seconds():.1f} s"

    def _share(self) -> tuple[int, int]:
        """How much of how much is done, in bytes if these are known."""
        if self._size:
            return min(self._size_done, self._size), self._size
        return (min(self._files_done, self._files), self._files) if self._files else (0, 0)

    def _bar(self, width: int, done: int, total: int) -> Text:
        full = width * done // total
        return Text.assemble((self._full * full, "green"), (self._empty * (width - full), "dim"))


class _Pace:
    """How fast a step has been going of late."""

    def __init__(self, now: float) -> None:
        self._marks = deque([(now, 0, 0)])  # when so many files and bytes were done

    def note(self, now: float, files: int, size: int) -> None:
        """So much is done."""
        if now - self._marks[-1][0] >= _MARK_S:
            self._marks.append((now, files, size))

    def rates(self, now: float, files: int, size: int) -> tuple[float, float]:
        """Files and bytes in a second."""
        while len(self._marks) > 1 and now - self._marks[1][0] >= _RECENT_S:
            self._marks.popleft()
        since, files_then, size_then = self._marks[0]
        spent = max(0.1, now - since)
        return (files - files_then) / spent, (size - size_then) / spent


class TerminalProgress(Following):
    """Draws a run's steps until the end of a `with` block."""

    def __init__(self, title: str) -> None:
        console = Console(stderr=True)
        super().__init__(console, title)
        self._live = drawn(console, self)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


class _Spinning:
    """A spinner, and how long it has been turning."""

    def __init__(self, indent: int) -> None:
        self.width = indent + 2  # columns before the words
        self._indent = indent
        self._spinner = Spinner("dots")
        self._since = monotonic()

    def seconds(self) -> float:
        return monotonic() - self._since

    def before(self, *parts: Text) -> Text:
        """One line, cut if need be."""
        frame = self._spinner.render(monotonic())
        assert isinstance(frame, Text)
        line = Text.assemble(" " * self._indent, frame, " ", *parts)
        line.no_wrap, line.overflow = True, "ellipsis"
        return line


def _seconds_left(total: int | None, done: int, rate: float) -> float | None:
    """None as long as nobody can tell."""
    if not total:
        return None
    if done >= total:
        return 0.0
    return (total - done) / rate if rate else None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
