"""How the lab's story looks: titled steps, a line per fact, something that moves while one waits.

On a terminal waiting is drawn in place and leaves nothing behind; in a pipe only whole lines appear. No line
needs colour to be understood.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.text import Text

from pushmirror.cli.lab_chart import chart
from pushmirror.cli.output import printable
from pushmirror.cli.progress import Waiting, drawn
from pushmirror.lab.passage import Mark, Now, Passed

_INDENT = 4  # columns, under the words of the title
_NAME = 11  # columns
_WIDEST = 100  # columns of a picture
_SPARE = 4  # columns after a line: a terminal writes ^C there, and a line that it folds cannot be erased
_FRAMES_PER_S = 8.0
_STYLES = {Mark.WAITS: "dim", Mark.WORKS: "cyan", Mark.CURRENT: "green", Mark.FAILS: "red"}
_ORDER = (Mark.FAILS, Mark.WORKS, Mark.WAITS, Mark.CURRENT)


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
    def board(self) -> Iterator[Board]:
        """A push that can be followed, until the end of the block."""
        board = Board(self._console)
        if not self._console.is_terminal:
            yield board
            return
        with Live(board, console=self._console, transient=True, refresh_per_second=_FRAMES_PER_S):
            yield board

    def chart(self, passed: Sequence[Passed]) -> None:
        """How a push came to each mirror, and when."""
        for line in chart(passed, min(self._console.width, _WIDEST) - _INDENT - _SPARE):
            self._console.print(Padding(line, (0, 0, 0, _INDENT), expand=False))


class Board:
    """A line for each mirror: what it does, and for how long."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._everybody: Sequence[Now] = ()
        self._spinner = Spinner("dots" if console.encoding.startswith("utf") else "line")
        self._since = monotonic()

    def show(self, everybody: Sequence[Now]) -> None:
        """This is how it looks now."""
        self._everybody = everybody

    def __rich__(self) -> Group:
        frame = self._spinner.render(monotonic())
        assert isinstance(frame, Text)
        spent = f"{monotonic() - self._since:.1f} s"
        room = max(1, self._console.height - 2)
        shown = self._everybody
        if len(shown) > room:  # who is at work is worth more than who waits
            shown = sorted(shown, key=lambda one: _ORDER.index(one.mark))[:room]
        longest = max((_indented(one) for one in shown), key=len, default="")
        lines = [Text.assemble(frame, f" {spent}", style="dim")]
        lines += [self._now(one, len(longest), frame) for one in shown]
        for line in lines:
            line.truncate(self._console.width - _INDENT - _SPARE, overflow="ellipsis")
        return Group(*(Padding(line, (0, 0, 0, _INDENT - 2), expand=False) for line in lines))

    def _now(self, one: Now, longest: int, frame: Text) -> Text:
        marks = {Mark.CURRENT: "✓" if self._console.encoding.startswith("utf") else "*", Mark.FAILS: "!"}
        mark = frame.plain if one.mark is Mark.WORKS else marks.get(one.mark, " ")
        spent = "" if one.seconds is None else f"  {max(0.0, one.seconds):.1f} s"
        words = f"{_indented(one):<{longest}}  {printable(one.doing)}{spent}"
        return Text.assemble(f"{mark} ", words, style=_STYLES[one.mark])


def _indented(one: Now) -> str:
    return f"{'  ' * (one.depth - 1)}{one.name}"


def _line(name: str, words: str) -> Text:
    return Text.assemble((f"{name:<{_NAME - 1}} ", "cyan"), printable(words))
