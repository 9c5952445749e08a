"""Progress on a terminal, drawn by rich.progress: one line for the current step, removed at the end."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

_LARGE = 64 * 1024  # mean bytes of a file: above it the bytes take the time, below it the files
_KNOWN_AFTER_S = 2.0  # an earlier estimate of the time that is left is wrong
_WITH_RATE, _WITH_FILES, _WITH_BAR, _WITH_SIZE = 100, 76, 60, 50  # columns of a terminal


def waiting(console: Console, words: Text, *, indent: int = 0) -> Progress:
    """Draws a spinner, words and the time until the end of a `with` block."""
    margin, text = TextColumn(" " * (indent - 1)), TextColumn(words.markup)
    line = Progress(margin, _spinner(console), text, TimeElapsedColumn(), console=console, transient=True)
    line.add_task("", total=None)
    return line


class TerminalProgress:
    """Draws the steps of a run until the end of a `with` block.

    In a narrow terminal the rate is left out first, then the files, then the bar.
    """

    def __init__(
        self, title: str, console: Console | None = None, *, get_time: Callable[[], float] = monotonic
    ) -> None:
        self._title = title
        self._console = console or Console(stderr=True)
        self.line = Progress(console=self._console, transient=True, get_time=get_time)
        self._files = self._size = 0  # of the step, done
        self._by_size = True
        self.step("starting")

    def step(self, name: str, *, files: int | None = None, size: int | None = None) -> None:
        """A new step begins; `size` is in bytes."""
        for task in self.line.task_ids:
            self.line.remove_task(task)
        self._files = self._size = 0
        self._by_size = bool(size) and (size or 0) >= _LARGE * (files or 0)
        total = (size if self._by_size else files) or size or None
        self.line.columns = self._columns(has_total=total is not None, has_rate=self._by_size)

        description = f"{self._title} {name}".strip()
        self._task = self.line.add_task(
            description, total=total, all_files=files, all_bytes=size, files=0, bytes=0
        )

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """So much of the step is done."""
        self._files += files
        self._size += size
        done = self._size if self._by_size else self._files
        self.line.update(self._task, completed=done, files=self._files, bytes=self._size)

    def _columns(self, *, has_total: bool, has_rate: bool) -> tuple[ProgressColumn, ...]:
        width = self._console.width
        name = TextColumn("{task.description}", markup=False, table_column=_one_line())
        start: list[ProgressColumn] = [_spinner(self._console), name]
        if not has_total:
            return (*start, TimeElapsedColumn())
        bar = [BarColumn(bar_width=min(30, max(8, width - 70)))] if width >= _WITH_BAR else []
        files = [_Files(_one_line())] if width >= _WITH_FILES else []
        size = [_Size(_one_line())] if width >= _WITH_SIZE else []
        rate = [TransferSpeedColumn(_one_line())] if width >= _WITH_RATE and has_rate else []
        return (*start, *bar, *files, *size, *rate, _Time(_one_line()))

    def __enter__(self) -> Self:
        self.line.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.line.stop()


class _Files(ProgressColumn):
    """The number of files, if there is one."""

    def render(self, task: Task) -> Text:
        all_files = task.fields["all_files"]
        if not all_files:
            return Text("")
        return Text(f"{task.fields['files']:>{len(str(all_files))}}/{all_files} files")


class _Size(ProgressColumn):
    """The number of bytes, if there is one."""

    def render(self, task: Task) -> Text:
        all_bytes = task.fields["all_bytes"]
        if not all_bytes:
            return Text("")
        return Text(f"{task.fields['bytes'] / 1e6:.1f}/{all_bytes / 1e6:.1f} MB")


class _Time(ProgressColumn):
    """The time left, or the time since the step began as long as that is unknown."""

    max_refresh = 0.5  # seconds

    def render(self, task: Task) -> Text:
        left, spent = task.time_remaining, task.elapsed or 0.0
        if left is None or spent < _KNOWN_AFTER_S:
            return Text(f"{spent:.0f} s")
        minutes, seconds = divmod(int(left), 60)
        hours, minutes = divmod(minutes, 60)
        return Text(f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left")


def _one_line() -> Column:
    return Column(no_wrap=True, overflow="ellipsis")


def _spinner(console: Console) -> SpinnerColumn:
    return SpinnerColumn("dots" if console.encoding.startswith("utf") else "line")
