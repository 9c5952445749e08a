"""How the lab's story looks: titled steps, a line per fact, something that moves while one waits.

On a terminal waiting is drawn in place and leaves nothing behind; in a pipe only whole lines appear. No line
needs colour to be understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from pushmirror.cli.output import printable
from pushmirror.cli.progress import Following, Waiting, drawn
from pushmirror.sync.progress import Progress

_INDENT = 4  # columns, under the words of the title
_NAME = 9  # columns


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
        return drawn(self._console, Waiting(_line(name, words), indent=_INDENT - 2))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A run of the site that can be followed."""
        if not self._console.is_terminal:
            yield _Lines(self)
            return
        following = Following(self._console, indent=_INDENT - 2)
        with drawn(self._console, following):
            yield following


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
