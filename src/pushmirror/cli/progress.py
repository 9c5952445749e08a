"""A run's progress, drawn on a terminal: the step, files, bytes, rate and the time that is left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class TerminalProgress:
    """Draws the steps of a run, one line that is replaced as they go by."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.fields[title]}[/bold] {task.description:<22}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[files]:>16}"),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
            transient=True,
        )
        self._task: TaskID = self._bars.add_task("", title=title, files="", total=None)
        self._files: int | None = None
        self._done = 0
        self._by_size = False

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def step(self, name: str, *, files: int | None = None, size: int | None = None) -> None:
        """A new step begins."""
        self._files, self._done, self._by_size = files, 0, size is not None
        self._bars.reset(self._task, total=size, description=name, files=self._count())

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """So much of the step is done."""
        self._done += files
        self._bars.update(self._task, advance=size if self._by_size else 0, files=self._count())

    def _count(self) -> str:
        return "" if self._files is None else f"{self._done}/{self._files} files"
