"""Tables for people, JSON for programs.

Guaranteed: text from the network is printed without control characters.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from pushmirror.progress import Progress

_STYLES = {
    "ok": "green",
    "succeeded": "green",
    "warning": "yellow",
    "held": "yellow",  # back
    "running": "cyan",
    "error": "red",
    "failed": "red",
    "died": "red",
    "interrupted": "yellow",
}
_INDENT = " " * 4
_NOTE = " " * 6
_GAP = "  "
_PIPE_WIDTH = 200  # columns where there is no terminal to fit


def print_json(value: object) -> None:
    """Print a value of dataclasses and plain types."""
    click.echo(json.dumps(as_json(value), indent=2, ensure_ascii=False))


def as_json(value: object) -> object:
    """A dataclass as plain types for json; times in ISO 8601."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if dataclasses.is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    match value:
        case Mapping():
            return {str(key): as_json(item) for key, item in value.items()}
        case list() | tuple():
            return [as_json(item) for item in value]
        case datetime():
            return value.isoformat()
        case Path():
            return str(value)
    return value.value if isinstance(value, Enum) else value


def printable(text: str) -> str:
    """Text without control characters."""
    return "".join(character if character.isprintable() or character in "\n\t" else "�" for character in text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, heading: int = 1) -> None:
    """Print a table; known outcomes and levels are coloured on a terminal.

    If the screen is too narrow, each row becomes a block of lines, whose first has the `heading`.
    """
    screen = console()
    screen.print(fitting(columns, rows, screen.width, heading=heading), crop=False)


def fitting(
    columns: Sequence[str], rows: Iterable[Sequence[object]], width: int, *, heading: int = 1
) -> RenderableType:
    """A table, or blocks of lines if the table is wider than this many columns."""
    from rich.console import Group

    words = [_words(row) for row in rows]
    if width >= _PIPE_WIDTH or _fits(_widths(columns, words), width):
        return table(columns, words)
    return Group(*_stacked(columns, words, heading, width))


def _fits(widths: Sequence[int], width: int) -> bool:
    return sum(widths) + len(_GAP) * (len(widths) - 1) <= width


def _stacked(
    columns: Sequence[str], rows: Iterable[Sequence[str]], heading: int, width: int
) -> Iterator[Text]:
    """Each row as a block; no name is cut, and no word that fits on a line."""
    from rich.text import Text

    for row in rows:
        yield Text.assemble(*_coloured(_GAP.join(filter(None, row[:heading]))))
        for name, cell in zip(columns[heading:], row[heading:], strict=True):
            if cell:
                for line in folded(f"{name}: {cell}" if name else cell, width):
                    yield Text(line, no_wrap=True, overflow="ignore")  # a terminal breaks what is longer


def folded(said: str, width: int) -> list[str]:
    """A sentence in indented lines that fit the screen."""
    room = max(1, width - len(_INDENT))
    lines = textwrap.wrap(printable(said), room, break_on_hyphens=False, break_long_words=False)
    return [f"{_INDENT}{line}" for line in lines]


def print_list(
    columns: Sequence[str],
    rows: Iterable[tuple[Sequence[object], Sequence[str]]],
    *,
    heading: int = 1,
    fold: bool = False,
) -> None:
    """Print one line per row, and its notes on indented lines below.

    In a pipe nothing is folded. On a terminal a note is cut to the width, or folded with `fold`; rows that do
    not fit become blocks of lines, whose first has the `heading`.
    """
    from rich.text import Text

    screen = console()
    made = [(_words(cells), [" ".join(printable(note).split()) for note in notes]) for cells, notes in rows]
    widths = _widths(columns, [cells for cells, _ in made])
    narrow = screen.width < _PIPE_WIDTH and not _fits(widths, screen.width)
    lines = [] if narrow else [Text(_in_columns(columns, widths), style="bold")]
    for cells, notes in made:
        if narrow:
            lines += _stacked(columns, [cells], heading, screen.width)
        else:
            lines.append(Text.assemble(*_coloured(_in_columns(cells, widths))))
        for note in filter(None, notes):
            folds = folded(note, screen.width) if fold and screen.width < _PIPE_WIDTH else [f"{_NOTE}{note}"]
            lines += [Text(line, style="dim") for line in folds]
    for line in lines:
        if screen.is_terminal:
            screen.print(line, no_wrap=True, overflow="ellipsis")
        else:
            click.echo(line.plain)


def console() -> Console:
    """The rich console for tables: as wide as the terminal, or $COLUMNS; in a pipe lines are not cut."""
    from rich.console import Console

    class OurConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the process itself; `main` knows how

    has_width = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()  # rich looks there itself
    return OurConsole(width=None if has_width else _PIPE_WIDTH)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table without trailing spaces."""
    from rich.box import SIMPLE
    from rich.console import ConsoleOptions, RenderResult
    from rich.segment import Segment
    from rich.table import Table
    from rich.text import Text

    class Trimmed(Table):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            cells = [one for one in super().__rich_console__(console, options) if isinstance(one, Segment)]
            for line in Segment.split_lines(cells):
                while line and not line[-1].text.strip():
                    line.pop()
                if line:
                    line[-1] = Segment(line[-1].text.rstrip(), line[-1].style)
                yield from line
                yield Segment.line()

    made = Trimmed(box=SIMPLE, pad_edge=False, show_edge=False, collapse_padding=True)  # _GAP between two
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(word, style=_STYLES.get(word.partition(" (")[0], "")) for word in _words(row)))
    return made


def _widths(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(columns, *rows, strict=True)]


def _words(row: Sequence[object]) -> list[str]:
    return ["" if cell is None else printable(str(cell)) for cell in row]


def _in_columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _coloured(line: str) -> list[tuple[str, str]]:
    """The words of a line; known outcomes and levels are coloured."""
    return [(word, _STYLES.get(word, "")) for word in re.split(r"(\s+)", line)]


@contextmanager
def progress_on(title: str, *, drawn: bool) -> Iterator[Progress]:
    """A bar on a terminal, nothing in a pipe or journal."""
    if drawn and sys.stderr.isatty():
        from pushmirror.cli.progress import TerminalProgress

        with TerminalProgress(title) as bars:
            yield bars
    else:
        from pushmirror.progress import Silent

        yield Silent()
