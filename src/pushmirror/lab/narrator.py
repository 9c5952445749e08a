"""How the lab's story looks: titled steps, a line per fact, something that moves while one waits.

On a terminal waiting is drawn in place and leaves nothing behind; in a pipe only whole lines appear. No line
needs colour to be understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.text import Text

from pushmirror.cli.output import printable
from pushmirror.sync.progress import Progress

_INDENT = 4  # columns, under the words of the title
_NAME = 9  # columns
_FRAMES_PER_S = 10.0
_BAR = 30  # columns at most
_BESIDE_BAR = 68  # columns of words and figures


class ConsoleNarrator:
    """Tells the story on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps = 0
        unicode = console.encoding.startswith("utf")
        self._marks = {True: "✓" if unicode else "ok", False: "✗ FAILED" if unicode else "FAILED"}

    def title(self, words: str) -> None:
        """A step begins."""
        self._steps += 1
        self._console.print(Text(f"\n{self._steps:>2}  {words}", style="bold"))

    def fact(self, name: str, words: str, *, good: bool | None = None) -> None:
        """Something that is so; `good` says whether it was checked, and how that went."""
        line = _line(name, words)
        if good is not None:
            line.append(f" {self._marks[good]}", style="bold green" if good else "bold red")
        self._console.print(Padding(line, (0, 0, 0, _INDENT), expand=False))

    def working(self, name: str, words: str) -> AbstractContextManager[object]:
        """Something takes a while, until the end of the block."""
        if not self._console.is_terminal:
            return nullcontext()
        return self._live(_Waiting(_line(name, words)))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A run of the site that can be followed."""
        if not self._console.is_terminal:
            yield _Lines(self)
            return
        following = _Following(self._console)
        with self._live(following):
            yield following

    def _live(self, line: _Waiting | _Following) -> Live:
        return Live(line, console=self._console, transient=True, refresh_per_second=_FRAMES_PER_S)


class _Waiting:
    """A line with a spinner before and the time after it."""

    def __init__(self, line: Text) -> None:
        self._line = line
        self._spinner = _Spinning()

    def __rich__(self) -> Text:
        return self._spinner.before(self._line, Text(f"  {self._spinner.seconds():.1f} s", style="dim"))


class _Following:
    """A run's steps, one line in place: the step, a bar, files, bytes and rate, as the width allows."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = _Spinning()
        self._full, self._empty = ("━", "─") if console.encoding.startswith("utf") else ("#", "-")
        self.step("starting")

    def step(self, name: str, *, files: int | None = None, size: int | None = None) -> None:
        """A new step begins."""
        self._name, self._files, self._size = name, files, size
        self._files_done, self._size_done = 0, 0
        self._since = monotonic()

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """So much of the step is done."""
        self._files_done += files
        self._size_done += size

    def __rich__(self) -> Text:
        counts = [f"{self._spinner.seconds():.1f} s"]
        if self._size:
            spent = max(0.1, monotonic() - self._since)
            done, rate = self._size_done / 1e6, self._size_done / 1e6 / spent
            counts = [f"{done:.1f}/{self._size / 1e6:.1f} MB", f"{rate:.1f} MB/s", *counts]
        if self._files:
            counts.insert(0, f"{self._files_done:>{len(str(self._files))}}/{self._files} files")
        return self._spinner.before(Text(f"{self._name:<16}"), self._bar(), Text("  ".join(counts)))

    def _bar(self) -> Text:
        width = max(8, min(_BAR, self._console.width - _BESIDE_BAR))
        total = self._size or self._files
        if not total:
            return Text("")
        done = self._size_done if self._size else self._files_done
        full = min(width, width * done // total)
        return Text.assemble((self._full * full, "green"), (self._empty * (width - full), "dim"), "  ")


class _Spinning:
    """A spinner, and how long it has been turning."""

    def __init__(self) -> None:
        self._spinner = Spinner("dots")
        self._since = monotonic()

    def seconds(self) -> float:
        return monotonic() - self._since

    def before(self, *parts: Text) -> Text:
        """One line, cut if need be."""
        frame = self._spinner.render(monotonic())
        assert isinstance(frame, Text)
        line = Text.assemble(" " * (_INDENT - 2), frame, " ", *parts)
        line.no_wrap, line.overflow = True, "ellipsis"
        return line


class _Lines:
    """A run's steps where nothing can be drawn."""

    def __init__(self, narrator: ConsoleNarrator) -> None:
        self._narrator = narrator

    def step(self, name: str, *, files: int | None = None, size: int | None = None) -> None:
        """A new step begins."""
        counted = "" if files is None else f": {files:,} files"
        weighed = "" if size is None else f", {size / 1e6:.1f} MB"
        self._narrator.fact("", f"{name}{counted}{weighed}")

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """Ignored: one line for a step is enough."""


def _line(name: str, words: str) -> Text:
    return Text.assemble((f"{name:<{_NAME}}", "cyan"), printable(words))
