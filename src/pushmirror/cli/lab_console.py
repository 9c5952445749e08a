"""How the demo is printed: titled steps, a line per fact, a spinner while waiting, a push as a chart.

On a terminal the spinner is drawn in place and removed at the end; in a pipe there are only whole lines. No
line needs colour to be understood. The chart has a line for each mirror, time from left to right:

    hub      1111111122222                  2.1 s
      site1     1111···22222                4.0 s
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import zip_longest
from time import monotonic

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.text import Text

from pushmirror.cli.output import printable
from pushmirror.cli.progress import waiting
from pushmirror.lab.passage import Call, Mark, Now, Passed
from pushmirror.state.records import Stage

_STEPS_S = (0.5, 1, 2, 5, 10, 20, 60, 120, 600)  # between two marks of the axis
_ROOM = 7  # columns that a mark of the axis needs
_TAIL = 9  # columns after the picture
_LEAST = 20  # columns of the picture, however narrow the terminal is
_LETTERS = {Stage.STAGE1: "1", Stage.STAGE2: "2", Stage.ALL: "a"}
_WAITS = "."
_CHART_STYLES = {"1": "cyan", "2": "green", "a": "green", _WAITS: "dim", "x": "bold red"}


def chart(passed: Sequence[Passed], width: int) -> list[Text]:
    """The lines of the picture, at most `width` columns wide; none when no mirror was triggered."""
    ends = [end for one in passed for end in (one.current_s, *map(_end, one.calls)) if end is not None]
    if not ends:
        return []
    names = [f"{'  ' * (one.depth - 1)}{one.name}" for one in passed]
    longest = max(map(len, names)) + 2
    columns = max(_LEAST, width - longest - _TAIL)
    scale = (columns - 1) / max(*ends, 0.1)
    lines = [Text(f"{'':<{longest}}{_axis(columns, scale)}".rstrip(), style="dim")]
    for name, one in zip(names, passed, strict=True):
        line = Text(f"{printable(name):<{longest}}")
        for letter in _drawn(one, columns, scale):
            line.append(letter, _CHART_STYLES.get(letter, ""))
        line.append(f" {one.current_s:5.1f} s" if one.current_s is not None else "    late")
        lines.append(line)
    return [*lines, Text(_legend(passed), style="dim")]


def _drawn(one: Passed, columns: int, scale: float) -> str:
    cells = [" "] * columns
    for call, after in zip_longest(one.calls, one.calls[1:]):
        first, last = int(call.sent_s * scale), int(_end(call) * scale)
        letter = _letter(call)
        for column in range(first, min(last, columns - 1) + 1):
            cells[column] = letter
        if after is not None:
            for column in range(last + 1, int(after.sent_s * scale)):
                cells[column] = _WAITS
    return "".join(cells)


def _axis(columns: int, scale: float) -> str:
    step = next((one for one in _STEPS_S if one * scale >= _ROOM), _STEPS_S[-1])
    marks = [" "] * columns
    for number in range(int((columns - 1) / scale / step) + 1):
        word = f"{number * step:g} s"
        column = int(number * step * scale)
        if column + len(word) <= columns:
            marks[column : column + len(word)] = word
    return "".join(marks)


def _legend(passed: Sequence[Passed]) -> str:
    calls = [call for one in passed for call in one.calls]
    words = {"1": "1 stage 1", "2": "2 stage 2", "a": "a all", "x": "x failed"}
    seen = {_letter(call) for call in calls}
    parts = [text for letter, text in words.items() if letter in seen]
    if any(len(one.calls) > 1 for one in passed):
        parts.append(f"{_WAITS} waiting")
    return f"{', '.join(parts)}; at the end of a line: when the mirror served it"


def _letter(call: Call) -> str:
    return "x" if call.has_failed else _LETTERS[call.stage]


def _end(call: Call) -> float:
    return call.sent_s if call.ended_s is None else call.ended_s


_INDENT = 4  # columns, under the words of the title
_NAME = 11  # columns
_WIDEST = 100  # columns of a picture
_SPARE = 4  # columns after a line: a terminal writes ^C there, and a line that it folds cannot be erased
_FRAMES_PER_S = 8.0
_STYLES = {Mark.WAITS: "dim", Mark.WORKS: "cyan", Mark.CURRENT: "green", Mark.FAILS: "red"}
_ORDER = (Mark.FAILS, Mark.WORKS, Mark.WAITS, Mark.CURRENT)


class ConsoleNarrator:
    """Prints the steps of the demo on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps = 0
        unicode = console.encoding.startswith("utf")
        self._marks = {True: "✓" if unicode else "ok", False: "✗ FAILED" if unicode else "FAILED"}

    def title(self, words: str) -> None:
        """Print the title of the next step."""
        self._steps += 1
        self._console.print(Text(f"\n{self._steps:>2}  {words}", style="bold"))

    def fact(self, name: str, words: str, *, good: bool | None = None) -> None:
        """Print a fact; `good` is the result of its check, None without one."""
        line = _line(name, words)
        if good is not None:
            line.append(f" {self._marks[good]}", style="bold green" if good else "bold red")
        self._console.print(Padding(line, (0, 0, 0, _INDENT), expand=False))

    def working(self, name: str, words: str) -> AbstractContextManager[object]:
        """Show a spinner, until the end of the block."""
        if not self._console.is_terminal:
            return nullcontext()
        return waiting(self._console, _line(name, words), indent=_INDENT - 2)

    @contextmanager
    def board(self) -> Iterator[Board]:
        """Show a push in progress, until the end of the block."""
        board = Board(self._console)
        if not self._console.is_terminal:
            yield board
            return
        with Live(board, console=self._console, transient=True, refresh_per_second=_FRAMES_PER_S):
            yield board

    def chart(self, passed: Sequence[Passed]) -> None:
        """Print when each mirror was triggered and became current."""
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
        """Show this from now on."""
        self._everybody = everybody

    def __rich__(self) -> Group:
        frame = self._spinner.render(monotonic())
        assert isinstance(frame, Text)
        spent = f"{monotonic() - self._since:.1f} s"
        room = max(1, self._console.height - 2)
        shown = self._everybody
        if len(shown) > room:  # failing and working mirrors before waiting ones
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
        words = f"{_indented(one):<{longest}}  {printable(one.activity)}{spent}"
        return Text.assemble(f"{mark} ", words, style=_STYLES[one.mark])


def _indented(one: Now) -> str:
    return f"{'  ' * (one.depth - 1)}{one.name}"


def _line(name: str, words: str) -> Text:
    return Text.assemble((f"{name:<{_NAME - 1}} ", "cyan"), printable(words))
