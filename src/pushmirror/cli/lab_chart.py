"""A push as a picture: a line for each mirror, time from left to right. Nothing is drawn here but text.

hub      1111111122222                  2.1 s
  site1     1111···22222                4.0 s
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from rich.text import Text

from pushmirror.cli.output import printable
from pushmirror.lab.passage import Call, Passed
from pushmirror.state.records import Stage

_STEPS_S = (0.5, 1, 2, 5, 10, 20, 60, 120, 600)  # between two marks of the axis
_ROOM = 7  # columns that a mark of the axis needs
_TAIL = 9  # columns after the picture
_LEAST = 20  # columns of the picture, however narrow the terminal is
_LETTERS = {Stage.STAGE1: "1", Stage.STAGE2: "2", Stage.ALL: "a"}
_WAITS = "."
_STYLES = {"1": "cyan", "2": "green", "a": "green", _WAITS: "dim", "x": "bold red"}


def chart(passed: Sequence[Passed], width: int) -> list[Text]:
    """The lines of the picture, at most `width` columns wide; none when nobody was woken."""
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
            line.append(letter, _STYLES.get(letter, ""))
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
    told = [text for letter, text in words.items() if letter in seen]
    if any(len(one.calls) > 1 for one in passed):
        told.append(f"{_WAITS} waiting")
    return f"{', '.join(told)}; at the end of a line: when it served it"


def _letter(call: Call) -> str:
    return "x" if call.has_failed else _LETTERS[call.stage]


def _end(call: Call) -> float:
    return call.sent_s if call.ended_s is None else call.ended_s
